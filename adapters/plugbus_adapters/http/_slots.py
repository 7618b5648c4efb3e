"""How many streams may be open: of everybody, and of each who reads.

Owns the counting; a stream is a connection that lasts, so nothing else bounds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, final

from plugbus_adapters.http.problems import ProblemError

__all__ = ("StreamSlots",)

_RETRY: Final = (("retry-after", "5"),)


@final
class StreamSlots:
    """Counts the streams of one app. Not for several threads: streams live on one event loop.

    Attributes:
        open: How many are open.

    Example:
        >>> slots = StreamSlots()
        >>> with slots.taken("ann", most=10, most_each=2):
        ...     slots.open
        1
        >>> slots.open
        0
    """

    def __init__(self) -> None:
        self.open = 0
        self._of: Counter[str] = Counter()

    @contextmanager
    def taken(self, who: str, *, most: int, most_each: int) -> Iterator[None]:
        """Take a slot for a block.

        Args:
            who: Id of the principal; of nobody known, the address.
            most: How many may be open.
            most_each: How many of one.

        Raises:
            ProblemError: 503 or 429, if there are so many already.
        """
        if self.open >= most:
            raise ProblemError(503, f"{most} streams are open already", code="too_many_streams", headers=_RETRY)
        if self._of[who] >= most_each:
            told = f"{most_each} streams of yours are open already"
            raise ProblemError(429, told, code="too_many_streams", headers=_RETRY)
        self.open += 1
        self._of[who] += 1
        try:
            yield
        finally:
            self.open -= 1
            self._of[who] -= 1
            if not self._of[who]:
                del self._of[who]  # or every address that ever read would be kept
