"""One subscription: who listens to what, how, and how it ends.

Owns no behaviour of the chain; ``_chain/`` reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, final

from plugbus._chain.targets import has_plain_form
from plugbus.events import NamedEvent

if TYPE_CHECKING:
    from plugbus._background.queue import Queue
    from plugbus._background.runner import Runner
    from plugbus._chain.policies import BreakerState
    from plugbus._chain.register import Prepared
    from plugbus.event_types import EventType
    from plugbus.options import Kind, Options, Target
    from plugbus.owner import Owner

__all__ = ("Subscription",)


@final
class Subscription:
    """A subscriber on the bus, until it is closed.

    Attributes:
        name: Its name, unique among those of its owner.
        kind: ``"listener"``, ``"handler"`` or ``"observer"``.
        events: The event types, wire names or patterns that it subscribed to.
        options: How it takes part.
        owner: Whom it belongs to.

    Example:
        >>> from plugbus import Event, EventBus
        >>> class Tick(Event): ...
        >>> bus, seen = EventBus(), []
        >>> with bus.observe(Tick, seen.append) as subscription:
        ...     _ = bus.emit(Tick())
        >>> _ = bus.emit(Tick())
        >>> len(seen), subscription.closed
        (1, True)
    """

    __slots__ = (
        "_close", "acall", "background", "breaker", "call", "closed", "container", "events", "kind", "name", "options",
        "owner", "sequence", "suspect", "target", "view",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - called from one place
        self,
        kind: Kind,
        events: tuple[Target, ...],
        options: Options,
        owner: Owner,
        name: str,
        sequence: tuple[int, int],
        ready: Prepared,
        close: Callable[[Subscription], None],
    ) -> None:
        self.kind: Kind = kind
        self.events, self.options, self.owner = events, options, owner
        self.name, self.sequence = name, sequence
        self.target, self.call, self.acall, self.view, self.container, self.suspect = ready
        self.breaker: BreakerState | None = None
        self.background: tuple[Queue, Runner] | None = None
        self.closed = False
        self._close = close

    @property
    def plugin(self) -> str:
        """The id of the plugin that it belongs to, ``"host"`` for the embedding service."""
        return self.owner.id

    @property
    def active(self) -> bool:
        """Whether it hears events: not closed, and its plugin has booted."""
        return not self.closed and self.owner.active

    def may_hear(self, declared: EventType, name: str | None = None) -> bool:
        """Whether its plugin may hear an event, and itself can; as plain data, live objects cannot be.

        Args:
            declared: The type of the event.
            name: The wire name, where the type does not say it.
        """
        permits = self.owner.permits
        asked = {declared.cls, declared.name, *declared.aliases} & {*self.events}
        if self.view is NamedEvent and not asked and not has_plain_form(declared.cls):
            return False
        return permits is None or permits.may_hear(declared, name)

    @property
    def inside(self) -> bool:
        """Whether it is an observer that is told within the chain; one that may fail the emit is."""
        return self.kind == "observer" and (self.options.inside or self.options.on_error == "raise")

    def close(self) -> None:
        """Take the subscriber off the bus; emits that run already go on with the chain they started with."""
        self._close(self)

    __call__ = close

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "active" if self.active else "waiting"
        return (
            f"<Subscription {self.kind} {self.name!r} of {self.plugin!r} to {describe_targets(self.events)}, {state}>"
        )


def describe_targets(events: tuple[Target, ...]) -> str:
    """Return targets as text: wire names of types, names and patterns as they are."""
    from plugbus.event_types import event_type

    return ", ".join(target if isinstance(target, str) else event_type(target).name for target in events)
