"""Where an emit finds its chain: by way of emitting and type, and where asked for by key value or wire name.

One table serves all who may publish anything; who may not has its own, and once somebody asks who emits, each has.
Guarded by the bus's lock; an emit reads without it. A key value that nobody filters by shares one chain.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, MutableMapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, final
from weakref import WeakKeyDictionary

from plugbus._chain.links import Entry
from plugbus.errors import EventTypeError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

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


MAX_NAMES = 1024
"""How many names of untyped events have a compiled chain at once."""


@final
class ByKey:
    """The chains of one event type, by key value.

    Args:
        field: The key field.
        keys: The key values that somebody filters by.
        build: Compiles the chain of one key value.
        default: The chain of every other value.
        lock: Held while a chain is compiled and kept, so that no change comes in between.
    """

    __slots__ = ("_build", "_lock", "default", "entries", "key_of")

    def __init__(
        self,
        field: str,
        keys: Iterable[Hashable],
        build: Callable[[Hashable], Entry],
        *,
        default: Entry,
        lock: AbstractContextManager[object],
    ) -> None:
        self.key_of = attrgetter(field)
        self._build, self.default, self._lock = build, default, lock
        self.entries: MutableMapping[Hashable, Entry] = {key: self._unbuilt(key) for key in keys}

    def entry(self) -> Entry:
        """Return what an emit of the type runs."""
        return (_by_key, (self.key_of, self.entries, self.default))

    def touch(self, key: Hashable, *, used: bool) -> None:
        """Forget the chain of one key value, because a subscription to it came or went."""
        if used:
            self.entries[key] = self._unbuilt(key)
        else:
            self.entries.pop(key, None)

    def _unbuilt(self, key: Hashable) -> Entry:
        def build(event: Any, _: None) -> Any:
            with self._lock:
                entry = self.entries[key] = self._build(key)
            return entry[0](event, entry[1])

        return (build, None)


def _by_key(event: Any, rest: tuple[Callable[[Any], Hashable], dict[Hashable, Entry], Entry]) -> Any:
    key_of, entries, default = rest
    try:
        first, below = entries.get(key_of(event), default)
    except TypeError:  # an unhashable value: nobody can have subscribed to it
        first, below = default
    return first(event, below)


def by_name(build: Callable[[str], Entry]) -> Entry:
    """Choose the chain of a ``NamedEvent`` by its wire name."""
    entries: dict[str, Entry] = {}

    def choose(event: Any, _: None) -> Any:
        entry = entries.get(event.name)
        if entry is None:
            if len(entries) >= MAX_NAMES:  # names come from outside and may be without end
                entries.clear()
            entry = entries[event.name] = build(event.name)
        return entry[0](event, entry[1])

    return (choose, None)
