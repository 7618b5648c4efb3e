"""How often to try again, and how long to wait in between.

Owns the arithmetic alone; the one who tries does the waiting.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

__all__ = ("Retry",)


@final
@dataclass(frozen=True, slots=True)
class Retry:
    """Try again with delays that grow by a factor, each a random part of itself ("full jitter"), up to a limit.

    Args:
        attempts: How often to try at most, the first time included; None for without end.
        delay_seconds: The longest wait before the second attempt, in seconds.
        factor: How much longer each wait may be than the one before it.
        max_delay_seconds: The longest wait of all, in seconds.
        jitter: Whether to wait a random time between zero and the longest, so that those who failed
            together do not come back together.

    Raises:
        ValueError: If *attempts* is below one, a time is negative or not finite, or *factor* is below one.

    Example:
        >>> list(Retry(attempts=5, delay_seconds=1, max_delay_seconds=4, jitter=False).delays())
        [1.0, 2.0, 4.0, 4.0]
    """

    attempts: int | None = 3
    delay_seconds: float = 0.5
    factor: float = 2.0
    max_delay_seconds: float = 60.0
    jitter: bool = True

    def __post_init__(self) -> None:
        if self.attempts is not None and not self.attempts >= 1:
            raise ValueError(f"Retry(attempts={self.attempts!r}): must be one or more; use None for without end")
        for name, least in (("delay_seconds", 0), ("max_delay_seconds", 0), ("factor", 1)):
            value = getattr(self, name)
            if not least <= value < math.inf:  # this way round, NaN fails too
                raise ValueError(f"Retry({name}={value!r}): must be a finite number of at least {least}")

    def delays(self, rng: random.Random | None = None) -> Iterator[float]:
        """Yield the wait before each further attempt, in seconds; no more attempts when it ends.

        Args:
            rng: Where chance comes from; a test passes its own, seeded.

        Example:
            >>> import random
            >>> [round(delay, 3) for delay in Retry(attempts=3, delay_seconds=1).delays(random.Random(7))]
            [0.324, 0.302]
        """
        chance = rng.uniform if rng else random.uniform  # the module's own starts anew in a forked process
        limit = float(self.max_delay_seconds)
        longest = min(float(self.delay_seconds), limit)
        left = math.inf if self.attempts is None else self.attempts - 1
        while left > 0:
            yield chance(0, longest) if self.jitter else longest
            longest = min(longest * self.factor, limit)
            left -= 1
