"""The catalogue: which events and requests there are, with their schemas, and what a caller may do with each.

Owns what of a bus is offered to others at all: neither what is the kernel's own, nor what holds live objects.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, final

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError

import plugbus
from plugbus import Event, EventBus, EventType, NamedEvent, Principal, Request, event_type

__all__ = ("Catalogue", "CatalogueEntry", "Offered", "is_own", "may", "own_names")

Action = Literal["publish", "subscribe", "call"]

_OWN: Final = frozenset({"plugbus", "plugbus_adapters"})
_ROOTS: Final = frozenset({object, Event, Request, NamedEvent})


@final
@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One event or request, as a caller sees it.

    Attributes:
        name: Wire name.
        kind: Whether it is an event or a request.
        key: The field that subscriptions filter by.
        aliases: Older wire names.
        may: What the caller may do: ``publish``, ``subscribe``, ``call``.
        schema: JSON Schema of its content.
        result: JSON Schema of what a request is answered with.
    """

    name: str
    kind: Literal["event", "request"]
    key: str | None
    aliases: tuple[str, ...]
    may: tuple[Action, ...]
    schema: Mapping[str, Any]
    result: Mapping[str, Any] | None = None


@final
@dataclass(frozen=True, slots=True)
class Offered:
    """A type that can be told in JSON.

    Attributes:
        declared: What the bus knows about it.
        content: Validates and tells it.
        result: Tells what a request is answered with; None for events.
    """

    declared: EventType
    content: TypeAdapter[Any]
    result: TypeAdapter[Any] | None

    @property
    def actions(self) -> tuple[Action, ...]:
        """What can be done with it at all: what is no :class:`~plugbus.Event` is not on record, so nobody reads it."""
        if self.declared.is_request:
            return ("call",)
        return ("publish", "subscribe") if issubclass(self.declared.cls, Event) else ("publish",)


def is_own(declared: EventType) -> bool:
    """Tell whether an event or request is the kernel's or an adapter's own: nobody outside may tell it, or ask it."""
    module, name = declared.cls.__module__.split("."), declared.cls.__name__
    package = sys.modules.get("plugbus" if module[0] == "plugbus" else ".".join(module[:2]))
    return module[0] in _OWN and getattr(package, name, None) is declared.cls


@cache
def own_names() -> frozenset[str]:
    """Return the wire names of what the kernel tells, whether or not anybody has used them on a bus."""
    exported = (getattr(plugbus, name) for name in plugbus.__all__)
    return frozenset(event_type(cls).name for cls in exported if isinstance(cls, type) and cls not in _ROOTS)


def may(principal: Principal | None, action: Action, names: Iterable[str]) -> bool:
    """Tell whether somebody may do something with an event or request.

    Args:
        principal: Who; nobody may do anything.
        action: What.
        names: Its wire name and aliases; each is as good as the other.

    Example:
        >>> may(Principal("ann", ["subscribe:order.*"]), "subscribe", ["order.placed"])
        True
    """
    return principal is not None and any(principal.may(f"{action}:{name}") for name in names)


@final
class Catalogue:
    """What a bus offers to others.

    Args:
        bus: The host's view of it.

    Example:
        >>> class OrderPlaced(Event, name="order.placed", key="shop"):
        ...     shop: str
        >>> bus = EventBus()
        >>> bus.declare(OrderPlaced)
        >>> [entry] = Catalogue(bus).entries(Principal("ann", ["subscribe:order.*"]))
        >>> entry.name, entry.key, entry.may, list(entry.schema["properties"])
        ('order.placed', 'shop', ('subscribe',), ['shop'])
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._known: dict[EventType, Offered | None] = {}

    def offered(self) -> list[Offered]:
        """Return the types that can be told in JSON, by wire name; those of the kernel and of adapters are left out."""
        types = [declared for declared in self._bus.types() if declared.cls not in _ROOTS and not is_own(declared)]
        self._known = {declared: self._known.get(declared) or _offered(declared) for declared in types}
        found = [each for each in self._known.values() if each is not None]
        return sorted(found, key=lambda each: each.declared.name)

    def entries(self, principal: Principal | None) -> list[CatalogueEntry]:
        """Return what somebody may publish, subscribe to or call; what is not for them is not in it.

        Args:
            principal: Who asks.
        """
        return list(self._entries(principal))

    def _entries(self, principal: Principal | None) -> Iterator[CatalogueEntry]:
        for each in self.offered():
            declared = each.declared
            names = (declared.name, *declared.aliases)
            allowed: tuple[Action, ...] = tuple(action for action in each.actions if may(principal, action, names))
            if allowed:
                yield CatalogueEntry(
                    declared.name,
                    "request" if declared.is_request else "event",
                    declared.key,
                    declared.aliases,
                    allowed,
                    each.content.json_schema(),
                    None if each.result is None else each.result.json_schema(mode="serialization"),
                )


def _offered(declared: EventType) -> Offered | None:
    content = _adapter(declared.cls)
    if content is None:
        return None
    return Offered(declared, content, (_adapter(declared.result) or TypeAdapter(Any)) if declared.is_request else None)


def _adapter(cls: Any) -> TypeAdapter[Any] | None:
    """Return what validates and tells a type; None for one that no JSON can tell."""
    try:
        adapter = TypeAdapter(cls)
        adapter.json_schema()
        adapter.json_schema(mode="serialization")
    except (PydanticUserError, PydanticInvalidForJsonSchema, NameError, TypeError):
        return None
    return adapter
