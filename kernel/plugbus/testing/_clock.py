"""A clock that stands still until a test moves it on."""

from __future__ import annotations

import heapq
import itertools
import threading
from datetime import UTC, datetime, timedelta
from typing import Final, final

import anyio
import anyio.lowlevel

from plugbus._threads import call_soon

START: Final = datetime(2026, 1, 1, tzinfo=UTC)


@final
class FakeClock:
    """A ``Clock`` whose time passes only when a test says so.

    Args:
        start: Its date and time of day to begin with, aware of its time zone.

    Raises:
        ValueError: If *start* has no time zone.

    Example:
        >>> import anyio
        >>> async def main() -> None:
        ...     clock = FakeClock()
        ...     async with anyio.create_task_group() as group:
        ...         group.start_soon(clock.sleep, 3600)
        ...         await clock.advance(3600)
        ...     print(clock.now())
        >>> anyio.run(main)
        2026-01-01 01:00:00+00:00
    """

    def __init__(self, start: datetime = START) -> None:
        if start.tzinfo is None:
            raise ValueError(f"FakeClock({start!r}): the time needs a time zone, such as datetime.UTC")
        self._start = start
        self._passed = 0.0
        self._lock = threading.Lock()
        self._sleepers: list[tuple[float, int, anyio.lowlevel.EventLoopToken, anyio.Event]] = []
        self._numbers = itertools.count()

    def now(self) -> datetime:
        """Return its date and time of day."""
        return self._start + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        """Return the seconds that have passed on it."""
        return self._passed

    @property
    def sleeping(self) -> int:
        """How many sleep on it at this moment, on whatever event loop."""
        with self._lock:
            return len(self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has moved time on; this suspends, and can be cancelled.

        Args:
            seconds: How long, in seconds of this clock; zero lets others run.
        """
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        woken = anyio.Event()
        with self._lock:
            sleeper = (self._passed + seconds, next(self._numbers), anyio.lowlevel.current_token(), woken)
            heapq.heappush(self._sleepers, sleeper)
        try:
            await woken.wait()
        finally:
            with self._lock:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)
                    heapq.heapify(self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Move time on, stopping wherever somebody wakes, until every task of this loop waits for something.

        Who wakes finds the time that it slept until, and may go to sleep again within *seconds*. A task that waits for
        a worker thread counts as waiting: what it does next is for the test to wait for.

        Args:
            seconds: How far, in seconds.

        Raises:
            ValueError: If *seconds* is below zero.
        """
        if not seconds >= 0:
            raise ValueError(f"FakeClock.advance({seconds!r}): a clock does not go back")
        await anyio.wait_all_tasks_blocked()
        target = self._passed + seconds
        while (due := self._next_due(target)) is not None:
            token, woken = due
            call_soon(token, woken.set)
            await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
        self._passed = target

    def _next_due(self, target: float) -> tuple[anyio.lowlevel.EventLoopToken, anyio.Event] | None:
        with self._lock:
            if not self._sleepers or self._sleepers[0][0] > target:
                return None
            self._passed, _, token, woken = heapq.heappop(self._sleepers)
            return token, woken
