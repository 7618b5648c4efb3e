"""Observers: told after the chain succeeded, isolated unless asked otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from tests.bus.tools import (
    Ask,
    Boom,
    Ping,
    Pong,
    World,
    coloured,
    failures,
    in_every_world,
    in_worlds,
    marks,
    noting,
    plugin,
    raising,
    raising_listener,
    sync_or_async,
    tracer,
)

from plugbus import EventBus, ListenerFailed, Veto, replace

pytestmark = marks


@in_every_world
@sync_or_async
def test_an_error_is_isolated_and_announced(bus: EventBus, world: World, asynchronous: bool) -> None:
    boom = Boom("x")
    trace: list[str] = []
    seen = failures(bus)
    _, shop = plugin(bus, "shop")
    shop.observe(Ping, raising(boom, asynchronous=asynchronous), name="fails")
    bus.observe(Ping, noting("next", trace, asynchronous=asynchronous))
    ping = Ping()

    assert world.emit(bus, ping) is ping

    assert trace == ["next"], "the others run"
    (failure,) = seen
    assert isinstance(failure, ListenerFailed)
    assert failure.subscriber.rpartition(".")[2] == "fails"
    assert failure.plugin == "shop"
    assert failure.attempt == 1
    assert failure.error is boom
    assert failure.event in (ping, "tools.ping")


@in_worlds
def test_errors_are_counted_by_plugin(bus: EventBus, world: World) -> None:
    _, shop = plugin(bus, "shop")
    _, calm = plugin(bus, "calm")
    shop.observe(Ping, raising(Boom()))
    shop.observe(Ping, raising(Boom()))
    calm.observe(Ping, lambda message: None)

    for _ in range(3):
        world.emit(bus, Ping())

    plugins = bus.statistics().plugins
    assert plugins["shop"].failures == 6
    assert "calm" not in plugins or plugins["calm"].failures == 0


@in_worlds
def test_a_failing_observer_of_failures_is_only_logged(bus: EventBus, world: World) -> None:
    """No loop, no error for the emitter, and the others hear of the first failure once."""
    seen: list[object] = []
    bus.observe(ListenerFailed, raising(Boom("while reporting")))
    bus.observe(ListenerFailed, lambda message: seen.append(message.subscriber.rpartition(".")[2]))
    bus.observe(Ping, raising(Boom("first")), name="first")

    world.emit(bus, Ping())

    assert seen == ["first"]


@in_worlds
@sync_or_async
def test_observers_are_told_after_the_whole_chain(bus: EventBus, world: World, asynchronous: bool) -> None:
    trace: list[str] = []
    bus.observe(Ask, noting("told", trace, asynchronous=asynchronous))
    bus.observe(Ask, noting("inside", trace, asynchronous=asynchronous), inside=True)
    bus.listen(Ask, tracer("listener", trace, asynchronous=asynchronous))
    bus.answer(Ask, noting("handler", trace, asynchronous=asynchronous))

    world.call(bus, Ask())

    assert trace == [">listener", "handler", "inside", "<listener", "told"]


@in_worlds
@sync_or_async
@pytest.mark.parametrize("error", [Boom("x"), Veto("no")], ids=["error", "refusal"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_of_an_emit_that_failed_nobody_is_told(
    bus: EventBus, world: World, asynchronous: bool, error: Exception, after: bool
) -> None:
    trace: list[str] = []
    bus.listen(Ping, raising_listener(error, after=after, asynchronous=asynchronous))
    bus.observe(Ping, noting("told", trace, asynchronous=asynchronous))
    bus.observe(Ping, noting("inside", trace, asynchronous=asynchronous), inside=True)

    with pytest.raises(type(error)):
        world.emit(bus, Ping())

    assert trace == (["inside"] if after else []), "inside ran within the chain, before it failed"


@in_worlds
@sync_or_async
def test_a_pass_that_was_undone_by_an_error_is_not_told(bus: EventBus, world: World, asynchronous: bool) -> None:
    """The first attempt reached the bottom and failed on the way up; the second one counts."""

    def retries(message):
        try:
            return (yield replace(message, number=1))
        except Boom:
            return (yield replace(message, number=2))

    def fails_once(message):
        result = yield message
        if message.number == 1:
            raise Boom
        return result

    seen: list[Any] = []
    bus.listen(Ping, coloured(retries, asynchronous=asynchronous))
    bus.listen(Ping, coloured(fails_once, asynchronous=not asynchronous))
    bus.observe(Ping, lambda message: seen.append(("told", message.number)))
    bus.observe(Ping, lambda message: seen.append(("inside", message.number)), inside=True)

    world.emit(bus, Ping())

    assert seen == [("inside", 1), ("inside", 2), ("told", 2)]


@in_worlds
@sync_or_async
def test_a_failure_that_a_listener_above_handled_is_still_undone(
    bus: EventBus, world: World, asynchronous: bool
) -> None:
    def handles(message):
        try:
            return (yield message)
        except Boom:
            return message

    trace: list[str] = []
    bus.listen(Ping, coloured(handles, asynchronous=asynchronous))
    bus.listen(Ping, raising_listener(Boom(), after=True))
    bus.observe(Ping, noting("told", trace))

    world.emit(bus, Ping())

    assert trace == []


@in_worlds
@sync_or_async
def test_on_error_raise_is_a_group_after_all_ran(bus: EventBus, world: World, asynchronous: bool) -> None:
    one, two = Boom("one"), KeyError("two")
    trace: list[str] = []
    seen = failures(bus)
    bus.observe(Ping, raising(one, asynchronous=asynchronous), on_error="raise")
    bus.observe(Ping, noting("between", trace), on_error="raise")
    bus.observe(Ping, raising(two, asynchronous=not asynchronous), on_error="raise")
    bus.observe(Ping, noting("last inside", trace), inside=True)
    bus.observe(Ping, noting("told", trace))

    with pytest.raises(ExceptionGroup) as caught:
        world.emit(bus, Ping())

    assert list(caught.value.exceptions) == [one, two]
    assert trace == ["between", "last inside"]
    assert seen == [], "what the emitter gets is not announced as well"


@in_worlds
@sync_or_async
def test_on_error_raise_is_an_error_from_below_for_the_listeners(
    bus: EventBus, world: World, asynchronous: bool
) -> None:
    trace: list[str] = []

    def compensates(request):
        try:
            return (yield request)
        except ExceptionGroup as group:
            trace.append(f"rolled back for {group.exceptions[0]}")
            raise

    bus.listen(Ask, coloured(compensates, asynchronous=asynchronous))
    bus.listen(Ask, tracer("lenient", [], asynchronous=asynchronous), on_error="skip")
    bus.answer(Ask, lambda request: "answer")
    bus.observe(Ask, raising(Boom("x"), asynchronous=not asynchronous), on_error="raise")

    with pytest.raises(ExceptionGroup):
        world.call(bus, Ask())

    assert trace == ["rolled back for x"]


@in_worlds
def test_a_single_error_of_a_raising_observer_is_a_group_too(bus: EventBus, world: World) -> None:
    bus.observe(Ping, raising(Boom("only one")), on_error="raise")

    with pytest.raises(ExceptionGroup) as caught:
        world.emit(bus, Ping())

    assert [str(error) for error in caught.value.exceptions] == ["only one"]


@in_worlds
@sync_or_async
def test_what_an_observer_returns_does_not_matter(bus: EventBus, world: World, asynchronous: bool) -> None:
    bus.answer(Ask, lambda request: "answer")
    for inside in (False, True):
        bus.observe(Ask, coloured(lambda request: "ignored", asynchronous=asynchronous), inside=inside)

    assert world.call(bus, Ask()) == "answer"


@in_worlds
@sync_or_async
def test_inside_observers_that_log_leave_the_result_alone(bus: EventBus, world: World, asynchronous: bool) -> None:
    seen = failures(bus)
    bus.answer(Ask, lambda request: "answer")
    bus.observe(Ask, raising(Boom(), asynchronous=asynchronous), inside=True)

    assert world.call(bus, Ask()) == "answer"
    assert len(seen) == 1


@in_worlds
def test_announcements_arrive_before_the_emit_returns(bus: EventBus, world: World) -> None:
    trace: list[str] = []
    bus.observe(ListenerFailed, noting("announced", trace))
    bus.observe(Ping, raising(Boom()))

    world.emit(bus, Ping())
    trace.append("returned")

    assert trace == ["announced", "returned"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_stops_the_process_is_no_error_of_an_observer(bus: EventBus, kind: type[BaseException]) -> None:
    trace: list[str] = []
    bus.observe(Ping, raising(kind()))
    bus.observe(Ping, noting("next", trace))

    with pytest.raises(kind):
        bus.emit(Ping())

    assert trace == []


@in_worlds
def test_an_error_in_where_is_its_subscribers_error(bus: EventBus, world: World) -> None:
    """An observer's filter is isolated as the observer is; a listener's fails the emit, or is skipped."""
    seen = failures(bus)
    trace: list[str] = []
    broken = lambda message: 1 / 0
    bus.observe(Ping, noting("never", trace), where=broken, name="filtered")
    lenient = bus.listen(Ping, tracer("never", trace), where=broken, on_error="skip", name="lenient")

    world.emit(bus, Ping())

    assert [failure.subscriber.rpartition(".")[2] for failure in seen] == ["lenient", "filtered"]
    assert trace == []

    lenient.close()
    bus.listen(Ping, tracer("never", trace), where=broken)
    with pytest.raises(ZeroDivisionError):
        world.emit(bus, Ping())


@in_worlds
def test_observers_of_an_event_emitted_by_an_observer_run_within(bus: EventBus, world: World) -> None:
    trace: list[str] = []

    def emits(message):
        trace.append("before")
        bus.emit(Pong())
        trace.append("after")

    bus.observe(Ping, emits)
    bus.observe(Pong, noting("pong", trace))
    bus.observe(Ping, noting("next", trace))

    world.emit(bus, Ping())

    assert trace == ["before", "pong", "after", "next"]
