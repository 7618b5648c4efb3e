"""What a subscriber asks for: event types, wire names, patterns; and the views that observers ask for.

A view knows an event by its shape and not by its class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError

from plugbus.errors import EventTypeError, Problem
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


_plain_forms: Final[WeakKeyDictionary[type, bool]] = WeakKeyDictionary()


def is_view(annotation: Any, known: Sequence[EventType]) -> bool:
    """Tell whether an annotation asks for a view: plain data, or a model that is no event type itself."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return False
    if annotation is NamedEvent:
        return not any(declared.cls is NamedEvent for declared in known)
    return not issubclass(annotation, (Event, Request)) and not any(
        issubclass(found.cls, annotation) for found in known
    )


def viewing(call: Callable[..., Any], model: type[BaseModel], *, is_async: bool) -> Callable[..., Any]:
    """Hand an observer the view that it asks for."""

    async def acall(event: Any) -> Any:
        return await call(view_of(event, model))

    return acall if is_async else lambda event: call(view_of(event, model))


def view_of(event: Any, model: type[BaseModel]) -> Any:
    """Return an event as an observer wants to see it."""
    if isinstance(event, model):
        return event
    if model is NamedEvent:
        return NamedEvent(event_type(type(event)).name, plain(event))
    return model.model_validate(event.data if isinstance(event, NamedEvent) else plain(event))


def plain(event: object) -> Any:
    """Return the content of an event as plain data, as it would travel as JSON."""
    if isinstance(event, BaseModel):
        return event.model_dump(mode="json")
    if dataclasses.is_dataclass(event):
        return TypeAdapter(type(event)).dump_python(event, mode="json")
    return event


def has_plain_form(cls: type) -> bool:
    """Tell whether events of a type can be plain data; those that hold live objects cannot."""
    known = _plain_forms.get(cls)
    if known is None:
        known = _plain_forms[cls] = issubclass(cls, BaseModel) or (dataclasses.is_dataclass(cls) and _adapts(cls))
    return known


def _adapts(cls: type) -> bool:
    try:
        TypeAdapter(cls)
    except PydanticUserError:
        return False
    return True


def view_problem(subscription: Subscription, declared: EventType) -> Problem | None:
    """Compare an observer's view with the schema of an event type: what it requires and the type has not."""
    model = subscription.view
    if model is None or model is NamedEvent or declared.cls is NamedEvent:
        return None
    fields = _fields(declared.cls)
    missing = sorted(
        name for name, field in model.model_fields.items() if field.is_required() and not {name, field.alias} & fields
    )
    if not missing:
        return None
    where = f"{subscription.kind} {subscription.name!r} of plugin {subscription.plugin!r}"
    message = f"its view {model.__qualname__} requires {', '.join(missing)}, which {declared.name!r} has not"
    return Problem(where, message, f"the event has {', '.join(sorted(map(str, fields)))}")


def _fields(cls: type) -> set[str | None]:
    if issubclass(cls, BaseModel):
        return set(cls.model_fields)
    return {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
