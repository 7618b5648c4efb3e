"""What travels on the bus: events and requests, and how a listener changes one.

Why pydantic models: docs/adr/0005-events-as-pydantic-models.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from plugbus._annotations import UNRESOLVED, class_hints
from plugbus.errors import EventDataError, EventTypeError, Invalid, Problem
from plugbus.event_types import EventType, declare, event_type, origin_of

if TYPE_CHECKING:
    from plugbus.registry import TypeRegistry

__all__ = ("Event", "NamedEvent", "Request", "named", "replace", "validate")

T = TypeVar("T")
R = TypeVar("R")


class _Message(BaseModel):
    """What events and requests have in common: frozen, with class keywords of their own."""

    model_config = ConfigDict(frozen=True)
    __plugbus_request__: ClassVar[bool] = False

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        key: str | None = None,
        lane: str | None = None,
        aliases: Iterable[str] = (),
        sticky: bool | None = None,
        **config: Any,
    ) -> None:
        super().__init_subclass__(**config)
        declare(cls, name, key, lane, aliases, sticky)

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        if origin_of(cls) is not None:  # known only now, and it says what the class is called and answered with
            declare(cls, None, None, None, (), None)
        declared = event_type(cls)
        for role, field in (("key", declared.key), ("lane", declared.lane)):
            if field is not None and not hasattr(cls, field) and field not in cls.model_fields:
                raise EventTypeError(
                    declared.name, f"has no field {field!r} for its {role}, only {sorted(cls.model_fields)}"
                )


class Event(_Message):
    """Base class of events: something that happened, told to whoever subscribed.

    A frozen pydantic model. Class keywords: ``name`` (wire name, default module and qualified name), ``key``
    (the field that subscriptions filter by), ``lane`` (the field that keeps order, default the key), ``aliases``
    (older wire names), ``sticky`` (the last one is replayed to late subscribers). Key, lane and sticky are inherited.

    Raises:
        EventTypeError: When the class is made, if key or lane is not one of its fields.

    Example:
        >>> class OrderPlaced(Event, name="order.placed", key="shop"):
        ...     shop: str
        ...     order_id: int
        >>> OrderPlaced(shop="berlin", order_id=1)
        OrderPlaced(shop='berlin', order_id=1)
    """


class Request(_Message, Generic[R]):
    """Base class of requests: a question that one handler answers with an ``R``.

    Takes the same class keywords as :class:`Event`.

    Example:
        >>> from plugbus import event_type
        >>> class Add(Request[int], name="maths.add"):
        ...     left: int
        ...     right: int
        >>> event_type(Add).result
        <class 'int'>
    """

    __plugbus_request__: ClassVar[bool] = True


class NamedEvent(Event):
    """An event without a type: a wire name and plain data.

    Args:
        name: The wire name that subscriptions are matched with.
        data: Plain data, as it came from outside.

    Example:
        >>> NamedEvent("order.shipped", {"order_id": 1}).data["order_id"]
        1
    """

    name: str
    data: Any = None

    def __init__(self, name: str, data: Any = None) -> None:
        fields: dict[str, Any] = {"name": name, "data": data}  # BaseModel takes these; our own __init__ hides it
        super().__init__(**fields)


def replace(event: T, /, **changes: Any) -> T:
    """Return a copy of an event with some fields changed; how a listener changes what runs below it.

    Args:
        event: A pydantic model or a dataclass instance.
        **changes: New values by field name; they are validated.

    Raises:
        EventDataError: If a name is unknown or a value is wrong; it lists all of them.
        EventTypeError: If the event is neither a pydantic model nor a dataclass.

    Example:
        >>> class Paid(Event):
        ...     cents: int
        >>> replace(Paid(cents=1), cents=2)
        Paid(cents=2)
    """
    cls: Any = type(event)
    if isinstance(event, BaseModel):
        fields = {name: getattr(event, name) for name in cls.model_fields}
        _refuse_unknown(cls, changes, fields)
        try:
            return cast("T", cls.model_validate({**fields, **changes}, by_name=True, by_alias=False))
        except ValidationError as error:
            raise EventDataError(event_type(cls).name, _problems(error)) from None
    if dataclasses.is_dataclass(event):
        hints = {field.name: field.type for field in dataclasses.fields(event) if field.init}
        _refuse_unknown(cls, changes, hints)
        return dataclasses.replace(event, **_validated(cls, changes))  # type: ignore[type-var]
    raise EventTypeError(event_type(cls).name, "is neither a pydantic model nor a dataclass, which replace() needs")


def validate(declared: EventType, data: object) -> Any:
    """Build an event of the declared type from plain data; pydantic's ``ValidationError`` passes."""
    if issubclass(declared.cls, BaseModel):
        return declared.cls.model_validate(data)
    return TypeAdapter(declared.cls, config=_adapter_config(declared.cls)).validate_python(data)


def named(registry: TypeRegistry, name: str, data: object, *, must_exist: bool = False) -> Any:
    """Build the event type with a wire name from plain data, or a ``NamedEvent`` where there is none.

    Raises:
        Invalid: If the data does not fit; its ``problems`` say where.
        UnknownEventError: If there is no such type and there must be one.
    """
    declared = registry.expect(name) if must_exist else registry.named(name)
    if declared is None:
        return NamedEvent(name, data)
    try:
        return validate(declared, data)
    except ValidationError as error:
        raise Invalid(f"{name!r} does not fit its type", problems=_listed(error)) from None


def _adapter_config(cls: type) -> ConfigDict | None:
    return None if dataclasses.is_dataclass(cls) else ConfigDict(arbitrary_types_allowed=True)


def _refuse_unknown(cls: type, changes: Iterable[str], known: Iterable[str]) -> None:
    fields = sorted(known)
    if unknown := tuple(f"{name}: no such field, it has {fields}" for name in changes if name not in fields):
        raise EventDataError(event_type(cls).name, unknown)


def _validated(cls: type, changes: dict[str, Any]) -> dict[str, Any]:
    """Check the changed fields of a dataclass; its live objects are only checked for their class."""
    hints = class_hints(cls)
    problems: list[str] = []
    checked: dict[str, Any] = {}
    for name, value in changes.items():
        hint = hints.get(name, UNRESOLVED)
        try:
            adapter = TypeAdapter[Any](
                Any if hint is UNRESOLVED else hint, config=ConfigDict(arbitrary_types_allowed=True)
            )
            checked[name] = adapter.validate_python(value)
        except ValidationError as error:
            problems.extend(f"{name}: {problem['msg']}" for problem in error.errors())
    if problems:
        raise EventDataError(event_type(cls).name, tuple(problems))
    return checked


def _listed(error: ValidationError) -> tuple[Problem, ...]:
    return tuple(Problem(".".join(map(str, item["loc"])) or "event", item["msg"]) for item in error.errors())


def _problems(error: ValidationError) -> tuple[str, ...]:
    return tuple(f"{problem.where}: {problem.message}" for problem in _listed(error))
