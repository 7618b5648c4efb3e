"""Names that nobody will ever use, and that nearly are others: of lifecycle methods, and of events subscribed to.

Owns the comparison alone. Foreign events and methods of a plugin's own are legal, so only near misses are told.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Final

from plugbus._kernel.steps import PHASES
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


_PREFIX: Final = "on_"
_KNOWN: Final = {phase.removeprefix(_PREFIX): phase for phase in PHASES if phase.startswith(_PREFIX)}
_ELSEWHERE: Final = {
    **dict.fromkeys(("start", "startup", "load", "init", "setup", "enable", "install"), "on_boot"),
    **dict.fromkeys(("started", "loaded", "booted"), "on_ready"),
    **dict.fromkeys(("stop", "stopping", "unload", "close", "teardown", "disable", "exit"), "on_shutdown"),
    **dict.fromkeys(("health", "health_check", "check_health"), "check_health"),
}
# 0.8: 'on_bot' and 'on_raedy' are slips, 'on_book' and 'on_click' are somebody's own.
_CLOSE: Final = 0.8


def misnamed_steps(units: Iterable[Unit]) -> Iterator[Problem]:
    """Find methods of plugin classes that nobody will call, though their names say when they should be."""
    for unit in units:
        if unit.loaded is None or unit.definition.form == "module":
            continue
        target = unit.definition.target
        cls = target if isinstance(target, type) else type(target)
        for name in _unused(cls):
            meant = _meant(name)
            if meant:
                where = f"plugin {unit.id!r}, {cls.__qualname__}.{name}"
                hint = f"did you mean {meant}? The lifecycle methods are {', '.join(PHASES)}"
                yield Problem(where, "is no lifecycle method, and nothing calls it", hint, fatal=False)


def _meant(name: str) -> str:
    word = name.removeprefix(_PREFIX)
    close = get_close_matches(word, _KNOWN, n=1, cutoff=_CLOSE)
    return _KNOWN[close[0]] if close else _ELSEWHERE.get(word, "")


def _unused(cls: type) -> list[str]:
    """Return its methods whose name begins like that of a lifecycle method, and that no method of it mentions.

    A function with marks is left out: a subscriber, a provider or a hook is called by whoever reads the mark.
    """
    methods = {name: value for name, value in inspect.getmembers_static(cls) if isinstance(value, FunctionType)}
    mentioned = {name for method in methods.values() for name in _names_in(method.__code__)}
    return [
        name
        for name, method in methods.items()
        if name.startswith(_PREFIX) and name not in PHASES and not vars(method) and name not in mentioned
    ]


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names_in(inner)
