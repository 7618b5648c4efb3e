"""P5: sync listeners in a row share one hop into a thread, so five cost what one bare hop costs."""

from __future__ import annotations

from anyio import to_thread

from benchmarks.harness import Case
from benchmarks.sides import Pair, Run, Side, async_run
from plugbus import EventBus, NextFn, event

COUNT = 5


@event(name="benchmarks.trip")
class Trip:
    """An event that counts the listeners it went through; quick to change, for the row is about the hop."""

    __slots__ = ("stops",)

    def __init__(self) -> None:
        self.stops = 0


def stop(trip: Trip, next_fn: NextFn[Trip]) -> Trip:
    trip.stops += 1
    return next_fn(trip)


def counting(run: Run, trip: Trip) -> Run:
    """Make the number of stops in each call the answer."""

    async def count(times: int) -> tuple[float, object]:
        trip.stops = 0
        seconds, _ = await run(times)
        return seconds, trip.stops / times

    return count


def aemit_through_threads() -> Side:
    bus = EventBus()
    for _ in range(COUNT):
        bus.listen(Trip, stop)
    trip = Trip()
    return Side(counting(async_run(bus.aemit, trip), trip), COUNT)


def bare_hop() -> Side:
    def stay(trip: Trip) -> Trip:
        return trip

    async def hop(trip: Trip) -> Trip:
        return await to_thread.run_sync(stay, trip)

    trip = Trip()
    return Side(counting(async_run(hop, trip), trip), 0)


def pair() -> Pair:
    return Pair(aemit_through_threads(), bare_hop())


CASES = (
    Case("P5", "aemit, 5 sync listeners, asyncio", "one bare hop", 1.2, pair, loop="asyncio"),
    Case("P5", "aemit, 5 sync listeners, trio", "one bare hop", 1.2, pair, loop="trio"),
)
