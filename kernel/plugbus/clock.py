"""Time as a service, so that tests own it.

Owns nothing; whoever waits or stamps asks for a ``Clock`` and gets the system's, or a test's.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol, final, runtime_checkable

import anyio

__all__ = ("Clock", "SystemClock")


@runtime_checkable
class Clock(Protocol):
    """What tells the time and waits.

    Example:
        >>> from datetime import UTC, datetime
        >>> class StoppedClock:
        ...     def now(self) -> datetime:
        ...         return datetime(2026, 1, 15, tzinfo=UTC)
        ...
        ...     def monotonic(self) -> float:
        ...         return 0.0
        ...
        ...     async def sleep(self, seconds: float) -> None: ...
        >>> clock: Clock = StoppedClock()
        >>> clock.now().year
        2026
    """

    def now(self) -> datetime:
        """Return the date and time of day, aware of its time zone; it may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed point; it never goes back, so differences are durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; this suspends, and can be cancelled.

        Args:
            seconds: How long, in seconds; zero lets others run.
        """


@final
class SystemClock:
    """The clock of the machine: time of day in UTC, sleeping on the running event loop.

    Example:
        >>> clock = SystemClock()
        >>> clock.now().tzname()
        'UTC'
        >>> clock.monotonic() <= clock.monotonic()
        True
    """

    def now(self) -> datetime:
        """Return the date and time of day in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since some fixed point; it never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait on the running event loop, asyncio's or trio's; this can be cancelled.

        Args:
            seconds: How long, in seconds; zero lets others run.
        """
        await anyio.sleep(seconds)
