"""Emits that cause each other without end: the error shows the loop and passes every isolation."""

from __future__ import annotations

import sys
from collections.abc import Callable

import anyio
import pytest
from tests.bus.tools import (
    SECONDS,
    Ask,
    Ping,
    World,
    coloured,
    in_every_world,
    in_worlds,
    marks,
    run,
    sync_or_async,
    tracer,
)

from plugbus import EmitLoopError, Event, EventBus

pytestmark = [
    *marks,
    # A coroutine that is made with the last bit of stack is never awaited, and Python says so.
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


@pytest.fixture(autouse=True)
def full_stacks_are_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the stack is full, Python cannot even close a coroutine, and tells this hook, which has no stack either."""
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)


class A(Event, name="loops.a"):
    number: int = 0


class B(Event, name="loops.b"):
    number: int = 0


class C(Event, name="loops.c"):
    number: int = 0


def shown(error: EmitLoopError) -> list[str]:
    """The loop, turned so that the smallest name comes first."""
    start = error.loop.index(min(error.loop))
    return [*error.loop[start:], *error.loop[:start]]


@in_every_world
def test_an_observer_that_emits_its_own_event(bus: EventBus, world: World) -> None:
    calls: list[int] = []

    def again(message):
        calls.append(1)
        bus.emit(A())

    bus.observe(A, again)

    with pytest.raises(EmitLoopError) as caught:
        world.emit(bus, A())

    assert shown(caught.value) == ["loops.a"]
    assert len(calls) < 1000


@in_every_world
def test_three_events_in_a_circle(bus: EventBus, world: World) -> None:
    """Through a listener, an isolated observer and one inside: the loop shows each of them once, in order."""

    def listener(message, next_fn):
        bus.emit(B())
        return next_fn(message)

    bus.listen(A, listener, on_error="skip")
    bus.observe(B, lambda message: bus.emit(C()))
    bus.observe(C, lambda message: bus.emit(A()), inside=True)

    with pytest.raises(EmitLoopError) as caught:
        world.emit(bus, A())

    assert shown(caught.value) == ["loops.a", "loops.b", "loops.c"]
    assert "'loops.a' -> 'loops.b'" in str(caught.value)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("place", ["listener", "observer", "inside", "handler"])
def test_async_subscribers(bus: EventBus, backend: str, place: str) -> None:
    async def again(message) -> str:
        await (bus.acall(Ask()) if place == "handler" else bus.aemit(A()))
        return "never"

    async def listener(message, next_fn):
        await again(message)
        return await next_fn(message)

    if place == "listener":
        bus.listen(A, listener, on_error="skip")
    elif place == "handler":
        bus.listen(Ask, tracer("lenient", [], asynchronous=True), on_error="skip")
        bus.answer(Ask, again)
    else:
        bus.observe(A, again, inside=place == "inside")

    with pytest.raises(EmitLoopError) as caught:
        run(backend, *((bus.acall, Ask()) if place == "handler" else (bus.aemit, A())))

    assert shown(caught.value) == ["tools.ask" if place == "handler" else "loops.a"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_loop_through_threads_and_bridges(bus: EventBus, backend: str) -> None:
    """A: async observer awaits B; B: sync observer, on a worker thread, emits A, which bridges back."""

    async def to_b(message):
        await bus.aemit(B())

    bus.observe(A, to_b)
    bus.observe(B, lambda message: bus.emit(A()))

    with pytest.raises(EmitLoopError) as caught:
        run(backend, bus.aemit, A())

    assert shown(caught.value) == ["loops.a", "loops.b"]


def below(frames: int, fn: Callable[[], object]) -> object:
    return fn() if not frames else below(frames - 1, fn)


@pytest.mark.parametrize("frames", range(0, 701, 100))
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("how", ["threads", "async", "sync"])
def test_a_loop_is_shown_however_much_of_the_stack_is_left(bus: EventBus, backend: str, how: str, frames: int) -> None:
    """A guard that needs stack itself must not fail where there is least, nor be isolated as an ordinary error."""

    async def to_b(message):
        await bus.aemit(B())

    async def to_a(message):
        await bus.aemit(A())

    bus.observe(A, to_b if how != "sync" else lambda message: bus.emit(B()))
    bus.observe(B, to_a if how == "async" else lambda message: bus.emit(A()))

    with pytest.raises(EmitLoopError) as caught:
        below(frames, lambda: bus.emit(A()) if how == "sync" else run(backend, bus.aemit, A()))

    assert shown(caught.value) == ["loops.a", "loops.b"]


@in_worlds
def test_a_loop_within_an_exception_group_passes_isolation(bus: EventBus, world: World) -> None:
    bus.observe(A, lambda message: bus.emit(A()), on_error="raise")

    with pytest.raises((EmitLoopError, ExceptionGroup)) as caught:
        world.emit(bus, A())

    error = caught.value
    while isinstance(error, ExceptionGroup):
        (error,) = error.exceptions
    assert isinstance(error, EmitLoopError)


@in_worlds
@sync_or_async
def test_the_bus_works_after_a_loop(bus: EventBus, world: World, asynchronous: bool) -> None:
    sub = bus.observe(A, lambda message: bus.emit(A()))
    for _ in range(3):
        with pytest.raises(EmitLoopError):
            world.emit(bus, A())
    sub.close()
    seen: list[object] = []
    bus.observe(A, coloured(seen.append, asynchronous=asynchronous))

    world.emit(bus, A())

    assert seen == [A()]


@in_worlds
def test_a_recursion_that_ends_is_no_loop(bus: EventBus, world: World) -> None:
    seen: list[int] = []

    def counts_down(message):
        seen.append(message.number)
        if message.number:
            bus.emit(A(number=message.number - 1))

    bus.observe(A, counts_down)

    world.emit(bus, A(number=5))

    assert seen == [5, 4, 3, 2, 1, 0]


@in_worlds
def test_a_long_chain_of_different_events_is_no_loop(bus: EventBus, world: World) -> None:
    kinds = [type(f"Step{n}", (Event,), {"__module__": __name__}, name=f"loops.step{n}") for n in range(10)]
    seen: list[int] = []
    for n, kind in enumerate(kinds):
        following = kinds[n + 1] if n < 9 else None
        bus.observe(
            kind, lambda message, n=n, following=following: seen.append(n) or (following and bus.emit(following()))
        )

    world.emit(bus, kinds[0]())

    assert seen == list(range(10))


@in_worlds
def test_many_emits_one_after_another_are_no_loop(bus: EventBus, world: World) -> None:
    """A thousand nested emits side by side, not within each other."""
    seen: list[int] = []

    def many(message):
        for number in range(1000):
            bus.emit(B(number=number))

    bus.observe(A, many)
    bus.observe(B, lambda message: seen.append(message.number))

    world.emit(bus, A())

    assert len(seen) == 1000


async def test_many_emits_at_once_are_no_loop(bus: EventBus) -> None:
    inside: list[int] = []
    everybody = anyio.Event()

    async def waits(message):
        inside.append(message.number)
        if len(inside) == 200:
            everybody.set()
        await everybody.wait()

    bus.observe(A, waits)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(bus.aemit, A(number=number))

    assert len(inside) == 200


def test_a_loop_is_no_recursion_error() -> None:
    assert not issubclass(EmitLoopError, RecursionError)


@in_worlds
def test_a_deep_python_recursion_is_an_ordinary_error(bus: EventBus, world: World) -> None:
    """What runs away inside one subscriber is that subscriber's own RecursionError."""

    def runs_away(message):
        return runs_away(message)

    bus.listen(Ping, lambda message, next_fn: runs_away(message))

    with pytest.raises(RecursionError):
        world.emit(bus, Ping())
