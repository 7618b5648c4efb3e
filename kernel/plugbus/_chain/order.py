"""The order of subscribers: topological by ``before`` and ``after``, then priority, then registration.

Kahn, "Topological sorting of large networks" (1962), made greedy by a heap of those that may go next.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from plugbus._annotations import underlying
from plugbus.errors import OrderCycleError

if TYPE_CHECKING:
    from plugbus.options import Reference
    from plugbus.subscription import Subscription

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
