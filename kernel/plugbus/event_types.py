"""What the bus knows about a type of events: its wire name, key, lane, and what a request answers with.

Owns the declaration; which types a bus knows by name is ``registry.py``'s job.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar, cast, final

from plugbus.errors import EventTypeError

__all__ = ("EventType", "arguments_of", "declare", "event", "event_type", "origin_of")

C = TypeVar("C", bound=type)

IS_REQUEST: Final = "__plugbus_request__"
_NOT_IN_A_SEGMENT: Final = re.compile(r"(?:[\w<>]+\.)+|[\s*~]")
_ATTRIBUTE: Final = "__plugbus_event_type__"


@final
class EventType(NamedTuple):
    """What the bus knows about one event type.

    Attributes:
        cls: The class that the bus dispatches on.
        name: The wire name.
        aliases: Older wire names that mean the same type.
        key: The field that keyed subscriptions filter by, if any.
        lane: The field that keeps order where work is done later; the key unless given.
        sticky: Whether the last one is replayed to those who subscribe later.
        is_request: Whether it is answered by a handler.
        result: What the handler of a request answers with; ``object`` where it does not say. A type variable is
            what the class was parametrized with, or its bound.

    Example:
        >>> from plugbus import Event
        >>> class Paid(Event, name="order.paid", key="shop"):
        ...     shop: str
        >>> event_type(Paid).name, event_type(Paid).lane
        ('order.paid', 'shop')
    """

    cls: type
    name: str
    aliases: tuple[str, ...]
    key: str | None
    lane: str | None
    sticky: bool
    is_request: bool
    result: Any


def event(
    *,
    name: str | None = None,
    key: str | None = None,
    lane: str | None = None,
    aliases: Iterable[str] = (),
    sticky: bool | None = None,
) -> Callable[[C], C]:
    """Declare any class an event type; the class itself stays as it is.

    Args:
        name: Wire name; module and qualified name unless given.
        key: The attribute that keyed subscriptions filter by.
        lane: The attribute that keeps order where work is done later; the key unless given.
        aliases: Older wire names that mean the same type.
        sticky: Whether the last one is replayed to those who subscribe later.

    Raises:
        EventTypeError: If the wire name could not travel, or key or lane is not a field of a dataclass.

    Example:
        >>> @event(name="app.setup", sticky=True)
        ... @dataclasses.dataclass
        ... class AppSetup:
        ...     app: object
        >>> event_type(AppSetup).sticky
        True
    """

    def declaring(cls: C) -> C:
        plain: Any = cls  # or the check for a dataclass would narrow the type that is returned
        fields = {field.name for field in dataclasses.fields(plain)} if dataclasses.is_dataclass(plain) else None
        for role, field in (("key", key), ("lane", lane)):
            if field is not None and fields is not None and field not in fields and not hasattr(cls, field):
                raise EventTypeError(cls.__name__, f"has no field {field!r} for its {role}, only {sorted(fields)}")
        declare(cls, name, key, lane, aliases, sticky)
        return cls

    return declaring


def event_type(cls: type) -> EventType:
    """Return what is declared about an event type, or the defaults for a class that declares nothing.

    Args:
        cls: Any class.

    Example:
        >>> event_type(ValueError).name
        'builtins.ValueError'
    """
    declared = cls.__dict__.get(_ATTRIBUTE)
    if declared is None or declared.cls is not cls:  # dataclass(slots=True) makes the class again
        declared = _describe(cls) if declared is None else declared._replace(cls=cls)
    return cast("EventType", declared)


def declare(  # noqa: PLR0917 - the keywords of a class, in the order of EventType
    cls: type,
    name: str | None,
    key: str | None,
    lane: str | None,
    aliases: Iterable[str],
    sticky: bool | None,  # noqa: FBT001
) -> None:
    """Note on a class what is declared about it.

    Raises:
        EventTypeError: If a wire name that was given could not travel.
    """
    described = _describe(cls, name, key, lane, aliases, sticky)
    for given in (*(() if name is None else (name,)), *described.aliases):
        segments = given.split(".")
        if "*" in given or not all(part and part.isprintable() and not _has_space(part) for part in segments):
            raise EventTypeError(
                repr(given), "is no wire name: printable segments joined by dots, without spaces or '*'"
            )
    setattr(cls, _ATTRIBUTE, described)


def _has_space(part: str) -> bool:
    return any(character.isspace() for character in part)


def _describe(  # noqa: PLR0917 - likewise
    cls: type,
    name: str | None = None,
    key: str | None = None,
    lane: str | None = None,
    aliases: Iterable[str] = (),
    sticky: bool | None = None,  # noqa: FBT001
) -> EventType:
    parent: EventType | None = next(
        (base.__dict__[_ATTRIBUTE] for base in cls.__mro__[1:] if _ATTRIBUTE in base.__dict__), None
    )
    own_key = key or (parent.key if parent else None)
    origin = origin_of(cls)
    if origin is not None:
        generic, suffix = event_type(origin), _suffix(cls)
        name, aliases = generic.name + suffix, [alias + suffix for alias in generic.aliases]
    return EventType(
        cls,
        f"{cls.__module__}.{cls.__qualname__}" if name is None else name,
        tuple(aliases),
        own_key,
        lane or (None if key else parent and parent.lane) or own_key,
        bool(parent and parent.sticky) if sticky is None else sticky,
        bool(getattr(cls, IS_REQUEST, False)),
        _result_of(cls),
    )


def origin_of(cls: type) -> type | None:
    """Return the generic class that ``cls`` is a parametrized form of, as ``Page`` is that of ``Page[int]``."""
    origin: type | None = _generic(cls).get("origin")
    return origin


def arguments_of(cls: type) -> tuple[Any, ...]:
    """Return what a generic class was parametrized with."""
    arguments: tuple[Any, ...] = _generic(cls).get("args", ())
    return arguments


def _generic(cls: type) -> Mapping[str, Any]:
    found: Mapping[str, Any] = cls.__dict__.get("__pydantic_generic_metadata__", {})
    return found


def _suffix(cls: type) -> str:
    """Name the arguments without their modules: pydantic's own text has dots and spaces, which a wire name has not."""
    arguments = ",".join(item.__name__ if isinstance(item, type) else repr(item) for item in arguments_of(cls))
    return f"[{_NOT_IN_A_SEGMENT.sub('', arguments)}]"


def _result_of(cls: type) -> Any:
    return _filled(_answer(cls, {}), {})


def _answer(cls: type, given: Mapping[Any, Any]) -> Any:
    """Follow the bases to what ``Request`` was parametrized with; *given* is what the variables of *cls* stand for."""
    origin = origin_of(cls)
    if origin is None:
        if cls.__dict__.get(IS_REQUEST):
            return next(iter(given.values()), object)  # Request has one variable
        bases = (base for base in cls.__bases__ if getattr(base, IS_REQUEST, False))
        return next((_answer(base, given) for base in bases), object)
    arguments = [_filled(item, given) for item in arguments_of(cls)]
    return _answer(origin, dict(zip(_generic(origin)["parameters"], arguments, strict=True)))


def _filled(annotation: Any, given: Mapping[Any, Any]) -> Any:
    """Put what is given for type variables in their places."""
    if isinstance(annotation, TypeVar):
        return given.get(annotation, annotation if given else annotation.__bound__ or object)
    generic: Any = annotation
    of_model = isinstance(annotation, type)  # Page[T] is Page itself, with T as its variable
    inner = _generic(annotation).get("parameters") if of_model else getattr(annotation, "__parameters__", None)
    if not inner or (of_model and not any(item in given for item in inner)):
        return annotation
    return generic[tuple(_filled(item, given) for item in inner)]
