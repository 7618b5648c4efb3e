"""See what came out of the chains of a bus."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from plugbus.bus import EventBus
    from plugbus.options import Target


class Captured(Sequence[Any]):
    """The events that were captured so far, in the order in which they were told; equal to a list of the same.

    Example:
        >>> from plugbus import EventBus
        >>> bus = EventBus()
        >>> with capture(bus, str) as events:
        ...     _ = bus.emit("one"), bus.emit(2)
        >>> events == ["one"], len(events), events[0]
        (True, 1, 'one')
    """

    def __init__(self) -> None:
        self._events: list[Any] = []

    def of(self, cls: type) -> list[Any]:
        """Return those of one type (or a subclass of it)."""
        return [event for event in self._events if isinstance(event, cls)]

    def clear(self) -> None:
        """Forget those so far."""
        self._events.clear()

    def _add(self, event: object) -> None:
        self._events.append(event)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._events[index]

    def __len__(self) -> int:
        return len(self._events)

    def __eq__(self, other: object) -> bool:
        return self._events == (other._events if isinstance(other, Captured) else other)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Captured({self._events!r})"


@contextmanager
def capture(bus: EventBus, *events: Target) -> Iterator[Captured]:
    """Note the events that pass their chains, as long as the block runs.

    What a listener vetoed, or what failed, is not among them; a changed event is there as it was changed. Each is
    there once, however many of *events* it is meant by; sticky ones of earlier are not.

    Args:
        bus: The bus.
        *events: Event types, wire names or patterns; every event and request unless given.

    Raises:
        UnknownEventError: As ``EventBus.observe``.

    Example:
        >>> from plugbus import Event, EventBus
        >>> class Tick(Event):
        ...     number: int
        >>> bus = EventBus()
        >>> with capture(bus, Tick) as ticks:
        ...     _ = bus.emit(Tick(number=1))
        >>> ticks == [Tick(number=1)]
        True
    """
    captured = Captured()

    def note(event: object) -> None:
        captured._add(event)  # noqa: SLF001 - it is ours

    with bus.observe(events or (object,), note, run_in="caller", priority=-sys.maxsize):
        captured.clear()  # of the sticky events that it was just told
        yield captured
