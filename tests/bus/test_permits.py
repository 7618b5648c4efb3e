"""What a plugin may publish and hear on a bus, once its manifest says; who says nothing may do anything."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.bus.tools import marks

from plugbus import (
    Event,
    EventBus,
    KernelReady,
    Manifest,
    NamedEvent,
    Owner,
    PermissionDeniedError,
    PluginBooting,
    PluginConfiguring,
    PluginReady,
    Request,
    event,
)
from plugbus.registry import Pattern

pytestmark = marks


class ProductMade(Event, name="product.made", key="shop"):
    shop: str = "berlin"


class ProductSold(Event, name="product.sold", aliases=["item.sold"]):
    number: int = 1


class UserDeleted(Event, name="user.deleted", sticky=True):
    number: int = 1


class Fake(UserDeleted, name="product.fake"):
    """Goes by an allowed name, and is heard by all who hear UserDeleted."""


class Base(Event):
    """A mere base class."""


class ProductMoved(Base, name="product.moved"): ...


class Price(Request[int], name="product.price"):
    number: int = 1


class Erase(Request[int], name="user.erase"): ...


@event(name="app.setup")
@dataclass
class AppSetup:
    app: object


class Spy:
    """An instrument."""

    def enter(self, what: object, event: object) -> None: ...

    def leave(self, what: object, token: object, error: BaseException | None) -> None: ...


def shop(bus: EventBus, id: str = "shop", **fields: Any) -> EventBus:
    """The view of an active plugin with this manifest."""
    owner = Owner(id, manifest=Manifest(id=id, **fields))
    view = bus.view(owner)
    bus.activate(owner)
    return view


def denied(call: Callable[..., Any], *args: Any) -> tuple[str, str, str]:
    with pytest.raises(PermissionDeniedError) as caught:
        call(*args)
    return caught.value.plugin, caught.value.action, caught.value.what


async def adenied(call: Callable[..., Any], *args: Any) -> tuple[str, str, str]:
    with pytest.raises(PermissionDeniedError) as caught:
        await call(*args)
    return caught.value.plugin, caught.value.action, caught.value.what


# ------------------------------------------------------------------------------------------------ publishing


async def test_an_event_outside_of_publishes_is_denied_in_every_way_of_emitting() -> None:
    """Sync, async, by type, by name; nobody hears it."""
    bus, heard = EventBus(), list[object]()
    view = shop(bus, publishes=["product.*"])
    bus.observe([UserDeleted, "user.deleted", "user.gone", Event], heard.append, run_in="caller")

    assert denied(view.emit, UserDeleted()) == ("shop", "publish", "user.deleted")
    assert await adenied(view.aemit, UserDeleted()) == ("shop", "publish", "user.deleted")
    assert denied(view.emit_named, "user.deleted", {}) == ("shop", "publish", "user.deleted")
    assert denied(view.emit_named, "user.gone", {}) == ("shop", "publish", "user.gone")
    assert await adenied(view.aemit_named, "user.gone", {}) == ("shop", "publish", "user.gone")
    assert denied(view.emit, NamedEvent("user.gone")) == ("shop", "publish", "user.gone")
    assert denied(view.emit, AppSetup(object())) == ("shop", "publish", "app.setup")
    assert denied(view.emit, "text") == ("shop", "publish", "builtins.str")
    assert heard == []


async def test_what_publishes_names_or_means_is_emitted() -> None:
    bus, heard = EventBus(), list[object]()
    bus.observe(Event, heard.append, run_in="caller")
    view = shop(bus, publishes=["product.*", "user.gone"])

    view.emit(ProductMade())
    await view.aemit(ProductMade())
    view.emit_named("product.sold", {"number": 2})
    await view.aemit_named("user.gone", 5)

    assert heard == [
        ProductMade(),
        ProductMade(),
        NamedEvent("product.sold", {"number": 2}),
        NamedEvent("user.gone", 5),
    ]


async def test_to_call_a_request_is_to_publish_it() -> None:
    """The caller decides that something happens, and hands data over."""
    bus = EventBus()
    bus.answer(Price, lambda request: request.number)
    bus.answer(Erase, lambda _: 0)
    view = shop(bus, publishes=["product.**"])

    assert view.call(Price(number=3)) == await view.acall(Price(number=4)) - 1 == 3
    assert view.call_named("product.price", {"number": 3}) == 3
    assert denied(view.call, Erase()) == ("shop", "publish", "user.erase")
    assert await adenied(view.acall, Erase()) == ("shop", "publish", "user.erase")
    assert await adenied(view.acall_named, "user.erase", {}) == ("shop", "publish", "user.erase")


async def test_what_others_have_emitted_before_opens_no_door() -> None:
    """The chain is compiled and shared; the permission is not."""
    bus = EventBus()
    first, second, host = shop(bus, "first", publishes=["user.*"]), shop(bus, "second", publishes=[]), bus
    for view in (host, first):
        view.emit(UserDeleted())
        await view.aemit(UserDeleted())
        view.emit_named("user.gone", 1)

    assert denied(second.emit, UserDeleted()) == ("second", "publish", "user.deleted")
    assert await adenied(second.aemit, UserDeleted()) == ("second", "publish", "user.deleted")
    assert denied(second.emit_named, "user.gone", 1) == ("second", "publish", "user.gone")


def test_a_denied_event_leaves_nothing_behind() -> None:
    """Its type does not enter the registry of names, and is denied again."""
    bus = EventBus()
    view = shop(bus, publishes=[])

    assert denied(view.emit, UserDeleted()) == denied(view.emit, UserDeleted())
    assert bus.type_named("user.deleted") is None


def test_an_allowed_name_does_not_smuggle_in_what_it_is_derived_from() -> None:
    """Those who observe UserDeleted would hear its subclass."""
    bus, heard = EventBus(), list[object]()
    bus.observe(UserDeleted, heard.append)
    view = shop(bus, publishes=["product.*"])

    assert denied(view.emit, Fake()) == ("shop", "publish", "user.deleted")
    assert heard == []
    view.emit(ProductMoved())  # a base class without a wire name of its own is no event of its own


def test_an_alias_does_not_open_what_the_name_does_not() -> None:
    bus = EventBus()

    assert denied(shop(bus, publishes=["item.*"]).emit, ProductSold()) == ("shop", "publish", "product.sold")


async def test_a_permitted_view_hears_of_later_subscribers_and_instruments() -> None:
    """Its own table of chains is brought up to date like the shared one, with keys and without."""
    bus, heard = EventBus(), list[object]()
    view = shop(bus, publishes=["**"])
    view.emit(ProductMade())
    view.emit(ProductSold())
    with (
        bus.observe(ProductMade, heard.append, key="berlin", run_in="caller"),
        bus.observe(ProductSold, heard.append, run_in="caller"),
    ):
        view.emit(ProductMade())
        await view.aemit(ProductSold())
        watching = bus.instrument(Spy())
        view.emit(ProductSold())
        watching.close()
    view.emit(ProductMade())
    view.emit(ProductSold())

    assert heard == [ProductMade(), ProductSold(), ProductSold()]


def test_what_left_may_publish_nothing() -> None:
    """Between the end of its subscriptions and its own end, a plugin is as limited as before."""
    bus = EventBus()
    owner = Owner("shop", manifest=Manifest(id="shop", publishes=["product.*"]))
    view = bus.view(owner)
    view.emit(ProductMade())
    bus.retire(owner)

    assert denied(view.emit, UserDeleted()) == ("shop", "publish", "user.deleted")


def test_an_emit_asks_once_per_type_and_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is added to an emit whose chain is there."""
    bus, asked = EventBus(), list[str]()
    view = shop(bus, publishes=["product.*"])
    original = Pattern.matches

    def counting(self: Pattern, name: str) -> bool:
        asked.append(name)
        return original(self, name)

    monkeypatch.setattr(Pattern, "matches", counting)
    for _ in range(5):
        view.emit(ProductMade())

    assert asked == ["product.made"]


# ------------------------------------------------------------------------------------------------ hearing


@pytest.mark.parametrize(
    "target",
    [UserDeleted, "user.deleted", "user.*", "*.*", "**", "product.**", object, Event, Request, NamedEvent, BaseModel,
     [ProductMade, UserDeleted], Request[int]],
    ids=str,
)  # fmt: skip
def test_a_subscription_beyond_subscribes_is_denied(target: Any) -> None:
    """So is one that is broader than what is allowed, and one of several targets; nothing is subscribed."""
    bus = EventBus()
    view = shop(bus, subscribes=["product.*", "app.**"])

    assert denied(view.observe, target, print)[:2] == ("shop", "subscribe")
    assert denied(view.listen, target, lambda event, next_fn: next_fn(event))[:2] == ("shop", "subscribe")
    assert bus.subscriptions() == ()


@pytest.mark.parametrize(
    "target", [ProductMade, "product.made", "product.*", "app.**", "app.setup", ["product.x", AppSetup], "app.a.*"]
)
def test_a_subscription_within_subscribes_is_made(target: Any) -> None:
    bus = EventBus()

    shop(bus, subscribes=["product.*", "app.**"]).observe(target, print)

    assert len(bus.subscriptions()) == 1


@pytest.mark.parametrize("target", [object, Event, NamedEvent, "**", "a.**", UserDeleted])
def test_two_stars_allow_everything(target: Any) -> None:
    bus = EventBus()

    shop(bus, subscribes=["**"]).observe(target, print)

    assert len(bus.subscriptions()) == 1


def test_to_answer_a_request_is_to_subscribe_to_it() -> None:
    bus = EventBus()
    view = shop(bus, subscribes=["product.*"])

    view.answer(Price, lambda request: request.number)

    assert denied(view.answer, Erase, lambda _: 0) == ("shop", "subscribe", "user.erase")
    assert bus.call(Price(number=2)) == 2


async def test_streams_and_wait_for_are_subscriptions() -> None:
    """Denied when they subscribe."""
    view = shop(EventBus(), subscribes=["product.*"])

    assert await adenied(view.stream(UserDeleted).__aenter__) == ("shop", "subscribe", "user.deleted")
    assert await adenied(view.wait_for, "user.*") == ("shop", "subscribe", "user.*")


def test_an_older_name_keeps_working_for_those_who_hear() -> None:
    """Who was allowed an event by its older name is allowed it still."""
    bus, heard = EventBus(), list[object]()
    bus.declare(ProductSold)
    view = shop(bus, subscribes=["item.sold"])
    view.observe("item.sold", heard.append)
    view.observe(ProductSold, heard.append)

    bus.emit(ProductSold())

    assert heard == [ProductSold()] * 2


async def test_a_subscriber_of_a_base_class_hears_the_allowed_heirs_alone() -> None:
    """An heir may come after the subscription, so it is passed by instead of refused; explain shows nobody."""
    bus, heard = EventBus(), list[object]()
    view = shop(bus, subscribes=["user.deleted", Base.__module__ + ".**"])
    view.observe(UserDeleted, heard.append, run_in="caller")
    view.observe(Base, heard.append, run_in="caller")
    bus.observe(ProductMoved, lambda _: None, name="host's", run_in="caller")

    for one in (UserDeleted(), Fake(), ProductMoved()):
        bus.emit(one)
        await bus.aemit(one)

    assert heard == [UserDeleted()] * 2
    assert [step.name for step in bus.explain(ProductMoved).steps] == ["host's"]
    assert [problem.message.partition(",")[0] for problem in bus.problems()] == [
        "does not hear 'product.fake'", "does not hear 'product.moved'",
    ]  # fmt: skip
    assert not any(problem.fatal for problem in bus.problems())


def test_a_sticky_event_is_not_replayed_to_who_may_not_hear_it() -> None:
    bus, heard = EventBus(), list[object]()
    bus.emit(UserDeleted())
    bus.emit(Fake())

    shop(bus, subscribes=["user.*"]).observe(UserDeleted, heard.append)

    assert heard == [UserDeleted()]


def test_a_named_event_is_heard_by_who_may_hear_its_name() -> None:
    bus, heard = EventBus(), list[object]()
    shop(bus, subscribes=["product.*"]).observe("product.*", heard.append)

    bus.emit_named("product.new", 1)
    bus.emit_named("user.new", 1)

    assert heard == [NamedEvent("product.new", 1)]


@pytest.mark.parametrize("target", [KernelReady, "kernel.ready", PluginReady, "plugin.ready"])
def test_what_the_kernel_tells_everybody_may_hear(target: Any) -> None:
    bus, heard = EventBus(), list[object]()
    view = shop(bus, subscribes=[])
    view.observe(target, heard.append)

    bus.emit(KernelReady(plugins=()))
    bus.emit(PluginReady(plugin="shop", version="1", boot_seconds=0))

    assert len(heard) == 1


@pytest.mark.parametrize("target", [PluginConfiguring, "plugin.configuring", PluginBooting, "plugin.booting"])
def test_what_the_kernel_asks_only_those_hear_who_may(target: Any) -> None:
    """Settings of other plugins may be secret, and whether they boot is nobody's business unless it says so."""
    assert denied(shop(EventBus(), subscribes=["product.*"]).listen, target, lambda event, next_fn: next_fn(event))[
        :2
    ] == (
        "shop",
        "subscribe",
    )
    shop(EventBus(), subscribes=["plugin.configuring", "plugin.booting"]).listen(
        target, lambda event, next_fn: next_fn(event)
    )


def test_an_heir_of_a_kernel_event_is_not_the_kernels() -> None:
    class Loud(KernelReady, name="user.loud"): ...

    bus, heard = EventBus(), list[object]()
    view = shop(bus, subscribes=[])
    view.observe(KernelReady, heard.append)

    bus.emit(Loud(plugins=()))

    assert heard == []
    assert denied(view.observe, Loud, print) == ("shop", "subscribe", "user.loud")


# ------------------------------------------------------------------------------------------------ ways around


def test_an_instrument_sees_everything_so_it_takes_the_right_to_hear_everything() -> None:
    bus = EventBus()

    assert denied(shop(bus, subscribes=["product.*"]).instrument, Spy())[:2] == ("shop", "subscribe")
    shop(bus, "watch", subscribes=["**"]).instrument(Spy()).close()


@pytest.mark.parametrize("fields", [{"publishes": []}, {"permissions": ["database"]}])
def test_who_is_limited_cannot_become_another(fields: dict[str, Any]) -> None:
    view = shop(EventBus(), **fields)

    assert denied(view.view, Owner("host")) == ("shop", "use", "kernel.manage")


def test_who_may_manage_makes_views_for_others() -> None:
    bus = EventBus()

    view = shop(bus, publishes=[], permissions=["kernel.manage"]).view(Owner("other"))

    assert view.emit("anything") == "anything"


def test_a_field_that_is_not_declared_is_not_limited() -> None:
    """And a manifest that declares none of the three limits nothing at all."""
    bus = EventBus()
    view = shop(bus, publishes=["product.*"])

    view.observe(object, print)
    shop(bus, "free").emit(UserDeleted())

    assert Owner("free", manifest=Manifest(id="free")).permits is None


def test_a_grant_narrows_and_never_widens() -> None:
    bus = EventBus()
    manifest = Manifest(id="shop", publishes=["product.*"])
    narrower = Manifest(id="grant", publishes=["product.made", "user.**"], subscribes=["product.made"])
    owner = Owner("shop", manifest=manifest, grants=[narrower])
    view = bus.view(owner)

    view.emit(ProductMade())
    view.observe(ProductMade, print)

    assert denied(view.emit, ProductSold()) == ("shop", "publish", "product.sold")
    assert denied(view.emit, UserDeleted()) == ("shop", "publish", "user.deleted")
    assert denied(view.observe, ProductSold, print) == ("shop", "subscribe", "product.sold")


def test_permission_is_asked_for_in_each_thread_alike() -> None:
    """The table of a plugin is filled by whichever thread comes first, and stays its own."""
    bus = EventBus()
    allowed, barred = shop(bus, "allowed", publishes=["user.*"]), shop(bus, "barred", publishes=["product.*"])
    barrier, outcomes = threading.Barrier(8), list[str]()

    def emit(view: EventBus, name: str) -> None:
        barrier.wait()
        try:
            view.emit(UserDeleted())
        except PermissionDeniedError:
            outcomes.append(f"{name} denied")
        else:
            outcomes.append(f"{name} passed")

    pairs = [(allowed, "allowed"), (barred, "barred")] * 4
    threads = [threading.Thread(target=emit, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["allowed passed"] * 4 + ["barred denied"] * 4


# ------------------------------------------------------------------------------------------------ patterns

segments = st.sampled_from(["a", "b", "*", "**"])
patterns = st.lists(segments, min_size=1, max_size=4).map(".".join)
names = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6).map(".".join)


@given(patterns, patterns, names)
def test_a_pattern_covers_another_only_if_it_means_all_of_its_names(outer: str, inner: str, name: str) -> None:
    """Never too much: what is allowed by a covering pattern matches it."""
    if Pattern(outer).covers(inner) and Pattern(inner).matches(name):
        assert Pattern(outer).matches(name)


@given(patterns, patterns)
def test_a_pattern_that_means_all_names_of_another_covers_it(outer: str, inner: str) -> None:
    """Nor too little: for one that it does not cover there is a name to show for it."""
    if not Pattern(outer).covers(inner):
        runs = {"**": [["z"] * count for count in range(1, 7)], "*": [["z"]]}
        found = _joined([runs.get(part, [[part]]) for part in inner.split(".")])
        assert any(not Pattern(outer).matches(".".join(name)) for name in found)


def _joined(choices: list[list[list[str]]]) -> list[list[str]]:
    if not choices:
        return [[]]
    return [[*first, *rest] for first in choices[0] for rest in _joined(choices[1:])]


@given(st.lists(st.text("ab*. \n", max_size=5), max_size=3))
def test_a_manifest_takes_names_and_patterns_and_nothing_else(texts: list[str]) -> None:
    """What would match nothing, such as ``product*``, is refused where it is written."""
    valid = all(re.fullmatch(r"([ab]+|\*\*?)(\.([ab]+|\*\*?))*", text) for text in texts)

    if valid:
        assert Manifest(id="shop", publishes=texts).publishes == tuple(texts)
    else:
        with pytest.raises(Exception, match=r"publishes: .* is no wire name or pattern"):
            Manifest(id="shop", publishes=texts)
