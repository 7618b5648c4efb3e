"""Plain data in and out: what JSON can carry, validated by the types of events and results.

Owns the conversion; what is emitted or called with it is the callers' business.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, final

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import to_jsonable_python

from plugbus import EventBus, EventType, EventTypeError, Invalid, NamedEvent, Problem, UnknownEventError, event_type

__all__ = ("Results", "fields", "plain_event", "required_type")


def fields(name: str, data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of an event as pydantic takes them, which is a dictionary; no data is no fields.

    Raises:
        Invalid: If it is something else, which may well have come from outside.
    """
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        problem = Problem("event", f"must be a mapping of its fields, not {type(data).__name__}")
        raise Invalid(f"{name!r} does not fit its type", problems=[problem])
    return dict(data)


def required_type(bus: EventBus, name: str) -> EventType:
    """Return the event type with a wire name.

    Raises:
        UnknownEventError: If there is none; it has the names that come close.
    """
    declared = bus.type_named(name)
    if declared is None:
        known = (known for one in bus.types() for known in (one.name, *one.aliases))
        raise UnknownEventError(name, tuple(difflib.get_close_matches(name, known)))
    return declared


def plain_event(event: object) -> NamedEvent:
    """Return the wire name of an event and its content as plain data.

    Raises:
        EventTypeError: If it holds something that no data can tell, such as a live object.
    """
    if isinstance(event, NamedEvent):
        return NamedEvent(event.name, _plain(event.name, event.data))
    name = event_type(type(event)).name
    return NamedEvent(name, _plain(name, event))


def _plain(name: str, value: object) -> Any:
    try:
        return to_jsonable_python(value, by_alias=True)
    except ValueError as error:  # pydantic's own serialization error is one, too
        raise EventTypeError(name, f"cannot be told as plain data: {error}") from error


@final
class Results:
    """How the results of requests are checked and told; by wire name, and made again when the type is another one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[EventType, TypeAdapter[Any]]] = {}

    def plain(self, declared: EventType, value: object) -> Any:
        """Return a result as plain data, with the fields of the declared type alone.

        Raises:
            EventTypeError: If the result does not fit the type that the request declares.
        """
        known, adapter = self._known.get(declared.name, (None, None))
        if known is not declared or adapter is None:
            adapter = _adapter(declared.result)
            self._known[declared.name] = declared, adapter
        try:
            return adapter.dump_python(adapter.validate_python(value), mode="json", by_alias=True)
        except ValidationError as error:
            raise EventTypeError(declared.name, _misfit(declared, value, error)) from error
        except ValueError as error:
            raise EventTypeError(declared.name, f"has a result that cannot be told as plain data: {error}") from error


def _misfit(declared: EventType, value: object, error: ValidationError) -> str:
    """Tell where a result does not fit, without telling the result itself."""
    found = "; ".join(": ".join((*map(str, item["loc"]), item["msg"])) for item in error.errors())
    expected = getattr(declared.result, "__name__", str(declared.result))
    return f"was answered with {type(value).__name__}, which does not fit {expected}: {found}"


def _adapter(result: Any) -> TypeAdapter[Any]:
    """Return what tells a result type; one that pydantic cannot know is told by the value."""
    try:
        return TypeAdapter(result)
    except (PydanticUserError, NameError):
        return TypeAdapter(Any)
