"""Subscriptions by a name or pattern that means nothing known, and nearly means something.

Owns the comparison alone. Names of foreign and untyped events are legal, so only near misses are told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from plugbus.errors import Problem
from plugbus.registry import Pattern, is_pattern

if TYPE_CHECKING:
    from plugbus._kernel.unit import Unit
    from plugbus.event_types import EventType
    from plugbus.subscription import Subscription

_LIKENESS: Final = 0.8
"""Of 1.0, as ``difflib`` measures it: two letters exchanged, one too many or one too few, in a name of usual length."""


def misspelt(
    subscriptions: Iterable[Subscription], types: Iterable[EventType], units: Iterable[Unit]
) -> Iterator[Problem]:
    """Find near misses among the names that are subscribed to.

    Args:
        subscriptions: All of them.
        types: The event types that are known.
        units: The plugins, whose manifests say what else they publish.
    """
    known = {name for declared in types for name in (declared.name, *declared.aliases)}
    published = {text for unit in units if unit.manifest for text in unit.manifest.publishes or ()}
    names = known | {text for text in published if not is_pattern(text)}
    patterns = [Pattern(text) for text in published if is_pattern(text)]
    for subscription in subscriptions:
        for target in subscription.events:
            if not isinstance(target, str) or target in published or any(item.matches(target) for item in patterns):
                continue
            nearest = _nearest(target, names)
            if nearest:
                where = f"{subscription.kind} {subscription.name!r} of plugin {subscription.plugin!r}"
                hint = f"did you mean {' or '.join(map(repr, nearest))}? It is allowed, the event may come from outside"
                yield Problem(where, f"{target!r} means no event that is known", hint, fatal=False)


def _nearest(target: str, names: set[str]) -> list[str]:
    """Return what was probably meant; nothing if it means something as it is."""
    if not is_pattern(target):
        return [] if target in names else get_close_matches(target, sorted(names), n=3, cutoff=_LIKENESS)
    if any(map(Pattern(target).matches, names)):
        return []
    alike = {text for name in names for text in _in_the_shape_of(target.split("."), name.split("."))}
    return get_close_matches(target, sorted(alike), n=3, cutoff=_LIKENESS)


def _in_the_shape_of(pattern: list[str], name: list[str]) -> Iterator[str]:
    """Put wildcards into a name where a pattern has them, if it has as many segments."""
    if pattern[-1] == "**" and len(name) >= len(pattern):
        name = name[: len(pattern)]
    if len(name) == len(pattern) and "**" not in pattern[:-1]:
        yield ".".join(part if "*" in part else given for part, given in zip(pattern, name, strict=True))
