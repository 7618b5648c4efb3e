"""What happened on a bus so far, as a frozen snapshot for operators and tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, final

if TYPE_CHECKING:
    from plugbus.subscription import Subscription

__all__ = ("BusStatistics", "PluginStatistics")


@final
class PluginStatistics(NamedTuple):
    """What one plugin's subscribers did.

    Attributes:
        subscriptions: How many it has.
        failures: Errors that its subscribers raised and the emitters did not see.
        threads_abandoned: Worker threads that overran their time limit and still run.
        breakers: State of each breaker, by name of the subscriber: ``"closed"``, ``"open"`` or ``"half_open"``.

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


def statistics_of(subscriptions: Iterable[Subscription], failures: Mapping[str, int]) -> BusStatistics:
    """Count what is there."""
    by_plugin: dict[str, list[Subscription]] = {plugin: [] for plugin in failures}
    for subscription in subscriptions:
        by_plugin.setdefault(subscription.plugin, []).append(subscription)
    return BusStatistics(
        {plugin: _of_plugin(members, failures.get(plugin, 0)) for plugin, members in by_plugin.items()}
    )


def _of_plugin(members: list[Subscription], failures: int) -> PluginStatistics:
    breakers = {member.name: member.breaker.state for member in members if member.breaker is not None}
    threads = {member.owner.threads for member in members}
    return PluginStatistics(len(members), failures, sum(item.abandoned for item in threads), breakers)
