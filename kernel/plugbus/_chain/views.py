"""Views: what an observer gets that knows an event by its shape and not by its class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError

from plugbus.errors import Problem
from plugbus.event_types import EventType, event_type
from plugbus.events import Event, NamedEvent, Request

if TYPE_CHECKING:
    from plugbus.subscription import Subscription

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
