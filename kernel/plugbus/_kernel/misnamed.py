"""Methods that were meant to be lifecycle methods and are not, because their name is another one.

Owns the names that other frameworks have for them; what a plugin uses itself is its own affair.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Final

from plugbus._kernel.targets import PHASES
from plugbus.errors import Problem

if TYPE_CHECKING:
    from plugbus._kernel.unit import Unit

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
