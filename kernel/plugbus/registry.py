"""Which event types one bus knows by name, and which names a pattern means.

Owns the names; who listens to a type is the bus's business.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, final
from weakref import WeakSet

from plugbus._errors.base import close_names
from plugbus.errors import DuplicateNameError, EventTypeError, UnknownEventError
from plugbus.event_types import EventType, arguments_of, event_type, origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from plugbus._generations import Generations
    from plugbus.owner import Owner

__all__ = ("Pattern", "TypeRegistry", "is_pattern")

_SEGMENT = r"[^.\s*]+"
_VALID = re.compile(rf"({_SEGMENT}|\*\*?)(\.({_SEGMENT}|\*\*?))*")
_SEGMENT_OR_WILDCARD = re.compile(rf"{_SEGMENT}|\*\*?")
_MOST_STATES = 100


def is_pattern(name: str) -> bool:
    """Tell whether a target given as text is a pattern rather than a wire name.

    Raises:
        EventTypeError: If it is neither.
    """
    if not _VALID.fullmatch(name):
        raise EventTypeError(name, "is no wire name or pattern: segments joined by dots, in a pattern '*' or '**'")
    return "*" in name


@final
class Pattern:
    """A pattern over wire names: ``*`` is one segment, ``**`` one or more.

    Example:
        >>> Pattern("order.*").matches("order.placed"), Pattern("order.*").matches("order.item.added")
        (True, False)
        >>> Pattern("order.**").matches("order.item.added")
        True
    """

    __slots__ = ("_parts", "_regex", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = text.split(".")
        kinds = {"*": r"[^.]+", "**": r".+"}
        self._regex = re.compile(r"\.".join(kinds.get(part, re.escape(part)) for part in self._parts))

    def matches(self, name: str) -> bool:
        """Tell whether a wire name is meant."""
        return self._regex.fullmatch(name) is not None

    def covers(self, target: str) -> bool:
        """Tell whether everything that a wire name or another pattern means is meant here, too.

        A target may come from outside: what is no name and no pattern, such as ``a*``, no wildcard covers, and the
        time it takes is bounded. One that would take longer counts as not covered.

        Example:
            >>> Pattern("order.**").covers("order.*"), Pattern("order.*").covers("order.**")
            (True, False)
        """
        # Each state is a set of places, as bits, that a name meant by the target may have led to in this pattern.
        # A wildcard of the target stands for a segment that no other wildcard can match, so it is tried as itself.
        states = {1}
        for part in target.split("."):
            found = {self._step(state, part) for state in states}
            while part == "**" and (longer := {self._step(state, part) for state in found} - found):
                found |= longer
                if len(found) > _MOST_STATES:
                    return False
            states = found
        return all(state >> len(self._parts) for state in states)

    def _step(self, state: int, part: str) -> int:
        """Return the places that one more segment leads to."""
        wild = _SEGMENT_OR_WILDCARD.fullmatch(part) is not None
        result = 0
        for place, own in enumerate(self._parts):
            here = own == part or (wild and own in {"*", "**"})
            stay = wild and own == "**"
            if (here and state >> place & 1) or (stay and state >> place + 1 & 1):
                result |= 2 << place
        return result


@final
class TypeRegistry:
    """The event types of one bus, by class and by wire name. Guarded by the bus's lock.

    Args:
        removed: Called with each class that is taken out.
    """

    def __init__(self, removed: Callable[[type], object] = lambda _: None) -> None:
        self._removed = removed
        self._by_class: dict[type, EventType] = {}
        self._by_name: dict[str, EventType] = {}
        self._owners: dict[type, set[Owner]] = {}
        self._entered: dict[Owner, set[type]] = {}
        self._declared: dict[type, Owner] = {}
        self._below: defaultdict[type, set[type]] = defaultdict(set)
        self._superseded: WeakSet[type] = WeakSet()
        self.generations: Generations | None = None

    def __iter__(self) -> Iterator[EventType]:
        return iter(self._by_class.values())

    def __contains__(self, cls: type) -> bool:
        return cls in self._by_class

    def declare(self, cls: type, owner: Owner) -> EventType:
        """Enter a type that is the owner's own: it leaves with the owner, whoever else has used it.

        Raises:
            DuplicateNameError: As :meth:`add`.
        """
        declared = self.add(cls, owner)
        self._declared.setdefault(cls, owner)
        return declared

    def add(self, cls: type, owner: Owner) -> EventType:
        """Enter a type that is used; unless declared by one of them, it stays until the last user has left.

        Raises:
            DuplicateNameError: If another type has one of the names.
        """
        known = self._by_class.get(cls)
        if known is not None:
            self._enter(cls, owner)
            return known
        declared = event_type(cls)
        replaced = {self._free(name, declared, owner) for name in (declared.name, *declared.aliases)} - {None}
        aside = replaced and (cls in self._superseded or (self.generations and self.generations.is_aside(owner)))
        for old in () if aside else replaced:
            self._superseded.add(old.cls)  # type: ignore[union-attr]
            self.remove(old.cls)  # type: ignore[union-attr]
        self._by_class[cls] = declared
        self._enter(cls, owner)
        if not aside:
            self._by_name.update(dict.fromkeys((declared.name, *declared.aliases), declared))
        for base in cls.__mro__:
            self._below[base].add(cls)
        return declared

    def _enter(self, cls: type, owner: Owner) -> None:
        self._owners.setdefault(cls, set()).add(owner)
        self._entered.setdefault(owner, set()).add(cls)

    def _free(self, name: str, declared: EventType, owner: Owner) -> EventType | None:
        """Return the older version of the same class that has the name, or nothing if the name is free."""
        holder = self._by_name.get(name)
        if holder is None or holder.cls is declared.cls:
            return None
        if _identity(holder.cls) == _identity(declared.cls) or self._hands_over(holder.cls, owner):
            return holder
        raise DuplicateNameError(name, ".".join(_identity(holder.cls)), ".".join(_identity(declared.cls)))

    def _hands_over(self, cls: type, owner: Owner) -> bool:
        """Tell whether a type is that of the plugin in whose place the owner comes."""
        generations = self.generations
        return generations is not None and generations.takes_over(owner, self._declared.get(cls))

    def promote(self, owner: Owner, old: Owner) -> set[type]:
        """Give the names of types to those of one generation of a plugin; return the types whose names have moved."""
        moved: set[type] = set()
        for cls in self._entered.get(owner, ()):
            if self._declared.get(cls) is old:
                self._declared[cls] = owner
            declared = self._by_class[cls]
            for name in (declared.name, *declared.aliases):
                holder = self._by_name.get(name, declared)
                if holder is not declared and (
                    _identity(holder.cls) == _identity(cls) or old in self._owners[holder.cls]
                ):
                    moved |= {cls, holder.cls}
                    self._superseded.add(holder.cls)
                    self._by_name[name] = declared
                    self._superseded.discard(cls)
        return moved

    def remove(self, cls: type) -> None:
        """Take a type out again, if it is there."""
        declared = self._by_class.pop(cls, None)
        if declared is None:
            return
        self._declared.pop(cls, None)
        for owner in self._owners.pop(cls):
            self._entered[owner].discard(cls)
        for name in (declared.name, *declared.aliases):
            if self._by_name.get(name) is declared:
                del self._by_name[name]
        for base in cls.__mro__:
            self._below[base].discard(cls)
            if not self._below[base]:
                del self._below[base]
        self._removed(cls)

    def remove_owned(self, owner: Owner) -> None:
        """Take out the types that an owner declared, and those that nobody else uses."""
        for cls in tuple(self._entered.get(owner, ())):
            if self._owners[cls] == {owner} or self._declared.get(cls) is owner:
                self.remove(cls)
            else:
                self._owners[cls].discard(owner)
        self._entered.pop(owner, None)

    def named(self, name: str) -> EventType | None:
        """Return the type with a wire name or alias."""
        return self._by_name.get(name)

    def expect(self, name: str) -> EventType:
        """Return the type with a wire name or alias.

        Raises:
            UnknownEventError: If there is none; it shows the nearest names.
        """
        found = self._by_name.get(name)
        if found is None:
            raise UnknownEventError(name, close_names(name, self._by_name))
        return found

    def below(self, cls: type) -> frozenset[type]:
        """Return the known types that a subscription to *cls* hears: itself and its subclasses."""
        return frozenset(self._below.get(cls, ()))

    def matching(self, pattern: Pattern) -> frozenset[type]:
        """Return the known types that a pattern means."""
        return frozenset(found.cls for name, found in self._by_name.items() if pattern.matches(name))


def _identity(cls: type) -> tuple[str, str]:
    origin = origin_of(cls)
    if origin is None:
        return cls.__module__, cls.__qualname__
    module, name = _identity(origin)  # a parametrized class has the module of whoever parametrized it first
    arguments = (".".join(_identity(item)) if isinstance(item, type) else repr(item) for item in arguments_of(cls))
    return module, f"{name}[{', '.join(arguments)}]"
