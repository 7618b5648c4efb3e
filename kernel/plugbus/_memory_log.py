"""The log of events in memory: the newest ones, for readers that were away for a moment.

Owns their numbers and who waits for the next one; what a log promises is in ``event_log.py``.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final, Literal, final

import anyio
import anyio.lowlevel
from anyio.lowlevel import EventLoopToken

from plugbus._threads import call_soon
from plugbus.errors import CursorError, CursorExpiredError
from plugbus.event_log import LoggedEvent, LogStatistics

_MAX_DIGITS: Final = 18
"""Of a number in a cursor: any more, and a database could not hold it."""


@final
class MemoryEventLog:
    """An :class:`EventLog` in memory: the newest events, as long as the process lasts.

    Args:
        max_events: How many it holds.
        max_bytes: How many bytes of JSON it holds; the newest event is held however large it is.
        identity: What its cursors begin with, 8 to 32 hexadecimal digits; a random one unless given, so that cursors
            of a process that has ended are recognised. For logs that keep their newest events in one of these.
        position: The number of the last event before it.

    Raises:
        ValueError: If a limit is below 1.

    Example:
        >>> import anyio
        >>> from plugbus import Event, EventBus
        >>> class Paid(Event, name="order.paid"):
        ...     cents: int
        >>> async def main() -> None:
        ...     bus, log = EventBus(), MemoryEventLog()
        ...     with bus.attach_log(log):
        ...         start = log.cursor
        ...         await bus.aemit(Paid(cents=5))
        ...         print([(event.name, event.data) for event in await log.read(start)])
        >>> anyio.run(main)
        [('order.paid', {'cents': 5})]
    """

    def __init__(
        self,
        max_events: int = 10_000,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        identity: str | None = None,
        position: int = 0,
    ) -> None:
        if max_events < 1 or max_bytes < 1:
            raise ValueError(f"MemoryEventLog({max_events=}, {max_bytes=}): each must be at least 1")
        self._identity = identity or os.urandom(8).hex()
        self._max_events, self._max_bytes = max_events, max_bytes
        self._events: deque[LoggedEvent] = deque()
        self._bytes = self._lost = 0
        self._newest = position
        self._lock = threading.Lock()
        self._bells: dict[EventLoopToken, anyio.Event] = {}

    @property
    def cursor(self) -> str:
        """The place of the newest event."""
        return f"{self._identity}-{self._newest}"

    def append(self, event: LoggedEvent) -> None:
        """Take in an event, from any thread, and wake who waits for it."""
        with self._lock:
            self._newest += 1
            self._events.append(event._replace(cursor=f"{self._identity}-{self._newest}"))
            self._bytes += len(event.json)
            while len(self._events) > self._max_events or (self._bytes > self._max_bytes and len(self._events) > 1):
                self._bytes -= len(self._events.popleft().json)
            self._ring()

    def forget(self, position: int, *, lost: int = 0) -> None:
        """Hold nothing up to the event with a number any more; for logs that keep their newest events in one of these.

        Args:
            position: Its number; events up to it are not to come any more, either.
            lost: How many of these could not be kept at all.
        """
        with self._lock:
            self._lost += lost
            self._newest = max(self._newest, position)
            while self._events and self._newest - len(self._events) < position:
                self._bytes -= len(self._events.popleft().json)
            self._ring()

    def _ring(self) -> None:
        """Wake everybody: one call for each loop, however many wait there."""
        bells, self._bells = self._bells, {}
        for token, bell in bells.items():
            call_soon(token, bell.set)

    def position(self, cursor: str) -> int:
        """Return the number of an event of this log, whether or not it is held.

        Raises:
            CursorError: If it is no cursor.
            CursorExpiredError: If it is one of another log, or ahead of this one.
        """
        identity, position = _parts(cursor)
        if identity != self._identity:
            raise self._expired(cursor, "another log")
        if position > self._newest:
            raise self._expired(cursor, "ahead")
        return position

    def _expired(self, cursor: str, reason: Literal["retention", "another log", "ahead"]) -> CursorExpiredError:
        return CursorExpiredError(cursor, reason, self.cursor)

    def check(self, cursor: str) -> None:
        """Refuse a cursor that nobody can go on after; as :meth:`EventLog.check`."""
        with self._lock:
            self._ahead(cursor)

    def _ahead(self, cursor: str) -> int:
        """Return how many events are after a cursor, all of them held."""
        count = self._newest - self.position(cursor)
        if count > len(self._events):
            raise self._expired(cursor, "retention")
        return count

    async def read(self, cursor: str, *, limit: int = 100) -> Sequence[LoggedEvent]:
        """Return what comes right after a cursor, without suspending; as :meth:`EventLog.read`."""
        return self.read_nowait(cursor, limit=limit)

    def read_nowait(self, cursor: str, *, limit: int = 100) -> Sequence[LoggedEvent]:
        """Do the same for code without ``await``, in any thread."""
        with self._lock:
            count = self._ahead(cursor)
            events = self._events  # indexed from the right, where it costs nothing and most readers are
            return [events[index - count] for index in range(min(limit, count))]

    async def wait(self, cursor: str) -> None:
        """Wait until there is something after a cursor; as :meth:`EventLog.wait`."""
        identity, position = _parts(cursor)
        if identity == self._identity:  # if not, reading tells why
            await self.wait_past(position)

    async def wait_past(self, position: int) -> None:
        """Wait until the event after a number is in, or has been given up.

        Args:
            position: The number, which may be yet to come.
        """
        while True:
            with self._lock:
                if self._newest > position:
                    return
                bell = self._bells.setdefault(anyio.lowlevel.current_token(), anyio.Event())
            await bell.wait()

    async def flush(self) -> None:
        """Do nothing: what was taken in can be read."""

    def statistics(self) -> LogStatistics:
        """Return what it holds and has lost."""
        with self._lock:
            return LogStatistics(len(self._events), 0, self._lost)

    async def aclose(self) -> None:
        """Do nothing: it holds no more than memory."""


def _parts(cursor: str) -> tuple[str, int]:
    """Return whose cursor it is, and the number of its event."""
    identity, dash, number = cursor.partition("-")
    plain = dash and identity.isalnum() and number.isdecimal() and cursor.isascii()
    if not plain or len(number) > _MAX_DIGITS or str(int(number)) != number:
        raise CursorError(cursor)
    return identity, int(number)
