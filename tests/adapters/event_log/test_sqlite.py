"""The log in a SQLite file: what survives, and what is told when something does not."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
import structlog

from plugbus import CursorExpiredError, LoggedEvent
from plugbus.testing import FakeClock
from plugbus_adapters.sqlite_log import EventLogFileError, SQLiteEventLog

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio
SECONDS = 20
TIME = datetime(2026, 1, 1, tzinfo=UTC)
WRITER = Path(__file__).with_name("writer.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def log(path: Path) -> Iterator[SQLiteEventLog]:
    with closing(SQLiteEventLog(path)) as log:
        yield log


def event(number: int) -> LoggedEvent:
    return LoggedEvent("tick", str(number), f"id-{number}", TIME)


async def everything(log: SQLiteEventLog, cursor: str) -> list[int]:
    found: list[int] = []
    while batch := await log.read(cursor, limit=500):
        found.extend(each.data for each in batch)
        cursor = batch[-1].cursor
    return found


async def again(log: SQLiteEventLog, path: Path, **options: Any) -> SQLiteEventLog:
    await log.aclose()
    return await anyio.to_thread.run_sync(lambda: SQLiteEventLog(path, **options))


async def test_a_cursor_is_good_after_a_restart(log: SQLiteEventLog, path: Path) -> None:
    start = log.cursor
    for number in range(3):
        log.append(event(number))
    await log.flush()
    middle = (await log.read(start))[0].cursor

    later = await again(log, path)
    later.append(event(3))
    await later.flush()

    assert await everything(later, start) == [0, 1, 2, 3]
    assert await everything(later, middle) == [1, 2, 3]
    await later.aclose()


def test_what_was_committed_survives_a_kill(path: Path) -> None:
    """Killed with SIGKILL in the middle of its work, three times; what readers may have seen is there, once each."""
    number, start, told = 0, "", []
    for _ in range(3):
        command = [sys.executable, str(WRITER), str(path), str(number)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline().split() for _ in range(20)]
            process.kill()
            lines += [line.split() for line in process.stdout if line.endswith("\n")]
        assert process.returncode == -signal.SIGKILL
        told += [(int(last), cursor) for last, cursor in lines]
        start = start or told[0][1].partition("-")[0] + "-0"
        number = told[-1][0] + 1
        with closing(SQLiteEventLog(path)) as log:
            found = anyio.run(everything, log, start)
            assert found[: told[-1][0] + 1] == list(range(told[-1][0] + 1))
            number = len(found)
            assert found == list(range(number))
            for last, cursor in told:
                assert anyio.run(everything, log, cursor) == list(range(last + 1, number))


def test_a_file_belongs_to_one_process(log: SQLiteEventLog, path: Path) -> None:
    """Two would give the same numbers to different events."""
    with pytest.raises(EventLogFileError, match="another process") as caught:
        SQLiteEventLog(path)

    assert caught.value.path == str(path)
    code = f"from plugbus_adapters.sqlite_log import SQLiteEventLog; SQLiteEventLog({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process has it open" in done.stderr


def test_a_file_of_somebody_else_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE account (name TEXT)")

    with pytest.raises(EventLogFileError, match="no event log"):
        SQLiteEventLog(path)


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_text("not a database at all" * 100)

    with pytest.raises(EventLogFileError, match="not a database"):
        SQLiteEventLog(path)


def test_a_file_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EventLogFileError, match="unable to open"):
        SQLiteEventLog(tmp_path / "missing" / "events.db")


async def test_old_events_go(path: Path) -> None:
    clock = FakeClock()
    log = await anyio.to_thread.run_sync(lambda: SQLiteEventLog(path, max_age_seconds=60, clock=clock))
    start = log.cursor
    log.append(event(1))
    await log.flush()
    middle = log.cursor
    await clock.advance(61)
    log.append(event(2))
    await log.flush()

    with pytest.raises(CursorExpiredError):
        await log.read(start)
    assert await everything(log, middle) == [2]
    assert log.statistics().events == 1
    await log.aclose()


async def test_old_events_go_although_nothing_comes(path: Path) -> None:
    """The wait for the thread that looks is the machine's time; the age is the clock's."""
    clock = FakeClock()
    log = await anyio.to_thread.run_sync(lambda: SQLiteEventLog(path, max_age_seconds=0.1, clock=clock))
    start = log.cursor
    log.append(event(1))
    await log.flush()
    await clock.advance(1)

    with anyio.fail_after(SECONDS):
        while log.statistics().events:
            await anyio.to_thread.run_sync(threading.Event().wait, 0.01)

    with pytest.raises(CursorExpiredError):
        log.check(start)
    await log.aclose()


async def test_the_end_of_retention_is_remembered(path: Path) -> None:
    log = await anyio.to_thread.run_sync(lambda: SQLiteEventLog(path, max_events=2))
    start = log.cursor
    for number in range(5):
        log.append(event(number))
    await log.flush()

    later = await again(log, path)

    with pytest.raises(CursorExpiredError):
        later.check(start)
    assert later.statistics().events == 2
    await later.aclose()


class Stuck:
    """Holds the lock of the connection, as a slow disk would."""

    def __init__(self, log: SQLiteEventLog) -> None:
        self.lock = log._reading

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


async def test_more_than_may_wait_is_given_up_and_every_reader_is_told(path: Path) -> None:
    """The emitter waits for no disk, memory is bounded, and nobody reads over the gap."""
    log = await anyio.to_thread.run_sync(lambda: SQLiteEventLog(path, max_pending=10))
    log.append(event(0))
    await log.flush()
    start = log.cursor

    with Stuck(log):
        for number in range(1, 30):
            log.append(event(number))
        assert log.statistics().pending <= 10
        assert log.cursor == start
    with anyio.fail_after(SECONDS):
        await log.flush()

    lost = log.statistics().lost
    assert lost >= 11
    with pytest.raises(CursorExpiredError) as caught:
        await log.read(start)
    assert caught.value.reason == "retention"
    log.append(event(99))
    await log.flush()
    assert (await everything(log, caught.value.newest))[-1] == 99
    last = log.cursor

    later = await again(log, path)
    with pytest.raises(CursorExpiredError):
        later.check(start)
    assert later.cursor == last
    await later.aclose()


async def test_a_failing_disk_is_tried_again_and_nothing_is_lost(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugbus_adapters.sqlite_log._log._RETRY_SECONDS", 0.01)
    log = await anyio.to_thread.run_sync(lambda: SQLiteEventLog(path))
    start, commit = log.cursor, log._commit
    failed = threading.Event()

    def fail(*_: Any) -> int:
        failed.set()
        raise sqlite3.OperationalError("database or disk is full")

    log._commit = fail
    with structlog.testing.capture_logs() as lines:
        log.append(event(1))
        await anyio.to_thread.run_sync(failed.wait, SECONDS)
        with pytest.raises(EventLogFileError, match="disk is full"), anyio.fail_after(SECONDS):
            await log.flush()
        assert await log.read(start) == []
        log._commit = commit
        with anyio.fail_after(SECONDS):
            await log.wait(start)

    assert await everything(log, start) == [1]
    assert [line["event"] for line in lines] == ["event log cannot be written"]
    await log.aclose()


async def test_what_could_not_be_written_in_the_end_is_told(path: Path) -> None:
    log = await anyio.to_thread.run_sync(lambda: SQLiteEventLog(path))

    def fail(*_: Any) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    log._commit = fail
    with structlog.testing.capture_logs() as lines:
        log.append(event(1))
        await log.aclose()
        log.append(event(2))

    assert lines[-1]["events"] == 1
    assert log.statistics().lost == 2


async def test_readers_far_behind_read_the_file(log: SQLiteEventLog) -> None:
    """More than is held in memory."""
    start = log.cursor
    for number in range(2500):
        log.append(event(number))
    await log.flush()

    assert await everything(log, start) == list(range(2500))
