"""Who subscribed to what: an index by type, wire name and pattern, and within each by key.

Guarded by the bus's lock. A change touches what it concerns and nothing else, whatever else is on the bus.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING, Final, final

from plugbus.options import ABSENT, Target
from plugbus.registry import Pattern, is_pattern

if TYPE_CHECKING:
    from plugbus.event_types import EventType
    from plugbus.subscription import Subscription

ANY: Final = object()
"""Stands for every key value."""

Members = dict[tuple[int, int], "Subscription"]


@final
class _Shelf:
    """The subscriptions to one target: those without a key, and those of each key value."""

    __slots__ = ("keyed", "plain")

    def __init__(self) -> None:
        self.plain: Members = {}
        self.keyed: dict[Hashable, Members] = {}

    def add(self, subscription: Subscription) -> None:
        key = subscription.options.key
        members = self.plain if key is ABSENT else self.keyed.setdefault(key, {})
        members[subscription.sequence] = subscription

    def remove(self, subscription: Subscription) -> None:
        key = subscription.options.key
        if key is ABSENT:
            self.plain.pop(subscription.sequence, None)
            return
        members = self.keyed.get(key, {})
        members.pop(subscription.sequence, None)
        if not members:
            self.keyed.pop(key, None)

    @property
    def empty(self) -> bool:
        return not self.plain and not self.keyed


@final
class Shelves:
    """All subscriptions of one bus."""

    def __init__(self) -> None:
        self._by_target: dict[Target, _Shelf] = {}
        self._patterns: dict[str, Pattern] = {}
        self.names = 0
        """How many subscriptions go by wire name or pattern."""

    def add(self, subscription: Subscription) -> None:
        """Put a subscription on the shelf of each of its targets."""
        for target in subscription.events:
            self._by_target.setdefault(target, _Shelf()).add(subscription)
            if isinstance(target, str):
                self.names += 1
                if is_pattern(target):
                    self._patterns.setdefault(target, Pattern(target))

    def remove(self, subscription: Subscription) -> None:
        """Take it off again."""
        for target in subscription.events:
            shelf = self._by_target[target]
            shelf.remove(subscription)
            self.names -= isinstance(target, str)
            if shelf.empty:
                del self._by_target[target]
                self._patterns.pop(target, None)  # type: ignore[arg-type]  # a type is no key there

    def _shelves(self, declared: EventType, name: str | None) -> Iterator[_Shelf]:
        names = {declared.name, *declared.aliases} if name is None else {name}
        targets: list[Target] = [*declared.cls.__mro__, *names]
        targets.extend(text for text, pattern in self._patterns.items() if any(map(pattern.matches, names)))
        for target in dict.fromkeys(targets):
            shelf = self._by_target.get(target)
            if shelf is not None:
                yield shelf

    def hearing(self, declared: EventType, key: object = ABSENT, name: str | None = None) -> list[Subscription]:
        """Return the active subscriptions that hear an event, and whose plugins may.

        Args:
            declared: Its type.
            key: Its key value; without one, only those that do not filter by key; ``ANY`` for all of them.
            name: Its wire name, where the type does not say it.
        """
        found = self.on_shelves(declared, key, name)
        return [subscription for subscription in found if subscription.active and subscription.may_hear(declared, name)]

    def on_shelves(self, declared: EventType, key: object = ABSENT, name: str | None = None) -> list[Subscription]:
        """Do the same for those that wait for their plugin to boot, too."""
        found: Members = {}
        for shelf in self._shelves(declared, name):
            found.update(shelf.plain)
            if key is ANY:
                found.update(item for members in shelf.keyed.values() for item in members.items())
            elif key is not ABSENT:
                found.update(shelf.keyed.get(key, {}))
        return list(found.values())

    def exactly(self, target: Target, key: object) -> list[Subscription]:
        """Return the subscriptions to one target with exactly this key, or without one."""
        shelf = self._by_target.get(target)
        if shelf is None:
            return []
        return list((shelf.plain if key is ABSENT else shelf.keyed.get(key, {})).values())

    def has_key(self, declared: EventType, key: Hashable) -> bool:
        """Tell whether somebody filters a type by this key value."""
        return any(key in shelf.keyed for shelf in self._shelves(declared, None))

    def keys(self, declared: EventType) -> set[Hashable]:
        """Return the key values that somebody filters a type by."""
        return {key for shelf in self._shelves(declared, None) for key in shelf.keyed}
