"""The log of events in a SQLite file: readers go on where they left off, also after the process has died.

Owns the file and the thread that writes to it; the newest events are also in a ``MemoryEventLog``, where nearly all
readers are. An event can be read once it is committed, never before: a cursor that was given out survives a kill.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, final

import anyio
import anyio.to_thread
import structlog

from plugbus import Clock, CursorExpiredError, LoggedEvent, LogStatistics, MemoryEventLog, SystemClock
from plugbus_adapters.sqlite_log._file import EventLogFileError, from_row, open_file, to_row

__all__ = ("SQLiteEventLog",)

_BATCH: Final = 500
_RETRY_SECONDS: Final = 1.0
_INSERT: Final = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_READ: Final = "SELECT * FROM event WHERE position > ? AND position <= ? ORDER BY position LIMIT ?"
_FIRST_YOUNG: Final = "SELECT position FROM event WHERE at >= ? ORDER BY position LIMIT 1"


@final
class SQLiteEventLog:
    """An :class:`~plugbus.EventLog` in a SQLite file; it outlasts the process, also one that is killed.

    Making one opens the file, which blocks: in async code do it in a thread. One thread writes, in one transaction for
    all that came in meanwhile; emitters never wait for it. What it cannot write it tries again, as long as not more
    than *max_pending* events wait; those are given up then, which every reader is told by ``CursorExpiredError``.

    Args:
        path: The file, on a local disk; made if it is not there. It belongs to this process alone.
        max_events: How many events it keeps.
        max_age_seconds: How long it keeps an event, in seconds; without end unless given.
        max_pending: How many events may wait to be written.
        clock: Tells how old an event is.

    Raises:
        ValueError: If a limit is not above zero.
        EventLogFileError: If the file is another process's, damaged, or none of an event log.

    Example:
        >>> import tempfile
        >>> from contextlib import closing
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with closing(SQLiteEventLog(Path(folder, "events.db"))) as log:
        ...         log.statistics()
        LogStatistics(events=0, pending=0, lost=0)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_events: int = 100_000,
        max_age_seconds: float | None = None,
        max_pending: int = 10_000,
        clock: Clock | None = None,
    ) -> None:
        if max_events < 1 or max_pending < 1 or not (max_age_seconds is None or max_age_seconds > 0):
            raise ValueError(f"SQLiteEventLog({max_events=}, {max_age_seconds=}, {max_pending=}): must be above zero")
        self._path = str(path)
        self._max_events, self._max_age, self._max_pending = max_events, max_age_seconds, max_pending
        self._clock = clock or SystemClock()
        self._db, identity, self._gone, self._taken = open_file(self._path)
        self._floor = self._gone  # what is written of self._gone; readers must not know more than the file
        self._newest_events = MemoryEventLog(1_000, identity=identity, position=self._taken)
        self._pending: deque[LoggedEvent] = deque()
        self._lost = 0
        self._failure: EventLogFileError | None = None
        self._ending = False
        self._reading = threading.Lock()  # the one connection, whoever uses it
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write, name=f"event log {self._path}", daemon=True)
        self._writer.start()

    @property
    def cursor(self) -> str:
        """The place of the newest event that is committed."""
        return self._newest_events.cursor

    def append(self, event: LoggedEvent) -> None:
        """Take in an event, from any thread; as :meth:`~plugbus.EventLog.append`."""
        with self._changed:
            if self._ending:
                self._lost += 1
                return
            self._taken += 1
            self._pending.append(event)
            if len(self._pending) > self._max_pending:
                # Whoever reads over the gap is told to begin anew, so nobody would read what waits before it.
                self._lost += len(self._pending)
                self._pending.clear()
                self._gone = self._taken
            self._changed.notify()

    def check(self, cursor: str) -> None:
        """Refuse a cursor that nobody can go on after; as :meth:`~plugbus.EventLog.check`."""
        if self._newest_events.position(cursor) < self._floor:
            raise CursorExpiredError(cursor, "retention", self.cursor)

    async def read(self, cursor: str, *, limit: int = 100) -> Sequence[LoggedEvent]:
        """Return what comes right after a cursor; waits for the disk if that is long ago."""
        with suppress(CursorExpiredError):
            return self._newest_events.read_nowait(cursor, limit=limit)
        return await anyio.to_thread.run_sync(self._read, cursor, limit)

    def _read(self, cursor: str, limit: int) -> Sequence[LoggedEvent]:
        newest = self.cursor  # what is committed and not among the newest yet is left to the next read
        with self._reading:
            self.check(cursor)
            position = self._newest_events.position
            rows = self._db.execute(_READ, (position(cursor), position(newest), limit)).fetchall()
        identity = newest.partition("-")[0]
        return [from_row(row, identity) for row in rows]

    async def wait(self, cursor: str) -> None:
        """Wait until there is something after a cursor; as :meth:`~plugbus.EventLog.wait`."""
        await self._newest_events.wait(cursor)

    async def flush(self) -> None:
        """Wait until everything that was taken in is committed, or given up for want of room.

        Raises:
            EventLogFileError: If it cannot be written at present; it is tried again.
        """
        with self._changed:
            taken = self._taken
        while self._failure is None:
            with anyio.move_on_after(_RETRY_SECONDS):
                await self._newest_events.wait_past(taken - 1)
                return
        raise self._failure

    def statistics(self) -> LogStatistics:
        """Return what it holds and has lost."""
        with self._changed:
            newest = self._newest_events.position(self.cursor)
            return LogStatistics(newest - self._floor, len(self._pending), self._lost)

    async def aclose(self) -> None:
        """Write what was taken in, and close the file."""
        await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """Do the same for code without ``await``; blocks."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._writer.join()
        with self._reading:
            self._db.close()

    # The thread that writes

    def _write(self) -> None:
        while (batch := self._next_batch()) is not None:
            events, first, gone = batch
            try:
                with self._reading:
                    gone = self._floor = self._commit(events, first, gone)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next events are to be written
                if self._put_off(error):
                    continue
                return
            self._failure = None
            with self._changed:
                self._written(events, first, gone)

    def _next_batch(self) -> tuple[list[LoggedEvent], int, int] | None:
        """Wait for something to write: events, the number of the first one, and up to where others are to go."""
        tick = None if self._max_age is None else min(60.0, self._max_age / 10)
        with self._changed:
            if not self._pending and self._gone == self._floor and not self._ending:
                self._changed.wait(tick)
            if not self._pending and self._gone == self._floor and self._ending:
                return None
            first = self._taken - len(self._pending) + 1
            return list(islice(self._pending, _BATCH)), first, self._gone

    def _commit(self, events: Sequence[LoggedEvent], first: int, gone: int) -> int:
        """Write events in one transaction, with what retention asks for; return up to where events are gone now."""
        now = self._clock.now().timestamp()
        last = first + len(events) - 1
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            rows = ((first + index, now, *to_row(event)) for index, event in enumerate(events))
            self._db.executemany(_INSERT, rows)
            gone = max(gone, last - self._max_events)
            if self._max_age is not None:
                young = self._db.execute(_FIRST_YOUNG, (now - self._max_age,)).fetchone()
                gone = max(gone, last if young is None else young[0] - 1)
            if gone > self._floor:
                self._db.execute("DELETE FROM event WHERE position <= ?", (gone,))
                self._db.execute("UPDATE log SET gone = ?", (gone,))
        return gone

    def _written(self, events: Sequence[LoggedEvent], first: int, gone: int) -> None:
        """Let readers have what is committed."""
        self._newest_events.forget(gone)
        if first + len(events) > self._gone:  # if not, it was given up in the meantime
            for position, event in enumerate(events, first):
                self._pending.popleft()
                if position > gone:
                    self._newest_events.append(event)
        self._gone = max(self._gone, gone)

    def _put_off(self, error: Exception) -> bool:
        """Try again soon; not once the log is to be closed."""
        log = structlog.get_logger("plugbus.event_log")
        if self._failure is None:
            log.error("event log cannot be written", path=self._path, error=str(error))
        self._failure = EventLogFileError(self._path, f"cannot be written: {error}")
        with self._changed:
            if self._ending or self._changed.wait_for(lambda: self._ending, _RETRY_SECONDS):
                self._lost += len(self._pending)
                log.error("event log was closed with events unwritten", path=self._path, events=len(self._pending))
                return False
        return True
