"""The ring in memory: what it holds is bounded in bytes, too."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from plugbus import CursorExpiredError, LoggedEvent, MemoryEventLog

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def test_bytes_bound_what_is_held() -> None:
    """Ten thousand small events fit in memory; ten thousand of a megabyte would not."""
    log = MemoryEventLog(max_bytes=100)
    start = log.cursor
    for number in range(5):
        log.append(LoggedEvent("big", f'"{"x" * 38}"', str(number), TIME))

    with pytest.raises(CursorExpiredError):
        log.read_nowait(start)
    assert log.statistics().events == 2


def test_the_newest_event_is_held_however_large() -> None:
    log = MemoryEventLog(max_bytes=1)
    start = log.cursor
    log.append(LoggedEvent("big", '"xxx"', "1", TIME))

    assert [event.data for event in log.read_nowait(start)] == ["xxx"]
