"""Compiled chains by way of emitting and type: one table for all who may publish anything, one for each who may not.

Once somebody asks who emits, each has its own.
Guarded by the bus's lock; an emit reads without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias, final
from weakref import WeakKeyDictionary

from plugbus.errors import EventTypeError

if TYPE_CHECKING:
    from plugbus._chain.links import Entry
    from plugbus.event_types import EventType
    from plugbus.owner import Owner

Mode: TypeAlias = Literal["emit", "aemit", "call", "acall"]
Table: TypeAlias = "dict[Mode, dict[type, Entry]]"

MODES: Final[tuple[Mode, ...]] = ("emit", "aemit", "call", "acall")
ASYNC: Final = frozenset({"aemit", "acall"})


class View(Protocol):
    """A bus as its owner sees it."""

    def _look_up(self, tables: Table) -> None:
        """Find the chains in this table from now on."""
        ...


@final
class Tables:
    """Where emits find their chains. What stands in an owner's own table has been allowed to that owner."""

    __slots__ = ("_own", "_views", "apart", "shared")

    def __init__(self) -> None:
        self.shared: Table = _empty()
        self.apart = False
        self._views: WeakKeyDictionary[View, Owner] = WeakKeyDictionary()
        self._own: WeakKeyDictionary[Owner, Table] = WeakKeyDictionary()

    def of(self, owner: Owner) -> Table:
        """Return the table of an owner: the shared one, unless there is something that it may not publish."""
        if not self.apart and (owner.permits is None or not owner.permits.limits_publishing):
            return self.shared
        return self._own.setdefault(owner, _empty())

    def drop(self, cls: type) -> None:
        """Forget what was compiled for a type."""
        if all([entries.pop(cls, None) is None for entries in self.shared.values()]):  # noqa: C419 - all of them go
            return  # what is not there is in no owner's table
        for table in self._own.values():
            for entries in table.values():
                entries.pop(cls, None)

    def clear(self) -> None:
        """Forget everything."""
        for table in (self.shared, *self._own.values()):
            for entries in table.values():
                entries.clear()

    def enter(self, view: View, owner: Owner) -> None:
        """Let an owner's view of the bus find its chains, now and when they move."""
        self._views[view] = owner
        view._look_up(self.of(owner))  # noqa: SLF001 - two halves of one thing

    def depart(self, view: View) -> None:
        """Let it find none any more."""
        self._views.pop(view, None)
        view._look_up(_empty())  # noqa: SLF001

    def part(self) -> None:
        """Give each owner a table of its own."""
        self.apart = True
        self._own.clear()
        for view, owner in self._views.items():
            view._look_up(self.of(owner))  # noqa: SLF001


def _empty() -> Table:
    return {mode: {} for mode in MODES}


def check_mode(mode: Mode, declared: EventType) -> None:
    """Refuse to emit a request, or to call an event.

    Raises:
        EventTypeError: If the type cannot be emitted this way.
    """
    if mode in ("emit", "aemit") and declared.is_request:
        raise EventTypeError(declared.name, f"is a request; use bus.{'acall' if mode == 'aemit' else 'call'}()")
    if mode in ("call", "acall") and not declared.is_request:
        raise EventTypeError(declared.name, f"is an event; use bus.{'aemit' if mode == 'acall' else 'emit'}()")
