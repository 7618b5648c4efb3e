"""What a test does to a bus: see what came out of its chains, and let concurrent emits take turns."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, final, overload

import anyio.lowlevel

from plugbus.subscribers import AsyncNextFn, Listener, NextFn

if TYPE_CHECKING:
    from plugbus.bus import EventBus
    from plugbus.options import Target


class Captured(Sequence[Any]):
    """The events that were captured so far, in the order in which they were told; equal to a list of the same.

    Example:
        >>> from plugbus import EventBus
        >>> bus = EventBus()
        >>> with capture(bus, str) as events:
        ...     _ = bus.emit("one"), bus.emit(2)
        >>> events == ["one"], len(events), events[0]
        (True, 1, 'one')
    """

    def __init__(self) -> None:
        self._events: list[Any] = []

    def of(self, cls: type) -> list[Any]:
        """Return those of one type (or a subclass of it)."""
        return [event for event in self._events if isinstance(event, cls)]

    def clear(self) -> None:
        """Forget those so far."""
        self._events.clear()

    def _add(self, event: object) -> None:
        self._events.append(event)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._events[index]

    def __len__(self) -> int:
        return len(self._events)

    def __eq__(self, other: object) -> bool:
        return self._events == (other._events if isinstance(other, Captured) else other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Captured({self._events!r})"


@contextmanager
def capture(bus: EventBus, *events: Target) -> Iterator[Captured]:
    """Note the events that pass their chains, as long as the block runs.

    What a listener vetoed, or what failed, is not among them; a changed event is there as it was changed. Each is
    there once, however many of *events* it is meant by; sticky ones of earlier are not.

    Args:
        bus: The bus.
        *events: Event types, wire names or patterns; every event and request unless given.

    Raises:
        UnknownEventError: As ``EventBus.observe``.

    Example:
        >>> from plugbus import Event, EventBus
        >>> class Tick(Event):
        ...     number: int
        >>> bus = EventBus()
        >>> with capture(bus, Tick) as ticks:
        ...     _ = bus.emit(Tick(number=1))
        >>> ticks == [Tick(number=1)]
        True
    """
    captured = Captured()

    def note(event: object) -> None:
        captured._add(event)  # noqa: SLF001 - it is ours

    with bus.observe(events or (object,), note, run_in="caller", priority=-sys.maxsize):
        captured.clear()  # of the sticky events that it was just told
        yield captured


MOST_TURNS = 4
"""Turns that one emit may lose at one place; a few are enough to let any other one pass."""


@final
class _Turns(Listener[Any, Any]):
    """Let others go first, as often as the dice say, on the way in and on the way out."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice
        self._lock = threading.Lock()

    def handle(self, event: Any, next_fn: NextFn[Any, Any]) -> Any:
        self._give_way()
        result = next_fn(event)
        self._give_way()
        return result

    async def ahandle(self, event: Any, next_fn: AsyncNextFn[Any, Any]) -> Any:
        await self._agive_way()
        result = await next_fn(event)
        await self._agive_way()
        return result

    def _give_way(self) -> None:
        for _ in range(self._throw()):
            time.sleep(0)

    async def _agive_way(self) -> None:
        for _ in range(self._throw()):
            await anyio.lowlevel.checkpoint()

    def _throw(self) -> int:
        with self._lock:
            return self._dice.randrange(MOST_TURNS)


@contextmanager
def interleaved(bus: EventBus, seed: int) -> Iterator[None]:
    """Let concurrent emits take turns as a seed says, above and below the listeners of every chain.

    Run a test with many seeds to see it in many orders. On asyncio, where tasks run in the order in which they
    become ready, one seed is one order, so that a failure comes again; trio shuffles tasks itself, and threads
    are the system's to order, so there a seed only makes an order likely.

    Args:
        bus: The bus.
        seed: Any number; name it when a test fails.

    Example:
        >>> import anyio
        >>> from plugbus import EventBus
        >>> def order_of(seed: int) -> str:
        ...     async def main() -> str:
        ...         bus, order = EventBus(), []
        ...         subscription = bus.observe(str, lambda event: order.append(event), run_in="caller")
        ...         with interleaved(bus, seed):
        ...             async with anyio.create_task_group() as group:
        ...                 for name in "abc":
        ...                     group.start_soon(bus.aemit, name)
        ...         return "".join(order)
        ...
        ...     return anyio.run(main)
        >>> len({order_of(seed) for seed in range(30)}) > 1
        True
        >>> order_of(7) == order_of(7)
        True
    """
    turns = _Turns(Random(seed))  # noqa: S311 - no secret comes of it
    above = bus.listen(object, turns, priority=-sys.maxsize, name="interleaved above")
    below = bus.listen(object, turns, priority=sys.maxsize, name="interleaved below")
    with above, below:
        yield
