"""The circuit breaker of one subscription: closed, open, half open.

After Nygard, "Release It!" (2007), Circuit Breaker. Owns the count; what is called is the policy's business.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, final

from plugbus.errors import BreakerOpenError

if TYPE_CHECKING:
    from plugbus.options import Breaker


@final
class BreakerState:
    """Counts failures in a row; opens, lets one call try after the cool-down, closes when that one succeeds."""

    __slots__ = ("_breaker", "_clock", "_failures", "_lock", "_opened_at", "_probing", "name", "plugin")

    def __init__(self, breaker: Breaker, clock: Callable[[], float], name: str, plugin: str) -> None:
        self._breaker, self._clock, self.name, self.plugin = breaker, clock, name, plugin
        self._lock = threading.Lock()
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """Where it stands at this moment."""
        if self._opened_at is None:
            return "closed"
        return "half_open" if self._remaining() <= 0 else "open"

    def _remaining(self) -> float:
        return (self._opened_at or 0.0) + self._breaker.cooldown_seconds - self._clock()

    @property
    def wait_seconds(self) -> float:
        """How long until it lets a call through; zero if it does."""
        return 0.0 if self._opened_at is None else max(self._remaining(), 0.0)

    def enter(self) -> None:
        """Ask to make a call.

        Raises:
            BreakerOpenError: If it is open, or half open with its one trial under way.
        """
        if self._opened_at is None:
            return
        with self._lock:
            if self._opened_at is None:
                return
            remaining = self._remaining()
            if remaining > 0 or self._probing:
                raise BreakerOpenError(self.name, self.plugin, max(remaining, 0.0))
            self._probing = True

    def succeeded(self) -> None:
        """Note a call that went well, or failed for reasons that were not its own."""
        if self._failures or self._opened_at is not None:
            with self._lock:
                self._failures, self._opened_at, self._probing = 0, None, False

    def failed(self) -> None:
        """Note a failure; the one too many opens it, and so does a failed trial."""
        with self._lock:
            self._failures += 1
            if self._probing or self._failures >= self._breaker.failures:
                self._opened_at = self._clock()
            self._probing = False

    def left(self) -> None:
        """Note a call that was cancelled: it says nothing, but the trial is free again."""
        with self._lock:
            self._probing = False
