"""What a subscriber asks for: event types, wire names, patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from plugbus.errors import EventTypeError
from plugbus.event_types import EventType, event_type, origin_of
from plugbus.events import Event, NamedEvent, Request
from plugbus.registry import TypeRegistry, is_pattern

if TYPE_CHECKING:
    from plugbus.options import Kind, Target
    from plugbus.subscription import Subscription

_ROOTS: Final[frozenset[type]] = frozenset({object, Event, Request, NamedEvent})


def is_root(target: Target) -> bool:
    """Tell whether it is subscribed to without being an event type of somebody's, as ``Event`` and ``Request[int]``."""
    return target in _ROOTS or (isinstance(target, type) and origin_of(target) is Request)


def checked_targets(given: tuple[Any, ...], kind: Kind, registry: TypeRegistry) -> tuple[Target, ...]:
    """Check what a subscriber asks for.

    Raises:
        EventTypeError: If a target is no type, wire name or pattern, or a handler's is not one request.
        UnknownEventError: If a handler's wire name is not known.
    """
    if not given:
        raise EventTypeError("nothing", "was given where an event type, wire name or pattern goes")
    for target in given:
        if isinstance(target, str):
            is_pattern(target)
        elif not isinstance(target, type):
            raise EventTypeError(repr(target), "is neither an event type nor a wire name nor a pattern")
    if kind != "handler":
        return given
    return tuple(_answerable(target, registry) for target in given)


def _answerable(target: Target, registry: TypeRegistry) -> type:
    """Return the request type that a handler's target means."""
    if isinstance(target, str):
        if is_pattern(target):
            raise EventTypeError(target, "is a pattern, which means many requests; a handler answers one")
        target = registry.expect(target).cls
    if not event_type(target).is_request or is_root(target):
        raise EventTypeError(event_type(target).name, "is no request, so nobody can answer it; observe it")
    return target


def answers(handler: Subscription, declared: EventType) -> bool:
    """Tell whether a handler is for this very request, or for all its parameters, and not for a base class."""
    return declared.cls in handler.events or origin_of(declared.cls) in handler.events


def known_types(targets: tuple[Target, ...], registry: TypeRegistry) -> list[EventType]:
    """Return the event types that targets mean, as far as they are known."""
    found = (registry.named(item) if isinstance(item, str) else event_type(item) for item in targets)
    return [declared for declared in found if declared is not None]
