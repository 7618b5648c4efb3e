"""P5: sync listeners in a row share one hop into a thread, so five cost what one bare hop costs."""

from __future__ import annotations

from dataclasses import dataclass

from anyio import to_thread

from benchmarks.harness import Case
from benchmarks.sides import Pair, Side, async_run
from plugbus import EventBus, NextFn, event

COUNT = 5


@event(name="benchmarks.trip")
@dataclass(frozen=True)
class Trip:
    """An event that counts the listeners it went through."""

    stops: int


def stop(trip: Trip, next_fn: NextFn[Trip]) -> Trip:
    return next_fn(Trip(trip.stops + 1))


def aemit_through_threads() -> Side:
    bus = EventBus()
    for _ in range(COUNT):
        bus.listen(Trip, stop)
    return Side(async_run(bus.aemit, Trip(0)), Trip(COUNT))


def bare_hop() -> Side:
    def stay(trip: Trip) -> Trip:
        return trip

    async def hop(trip: Trip) -> Trip:
        return await to_thread.run_sync(stay, trip)

    return Side(async_run(hop, Trip(0)), Trip(0))


def pair() -> Pair:
    return Pair(aemit_through_threads(), bare_hop())


CASES = (
    Case("P5", "aemit, 5 sync listeners, asyncio", "one bare hop", 1.2, pair, loop="asyncio"),
    Case("P5", "aemit, 5 sync listeners, trio", "one bare hop", 1.2, pair, loop="trio"),
)
