"""The way from thread to loop to thread that led here: who holds which permit, and whether emits go round in a loop."""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

if TYPE_CHECKING:
    from plugbus._threads import Threads


@final
class Stage:
    """One hop or bridge on the way here.

    Attributes:
        threads: Whose permit an emit holds while a worker thread runs for it; None for a bridge.
        event: The type of the event.
        place: Where in which chain that is.
        active: Whether it is still under way; what was started from it and outlived it holds nothing.
        cancelled_class: What a bridge was cancelled with on the loop.
        worker: The thread of a hop that may be given up, once it runs.
    """

    __slots__ = ("active", "cancelled_class", "event", "place", "threads", "worker")

    def __init__(self, threads: Threads | None, event: type, place: object) -> None:
        self.threads, self.event, self.place = threads, event, place
        self.active = True
        self.cancelled_class: type[BaseException] | None = None
        self.worker: int | None = None


ROUTE: Final[ContextVar[tuple[Stage, ...]]] = ContextVar("plugbus_route", default=())
"""What led from thread to loop to thread, up to here."""


NOT_CARRIED: Final[list[tuple[ContextVar[Any], Any]]] = [(ROUTE, ())]
"""What background work does not take over from who caused it, and what it has instead: it is nobody's part any more."""


def most_visited(route: tuple[Stage, ...]) -> int:
    """Return how often the place was visited that was visited most; a long chain visits many places, each once."""
    visits: dict[int, int] = {}
    for stage in route:
        place = id(place_of(stage.place))
        visits[place] = visits.get(place, 0) + 1
    return max(visits.values(), default=0)


def place_of(call: Any) -> object:
    """Return what stays the same of a compiled call from one emit to the next."""
    while isinstance(call, partial):
        call = call.func
    return call
