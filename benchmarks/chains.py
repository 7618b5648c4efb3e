"""P1, P2 and P3: what a chain of listeners costs, against closures written by hand, and against pluggy."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

import pluggy

from benchmarks.harness import Case
from benchmarks.parts import Tick, pass_through
from benchmarks.sides import Pair, Side, async_run, own_code, sync_run
from plugbus import EventBus, Listener

Step = Callable[[Tick], Tick]
AsyncStep = Callable[[Tick], Coroutine[Any, Any, Tick]]

TICK = Tick(number=1)
SIZES = (1, 5, 10)


def listeners(count: int) -> list[Listener[Tick]]:
    return [pass_through() for _ in range(count)]


def listening_bus(count: int) -> EventBus:
    bus = EventBus()
    for listener in listeners(count):
        bus.listen(Tick, listener)
    return bus


def emit_through(count: int) -> Side:
    return Side(sync_run(listening_bus(count).emit, TICK), TICK, {"handle": count})


def aemit_through(count: int) -> Side:
    return Side(async_run(listening_bus(count).aemit, TICK), TICK, {"ahandle": count})


def nested_by_hand(count: int) -> Side:
    """The chain as somebody would write it who needs nothing else."""

    def bottom(event: Tick) -> Tick:
        return event

    def nest(listener: Listener[Tick], inner: Step) -> Step:
        handle = listener.handle

        def step(event: Tick) -> Tick:
            return handle(event, inner)

        return step

    chain: Step = bottom
    for listener in reversed(listeners(count)):
        chain = nest(listener, chain)
    chains: dict[type, Step] = {Tick: chain}

    def emit(event: Tick) -> Tick:
        return chains[type(event)](event)

    return Side(sync_run(own_code(emit), TICK), TICK, {"handle": count})


def anested_by_hand(count: int) -> Side:
    """The async chain as somebody would write it: plain closures that return the coroutine."""

    async def bottom(event: Tick) -> Tick:
        return event

    def nest(listener: Listener[Tick], inner: AsyncStep) -> AsyncStep:
        ahandle = listener.ahandle

        def step(event: Tick) -> Coroutine[Any, Any, Tick]:
            return ahandle(event, inner)

        return step

    chain: AsyncStep = bottom
    for listener in reversed(listeners(count)):
        chain = nest(listener, chain)
    chains: dict[type, AsyncStep] = {Tick: chain}

    async def aemit(event: Tick) -> Tick:
        return await chains[type(event)](event)

    return Side(async_run(own_code(aemit), TICK), TICK, {"ahandle": count})


def wrapped_by_pluggy(count: int) -> Side:
    """One implementation inside so many wrappers, called by name as a host calls a hook."""
    specify, implement = pluggy.HookspecMarker("benchmarks"), pluggy.HookimplMarker("benchmarks")

    class Hooks:
        @specify(firstresult=True)
        def told(self, event: Tick) -> Tick: ...  # type: ignore[empty-body]

    class Bottom:
        @implement
        def told(self, event: Tick) -> Tick:
            return event

    class Around:
        @implement(wrapper=True)
        def told(self, event: Tick) -> Generator[None, Tick, Tick]:
            return (yield)

    manager = pluggy.PluginManager("benchmarks")
    manager.add_hookspecs(Hooks)
    for plugin in (Bottom(), *(Around() for _ in range(count))):
        manager.register(plugin)
    call = manager.hook.told

    def emit(event: Tick) -> object:
        return call(event=event)

    return Side(sync_run(emit, TICK), TICK, {"told": 2 * count + 1})  # a generator is entered twice


def cases(row: str, what: str, against: str, ours: Callable[[int], Side], theirs: Callable[[int], Side]) -> list[Case]:
    return [
        Case(row, f"{what}, {count} listener{'s'[: count > 1]}", against, 1.1, partial(pair, ours, theirs, count))
        for count in SIZES
    ]


def pair(ours: Callable[[int], Side], theirs: Callable[[int], Side], count: int) -> Pair:
    return Pair(ours(count), theirs(count))


CASES = (
    *cases("P1", "emit", "closures by hand", emit_through, nested_by_hand),
    *cases("P2", "aemit", "closures by hand", aemit_through, anested_by_hand),
    Case("P3", "emit, 5 listeners", "pluggy, 5 wrappers", 0.15, partial(pair, emit_through, wrapped_by_pluggy, 5)),
)
