"""Which events a reader asked for, and which of them it may have.

Owns the answer for one event; asked for each event and reader, so it remembers by wire name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, final

from plugbus import EventBus, EventTypeError, Forbidden, LoggedEvent, Principal, Problem
from plugbus.registry import Pattern, is_pattern
from plugbus_adapters.http.documents.catalogue import may
from plugbus_adapters.http.problems import ProblemError

__all__ = ("MAX_PATTERNS", "Selection", "names_of")

MAX_PATTERNS: Final = 100
_MOST_NAMES: Final = 1000


def names_of(bus: EventBus, name: str) -> tuple[str, ...]:
    """Return the wire name of an event and its aliases; the name itself for one that no type has."""
    declared = bus.type_named(name)
    return (name,) if declared is None else (declared.name, *declared.aliases)


@final
class Selection:
    """What one reader reads.

    Args:
        bus: Knows names and aliases.
        principal: Who reads; it gets no event that its scopes leave out, whatever it asks for.
        types: Wire names and patterns; all that it may have, if empty.
        key: Only events with this key value, as text.

    Raises:
        Forbidden: If it may not subscribe to all that a name or pattern means.
        ProblemError: If something is neither.
    """

    __slots__ = ("_bus", "_key", "_names", "_patterns", "_principal")

    def __init__(self, bus: EventBus, principal: Principal, types: Sequence[str] = (), key: str | None = None) -> None:
        self._bus, self._principal, self._key = bus, principal, key
        self._patterns = _checked(types)
        for name in types:
            if not may(principal, "subscribe", [name] if "*" in name else names_of(bus, name)):
                raise Forbidden(f"this needs the scope 'subscribe:{name}'", code="insufficient_scope")
        if not types and not any(scope.startswith("subscribe:") or scope == "**" for scope in principal.scopes):
            raise Forbidden("this needs a scope such as 'subscribe:order.*'", code="insufficient_scope")
        self._names: dict[str, bool] = {}

    def wants(self, event: LoggedEvent) -> bool:
        """Tell whether an event is to be sent."""
        if self._key is not None and event.key != self._key:
            return False
        known = self._names.get(event.name)
        return self._decide(event.name) if known is None else known

    def _decide(self, name: str) -> bool:
        names = names_of(self._bus, name)
        asked = not self._patterns or any(pattern.matches(each) for pattern in self._patterns for each in names)
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        self._names[name] = asked and may(self._principal, "subscribe", names)
        return self._names[name]


def _checked(types: Sequence[str]) -> tuple[Pattern, ...]:
    if len(types) > MAX_PATTERNS:
        raise ProblemError(400, f"at most {MAX_PATTERNS} names and patterns go together", code="too_many_types")
    problems = []
    for name in types:
        try:
            is_pattern(name)
        except EventTypeError:
            problems.append(Problem("query.type", f"{name[:80]!r} is neither a wire name nor a pattern"))
    if problems:
        raise ProblemError(400, "the request does not fit", code="invalid", problems=problems)
    return tuple(map(Pattern, types))
