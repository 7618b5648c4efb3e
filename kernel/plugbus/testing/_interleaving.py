"""Have concurrent emits take turns in another order each time, and in the same order for the same seed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, final

import anyio.lowlevel

from plugbus.subscribers import AsyncNextFn, Listener, NextFn

if TYPE_CHECKING:
    from plugbus.bus import EventBus

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
