"""The plugin: a connection for each unit of work, so that a delivery is one transaction whoever takes part in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from hub_events import AskJournal, Deliver, JournalReport, Message, Receipt, message, repo_of, wire_name
from pydantic import BaseModel, ConfigDict

from plugbus import Event, NextFn, Plugin, answers, current, listens, observes, provides

__all__ = ("Journal",)

_TABLES = """
create table if not exists deliveries (id integer primary key, kind text not null, correlation_id text not null);
create table if not exists events (delivery integer references deliveries, name text not null, repo text);
"""


class Journal(Plugin):
    """Writes a row before a delivery is looked at and one for its event; both stay, or none where it is refused.

    Nobody here commits or rolls back but ``connect``: the delivery is the unit of work, and its connection is told
    how that went.

    Args:
        settings: Where the file is.
    """

    class Settings(BaseModel):
        """What the operator may set."""

        model_config = ConfigDict(extra="forbid")

        folder: Path | None = None  # a temporary one that is gone with the plugin

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.folder
        self._temporary: TemporaryDirectory[str] | None = None
        self._rolled_back = 0

    def on_boot(self) -> None:
        """Make the file."""
        if self._folder is None:
            self._temporary = TemporaryDirectory(prefix="hub-journal-")
            self._folder = Path(self._temporary.name)
        connection = self._open()
        connection.executescript(f"pragma journal_mode=wal; {_TABLES}")
        connection.close()

    def on_shutdown(self) -> None:
        """Remove the file, unless the operator said where it is to be."""
        if self._temporary is not None:
            self._temporary.cleanup()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect((self._folder or Path()) / "journal.db")
        connection.execute("pragma synchronous=normal")
        return connection

    @provides(scope="call", permission="journal")
    def connect(self) -> Iterator[sqlite3.Connection]:
        """Open a connection for a unit of work, and commit or roll back as it went."""
        connection = self._open()
        try:
            yield connection
        except BaseException:
            connection.rollback()
            self._rolled_back += 1
            raise
        else:
            connection.commit()
        finally:
            connection.close()

    @listens(Deliver)
    def enter(self, request: Deliver, next_fn: NextFn[Deliver, Receipt], db: sqlite3.Connection) -> Receipt:
        """Write down that something came, before anybody has judged it."""
        emit = current()
        assert emit is not None
        db.execute(
            "insert into deliveries (kind, correlation_id) values (?, ?)", (str(request.event), emit.correlation_id)
        )
        return next_fn(request)

    @observes("github.**", inside=True, on_error="raise")
    def note(self, event: Event, db: sqlite3.Connection) -> None:
        """Write down the event that came of it, in the same transaction."""
        row = (wire_name(event), repo_of(event))
        db.execute("insert into events values ((select max(id) from deliveries), ?, ?)", row)

    @message("issues.opened")
    def opened(self, found: Message, db: sqlite3.Connection) -> str:
        """Put a new issue into words, with its number in the journal."""
        emit = current()
        assert emit is not None
        ids = db.execute("select id from deliveries where correlation_id = ?", (emit.correlation_id,)).fetchone()
        number = f" (no. {ids[0]} in the journal)" if ids else ""
        return f"[{found.repo}] {found.actor} opened an issue: {found.title}{number}"

    @answers(AskJournal)
    def read(self, _: AskJournal, db: sqlite3.Connection) -> JournalReport:
        """Answer with what is in the file."""
        (deliveries,) = db.execute("select count(*) from deliveries").fetchone()
        (events,) = db.execute("select count(*) from events").fetchone()
        return JournalReport(deliveries=deliveries, events=events, rolled_back=self._rolled_back)
