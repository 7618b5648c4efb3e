"""Choosing a chain by more than the type: by key value, or by the wire name of a ``NamedEvent``.

Compiled in only where somebody subscribed by key. Each key value is compiled when it is first met; a value that nobody
filters by shares one chain and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, MutableMapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any, final

from plugbus._chain.links import Entry

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

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
