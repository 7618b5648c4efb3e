"""What every event log promises: each test runs with each of them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from plugbus import CursorError, CursorExpiredError, EventLog, LoggedEvent, MemoryEventLog
from plugbus_adapters.sqlite_log import SQLiteEventLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
SECONDS = 20
TIME = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., EventLog]]:
    """Makes logs of one kind, each its own; they end with the test."""
    files: list[SQLiteEventLog] = []

    def memory(**options: Any) -> EventLog:
        return MemoryEventLog(**options)

    def sqlite(**options: Any) -> EventLog:
        files.append(SQLiteEventLog(tmp_path / f"{len(files)}.db", **options))
        return files[-1]

    yield memory if request.param == "memory" else sqlite
    for log in files:
        log.close()


@pytest.fixture
def log(make: Callable[..., EventLog]) -> EventLog:
    return make()


async def opened(make: Callable[..., EventLog], **options: Any) -> EventLog:
    return await anyio.to_thread.run_sync(lambda: make(**options))  # opening a file blocks


def event(number: int, **facts: Any) -> LoggedEvent:
    return LoggedEvent("order.placed", f'{{"number":{number}}}', f"id-{number}", TIME, **facts)


async def fill(log: EventLog, *numbers: int) -> None:
    for number in numbers:
        log.append(event(number))
    await log.flush()


async def numbers_after(log: EventLog, cursor: str, limit: int = 100) -> list[int]:
    return [found.data["number"] for found in await log.read(cursor, limit=limit)]


async def test_what_came_in_is_read_in_order_after_any_cursor(log: EventLog) -> None:
    start = log.cursor
    await fill(log, 1, 2, 3)

    first, *_ = found = await log.read(start)

    assert [each.data["number"] for each in found] == [1, 2, 3]
    assert await numbers_after(log, first.cursor) == [2, 3]
    assert await numbers_after(log, log.cursor) == []
    assert found[-1].cursor == log.cursor


async def test_everything_that_is_known_of_an_event_is_kept(log: EventLog) -> None:
    start = log.cursor
    full = event(
        1, key="berlin", correlation_id="c", cause="b", source="/shop", traceparent=f"00-{'a' * 32}-{'b' * 16}-01"
    )
    log.append(full)
    log.append(event(2))
    await log.flush()

    found = await log.read(start)

    assert [each._replace(cursor="") for each in found] == [full, event(2)]


async def test_a_limit_leaves_the_rest_to_the_next_read(log: EventLog) -> None:
    start = log.cursor
    await fill(log, 1, 2, 3)

    assert await numbers_after(log, start, limit=2) == [1, 2]


async def test_cursors_are_all_different_and_safe_in_headers_and_urls(log: EventLog) -> None:
    start = log.cursor
    await fill(log, *range(20))

    cursors = [start, *(each.cursor for each in await log.read(start))]

    assert len(set(cursors)) == 21
    assert all(cursor.isascii() and cursor.replace("-", "").isalnum() for cursor in cursors)


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "-", "1", "yesterday", "0-", "-1", "a-b", "0" * 16 + "-01", "0" * 16 + "--1", "0" * 16 + "-1\n", "a b-1",
     "0" * 16 + "-1 ", "0" * 16 + "-" + "9" * 19, "0" * 16 + "-\u0661", "0" * 16 + "-1\x00", "0" * 16 + "-1_0"],
)  # fmt: skip
async def test_what_is_no_cursor_is_refused(log: EventLog, cursor: str) -> None:
    """It may have come from outside, so it is never guessed at."""
    with pytest.raises(CursorError) as caught:
        log.check(cursor)
    with pytest.raises(CursorError):
        await log.read(cursor)
    with pytest.raises(CursorError), anyio.fail_after(SECONDS):
        await log.wait(cursor)

    assert caught.value.cursor == cursor


async def test_a_cursor_of_another_log_is_recognised(make: Callable[..., EventLog]) -> None:
    """As of a log in memory whose process has ended: the same number would be another event here."""
    log, other = await opened(make), await opened(make)
    await fill(log, 1, 2)
    await fill(other, 1, 2)

    with pytest.raises(CursorExpiredError) as caught:
        log.check(other.cursor)
    with pytest.raises(CursorExpiredError), anyio.fail_after(SECONDS):
        await log.wait(other.cursor)
        await log.read(other.cursor)

    assert (caught.value.reason, caught.value.newest) == ("another log", log.cursor)


async def test_a_cursor_ahead_of_the_log_is_recognised(log: EventLog) -> None:
    """As after a backup was put back."""
    await fill(log, 1)
    ahead = log.cursor.replace("-1", "-2")

    with pytest.raises(CursorExpiredError) as caught:
        await log.read(ahead)

    assert caught.value.reason == "ahead"


async def test_a_log_that_no_longer_reaches_back_says_so(make: Callable[..., EventLog]) -> None:
    log = await opened(make, max_events=3)
    cursors = [log.cursor]
    for number in range(1, 6):
        await fill(log, number)
        cursors.append(log.cursor)

    for cursor in cursors[:2]:
        with pytest.raises(CursorExpiredError) as caught:
            await log.read(cursor)
        assert (caught.value.reason, caught.value.newest) == ("retention", cursors[-1])
        with pytest.raises(CursorExpiredError):
            log.check(cursor)
    log.check(cursors[2])
    assert await numbers_after(log, cursors[2]) == [3, 4, 5]
    assert log.statistics().events == 3


async def test_more_at_once_than_a_log_keeps_leaves_the_newest(make: Callable[..., EventLog]) -> None:
    log = await opened(make, max_events=2)
    start = log.cursor
    await fill(log, *range(7))

    with pytest.raises(CursorExpiredError) as caught:
        await log.read(start)
    before = caught.value.newest.rpartition("-")[0] + "-5"
    assert await numbers_after(log, before) == [5, 6]


async def test_a_reader_waits_for_what_is_next(log: EventLog) -> None:
    cursor, found = log.cursor, []

    async def read() -> None:
        await log.wait(cursor)
        found.extend(await numbers_after(log, cursor))

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            assert found == []
            log.append(event(1))

    assert found == [1, 1, 1]


async def test_a_reader_that_is_behind_does_not_wait(log: EventLog) -> None:
    cursor = log.cursor
    await fill(log, 1)

    with anyio.fail_after(SECONDS):
        await log.wait(cursor)


async def test_waiting_can_be_cancelled(log: EventLog) -> None:
    with anyio.move_on_after(0) as scope:
        await log.wait(log.cursor)

    assert scope.cancelled_caught


async def test_threads_append_while_readers_resume(log: EventLog) -> None:
    """Each reader gets every event once, each thread's in its order, however often it begins again."""
    start, threads, each = log.cursor, 4, 300

    def emit(thread: int) -> None:
        for number in range(each):
            log.append(event(number, key=str(thread)))

    async def read(batch: int) -> list[tuple[str | None, int]]:
        cursor, found = start, []
        while len(found) < threads * each:
            await log.wait(cursor)
            events = await log.read(cursor, limit=batch)
            found.extend((one.key, one.data["number"]) for one in events)
            cursor = events[-1].cursor
        return found

    heard: list[list[tuple[str | None, int]]] = []

    async def reader(batch: int) -> None:
        heard.append(await read(batch))

    emitters = [threading.Thread(target=emit, args=(thread,)) for thread in range(threads)]
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            for batch in (1, 7, 100):
                group.start_soon(reader, batch)
            for emitter in emitters:
                emitter.start()
        for emitter in emitters:
            await anyio.to_thread.run_sync(emitter.join)

    assert heard[0] == heard[1] == heard[2]
    assert sorted(heard[0]) == sorted((str(thread), number) for thread in range(threads) for number in range(each))
    for thread in range(threads):
        assert [number for key, number in heard[0] if key == str(thread)] == list(range(each))


async def test_statistics_tell_what_is_held(log: EventLog) -> None:
    await fill(log, 1, 2)

    assert log.statistics() == (2, 0, 0)


@pytest.mark.parametrize("wrong", [{"max_events": 0}, {"max_events": -1}])
def test_a_log_that_could_hold_nothing_is_refused(make: Callable[..., EventLog], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_events"):
        make(**wrong)


async def test_what_was_taken_in_can_be_read_after_a_flush_and_at_the_end(log: EventLog) -> None:
    await fill(log)
    log.append(event(1))

    with anyio.fail_after(SECONDS):
        await log.aclose()

    assert log.statistics().events == 1
