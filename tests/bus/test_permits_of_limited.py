"""What a limited plugin must not get at by a side door of the bus: failures, others' owners, what it hands on."""

from __future__ import annotations

from typing import Any

import pytest
import structlog.testing
from tests.bus.test_permits import Fake, ProductMade, ProductSold, UserDeleted, shop
from tests.bus.tools import marks

from plugbus import Event, EventBus, ListenerFailed, NamedEvent, Owner, PermissionDeniedError

pytestmark = marks


def broken(_: object) -> None:
    raise ValueError("secret of the event")


def failing(bus: EventBus) -> None:
    """Have observers fail that are others'."""
    bus.observe([ProductMade, UserDeleted, "user.gone", "product.gone"], broken, run_in="caller", name="broken")


def emit_all(bus: EventBus) -> list[object]:
    events = [ProductMade(), UserDeleted(), NamedEvent("user.gone"), NamedEvent("product.gone")]
    with structlog.testing.capture_logs():
        for each in events:
            bus.emit(each)
    return [events[0], events[3]]


# ------------------------------------------------------------------------------------------------ failures


@pytest.mark.parametrize("target", [ListenerFailed, "plugbus.listener_failed", "plugbus.*", "plugbus.**"])
def test_a_failure_is_told_to_those_who_may_hear_the_event_that_it_is_about(target: Any) -> None:
    """The announcement holds the event and the words of an error, which often quote it."""
    bus, heard = EventBus(), list[ListenerFailed]()
    failing(bus)
    view = shop(bus, subscribes=["product.*", "plugbus.**"])
    view.observe(target, heard.append, run_in="caller")

    allowed = emit_all(bus)

    assert [each.event for each in heard] == allowed


async def test_a_listener_of_failures_is_passed_by_and_a_filter_not_asked() -> None:
    """In async chains too; whoever is below is told."""
    bus, above, below, asked = EventBus(), list[object](), list[object](), list[object]()
    failing(bus)
    view = shop(bus, subscribes=["product.*"])

    async def listen(event: ListenerFailed, next_fn: Any) -> Any:
        above.append(event.event)
        return await next_fn(event)

    def where(event: ListenerFailed) -> bool:
        asked.append(event.event)
        return True

    view.listen(ListenerFailed, listen, where=where)
    bus.observe(ListenerFailed, lambda failure: below.append(failure.event), run_in="caller")
    with structlog.testing.capture_logs():
        await bus.aemit(UserDeleted())
        await bus.aemit(ProductMade())

    assert above == asked == [ProductMade()]
    assert below == [UserDeleted(), ProductMade()]


def test_a_plugin_is_told_of_its_own_failures() -> None:
    """It had the event already."""
    bus, heard = EventBus(), list[ListenerFailed]()
    view = shop(bus, subscribes=["user.*"])
    view.observe(UserDeleted, broken, run_in="caller", name="mine")
    view.observe(ListenerFailed, heard.append, run_in="caller")

    with structlog.testing.capture_logs():
        bus.emit(UserDeleted())

    assert [each.subscriber for each in heard] == ["mine"]


async def test_a_plugin_that_may_hear_nothing_is_told_of_what_it_posted_itself() -> None:
    """There is nobody else to tell."""
    bus, heard = EventBus(), list[ListenerFailed]()
    view = shop(bus, subscribes=[])
    view.observe(ListenerFailed, heard.append, run_in="caller")

    def refuse(event: object, next_fn: Any) -> object:
        raise ValueError("no")

    bus.listen(ProductMade, refuse)
    with structlog.testing.capture_logs():
        async with bus.background():
            view.post(ProductMade())

    assert [each.subscriber for each in heard] == ["bus.post"]


# ------------------------------------------------------------------------------------------------ other owners


def test_who_is_limited_sees_its_own_subscriptions_alone() -> None:
    """A subscription leads to its owner, whose bus and services have other limits, and can be closed."""
    bus = EventBus()
    others = bus.observe(UserDeleted, print)
    view = shop(bus, subscribes=["product.*"])
    mine = view.observe(ProductMade, print)

    assert view.subscriptions() == (mine,)
    assert set(bus.subscriptions()) == set(shop(bus, "free").subscriptions()) == {others, mine}
    assert view.statistics() == bus.statistics()
    assert view.problems() == bus.problems()


def test_who_may_manage_others_sees_all_subscriptions() -> None:
    bus = EventBus()
    others = bus.observe(UserDeleted, print)

    assert shop(bus, permissions=["kernel.manage"]).subscriptions() == (others,)


@pytest.mark.parametrize("call", ["activate", "retire", "replay"])
async def test_who_is_limited_does_nothing_to_the_plugins_of_others(call: str) -> None:
    """Neither ends nor begins what others hear."""
    bus, other = EventBus(), Owner("other")
    bus.view(other).observe(UserDeleted, print)
    view = shop(bus, publishes=[])

    with pytest.raises(PermissionDeniedError, match=r"kernel\.manage"):
        await getattr(view, call)(other)

    assert not other.active
    assert len(bus.subscriptions()) == 1


@pytest.mark.parametrize("call", ["attach_background", "attach_portal", "overlap", "background", "swap"])
def test_who_is_limited_does_not_move_the_bus_itself(call: str) -> None:
    """Whoever runs posts and background work is handed every event of them."""
    arguments = () if call == "background" else (None,)

    with pytest.raises(PermissionDeniedError, match=r"kernel\.manage"):
        getattr(shop(EventBus(), subscribes=[]), call)(*arguments)


# ------------------------------------------------------------------------------------------------ handing on


@pytest.mark.parametrize(
    "other", [NamedEvent("user.gone"), NamedEvent("user.deleted"), UserDeleted(), Fake()], ids=repr
)
async def test_a_listener_hands_on_only_what_its_plugin_may_publish(other: object) -> None:
    """Whoever is below would take it for somebody's who may."""
    bus, heard = EventBus(), list[object]()
    view = shop(bus, publishes=["product.**"])

    async def alisten(event: Event, next_fn: Any) -> object:
        return await next_fn(other)

    bus.observe(["product.gone", ProductMade], heard.append, run_in="caller")
    for listener in (lambda _, next_fn: next_fn(other), alisten):
        with view.listen(["product.gone", ProductMade], listener):
            for emitted in (ProductMade(), NamedEvent("product.gone")):
                with pytest.raises(PermissionDeniedError) as caught:
                    await bus.aemit(emitted)
                assert (caught.value.plugin, caught.value.action) == ("shop", "publish")

    assert heard == []


async def test_a_listener_that_may_not_publish_may_change_what_it_hears() -> None:
    """Same type, or same wire name: it is still what the emitter emitted."""
    bus, heard = EventBus(), list[object]()
    view = shop(bus, publishes=[])
    changed = ProductMade(shop="paris")
    bus.observe(["product.gone", ProductMade], heard.append, run_in="caller")
    view.listen(ProductMade, lambda _, next_fn: next_fn(changed))
    view.listen("product.gone", lambda event, next_fn: next_fn(NamedEvent(event.name, 7)))

    assert bus.emit(ProductMade()) == await bus.aemit(ProductMade()) == changed
    bus.emit(NamedEvent("product.gone", 5))

    assert heard == [changed, changed, NamedEvent("product.gone", 7)]


def test_a_listener_may_hand_on_another_event_that_its_plugin_may_publish() -> None:
    bus, heard = EventBus(), list[object]()
    view = shop(bus, publishes=["product.*"])
    bus.observe(ProductMade, heard.append, run_in="caller")
    view.listen(ProductMade, lambda _, next_fn: next_fn(ProductSold()))

    bus.emit(ProductMade())

    assert heard == [ProductSold()]
