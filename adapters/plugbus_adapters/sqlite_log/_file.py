"""The file of an event log: what stands in it, and opening it for one process alone."""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from plugbus import LoggedEvent, PlugbusError

__all__ = ("EventLogFileError", "from_row", "open_file", "to_row")

_VERSION: Final = 1
_SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE event (
    position INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    name TEXT NOT NULL,
    json TEXT NOT NULL,
    id TEXT NOT NULL,
    time TEXT NOT NULL,
    key TEXT,
    correlation_id TEXT,
    cause TEXT,
    source TEXT,
    traceparent TEXT
);
CREATE TABLE log (identity TEXT NOT NULL, gone INTEGER NOT NULL);
INSERT INTO log VALUES ('{identity}', 0);
PRAGMA user_version = 1;
COMMIT;
"""


class EventLogFileError(PlugbusError):
    """The file of an event log cannot be used.

    Args:
        path: Which file.
        problem: What is wrong with it.

    Example:
        >>> print(EventLogFileError("events.db", "another process has it open"))
        event log 'events.db': another process has it open.
        Hint: each process needs a file of its own, on a local disk with room left.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def _parts(self) -> tuple[str, str]:
        hint = "each process needs a file of its own, on a local disk with room left."
        return f"event log {self.path!r}: {self.problem}.", hint


def open_file(path: str) -> tuple[sqlite3.Connection, str, int, int]:
    """Open a file for this process alone; return it, its identity, up to where events are gone, and the last number."""
    unclean = Path(f"{path}-wal").exists()
    try:
        db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise EventLogFileError(path, str(error)) from error
    try:
        return db, *_prepare(db, path, unclean=unclean)
    except sqlite3.Error as error:
        db.close()
        locked = getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
        raise EventLogFileError(path, "another process has it open" if locked else str(error)) from error
    except EventLogFileError:
        db.close()
        raise


def _prepare(db: sqlite3.Connection, path: str, *, unclean: bool) -> tuple[str, int, int]:
    db.execute("PRAGMA locking_mode = EXCLUSIVE")  # one connection writes and checkpoints: two have damaged files
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a cursor that was given out must not come back for another event
    if unclean and (found := db.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
        raise EventLogFileError(path, f"is damaged: {found}")
    [(version,)] = db.execute("PRAGMA user_version")
    [(tables,)] = db.execute("SELECT count(*) FROM sqlite_master")
    if version not in (0, _VERSION) or (version == 0 and tables):
        raise EventLogFileError(path, f"is no event log of version {_VERSION}")
    if version == 0:
        db.executescript(_SCHEMA.format(identity=os.urandom(8).hex()))
    [(identity, gone)] = db.execute("SELECT identity, gone FROM log")
    [(last,)] = db.execute("SELECT coalesce(max(position), 0) FROM event")
    return identity, gone, max(gone, last)


def to_row(event: LoggedEvent) -> tuple[str | None, ...]:
    """Return what stands in the row of an event, after its number and the time when it was written."""
    return (
        event.name, event.json, event.id, event.time.isoformat(), event.key, event.correlation_id, event.cause,
        event.source, event.traceparent,
    )  # fmt: skip


def from_row(row: tuple[Any, ...], identity: str) -> LoggedEvent:
    """Return an event from its row."""
    position, _, name, json, id, time, *others = row
    return LoggedEvent(name, json, id, datetime.fromisoformat(time), *others)._replace(cursor=f"{identity}-{position}")
