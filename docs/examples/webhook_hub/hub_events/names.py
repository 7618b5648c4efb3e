"""What an event is called, which repository it is about and who caused it, typed or not."""

from __future__ import annotations

from plugbus import NamedEvent, event_type

__all__ = ("actor_of", "repo_of", "wire_name")


def wire_name(event: object) -> str:
    """Return the name that an event has outside.

    Args:
        event: Any event of the bus.

    Example:
        >>> wire_name(NamedEvent("github.ping"))
        'github.ping'
    """
    return event.name if isinstance(event, NamedEvent) else event_type(type(event)).name


def repo_of(event: object) -> str | None:
    """Return the full name of the repository that an event is about, or None where it is about none.

    Args:
        event: Any event of the bus.

    Example:
        >>> repo_of(NamedEvent("github.public", {"repository": {"full_name": "acme/rocket"}}))
        'acme/rocket'
    """
    return _find(event, "repo", "repository", "full_name")


def actor_of(event: object) -> str | None:
    """Return the account that caused an event, or None where that is unknown.

    Args:
        event: Any event of the bus.

    Example:
        >>> actor_of(NamedEvent("github.ping", {"sender": {"login": "mira"}}))
        'mira'
    """
    return _find(event, "actor", "sender", "login")


def _find(event: object, field: str, *path: str) -> str | None:
    """Look for a typed event's field, and for its place in a raw payload."""
    if not isinstance(event, NamedEvent):
        found = getattr(event, field, None)
    elif isinstance(event.data, dict) and field in event.data:
        found = event.data[field]  # the plain form of a typed event
    else:
        found = event.data
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else None
