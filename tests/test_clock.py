"""The clock of the machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import anyio
import pytest
from tests.support import virtual_time

from plugbus.clock import Clock, SystemClock


def test_system_clock_is_a_clock() -> None:
    assert isinstance(SystemClock(), Clock)


def test_now_is_the_time_in_utc() -> None:
    """A naive date would be read in two ways."""
    now = SystemClock().now()

    assert now.tzinfo is UTC
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)


def test_monotonic_never_goes_back() -> None:
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(100)]

    assert readings == sorted(readings)


@pytest.mark.anyio
@virtual_time
async def test_sleep_takes_as_long_as_it_says() -> None:
    """On the running loop's clock, so that virtual time moves it."""
    before = anyio.current_time()

    await SystemClock().sleep(60)

    assert anyio.current_time() - before == pytest.approx(60)


@pytest.mark.anyio
async def test_sleep_can_be_cancelled() -> None:
    with anyio.move_on_after(0) as scope:
        await SystemClock().sleep(3600)

    assert scope.cancelled_caught
