"""What may stand in a label: so many values, and no more.

Each value makes time series that are kept for as long as the process runs, and in the database much longer.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from typing import Final, final

__all__ = ("OTHER", "Names", "is_plain")

OTHER: Final = "other"
"""Stands for whatever has no label value of its own."""

_PLAIN: Final = re.compile(r"(?=.{1,100}\Z)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def is_plain(name: str) -> bool:
    """Tell whether a name that anybody may have chosen can be shown: no addresses, no sentences, no odd characters.

    Example:
        >>> is_plain("order.item-added"), is_plain("mail.ann@example.org"), is_plain("a" * 101)
        (True, False, False)
    """
    return _PLAIN.fullmatch(name) is not None


@final
class Names:
    """The values of one label: the first ones as they are, all further ones as :data:`OTHER`. From any thread.

    Args:
        most: How many.

    Example:
        >>> names = Names(1)
        >>> names.shown("a"), names.shown("b"), names.shown("a")
        ('a', 'other', 'a')
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def shown(self, name: str) -> str:
        """Return what stands in the label for a name."""
        with self._lock:
            if name not in self._known:
                if len(self._known) >= self._most:
                    return OTHER
                self._known.add(name)
        return name

    def forget(self, names: Iterable[str]) -> None:
        """Make room: these are gone."""
        with self._lock:
            self._known.difference_update(names)

    def __contains__(self, name: object) -> bool:
        return name in self._known
