"""Watching a bus: what timing and tracing are built on.

Owns the interface; chains are compiled again with the callbacks, and without them when nobody watches.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol, final

__all__ = ("Instrument", "Watched")


@final
class Watched(NamedTuple):
    """What runs: a whole emit, or one subscriber of it.

    Attributes:
        kind: ``"emit"`` for the whole, else the kind of the subscriber.
        event: Wire name of the event type.
        subscriber: Name of the subscriber; empty for the whole.
        plugin: Id of its plugin; empty for the whole.

    Example:
        >>> Watched("observer", "order.placed", "notify", "shop").plugin
        'shop'
    """

    kind: Literal["emit", "listener", "handler", "observer"]
    event: str
    subscriber: str = ""
    plugin: str = ""


class Instrument(Protocol):
    """What ``EventBus.instrument`` takes; both methods must be quick and must not raise.

    Example:
        >>> from plugbus import Event, EventBus
        >>> class Tick(Event, name="tick"): ...
        >>> class Print:
        ...     def enter(self, what, event):
        ...         print("enter", what.kind, what.event)
        ...
        ...     def leave(self, what, token, error):
        ...         print("leave", what.kind, error)
        >>> bus = EventBus()
        >>> with bus.instrument(Print()):
        ...     _ = bus.emit(Tick())
        enter emit tick
        leave emit None
    """

    def enter(self, what: Watched, event: object, /) -> object:
        """Note a start; what it returns is handed to ``leave``."""

    def leave(self, what: Watched, token: object, error: BaseException | None, /) -> None:
        """Note an end; *error* is what was raised, a cancellation too."""
