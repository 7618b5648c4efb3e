"""P11: what a subscription and an idle plugin hold in memory, and that this does not grow with their number."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

from benchmarks.boot import plugin_classes
from benchmarks.harness import Case
from benchmarks.parts import Tick
from benchmarks.sides import Pair, Run, Side
from plugbus import EventBus, Kernel

FEW, MANY = 1_000, 100_000
PLUGINS = 1_000
KIB = 1024

Hold = Callable[[AsyncExitStack], Awaitable[object]]


async def subscribe(stack: AsyncExitStack, *, count: int) -> object:
    """Subscribe one function so often, and emit once, so that the chain is compiled."""

    def observe(event: Tick) -> None:
        pass

    bus = EventBus()
    subscriptions = [bus.observe(Tick, observe) for _ in range(count)]
    bus.emit(Tick(number=1))
    stack.callback(subscriptions.clear)
    return bus


async def boot(stack: AsyncExitStack) -> object:
    """Boot so many plugins that do nothing but hear an event; their classes are there before."""
    return await stack.enter_async_context(Kernel(plugins=CLASSES))


CLASSES = plugin_classes(PLUGINS)


WEIGHED: dict[tuple[str, int], float] = {}
"""What was weighed already: it comes out the same each time, and takes long."""


def held_by(name: str, hold: Hold, count: int) -> Run:
    """Weigh what is held while something stands, for each of so many."""

    async def run(times: int) -> tuple[float, object]:
        if (name, count) not in WEIGHED:
            WEIGHED[name, count] = await weigh(hold) / count
        return times * WEIGHED[name, count], True

    return run


async def weigh(hold: Hold) -> int:
    async with AsyncExitStack() as stack:
        gc.collect()
        tracemalloc.start()
        try:
            standing = await hold(stack)
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        del standing
    return held


def allowed(bytes_each: int) -> Run:
    """Return the allowance as the other side."""

    async def run(times: int) -> tuple[float, object]:
        return float(times * bytes_each), True

    return run


def subscriptions(count: int) -> Side:
    return Side(held_by("subscription", partial(subscribe, count=count), count), answer=True)


def plugins() -> Side:
    return Side(held_by("plugin", boot, PLUGINS), answer=True)


def against_allowance(weighed: Side, bytes_each: int) -> Pair:
    return Pair(weighed, Side(allowed(bytes_each), answer=True))


def _case(what: str, against: str, bar: float, build: Callable[[], Pair]) -> Case:
    return Case("P11", what, against, bar, build, loop="asyncio", rounds=2, turns=1, unit="B")


CASES = (
    _case(
        f"held by each of {MANY:,} subscriptions",
        "2 KiB",
        1.0,
        lambda: against_allowance(subscriptions(MANY), 2 * KIB),
    ),
    _case(
        f"held by each of {MANY:,} subscriptions",
        f"by each of {FEW:,}",
        1.1,
        lambda: Pair(subscriptions(MANY), subscriptions(FEW)),
    ),
    _case(
        f"held by each of {PLUGINS:,} idle plugins",
        "32 KiB (an aim of our own)",
        1.0,
        lambda: against_allowance(plugins(), 32 * KIB),
    ),
)
