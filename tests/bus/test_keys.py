"""Keyed subscriptions and handlers: who hears what, at what cost in memory."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from dataclasses import dataclass

import pytest
from tests.bus.tools import SECONDS, Ask, Keyed, KeyedAsk, Ping, World, in_worlds, marks, noting, sync_or_async, tracer

from plugbus import DuplicateHandlerError, Event, EventBus, NoHandlerError, Owner, SubscriptionError, event, replace

pytestmark = marks


class SubKeyed(Keyed, name="keys.sub"):
    """A subclass, which inherits the key."""


@in_worlds
@sync_or_async
def test_a_key_filters_by_the_events_key_field(bus: EventBus, world: World, asynchronous: bool) -> None:
    trace: list[str] = []
    bus.listen(Keyed, tracer("berlin", trace, asynchronous=asynchronous), key="berlin")
    bus.observe(Keyed, noting("paris", trace, asynchronous=asynchronous), key="paris")
    bus.observe(Keyed, noting("all", trace, asynchronous=asynchronous))

    world.emit(bus, Keyed(shop="berlin"))
    world.emit(bus, Keyed(shop="paris"))
    world.emit(bus, Keyed(shop="rome"))

    assert trace == [">berlin", "<berlin", "all", "paris", "all", "all"]


@in_worlds
def test_the_key_none_is_a_value_and_no_key_filters_nothing(bus: EventBus, world: World) -> None:
    trace: list[str] = []
    bus.observe(Keyed, noting("none", trace), key=None)
    bus.observe(Keyed, noting("all", trace))

    world.emit(bus, Keyed(shop="berlin"))
    world.emit(bus, Keyed(shop=None))

    assert trace == ["all", "none", "all"]


def test_keyed_and_unkeyed_subscribers_share_one_order(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Keyed, tracer("third", trace))
    bus.listen(Keyed, tracer("second", trace), key="berlin", priority=50)
    bus.listen(Keyed, tracer("first", trace), priority=1)
    bus.listen(Keyed, tracer("fourth", trace), key="berlin")

    bus.emit(Keyed())

    assert [step[1:] for step in trace if step[0] == ">"] == ["first", "second", "third", "fourth"]


def test_the_key_of_the_emitted_event_chooses_the_chain(bus: EventBus) -> None:
    """What a listener makes of it changes what runs below, not who."""
    trace: list[str] = []
    bus.listen(Keyed, lambda message, next_fn: next_fn(replace(message, shop="paris")))
    bus.observe(Keyed, noting("berlin", trace), key="berlin")
    bus.observe(Keyed, noting("paris", trace), key="paris")

    bus.emit(Keyed(shop="berlin"))

    assert trace == ["berlin"]


def test_subclasses_inherit_the_key(bus: EventBus) -> None:
    trace: list[str] = []
    bus.observe(Keyed, noting("base", trace), key="berlin")
    bus.observe(SubKeyed, noting("sub", trace), key="berlin")
    bus.observe(Keyed, noting("other", trace), key="paris")

    bus.emit(SubKeyed(shop="berlin"))

    assert trace == ["base", "sub"]


def test_keys_that_are_equal_are_the_same_key(bus: EventBus) -> None:
    @event(name="keys.number", key="number")
    @dataclass
    class Number:
        number: float

    trace: list[str] = []
    bus.observe(Number, noting("one", trace), key=1)

    bus.emit(Number(1))
    bus.emit(Number(1.0))
    bus.emit(Number(2))

    assert trace == ["one", "one"]


def test_a_dataclass_event_may_have_a_key(bus: EventBus) -> None:
    @event(name="keys.plain", key="shop")
    class Plain:
        shop = "berlin"

    trace: list[str] = []
    bus.observe(Plain, noting("berlin", trace), key="berlin")
    bus.observe(Plain, noting("paris", trace), key="paris")

    bus.emit(Plain())

    assert trace == ["berlin"]


def test_a_key_value_that_cannot_be_hashed_matches_no_keyed_subscriber(bus: EventBus) -> None:
    @event(name="keys.unhashable", key="where")
    class Unhashable:
        where = ["a", "list"]  # noqa: RUF012

    trace: list[str] = []
    bus.observe(Unhashable, noting("keyed", trace), key="a")
    bus.observe(Unhashable, noting("all", trace))

    bus.emit(Unhashable())

    assert trace == ["all"]


@pytest.mark.parametrize("how", ["listen", "observe"])
def test_a_key_for_an_event_without_one_is_refused(bus: EventBus, how: str) -> None:
    subscriber = tracer("x", []) if how == "listen" else noting("x", [])

    with pytest.raises(SubscriptionError, match="key"):
        getattr(bus, how)(Ping, subscriber, key="berlin")

    assert list(bus.subscriptions()) == []


def test_a_key_that_cannot_be_hashed_is_refused(bus: EventBus) -> None:
    with pytest.raises(SubscriptionError, match="hash"):
        bus.observe(Keyed, noting("x", []), key=["berlin"])

    assert list(bus.subscriptions()) == []


def test_closing_a_keyed_subscription(bus: EventBus) -> None:
    trace: list[str] = []
    one = bus.observe(Keyed, noting("one", trace), key="berlin")
    bus.observe(Keyed, noting("two", trace), key="berlin")
    bus.emit(Keyed())
    one.close()

    bus.emit(Keyed())

    assert trace == ["one", "two", "two"]


# ---------------------------------------------------------------------------------------- keyed handlers


@in_worlds
@sync_or_async
def test_one_handler_per_key_else_the_one_without(bus: EventBus, world: World, asynchronous: bool) -> None:
    def answering(text: str):
        async def aanswer(request) -> str:
            return text

        return aanswer if asynchronous else lambda request: text

    bus.answer(KeyedAsk, answering("customers"), key="customer")
    bus.answer(KeyedAsk, answering("orders"), key="order")
    bus.answer(KeyedAsk, answering("nobody's"), key=None)
    bus.answer(KeyedAsk, answering("the rest"))

    kinds = ["customer", "order", None, "invoice"]
    assert [world.call(bus, KeyedAsk(kind=kind)) for kind in kinds] == ["customers", "orders", "nobody's", "the rest"]


@in_worlds
def test_without_a_general_handler_an_unknown_key_has_none(bus: EventBus, world: World) -> None:
    bus.answer(KeyedAsk, lambda request: "customers", key="customer")

    with pytest.raises(NoHandlerError) as caught:
        world.call(bus, KeyedAsk(kind="invoice"))

    assert (caught.value.event, caught.value.key) == ("tools.keyed_ask", "invoice")


def test_a_second_handler_of_one_key_is_refused(bus: EventBus) -> None:
    bus.answer(KeyedAsk, lambda request: "first", key="customer", name="first")

    with pytest.raises(DuplicateHandlerError) as caught:
        bus.answer(KeyedAsk, lambda request: "second", key="customer", name="second")

    assert caught.value.event == "tools.keyed_ask"
    assert "first" in caught.value.first
    assert "second" in caught.value.second
    assert caught.value.key == "customer"
    assert bus.call(KeyedAsk(kind="customer")) == "first"
    assert len(bus.subscriptions()) == 1


def test_a_second_general_handler_is_refused(bus: EventBus) -> None:
    bus.answer(Ask, lambda request: "first")

    with pytest.raises(DuplicateHandlerError):
        bus.answer(Ask, lambda request: "second")

    assert bus.call(Ask()) == "first"


def test_the_key_none_and_no_key_are_two_handlers(bus: EventBus) -> None:
    bus.answer(KeyedAsk, lambda request: "none", key=None)
    bus.answer(KeyedAsk, lambda request: "general")

    assert bus.call(KeyedAsk(kind=None)) == "none"
    assert bus.call(KeyedAsk(kind="x")) == "general"


def test_a_closed_handler_makes_room(bus: EventBus) -> None:
    bus.answer(KeyedAsk, lambda request: "first", key="customer").close()
    bus.answer(KeyedAsk, lambda request: "second", key="customer")

    assert bus.call(KeyedAsk(kind="customer")) == "second"


# ------------------------------------------------------------------------------------------------- memory


def grown(work, *, warm_up: int = 300, count: int = 10_000) -> int:
    """Bytes that *work* (called with an index range) left behind."""
    work(range(warm_up))
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work(range(warm_up, count))
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("keyed", [0, 3])
def test_unbounded_key_values_do_not_grow_memory(bus: EventBus, keyed: int) -> None:
    """10,000 key values that nobody subscribed to: no chain of their own is kept for each."""
    for number in range(keyed):
        bus.observe(Keyed, lambda message: None, key=f"known-{number}")
    bus.observe(Keyed, lambda message: None)
    bus.answer(KeyedAsk, lambda request: "general")
    bus.answer(KeyedAsk, lambda request: "customers", key="customer")

    def emit(numbers: range) -> None:
        for number in numbers:
            bus.emit(Keyed(shop=f"shop-{number}"))
            bus.call(KeyedAsk(kind=f"kind-{number}"))

    assert grown(emit) < 50_000, "some 5 bytes per key value at most"


def test_keyed_subscriptions_that_closed_leave_no_memory(bus: EventBus) -> None:
    def come_and_go(numbers: range) -> None:
        for number in numbers:
            with bus.observe(Keyed, lambda message: None, key=f"shop-{number}"):
                bus.emit(Keyed(shop=f"shop-{number}"))

    assert grown(come_and_go, count=2_000) < 50_000


def test_the_control_of_the_measure() -> None:
    """What keeps a small tuple per key value is far beyond the bound."""
    kept: dict[str, tuple[int]] = {}

    assert grown(lambda numbers: kept.update({f"shop-{n}": (n,) for n in numbers})) > 500_000


def test_subscribing_other_keys_leaves_the_chain_of_a_key_alone(bus: EventBus) -> None:
    """Thousands of other keys and their emits do not disturb one key's result."""
    trace: list[str] = []
    bus.observe(Keyed, noting("berlin", trace), key="berlin")
    for number in range(2_000):
        bus.observe(Keyed, lambda message: None, key=f"shop-{number}")

    for number in range(10):
        bus.emit(Keyed(shop=f"shop-{number}"))
        bus.emit(Keyed(shop="berlin"))

    assert trace == ["berlin"] * 10


def test_an_event_class_names_an_existing_field_as_its_key() -> None:
    with pytest.raises(TypeError):

        class Wrong(Event, name="keys.wrong", key="shopp"):
            shop: str


def test_a_change_while_a_keys_chain_is_compiled_is_not_lost(bus: EventBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between compiling and keeping nothing comes in: who closed hears nothing, who came is heard."""
    told: list[str] = []
    first = bus.observe(Keyed, noting("first", told), key="x")
    compiling, changed = threading.Event(), threading.Event()
    original = type(bus._core)._build

    def slow(core, *args, **kwargs):
        entry = original(core, *args, **kwargs)
        if args[2:] == ("x",) and not compiling.is_set():
            compiling.set()
            changed.wait(0.2)  # the change waits for the lock, so this times out where the code is right
        return entry

    monkeypatch.setattr(type(bus._core), "_build", slow)

    def change() -> None:
        compiling.wait(SECONDS)
        first.close()
        bus.observe(Keyed, noting("second", told), key="x")
        changed.set()

    thread = threading.Thread(target=change)
    thread.start()
    bus.emit(Keyed(shop="x"))
    thread.join(SECONDS)
    told.clear()
    bus.emit(Keyed(shop="x"))

    assert compiling.is_set()
    assert told == ["second"]


class Named(Event, name="keys.named", key="shop"):
    shop: str


@pytest.mark.parametrize("target", [Named, Event, object, "keys.named", "keys.*"])
def test_whether_anybody_hears_follows_whoever_comes_and_goes(bus: EventBus, target: type | str) -> None:
    """Asked before, between and after: nobody, a subscriber of any kind, nobody again."""
    before = bus.hears(Named), bus.hears(Named, key="x")
    subscription = bus.observe(target, lambda event: None)
    between = bus.hears(Named), bus.hears(Named, key="x")
    subscription.close()

    assert (before, between) == ((False, False), (True, True))
    assert not bus.hears(Named)
    assert not bus.hears(Named, key="x")


def test_whether_anybody_hears_a_key_follows_those_of_that_key(bus: EventBus) -> None:
    """A subscription to one key is not one to others, whether chains are compiled already or not."""
    first = bus.observe(Named, lambda event: None, key="x")
    bus.emit(Named(shop="x"))
    asked = bus.hears(Named, key="x"), bus.hears(Named, key="y")
    second = bus.observe(Named, lambda event: None, key="y")
    first.close()

    assert asked == (True, False)
    assert (bus.hears(Named, key="x"), bus.hears(Named, key="y"), bus.hears(Named)) == (False, True, True)
    second.close()
    assert not bus.hears(Named)


def test_a_plugin_hears_from_when_it_is_active_until_it_leaves(bus: EventBus) -> None:
    """Its subscriptions wait until all of them hear, at once."""
    owner = Owner("shop")
    bus.view(owner).observe(Named, lambda event: None)
    waiting = bus.hears(Named)
    bus.activate(owner)
    active = bus.hears(Named)
    bus.retire(owner)

    assert (waiting, active, bus.hears(Named)) == (False, True, False)


def test_keys_without_end_leave_a_bounded_trace(bus: EventBus) -> None:
    """Keys may come from outside."""
    for number in range(5_000):
        assert not bus.hears(Named, key=number)

    assert bus._core.hears.cache_info().currsize <= 1024


def test_an_answer_of_before_a_change_is_not_kept_after_it(bus: EventBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody comes between finding out that nobody hears and keeping that."""
    original = type(bus._core)._hears

    def slow(core, cls, key):
        found = original(core, cls, key)
        if not coming:
            coming.append(bus.observe(Named, lambda event: None))
        return found

    coming: list[object] = []
    monkeypatch.setattr(type(bus._core), "_hears", slow)
    bus.observe(Keyed, lambda event: None)  # so that the change is in force

    assert (bus.hears(Named), bus.hears(Named)) == (False, True)
