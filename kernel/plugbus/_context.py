"""What goes along with the work that an emit does: who acts, what belongs together, what caused what.

Owns the context variable, and whether anybody wants to know. It is set around an emit only since somebody asked
(docs/adr/0013-context-from-the-first-question.md); ``acting_as`` and ``resumed`` set it whether anybody did or not.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol, Self, final
from weakref import WeakSet

from plugbus.event_types import event_type
from plugbus.events import NamedEvent
from plugbus.principal import Principal


@final
class Current(NamedTuple):
    """The emit that is running, as :func:`plugbus.current` returns it.

    Attributes:
        id: Its own, and no other emit's.
        event: Wire name of the event.
        time: When it began, by the clock of the bus.
        principal: Who acts, or None where nobody was named.
        correlation_id: What all that belongs together shares, from the first request to the last event that came of it.
        cause: Id of the emit (or message) that this one came of, or None.
        emitter: Id of the plugin that emitted it; ``"host"`` for the embedding service and the kernel.
        traceparent: The W3C trace context that it belongs to, as it was received, or None.

    Example:
        >>> from plugbus import Event, EventBus, current
        >>> class Tick(Event, name="tick"): ...
        >>> bus = EventBus()
        >>> subscription = bus.observe(Tick, lambda tick: print(current().event, current().emitter))
        >>> _ = bus.emit(Tick())
        tick host
    """

    id: str
    event: str
    time: datetime
    principal: Principal | None
    correlation_id: str
    cause: str | None
    emitter: str
    traceparent: str | None = None


@final
class Carried(NamedTuple):
    """What travels: to a thread or task that works later, in a message, in a header.

    Attributes:
        principal: Who acts.
        correlation_id: What all that belongs together shares; None: the first emit's id will be it.
        cause: Id of the emit that what is done next comes of.
        emit: That emit itself, for what is still a part of it, as an observer in the background; it does not leave
            the process.
        traceparent: The W3C trace context that all of it belongs to, for headers of messages and of requests.

    Example:
        >>> from plugbus import Principal
        >>> sent = Carried(Principal("ann"), "7f").to_dict()
        >>> sent
        {'principal': {'id': 'ann', ...}, 'correlation_id': '7f', 'cause': None, 'traceparent': None}
        >>> Carried.from_dict(sent).principal
        Principal('ann', [])
    """

    principal: Principal | None = None
    correlation_id: str | None = None
    cause: str | None = None
    emit: Current | None = None
    traceparent: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        principal = None if self.principal is None else self.principal.to_dict()
        told = {"principal": principal, "correlation_id": self.correlation_id, "cause": self.cause}
        return {**told, "traceparent": self.traceparent}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make it from what :meth:`to_dict` returned, or a part of it.

        Args:
            data: The plain data; whoever takes it in has checked who wrote it.
        """
        principal = data.get("principal")
        known = None if principal is None else Principal.from_dict(principal)
        return cls(known, data.get("correlation_id"), data.get("cause"), traceparent=data.get("traceparent"))


class Here:
    """What is in force in one emit, or in one block of ``acting_as`` or ``resumed``; a context holds the innermost.

    Attributes:
        principal: Who acts.
        correlation_id: What emits from here share; None as long as there was no emit.
        cause: What emits from here come of.
        emit: The emit that runs here.
        within: Where that emit began, if that is further out.
        traceparent: The W3C trace context that it belongs to.
        active: Whether it still runs; a task that outlives it holds on to this.
    """

    __slots__ = ("active", "cause", "correlation_id", "emit", "principal", "traceparent", "within")

    def __init__(
        self,
        principal: Principal | None,
        correlation_id: str | None,
        cause: str | None,
        emit: Current | None = None,
        traceparent: str | None = None,
        *,
        within: Here | None = None,
    ) -> None:
        self.principal, self.correlation_id, self.cause = principal, correlation_id, cause
        self.emit, self.traceparent, self.within = emit, traceparent, within
        self.active = True

    def lasts(self) -> bool:
        """Tell whether it has not ended."""
        return self.active

    def running(self) -> Current | None:
        """Return the emit that runs here, unless it has ended."""
        return self.emit if self.emit is not None and (self.within or self).lasts() else None

    def told(self) -> dict[str, str]:
        """Return what a log line says of it."""
        emit = self.running()
        trace = {"trace_id": self.traceparent[3:35]} if self.traceparent else {}  # as OpenTelemetry names it
        if emit is not None:
            return {"event_type": emit.event, "correlation_id": emit.correlation_id, **trace}
        return {"correlation_id": self.correlation_id, **trace} if self.correlation_id else trace


HERE: Final[ContextVar[Here | None]] = ContextVar("plugbus_context", default=None)
"""The innermost of what is in force; threads, bridges and tasks get a copy of it."""


def leave(token: Token[Here | None]) -> None:
    """Go back to what was in force before."""
    try:
        HERE.reset(token)
    except ValueError:  # a coroutine that was never finished is thrown away in whatever context there is
        return


def carried() -> Carried | None:
    """Return what is to travel to work that is done later or elsewhere; None if there is nothing.

    Raises:
        ContextLeakError: If an async generator that has yielded says who acts here.

    Example:
        >>> from plugbus import Principal, acting_as
        >>> with acting_as(Principal("ann"), correlation_id="7f"):
        ...     facts = carried()
        >>> facts.correlation_id
        '7f'
    """
    here = HERE.get()
    if type(here) is not Here and here is not None:
        from plugbus._early import settled  # which is built upon this

        here = settled(here)
    return Carried(here.principal, here.correlation_id, here.cause, here.running(), here.traceparent) if here else None


@contextmanager
def resumed(carried: Carried | None, event: object = None) -> Iterator[None]:
    """Put in force what travelled, for a block, and nothing else of what is in force around it.

    What is emitted within has it for its principal, correlation id, cause and trace.

    Args:
        carried: What :func:`carried` returned; None puts nothing in force.
        event: The event that the block handles as a part of its emit, so that ``current()`` has an answer where
            nothing travelled, because nobody had asked yet.

    Example:
        >>> with resumed(Carried(None, "7f")):
        ...     carried().correlation_id
        '7f'
        >>> carried() is None
        True
    """
    facts = carried or Carried()
    emit = facts.emit
    if emit is None and event is not None:
        emit = began(wire_name(event), datetime.now(UTC), "", carried and Here(*carried))
        facts = Carried(emit.principal, emit.correlation_id, emit.id, emit, emit.traceparent)
    here = Here(*facts) if carried or emit else None
    with in_force(here):
        yield


def began(event: str, time: datetime, emitter: str, around: Here | None) -> Current:
    """Return what there is to know about an emit.

    Args:
        event: Wire name of its event.
        time: When it began.
        emitter: Id of the plugin that emits.
        around: What is in force around it.
    """
    id = new_id()
    if around is None:
        return Current(id, event, time, None, id, None, emitter)
    correlation_id = around.correlation_id or id
    return Current(id, event, time, around.principal, correlation_id, around.cause, emitter, around.traceparent)


def wire_name(event: object) -> str:
    """Return the wire name of an event."""
    return event.name if isinstance(event, NamedEvent) else event_type(type(event)).name


@contextmanager
def in_force(here: Here | None) -> Iterator[None]:
    """Have this in force for a block."""
    token = HERE.set(here)
    try:
        yield
    finally:
        if here is not None:
            here.active = False
        leave(token)


_ids: Iterator[str] = iter(())


def _renew() -> None:
    """Begin anew, also in a child process: no two may give the same ids."""
    global _ids  # noqa: PLW0603 - begun anew
    _ids = map((os.urandom(8).hex() + "{:016x}").format, itertools.count(1))  # all in C, so threads may share it


_renew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def new_id() -> str:
    """Return an id that nothing else has: 32 hexadecimal digits."""
    return next(_ids)


# Whether anybody wants to know


class Switched(Protocol):
    """A bus that has to be told."""

    def with_context(self) -> None:
        """Set the context around each emit from now on."""


@final
class Wanted:
    """Whether anybody in this process asked for the context of an emit; who asked once may ask again at any time."""

    __slots__ = ("_buses", "_lock", "on")

    def __init__(self) -> None:
        self.on = False
        self._buses: WeakSet[Any] = WeakSet()
        self._lock = threading.Lock()

    def tell(self, bus: Switched) -> None:
        """Tell a new bus, at once or once somebody asks."""
        with self._lock:
            self._buses.add(bus)
            on = self.on
        if on:
            bus.with_context()

    def turn_on(self) -> bool:
        """Tell every bus, and say whether nobody had asked before; emits that are under way end as they began."""
        with self._lock:
            first, self.on = not self.on, True
            buses = tuple(self._buses) if first else ()
        for bus in buses:
            bus.with_context()
        return first


WANTED: Final = Wanted()
