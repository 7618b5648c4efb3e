"""A stream of events for code without ``await``: read in a loop of its own, one event after another.

Owns the sync iterator that every sync client hands out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel
from anyio.from_thread import BlockingPortal

from plugbus import NamedEvent

__all__ = ("SyncReader", "on_a_loop")

S = TypeVar("S", bound=AsyncIterator[NamedEvent])


class SyncReader(Iterator[NamedEvent], Generic[S]):
    """A stream as a sync iterator; unlike a generator it can go on after a time limit.

    Args:
        portal: Where it is read.
        stream: The stream, which is open.
        timeout_seconds: How long to wait for each event, in seconds; without end unless given.
    """

    __slots__ = ("_portal", "_stream", "_timeout_seconds")

    def __init__(self, portal: BlockingPortal, stream: S, timeout_seconds: float | None) -> None:
        self._portal, self._stream, self._timeout_seconds = portal, stream, timeout_seconds

    def __next__(self) -> NamedEvent:
        event = self._portal.call(self._next)
        if event is None:
            raise StopIteration
        return event

    async def _next(self) -> NamedEvent | None:
        """Return the next event, or nothing at the end: no ``Future`` may carry a ``StopIteration``."""
        with anyio.move_on_after(self._timeout_seconds):
            return await anext(self._stream, None)
        raise TimeoutError(f"the stream had no event within {self._timeout_seconds} s; iterating may go on")


def on_a_loop() -> bool:
    """Tell whether an event loop runs in this very thread."""
    try:
        anyio.lowlevel.current_token()
    except RuntimeError:
        return False
    return True
