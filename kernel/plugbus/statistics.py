"""What happened on a bus so far, as a frozen snapshot for operators and tests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from plugbus._background.queue import Queue
    from plugbus._threads import Threads
    from plugbus.owner import Owner
    from plugbus.subscription import Subscription

__all__ = ("BackgroundStatistics", "BusStatistics", "PluginStatistics")


@final
class BackgroundStatistics(NamedTuple):
    """What waits for one background observer, and what has become of the rest; or for what somebody posted.

    Attributes:
        depth: Events that wait, between two attempts included.
        running: Deliveries under way.
        delivered: Events that it was given, and took.
        retried: Attempts that failed and were followed by another.
        dropped: Events that were dropped because there was no room.
        failed: Events whose last attempt failed.
        left: Events left over when the time to drain was up.
        full: Whether as many wait as may.

    Example:
        >>> BackgroundStatistics(delivered=3).depth
        0
    """

    depth: int = 0
    running: int = 0
    delivered: int = 0
    retried: int = 0
    dropped: int = 0
    failed: int = 0
    left: int = 0
    full: bool = False


@final
class PluginStatistics(NamedTuple):
    """What one plugin's subscribers did.

    Attributes:
        subscriptions: How many it has.
        failures: Errors that its subscribers raised and the emitters did not see.
        threads_abandoned: Worker threads that overran their time limit and still run.
        breakers: State of each breaker, by name of the subscriber: ``"closed"``, ``"open"`` or ``"half_open"``.
        background: What each background observer has done, by name; what was posted is under ``"bus.post"``.
        threads_busy: Worker threads that it occupies now; those of background work count, and need no permit.
        threads_limit: How many permits it has, per event loop; zero for one that has left.

    Example:
        >>> from plugbus import Breaker, EventBus
        >>> bus = EventBus()
        >>> subscription = bus.observe(str, print, breaker=Breaker(failures=3), name="printer")
        >>> bus.statistics().plugins["host"].breakers
        {'printer': 'closed'}
    """

    subscriptions: int
    failures: int
    threads_abandoned: int
    breakers: Mapping[str, str]
    background: Mapping[str, BackgroundStatistics]
    threads_busy: int = 0
    threads_limit: int = 0


@final
class BusStatistics(NamedTuple):
    """What the subscribers of each plugin did.

    Attributes:
        plugins: By plugin id; ``"host"`` for the embedding service.

    Example:
        >>> from plugbus import EventBus
        >>> bus = EventBus()
        >>> subscription = bus.observe(str, print)
        >>> bus.statistics().plugins["host"].subscriptions
        1
    """

    plugins: Mapping[str, PluginStatistics]


def statistics_of(
    subscriptions: Iterable[Subscription],
    owners: Iterable[Owner],
    failures: Mapping[str, int],
    queues: Iterable[Queue],
) -> BusStatistics:
    """Count what is there."""
    by_plugin: dict[str, list[Subscription]] = {plugin: [] for plugin in failures}
    threads: dict[str, set[Threads]] = {}
    background: dict[str, dict[str, BackgroundStatistics]] = {}
    for owner in owners:
        threads.setdefault(owner.id, set()).add(owner.threads)
    for subscription in subscriptions:
        by_plugin.setdefault(subscription.plugin, []).append(subscription)
        threads.setdefault(subscription.plugin, set()).add(subscription.owner.threads)
    for queue in queues:
        background.setdefault(queue.plugin, {})[queue.name] = queue.statistics()
    return BusStatistics(
        {
            plugin: _of_plugin(
                by_plugin.get(plugin, []), failures.get(plugin, 0), background.get(plugin, {}), threads.get(plugin, ())
            )
            for plugin in {**by_plugin, **threads, **background}
        }
    )


def _of_plugin(
    members: list[Subscription],
    failures: int,
    background: Mapping[str, BackgroundStatistics],
    threads: Collection[Threads],
) -> PluginStatistics:
    breakers = {member.name: member.breaker.state for member in members if member.breaker is not None}
    return PluginStatistics(
        len(members),
        failures,
        sum(item.abandoned for item in threads),
        breakers,
        background,
        sum(item.busy for item in threads),
        sum(item.limit for item in threads),
    )
