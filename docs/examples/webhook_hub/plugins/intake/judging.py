"""Is this a GitHub delivery, and what is its event called?

Owns the refusals for deliveries that no event can be made of; whether the event may happen is not asked here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from plugbus import Invalid, NamedEvent, Problem

if TYPE_CHECKING:
    from plugbus import EventType

__all__ = ("event_from", "event_name")

_KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NOT_A_SEGMENT = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_ACTION = 64  # names are kept by the bus: a sender must not choose long ones


def event_name(kind: object, payload: object) -> str:
    """Return the wire name of a delivery: ``github.<kind>``, with ``.<action>`` where it has one.

    Args:
        kind: What came as the ``X-GitHub-Event`` header.
        payload: What came as the body.

    Raises:
        Invalid: If the two are no delivery; ``problems`` names each point.

    Example:
        >>> event_name("issues", {"action": "opened"}), event_name("push", {"ref": "refs/heads/main"})
        ('github.issues.opened', 'github.push')
    """
    problems = []
    if not (isinstance(kind, str) and _KIND.fullmatch(kind)):
        problems.append(Problem("event", f"{_shown(kind)} is not the name of a kind of delivery"))
    if not isinstance(payload, dict):
        problems.append(Problem("payload", f"{_shown(payload)} is not an object"))
    if problems:
        raise Invalid("this is not a GitHub delivery", problems=problems)
    action = payload.get("action") if isinstance(payload, dict) else None
    segment = _NOT_A_SEGMENT.sub("_", action)[:_MAX_ACTION] if isinstance(action, str) else ""
    return f"github.{kind}.{segment}" if segment else f"github.{kind}"


def event_from(name: str, payload: Any, known: EventType | None) -> object:
    """Build the typed event of a name, or a ``NamedEvent`` where the bus knows no type.

    Args:
        name: The wire name.
        payload: The body of the delivery.
        known: What the bus knows by that name.

    Raises:
        Invalid: If the payload does not fit the type; ``problems`` names each field.
    """
    if known is None or not issubclass(known.cls, BaseModel):
        return NamedEvent(name, payload)
    try:
        return known.cls.model_validate(payload)
    except ValidationError as error:
        problems = [Problem(".".join(map(str, item["loc"])) or "payload", item["msg"]) for item in error.errors()]
        raise Invalid(f"the payload is not one of {name}", problems=problems) from None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
