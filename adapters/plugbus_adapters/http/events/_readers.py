"""Readers of the log: each is a cursor and a selection; what is sent is rendered once for all of them.

Owns what all readers share: the log, the rendered events, how many readers there are and why some were cut off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

import anyio
import anyio.lowlevel
import structlog

from plugbus import CursorError, CursorExpiredError, EventLog, LoggedEvent, Principal, Problem
from plugbus_adapters.cloudevents import logged_to_json
from plugbus_adapters.http._slots import StreamSlots
from plugbus_adapters.http.events._selection import Selection
from plugbus_adapters.http.problems import ProblemError
from plugbus_adapters.http.settings import HttpSettings

__all__ = ("Cause", "Limits", "Reader", "ReaderStatistics", "Readers", "Reset")

Cause = Literal["stopped reading", "server stopping"]

_RENDERED: Final = 512
_BATCH: Final = 100


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """What readers get.

    Attributes:
        heartbeat_seconds: How long a connection is silent at most, in seconds.
        send_timeout_seconds: How long a reader may take to take what it is sent, in seconds; then it is cut off.
        max_events: How many events may be published together.
    """

    heartbeat_seconds: float = 15.0
    send_timeout_seconds: float = 20.0
    max_events: int = 1000


@final
@dataclass(frozen=True, slots=True)
class ReaderStatistics:
    """Who reads events over HTTP.

    Attributes:
        readers: How many there are.
        sent: How many events were sent to them so far.
        resets: How many were told that they missed something.
        cut_off: How many were cut off, by cause.

    Example:
        >>> ReaderStatistics().readers
        0
    """

    readers: int = 0
    sent: int = 0
    resets: int = 0
    cut_off: Mapping[str, int] = field(default_factory=dict)


@final
class Reset(Exception):
    """A reader missed something; it goes on at another place.

    Attributes:
        reason: Why, as of ``CursorExpiredError``.
        cursor: Where it goes on.
    """

    def __init__(self, reason: str, cursor: str) -> None:
        super().__init__(reason, cursor)
        self.reason, self.cursor = reason, cursor


@final
class Readers:
    """All readers of one log.

    Args:
        log: What they read.
        source: The CloudEvents source of events that no message brought in.
        limits: What they get.
        settings: Returns the settings of the edge in force, which bound how many there are.
    """

    def __init__(self, log: EventLog, source: str, limits: Limits, settings: Callable[[], HttpSettings]) -> None:
        self.log, self.source, self.limits, self._settings = log, source, limits, settings
        self._slots = StreamSlots()
        self._rendered: dict[str, str] = {}
        self._scopes: set[anyio.CancelScope] = set()
        self._cut: Counter[str] = Counter()
        self.sent = self.resets = 0
        self._closed = False

    def statistics(self) -> ReaderStatistics:
        """Return who reads."""
        return ReaderStatistics(len(self._scopes), self.sent, self.resets, dict(self._cut))

    def render(self, event: LoggedEvent) -> str:
        """Return an event as a CloudEvent in JSON, made once for all who read it at about the same time."""
        found = self._rendered.get(event.cursor)
        if found is None:
            if len(self._rendered) >= _RENDERED:
                del self._rendered[next(iter(self._rendered))]
            found = self._rendered[event.cursor] = logged_to_json(event, self.source)
        return found

    def check(self, cursor: str | None) -> str:
        """Return where a reader begins: at its cursor, or at what is next.

        Raises:
            ProblemError: If it is no cursor.
        """
        if not cursor:
            return self.log.cursor
        try:
            self.log.check(cursor)
        except CursorError as error:
            problem = Problem("query.since", f"{error.cursor!r} is no cursor")
            raise ProblemError(400, "the request does not fit", code="invalid_cursor", problems=[problem]) from None
        except CursorExpiredError:
            pass  # it is told as the first thing in its stream, where an EventSource can read it
        return cursor

    @contextmanager
    def reading(self, who: Principal) -> Iterator[anyio.CancelScope]:
        """Count a reader for a block, which ends when the server stops.

        Raises:
            ProblemError: If there are too many, of everybody or of this one, or the server stops.
        """
        if self._closed:
            raise ProblemError(503, "the server stops", code="stopping", headers=[("retry-after", "5")])
        settings = self._settings()
        with (
            self._slots.taken(who.id, most=settings.max_streams, most_each=settings.max_streams_per_principal),
            anyio.CancelScope() as scope,
        ):
            self._scopes.add(scope)
            try:
                yield scope
            finally:
                self._scopes.discard(scope)

    def cut_off(self, cause: Cause, cursor: str, who: str) -> None:
        """Put on record that a reader was cut off."""
        self._cut[cause] += 1
        structlog.get_logger("plugbus.http").warning("event reader cut off", cause=cause, cursor=cursor, principal=who)

    def end(self) -> None:
        """End all readers, so that a server can stop: a stream of events has no end of its own."""
        self._closed = True
        for scope in tuple(self._scopes):
            scope.cancel()

    async def sending(self, send: Callable[..., Any], message: Any) -> bool:
        """Send something, within the time that a reader has; return whether it was taken."""
        with anyio.move_on_after(self.limits.send_timeout_seconds):
            await send(message)
            return True
        return False


@final
class Reader:
    """One reader: what it asked for, and how far it has come.

    Args:
        readers: What it shares with the others.
        selection: What it asked for.
        cursor: Where it begins.

    Attributes:
        cursor: How far it has come; what it did not ask for counts, too.
    """

    __slots__ = ("_readers", "_selection", "cursor")

    def __init__(self, readers: Readers, selection: Selection, cursor: str) -> None:
        self._readers, self._selection, self.cursor = readers, selection, cursor

    async def take(self, seconds: float) -> list[LoggedEvent]:
        """Return the next events that it asked for, a few at once; none if there are none for that time.

        Raises:
            Reset: If it missed something; it goes on after that.
        """
        log = self._readers.log
        with anyio.move_on_after(seconds):
            while True:
                try:
                    batch = await log.read(self.cursor, limit=_BATCH)
                    if not batch:
                        await log.wait(self.cursor)
                        continue
                except CursorExpiredError as error:
                    self.cursor = error.newest
                    self._readers.resets += 1
                    raise Reset(error.reason, error.newest) from None
                self.cursor = batch[-1].cursor
                wanted = [event for event in batch if self._selection.wants(event)]
                if wanted:
                    self._readers.sent += len(wanted)
                    return wanted
                await anyio.lowlevel.checkpoint()  # or one that wants little would hold up all others
        return []
