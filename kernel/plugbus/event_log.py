"""The log of events behind resume: readers go on where they left off, by cursor.

Owns the protocol and what is on record of an event; how a bus feeds a log, and reads it as a stream, is in
``_logging.py``. Why readers have cursors and no queues: docs/adr/0020-readers-have-cursors.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, final

from pydantic_core import from_json

__all__ = ("EventLog", "LogStatistics", "LoggedEvent")


@final
class LoggedEvent(NamedTuple):
    """What a log has on record of an event.

    Attributes:
        name: Wire name.
        json: Its content as JSON text.
        id: Its own; that of the message, if it came in as one.
        time: When its emit began, or when the message says that it happened.
        key: The value of its key field as text, if it has one.
        correlation_id: What all that belongs together shares.
        cause: Id of the emit that it came of.
        source: Who told of it, as the message says; None: this service.
        traceparent: Its W3C trace context.
        cursor: Its place in the log, which gives it; empty before.

    Example:
        >>> from datetime import UTC
        >>> LoggedEvent("order.placed", '{"order_id":1}', "7f-1", datetime(2026, 1, 1, tzinfo=UTC)).data
        {'order_id': 1}
    """

    name: str
    json: str
    id: str
    time: datetime
    key: str | None = None
    correlation_id: str | None = None
    cause: str | None = None
    source: str | None = None
    traceparent: str | None = None
    cursor: str = ""

    @property
    def data(self) -> Any:
        """Its content as plain data, parsed anew each time."""
        return from_json(self.json)


@final
class LogStatistics(NamedTuple):
    """What a log holds; see ``EventLog.statistics``.

    Attributes:
        events: How many can be read.
        pending: How many were taken in and cannot be read yet.
        lost: How many could not be kept; who reads past such a place is told so.

    Example:
        >>> from plugbus import MemoryEventLog
        >>> MemoryEventLog().statistics()
        LogStatistics(events=0, pending=0, lost=0)
    """

    events: int
    pending: int
    lost: int


class EventLog(Protocol):
    """Keeps events in the order in which they came in, so that readers can go on after any of them.

    A cursor is text without spaces, safe in headers and URLs, and means a place in this very log. Whatever a log
    cannot keep, for want of room or because its disk fails, is a gap; nobody reads over one without being told:
    all cursors before it are expired from then on.

    Example:
        >>> from plugbus import MemoryEventLog
        >>> log: EventLog = MemoryEventLog(max_events=100)
    """

    @property
    def cursor(self) -> str:
        """The place of the newest event that can be read; what is after it is yet to come."""
        ...

    def append(self, event: LoggedEvent) -> None:
        """Take in an event, from any thread; never waits, not even for a disk.

        Args:
            event: What is to be on record; its cursor is given here.
        """

    def check(self, cursor: str) -> None:
        """Refuse a cursor that nobody can go on after; never waits.

        Args:
            cursor: As it was received.

        Raises:
            CursorError: If it is none.
            CursorExpiredError: If events after it are gone, or it is that of another log.
        """

    async def read(self, cursor: str, *, limit: int = 100) -> Sequence[LoggedEvent]:
        """Return what comes right after a cursor; nothing if that is yet to come.

        Args:
            cursor: Of an event, or :attr:`cursor` at some time.
            limit: At most so many.

        Raises:
            CursorError: As :meth:`check`.
            CursorExpiredError: As :meth:`check`.
        """
        ...

    async def wait(self, cursor: str) -> None:
        """Wait until there is something to be read after a cursor, or to be told about it; cancelling loses nothing.

        Raises:
            CursorError: As :meth:`check`.
        """

    async def flush(self) -> None:
        """Wait until everything that was taken in can be read, and lasts as long as this log promises."""

    def statistics(self) -> LogStatistics:
        """Return what it holds and has lost."""
        ...

    async def aclose(self) -> None:
        """Keep what was taken in, and give back what is held."""
