"""Compiled chains by way of emitting and type: one table for all who may publish anything, one for each who may not.

Guarded by the bus's lock; an emit reads without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, final
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from plugbus._chain.links import Entry
    from plugbus.owner import Owner

__all__ = ("Mode", "Tables")

Mode: TypeAlias = Literal["emit", "aemit", "call", "acall"]
Table: TypeAlias = "dict[Mode, dict[type, Entry]]"

MODES: Final[tuple[Mode, ...]] = ("emit", "aemit", "call", "acall")


@final
class Tables:
    """Where emits find their chains. What stands in an owner's own table has been allowed to that owner."""

    __slots__ = ("_own", "shared")

    def __init__(self) -> None:
        self.shared: Table = _empty()
        self._own: WeakKeyDictionary[Owner, Table] = WeakKeyDictionary()

    def of(self, owner: Owner) -> Table:
        """Return the table of an owner: the shared one, unless there is something that it may not publish."""
        if owner.permits is None or not owner.permits.limits_publishing:
            return self.shared
        return self._own.setdefault(owner, _empty())

    def drop(self, cls: type) -> None:
        """Forget what was compiled for a type."""
        for table in (self.shared, *self._own.values()):
            for entries in table.values():
                entries.pop(cls, None)

    def clear(self) -> None:
        """Forget everything."""
        for table in (self.shared, *self._own.values()):
            for entries in table.values():
                entries.clear()


def _empty() -> Table:
    return {mode: {} for mode in MODES}
