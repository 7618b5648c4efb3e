"""Event types: pydantic models, any other class, their options, and replace()."""

from __future__ import annotations

import dataclasses
import pickle
import threading
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

import anyio
import pydantic
import pytest
from tests.bus.tools import SECONDS, Keyed, Ping, World, coloured, in_worlds, marks, noting, run, tracer

from plugbus import Event, EventBus, EventDataError, NamedEvent, Owner, Request, event, replace

pytestmark = marks


class Placed(Event, name="events.placed", key="shop", lane="order_id"):
    shop: str
    order_id: int
    total: Decimal = Decimal(0)


class Receipt(pydantic.BaseModel):
    number: int


class Place(Request[Receipt], name="events.place"):
    customer: str


@event(name="events.setup", key="app", sticky=True, aliases=["events.configure"])
@dataclass
class Setup:
    app: str
    parts: list[str] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class Undecorated:
    number: int = 0


def described(bus: EventBus, cls: type) -> Any:
    bus.declare(cls)
    return next(kind for kind in bus.types() if kind.cls is cls)


def test_a_type_tells_what_it_was_declared_with(bus: EventBus) -> None:
    placed, setup, place = (described(bus, cls) for cls in (Placed, Setup, Place))

    assert (placed.name, placed.key, placed.lane, placed.sticky) == ("events.placed", "shop", "order_id", False)
    assert (setup.name, setup.key, setup.lane, setup.sticky) == ("events.setup", "app", "app", True)
    assert tuple(setup.aliases) == ("events.configure",)
    assert (placed.is_request, place.is_request) == (False, True)
    assert place.result is Receipt


def test_an_event_is_a_frozen_validated_model() -> None:
    placed = Placed(shop="berlin", order_id="5", total="9.50")  # type: ignore[arg-type]

    assert (placed.order_id, placed.total) == (5, Decimal("9.50"))
    with pytest.raises(pydantic.ValidationError):
        placed.shop = "paris"
    with pytest.raises(pydantic.ValidationError):
        Placed(shop="berlin")  # type: ignore[call-arg]


def test_events_compare_hash_and_pickle_by_value() -> None:
    one, two = Placed(shop="berlin", order_id=1), Placed(shop="berlin", order_id=1)

    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == one
    assert pickle.loads(pickle.dumps(NamedEvent("a.b", {"x": [1]}))) == NamedEvent("a.b", {"x": [1]})


def test_an_events_json_is_its_fields_alone() -> None:
    placed = Placed(shop="berlin", order_id=1)

    assert placed.model_dump(mode="json") == {"shop": "berlin", "order_id": 1, "total": "0"}
    assert set(Placed.model_json_schema()["properties"]) == {"shop", "order_id", "total"}


def test_a_field_may_be_called_like_an_option() -> None:
    """``name``, ``key`` and ``lane`` are class options, so an event may have such fields too."""

    class Person(Event, name="events.person"):
        name: str
        key: str = "k"

    assert replace(Person(name="Ada"), name="Grace") == Person(name="Grace")


def test_a_subclass_keeps_key_and_lane_and_gets_its_own_name(bus: EventBus) -> None:
    class Express(Placed, name="events.express"):
        hours: int = 1

    kind = described(bus, Express)

    assert (kind.name, kind.key, kind.lane) == ("events.express", "shop", "order_id")


def test_a_subclass_is_not_sticky_by_inheritance_of_its_decorator(bus: EventBus) -> None:
    class Later(Setup):
        pass

    kind = described(bus, Later)

    assert kind.name != "events.setup"
    assert kind.key == "app"


def test_a_dataclass_with_slots_keeps_its_options(bus: EventBus) -> None:
    """``dataclass(slots=True)`` makes the class a second time."""

    @event(name="events.slots", key="shop")
    @dataclass(slots=True, frozen=True)
    class Slots:
        shop: str

    seen: list[object] = []
    bus.observe(Slots, seen.append, key="berlin")
    bus.emit(Slots("berlin"))
    bus.emit(Slots("paris"))

    assert seen == [Slots("berlin")]
    assert described(bus, Slots).name == "events.slots"


def test_the_decorator_above_and_below_the_dataclass(bus: EventBus) -> None:
    @dataclass(slots=True)
    @event(name="events.below", key="shop")
    class Below:
        shop: str

    assert described(bus, Below).name == "events.below"
    assert isinstance(Below("x"), Below)


def test_the_decorator_returns_the_class() -> None:
    class Plain:
        pass

    assert event(name="events.plain_class")(Plain) is Plain


@in_worlds
def test_a_class_that_nobody_decorated_is_an_event_too(bus: EventBus, world: World) -> None:
    seen: list[object] = []
    bus.observe(Undecorated, seen.append)

    world.emit(bus, Undecorated(1))

    assert seen == [Undecorated(1)]
    assert described(bus, Undecorated).name == f"{__name__}.Undecorated"


@pytest.mark.parametrize("option", ["key", "lane"])
def test_an_option_that_names_no_field_is_refused_when_the_class_is_made(option: str) -> None:
    with pytest.raises(TypeError) as caught:

        class Wrong(Event, name="events.wrong", **{option: "shopp"}):
            shop: str

    assert "shopp" in str(caught.value)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError):

        class Wrong(Event, nmae="events.wrong"):
            shop: str


def test_pydantics_own_options_still_work() -> None:
    class Strict(Event, name="events.strict", strict=True):
        number: int

    with pytest.raises(pydantic.ValidationError):
        Strict(number="5")  # type: ignore[arg-type]


def test_a_generic_event(bus: EventBus) -> None:
    item = TypeVar("item")

    class Changed(Event, Generic[item], name="events.changed"):
        value: item

    seen: list[object] = []
    bus.observe(Changed, seen.append)

    bus.emit(Changed(value=1))
    bus.emit(Changed[int](value=2))

    assert [message.value for message in seen] == [1, 2]


def test_the_result_of_a_request_is_found_through_subclasses(bus: EventBus) -> None:
    class Special(Place, name="events.special"):
        pass

    kind = described(bus, Special)

    assert kind.is_request
    assert kind.result is Receipt


def test_key_and_lane_default_to_nothing_and_to_the_key(bus: EventBus) -> None:
    assert (described(bus, Ping).key, described(bus, Ping).lane) == (None, None)
    assert (described(bus, Keyed).key, described(bus, Keyed).lane) == ("shop", "shop")


# ------------------------------------------------------------------------------------------------ replace


@pytest.mark.parametrize(
    ("old", "changes", "new"),
    [
        (Ping(number=1), {"number": 2}, Ping(number=2)),
        (Ping(number=1), {}, Ping(number=1)),
        (Placed(shop="a", order_id=1), {"order_id": "7"}, Placed(shop="a", order_id=7)),
        (Setup("a"), {"app": "b"}, Setup("b")),
        (Undecorated(1), {"number": 2}, Undecorated(2)),
        (NamedEvent("a.b", {"x": 1}), {"data": {"x": 2}}, NamedEvent("a.b", {"x": 2})),
        (Place(customer="a"), {"customer": "b"}, Place(customer="b")),
    ],
    ids=repr,
)
def test_replace_gives_a_changed_copy(old: Any, changes: dict[str, Any], new: object) -> None:
    before = pickle.dumps(old)

    result = replace(old, **changes)

    assert result == new
    assert type(result) is type(new)
    assert result is not old
    assert pickle.dumps(old) == before


@pytest.mark.parametrize("message", [Ping(), Setup("a"), Undecorated()], ids=repr)
def test_replace_refuses_unknown_names(message: Any) -> None:
    with pytest.raises(EventDataError) as caught:
        replace(message, nubmer=1, other=2)

    text = "\n".join(caught.value.problems)
    assert "nubmer" in text
    assert "other" in text, "all problems at once"


def test_replace_shows_the_nearest_name() -> None:
    with pytest.raises(EventDataError, match="number"):
        replace(Ping(), nubmer=1)


def test_replace_refuses_wrong_values() -> None:
    with pytest.raises(EventDataError) as caught:
        replace(Placed(shop="a", order_id=1), order_id="seven", shop=5)

    text = "\n".join(caught.value.problems)
    assert "order_id" in text
    assert "shop" in text


def test_replace_keeps_what_was_not_changed_as_it_is() -> None:
    parts = ["a"]
    setup = Setup("x", parts)

    assert replace(setup, app="y").parts is parts


def test_replace_runs_the_models_own_validators() -> None:
    class Even(Event, name="events.even"):
        number: int

        @pydantic.field_validator("number")
        @classmethod
        def must_be_even(cls, value: int) -> int:
            if value % 2:
                raise ValueError("odd")
            return value

    assert replace(Even(number=2), number=4).number == 4
    with pytest.raises(EventDataError, match="odd"):
        replace(Even(number=2), number=3)


def test_replace_of_something_that_is_no_event_with_fields() -> None:
    with pytest.raises((TypeError, ValueError)):
        replace(object(), number=1)


# ------------------------------------------------------------------------------------------------- sticky


@in_worlds
def test_a_sticky_event_is_replayed_to_those_who_subscribe_later(bus: EventBus, world: World) -> None:
    trace: list[str] = []
    bus.observe(Setup, lambda message: trace.append(f"early {message.app}"))
    world.emit(bus, Setup("one"))
    world.emit(bus, Setup("two"))

    bus.observe(Setup, lambda message: trace.append(f"late {message.app}"))
    bus.observe("events.setup", lambda message: trace.append(f"by name {message.app}"))
    bus.observe(object, lambda message: trace.append(f"any {type(message).__name__}"))

    assert trace == ["early one", "early two", "late two", "by name two", "any Setup"]


def test_an_event_that_is_not_sticky_is_not_replayed(bus: EventBus) -> None:
    trace: list[str] = []
    bus.emit(Ping())

    bus.observe(Ping, noting("late", trace))

    assert trace == []


def test_a_sticky_event_that_failed_is_not_kept(bus: EventBus) -> None:
    trace: list[str] = []
    sub = bus.listen(Setup, lambda message, next_fn: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bus.emit(Setup("failed"))
    sub.close()

    bus.observe(Setup, noting("late", trace))

    assert trace == []


def test_the_replay_respects_key_and_filter(bus: EventBus) -> None:
    trace: list[str] = []
    bus.emit(Setup("one"))

    bus.observe(Setup, noting("other key", trace), key="two")
    bus.observe(Setup, noting("filtered", trace), where=lambda message: False)
    bus.observe(Setup, noting("fits", trace), key="one", where=lambda message: True)

    assert trace == ["fits"]


def test_an_error_in_a_replay_is_isolated(bus: EventBus) -> None:
    bus.emit(Setup("one"))

    sub = bus.observe(Setup, lambda message: 1 / 0)

    assert not sub.closed


async def test_a_sticky_event_is_replayed_to_an_async_observer_on_its_own_loop(bus: EventBus) -> None:
    got, threads = anyio.Event(), []

    async def observer(message) -> None:
        threads.append(threading.get_ident())
        got.set()

    await bus.aemit(Setup("one"))
    bus.observe(Setup, observer)
    with anyio.fail_after(SECONDS):
        await got.wait()

    assert threads == [threading.get_ident()]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_that_ends_before_the_replay_leaves_no_stray_error_or_thread(bus: EventBus, backend: str) -> None:
    async def observer(message) -> None: ...

    async def main() -> None:
        bus.observe(Setup, observer)

    bus.emit(Setup("one"))
    for _ in range(20):
        run(backend, main)

    for thread in threading.enumerate():
        if thread.name == "plugbus replay":
            thread.join(SECONDS)
            assert not thread.is_alive()


def test_without_a_loop_an_async_observer_gets_the_replay_too(bus: EventBus) -> None:
    seen: list[object] = []

    async def observer(message) -> None:
        seen.append(message)

    bus.emit(Setup("one"))
    bus.observe(Setup, observer)

    assert seen == [Setup("one")]


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_a_plugin_that_was_booting_gets_the_replay_when_it_is_active(bus: EventBus, asynchronous: bool) -> None:
    seen: list[object] = []
    owner = Owner("shop")
    shop = bus.view(owner)
    shop.observe(Setup, coloured(seen.append, asynchronous=asynchronous))
    await bus.aemit(Setup("one"))
    assert seen == []

    bus.activate(owner)
    await bus.replay(owner)

    assert seen == [Setup("one")]


def test_a_replay_reaches_listeners_too(bus: EventBus) -> None:
    """Middleware that sets itself up on a sticky event must not miss it because it came later."""
    trace: list[str] = []
    bus.emit(Setup("one"))

    bus.listen(Setup, tracer("late", trace))

    assert trace == [">late", "<late"]
