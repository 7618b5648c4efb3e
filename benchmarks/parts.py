"""What several rows are built of: one event, listeners that pass it on, observers that do nothing."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.sides import own_code
from plugbus import AsyncNextFn, Event, Listener, NextFn


class Tick(Event, name="benchmarks.tick"):
    """The event that is emitted."""

    number: int


def pass_through() -> Listener[Tick]:
    """Return a listener of a class of its own, as every plugin's listener is."""

    class PassThrough(Listener[Tick]):
        @own_code
        def handle(self, event: Tick, next_fn: NextFn[Tick]) -> Tick:
            return next_fn(event)

        @own_code
        async def ahandle(self, event: Tick, next_fn: AsyncNextFn[Tick]) -> Tick:
            return await next_fn(event)

    return PassThrough()


def observer() -> Callable[[Tick], None]:
    """Return an observer that does nothing, with code of its own."""

    def observe(event: Tick) -> None:
        pass

    return own_code(observe)
