"""The way from thread to loop to thread that led here, for finding and showing a loop of emits."""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import Any, Final, NamedTuple

__all__ = ("ROUTE", "Stage", "most_visited", "place_of")


class Stage(NamedTuple):
    """One hop or bridge on the way here: the type of its event, and its place in a chain."""

    event: type
    place: object


ROUTE: Final[ContextVar[tuple[Stage, ...]]] = ContextVar("plugbus_route", default=())
"""What led from thread to loop to thread, up to here."""


def most_visited(route: tuple[Stage, ...]) -> int:
    """Return how often the place was visited that was visited most; a long chain visits many places, each once."""
    visits: dict[int, int] = {}
    for stage in route:
        visits[id(stage.place)] = visits.get(id(stage.place), 0) + 1
    return max(visits.values(), default=0)


def place_of(call: Any) -> object:
    """Return what stays the same of a compiled call from one emit to the next."""
    while isinstance(call, partial):
        call = call.func
    return call
