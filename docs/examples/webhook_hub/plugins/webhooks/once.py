"""Does each thing once, and remembers what came of it: GitHub sends a delivery again when somebody asks it to.

Owns the memory, which is bounded and gone with the plugin; what failed is not remembered, so it may be tried again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import anyio

__all__ = ("Once",)

T = TypeVar("T")


class Once(Generic[T]):
    """Results by id, the newest ones.

    Args:
        most: How many are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._results: dict[str, T] = {}
        self._under_way: dict[str, anyio.Event] = {}

    async def run(self, id: str, work: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """Return the result of an id, and whether it was there already; waits for one that is under way.

        Args:
            id: What it is known by.
            work: What makes the result.

        Raises:
            Exception: What *work* raised.
        """
        while id in self._under_way:
            await self._under_way[id].wait()
        if id in self._results:
            return self._results[id], True
        done = self._under_way[id] = anyio.Event()
        try:
            result = self._results[id] = await work()
        finally:
            del self._under_way[id]
            done.set()
        while len(self._results) > self._most:
            del self._results[next(iter(self._results))]
        return result, False
