"""Who hears an event, and in which order: an index by type, name, pattern and key; then the order of those found.

Guarded by the bus's lock. A change of the index touches what it concerns and nothing else, whatever else is on the bus.
The order is Kahn's, "Topological sorting of large networks" (1962), made greedy by a heap of those that may go next.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from plugbus._annotations import underlying
from plugbus.errors import OrderCycleError
from plugbus.options import ABSENT, Reference, Target
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


Placed = tuple["Subscription", str]
"""A subscription and the reason for its place."""


class Roles(NamedTuple):
    """Who hears an event, by role."""

    listeners: list[Placed]
    handlers: list[Subscription]
    observers: list[Placed]

    def in_order(self) -> list[Placed]:
        """Return all of them as they run; observers inside the chain come before those that are told after it."""
        answering = [(handler, "answers the request") for handler in self.handlers]
        inside = [placed for placed in self.observers if placed[0].inside]
        outside = [placed for placed in self.observers if not placed[0].inside]
        return [*self.listeners, *answering, *inside, *outside]


def in_order(event: str, subscriptions: Iterable[Subscription]) -> list[Placed]:
    """Return subscriptions in order, each with the reason for its place.

    Raises:
        OrderCycleError: If ``before`` and ``after`` contradict each other.
    """
    waiting = sorted(subscriptions, key=_rank)
    if not any(item.options.before or item.options.after for item in waiting):
        return [(item, _plain_reason(item)) for item in waiting]
    return _topological(event, waiting)


def _rank(subscription: Subscription) -> tuple[int, tuple[int, int]]:
    return subscription.options.priority, subscription.sequence


def _plain_reason(subscription: Subscription) -> str:
    return f"priority {subscription.options.priority}"


def _topological(event: str, waiting: Sequence[Subscription]) -> list[Placed]:
    above = edges(waiting)
    below: dict[int, list[int]] = {index: [] for index in range(len(waiting))}
    missing = [len(reasons) for reasons in above]
    for index, reasons in enumerate(above):
        for other in reasons:
            below[other].append(index)
    ready = [index for index, count in enumerate(missing) if not count]
    placed: list[Placed] = []
    while ready:  # indices are ranks, and a sorted list is a heap
        index = heapq.heappop(ready)
        reasons = above[index]
        placed.append((waiting[index], "; ".join(reasons.values()) or _plain_reason(waiting[index])))
        for other in below[index]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, other)
    if len(placed) < len(waiting):
        raise OrderCycleError(event, _cycle(waiting, above, {index for index, count in enumerate(missing) if count}))
    return placed


def edges(waiting: Sequence[Subscription]) -> list[dict[int, str]]:
    """Return for each subscription which others must come before it, and why."""
    above: list[dict[int, str]] = [{} for _ in waiting]
    for index, item in enumerate(waiting):
        for reference in item.options.after:
            for other in _indices(reference, waiting, index):
                above[index].setdefault(other, f"after {waiting[other].name}")
        for reference in item.options.before:
            for other in _indices(reference, waiting, index):
                above[other].setdefault(index, f"{item.name} goes before it")
    return above


def _indices(reference: Reference, waiting: Sequence[Subscription], own: int) -> Iterator[int]:
    for index, item in enumerate(waiting):
        if index != own and meant_by(reference, item):
            yield index
        elif index == own and reference == item.name:
            yield index  # before or after itself: a cycle of one


def meant_by(reference: Reference, subscription: Subscription) -> bool:
    """Tell whether a reference means a subscription: by class, function, plugin id or name."""
    if isinstance(reference, str):
        plugin = reference.replace("_", "-")
        return reference == subscription.name or plugin == subscription.owner.id.replace("_", "-")
    target: Any = subscription.target
    if isinstance(reference, type):
        return isinstance(target, reference) or isinstance(getattr(target, "__self__", None), reference)
    return target == reference or underlying(target) is underlying(reference)


def _cycle(waiting: Sequence[Subscription], above: Sequence[dict[int, str]], stuck: set[int]) -> tuple[str, ...]:
    """Walk upwards among those that never became ready until one is met again."""
    path: list[int] = []
    index = min(stuck)
    while index not in path:
        path.append(index)
        index = next(other for other in above[index] if other in stuck)
    return tuple(waiting[step].name for step in reversed(path[path.index(index) :]))
