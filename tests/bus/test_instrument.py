"""instrument(): callbacks around every emit and subscriber while somebody watches, nothing otherwise."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.bus.tools import (
    SECONDS,
    Ask,
    Boom,
    Ping,
    Pong,
    World,
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

from plugbus import EventBus

pytestmark = marks


class Recorder:
    """Writes what it is told; its tokens are counted."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.events: list[object] = []
        self.errors: list[BaseException | None] = []
        self.open: list[int] = []
        self.count = 0

    def enter(self, what: Any, event: Any) -> int:
        self.count += 1
        self.open.append(self.count)
        self.steps.append(f">{name(what)}")
        self.events.append(event)
        return self.count

    def leave(self, what: Any, token: Any, error: BaseException | None) -> None:
        self.open.remove(token)
        self.steps.append(f"<{name(what)}")
        self.errors.append(error)


def name(what: Any) -> str:
    return what.subscriber.rpartition(".")[2] or what.kind


def full_chain(bus: EventBus, trace: list[str], *, asynchronous: bool) -> None:
    _, shop = plugin(bus, "shop")
    shop.listen(Ask, tracer("l1", trace, asynchronous=asynchronous), name="l1")
    bus.listen(Ask, tracer("l2", trace, asynchronous=not asynchronous), name="l2")
    bus.answer(Ask, lambda request: "answer", name="h")
    shop.observe(Ask, noting("inside", trace, asynchronous=asynchronous), name="inside", inside=True)
    bus.observe(Ask, noting("o", trace, asynchronous=asynchronous), name="o")


@in_every_world
@sync_or_async
def test_everything_that_runs_is_entered_and_left_in_order(bus: EventBus, world: World, asynchronous: bool) -> None:
    recorder = Recorder()
    full_chain(bus, [], asynchronous=asynchronous)
    bus.instrument(recorder)

    assert world.call(bus, Ask()) == "answer"

    inner = [">h", "<h", ">inside", "<inside"]
    assert recorder.steps == [">emit", ">l1", ">l2", *inner, "<l2", "<l1", ">o", "<o", "<emit"]
    assert recorder.errors == [None] * 6
    assert recorder.open == []


@in_worlds
def test_each_call_says_who_and_what(bus: EventBus, world: World) -> None:
    seen: list[tuple[str, str, str, str]] = []

    class Who(Recorder):
        def enter(self, what: Any, event: Any) -> int:
            seen.append((what.kind, what.event, what.subscriber.rpartition(".")[2], what.plugin))
            return super().enter(what, event)

    full_chain(bus, [], asynchronous=False)
    bus.instrument(Who())

    world.call(bus, Ask())

    assert sorted(seen) == sorted(
        [
            ("emit", "tools.ask", "", ""),
            ("listener", "tools.ask", "l1", "shop"),
            ("listener", "tools.ask", "l2", "host"),
            ("handler", "tools.ask", "h", "host"),
            ("observer", "tools.ask", "inside", "shop"),
            ("observer", "tools.ask", "o", "host"),
        ]
    )


@in_worlds
@sync_or_async
@pytest.mark.parametrize("place", ["listener", "handler", "observer"])
def test_an_error_is_seen_by_those_it_passed(bus: EventBus, world: World, asynchronous: bool, place: str) -> None:
    recorder, boom = Recorder(), Boom("x")
    fails = raising(boom, asynchronous=asynchronous)
    bus.answer(Ask, fails if place == "handler" else lambda request: "answer", name="h")
    if place == "listener":
        bus.listen(Ask, raising_listener(boom, asynchronous=asynchronous), name="l")
    if place == "observer":
        bus.observe(Ask, fails, name="o")
    bus.instrument(recorder)

    if place == "observer":
        world.call(bus, Ask())
    else:
        with pytest.raises(Boom):
            world.call(bus, Ask())

    left = dict(zip([step for step in recorder.steps if step[0] == "<"], recorder.errors, strict=True))
    assert left[{"listener": "<l", "handler": "<h", "observer": "<o"}[place]] is boom
    assert left["<emit"] is (None if place == "observer" else boom)
    assert recorder.open == []


@in_worlds
def test_it_ends_when_it_is_closed_and_leaves_the_chain_as_it_was(bus: EventBus, world: World) -> None:
    recorder, trace = Recorder(), []
    full_chain(bus, trace, asynchronous=False)
    world.call(bus, Ask())
    with bus.instrument(recorder):
        world.call(bus, Ask())
    seen = len(recorder.steps)
    world.call(bus, Ask())

    assert seen > 0
    assert len(recorder.steps) == seen
    third = len(trace) // 3
    assert trace[:third] * 3 == trace, "watched or not, the same runs"


@in_worlds
def test_several_at_once_each_get_everything(bus: EventBus, world: World) -> None:
    one, two = Recorder(), Recorder()
    full_chain(bus, [], asynchronous=True)
    first = bus.instrument(one)
    bus.instrument(two)
    world.call(bus, Ask())
    first.close()
    world.call(bus, Ask())

    assert len(two.steps) == 2 * len(one.steps) > 0
    assert one.open == two.open == []


@in_worlds
def test_nested_emits_are_watched_too(bus: EventBus, world: World) -> None:
    recorder = Recorder()
    bus.observe(Ping, lambda message: bus.emit(Pong()), name="outer")
    bus.observe(Pong, lambda message: None, name="inner")
    bus.instrument(recorder)

    world.emit(bus, Ping())

    assert recorder.steps == [">emit", ">outer", ">emit", ">inner", "<inner", "<emit", "<outer", "<emit"]


@in_worlds
def test_an_emit_that_nobody_hears_is_watched_too(bus: EventBus, world: World) -> None:
    recorder = Recorder()
    bus.instrument(recorder)

    ping = Ping()
    assert world.emit(bus, ping) is ping

    assert recorder.steps == [">emit", "<emit"]
    assert recorder.events == [ping]


async def test_a_cancelled_subscriber_is_left_too(bus: EventBus) -> None:
    recorder = Recorder()

    async def slow(request):
        await anyio.sleep_forever()

    bus.answer(Ask, slow, name="h")
    bus.instrument(recorder)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.acall, Ask())
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    assert recorder.steps == [">emit", ">h", "<h", "<emit"]
    assert all(isinstance(error, anyio.get_cancelled_exc_class()) for error in recorder.errors)


async def test_attaching_and_detaching_during_an_emit_does_not_disturb_it(bus: EventBus) -> None:
    recorder, trace = Recorder(), []
    entered, leave = anyio.Event(), anyio.Event()

    async def waits(message, next_fn):
        entered.set()
        await leave.wait()
        return await next_fn(message)

    bus.listen(Ping, waits)
    bus.listen(Ping, tracer("below", trace))

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.aemit, Ping())
            await entered.wait()
            watching = bus.instrument(recorder)
            leave.set()

    assert trace == [">below", "<below"]
    assert recorder.steps == [], "that emit began before anybody watched"
    watching.close()


def test_filtered_out_subscribers_are_not_entered(bus: EventBus) -> None:
    recorder = Recorder()
    bus.observe(Ping, lambda message: None, where=lambda message: False, name="o")
    bus.instrument(recorder)

    bus.emit(Ping())

    assert recorder.steps == [">emit", "<emit"]


def test_what_is_no_instrument_is_refused(bus: EventBus) -> None:
    with pytest.raises(TypeError):
        bus.instrument(object())  # type: ignore[arg-type]
