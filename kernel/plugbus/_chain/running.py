"""What an emit has around its chain: its context, once anybody asked for one, and its way to a loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, final

import anyio

from plugbus._context import HERE, Here, began, leave, wire_name
from plugbus._early import STEPS, Crossing, settled
from plugbus._services.homes import away
from plugbus._threads import back_to_loop, in_worker_thread, outcome
from plugbus.errors import EmitCancelled
from plugbus.event_types import EventType, event_type
from plugbus.events import NamedEvent

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from plugbus._chain.links import Entry


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
    return Here(emit.principal, emit.correlation_id, emit.id, emit, emit.traceparent)


STEPS.update((_running, _arunning))


@final
class Bridge:
    """The way from a thread to a loop: the one it works for, the kernel's, or one made for this emit.

    The last takes about a millisecond; a kernel's portal saves it.
    """

    __slots__ = ("portal",)

    def __init__(self) -> None:
        self.portal: BlockingPortal | None = None

    def through_loop(self, acall: Callable[[Any], Any], event: Any) -> Any:
        """Run an async call and wait for it.

        Raises:
            EmitCancelled: If it was cancelled on the kernel's loop.
        """
        return away(self._through_loop, acall, event)

    def _through_loop(self, acall: Callable[[Any], Any], event: Any) -> Any:
        if in_worker_thread():
            return back_to_loop(acall, event)
        with Crossing():
            return self._cross(acall, event)

    def _cross(self, acall: Callable[[Any], Any], event: Any) -> Any:
        if self.portal is None:
            return anyio.run(_awaiting, acall, event)
        try:
            done, value = self.portal.call(outcome, acall, event)
        except FutureCancelledError:
            raise EmitCancelled(event_type(type(event)).name) from None
        if done:
            return value
        raise value


async def _awaiting(acall: Callable[[Any], Any], event: Any) -> Any:
    """Await a call; what it returns need not be a coroutine."""
    return await acall(event)
