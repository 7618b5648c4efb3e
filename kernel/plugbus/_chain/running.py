"""The context of an emit, set around its chain; compiled in only since somebody asked for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from plugbus._context import HERE, Here, began, leave, wire_name
from plugbus._early import STEPS, settled
from plugbus.events import NamedEvent

if TYPE_CHECKING:
    from plugbus._chain.links import Entry
    from plugbus.event_types import EventType

Facts: TypeAlias = "tuple[str | None, str, Callable[[], datetime]]"


def with_context(
    entry: Entry, declared: EventType, emitter: str, now: Callable[[], datetime], *, is_async: bool
) -> Entry:
    """Set the context around what an emit runs.

    Args:
        entry: What it runs.
        declared: The type of its event.
        emitter: Id of the plugin whose view of the bus it is emitted through.
        now: Tells the time.
        is_async: Whether the entry is awaited.
    """
    name = None if declared.cls is NamedEvent else declared.name
    return (_arunning if is_async else _running, (*entry, (name, emitter, now)))


def _running(event: Any, rest: tuple[Callable[..., Any], Any, Facts]) -> Any:
    first, below, facts = rest
    here = _begin(event, *facts)
    token = HERE.set(here)
    try:
        return first(event, below)
    finally:
        here.active = False
        leave(token)


async def _arunning(event: Any, rest: tuple[Callable[..., Any], Any, Facts]) -> Any:
    first, below, facts = rest
    here = _begin(event, *facts)
    token = HERE.set(here)
    try:
        return await first(event, below)
    finally:
        here.active = False
        leave(token)


def _begin(event: Any, name: str | None, emitter: str, now: Callable[[], datetime]) -> Here:
    outer = HERE.get()
    if type(outer) is not Here and outer is not None:
        outer = settled(outer)
    emit = began(name or wire_name(event), now(), emitter, outer)
    return Here(emit.principal, emit.correlation_id, emit.id, emit)


STEPS.update((_running, _arunning))
