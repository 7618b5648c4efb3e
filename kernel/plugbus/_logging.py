"""A bus and its log of events: putting on record what succeeded, and reading it as a stream.

Owns both ends on the bus's side; the log itself is behind ``EventLog``. A log is fed by an observer, so that it has
what observers hear, in the order in which they hear it, and a bus without one pays nothing.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, final

import anyio
import anyio.lowlevel
from pydantic_core import to_json, to_jsonable_python

from plugbus._threads import call_soon
from plugbus.context import current
from plugbus.event_log import EventLog, LoggedEvent
from plugbus.event_types import event_type
from plugbus.events import NamedEvent, Request, named
from plugbus.options import ABSENT, Options, Target
from plugbus.registry import Pattern, TypeRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from plugbus.owner import Owner

E = TypeVar("E")

FEEDING: Final = Options(run_in="caller", priority=-1_000_000, name="event log")
"""Before all other observers: what succeeded is on record although one of them hangs, or the emit is cancelled then."""


@final
class _Message(NamedTuple):
    id: str
    source: str | None
    time: datetime | None


_ARRIVED: Final[ContextVar[_Message | None]] = ContextVar("plugbus_arrived", default=None)


@contextmanager
def arrived(id: str, *, source: str | None = None, time: datetime | None = None) -> Iterator[None]:
    """Say that what is emitted in a block, as the first thing, is a message that came in: a log keeps its id.

    Edges use it within ``acting_as(..., cause=id)``; emits that come of the first one have ids of their own.

    Args:
        id: The message's.
        source: Who sent it, as the message says.
        time: When it happened, as the message says, aware of its time zone.

    Example:
        >>> from plugbus import EventBus, MemoryEventLog, NamedEvent, acting_as
        >>> bus, log = EventBus(), MemoryEventLog()
        >>> start, attached = log.cursor, bus.attach_log(log)
        >>> with acting_as(None, cause="m-1"), arrived("m-1", source="/shop"):
        ...     _ = bus.emit(NamedEvent("order.placed", {"order_id": 1}))
        >>> [(event.id, event.source) for event in log.read_nowait(start)]
        [('m-1', '/shop')]
    """
    token = _ARRIVED.set(_Message(id, source, time))
    try:
        yield
    finally:
        _ARRIVED.reset(token)


@final
class Feed:
    """The observer that puts events on record; those that hold live objects, and requests, are not.

    Args:
        log: Where.

    Attributes:
        log: Likewise.
        skipped: How many events no JSON could tell.
    """

    __name__ = "event log"

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.skipped = 0

    def __call__(self, event: object) -> None:
        if isinstance(event, Request):
            return
        declared = event_type(type(event))
        is_named = isinstance(event, NamedEvent)
        try:
            json = to_json(event.data if is_named else event, by_alias=True, inf_nan_mode="null").decode()  # type: ignore[attr-defined]
            key = None if declared.key is None else _text(getattr(event, declared.key))
        except ValueError:  # pydantic's own serialization error is one, too
            self.skipped += 1
            return
        name = event.name if is_named else declared.name  # type: ignore[attr-defined]
        self.log.append(_recorded(name, json, key))


def _text(key: object) -> str | None:
    """Tell a key value as text: what stands in JSON, without the quotes."""
    plain = to_jsonable_python(key)
    return plain if plain is None or isinstance(plain, str) else to_json(plain).decode()


def _recorded(name: str, json: str, key: str | None) -> LoggedEvent:
    emit, message = current(), _ARRIVED.get()
    assert emit is not None, "an observer is told within an emit"
    if message is None or message.id != emit.cause:
        return LoggedEvent(name, json, emit.id, emit.time, key, emit.correlation_id, emit.cause, None, emit.traceparent)
    id, time, source = message.id, message.time or emit.time, message.source
    return LoggedEvent(name, json, id, time, key, emit.correlation_id, None, source, emit.traceparent)


@final
class LoggedStream(Generic[E]):
    """Events from a log as an async iterator: from a cursor on, past and future alike; made by ``EventBus.stream``.

    All of them come from the log, so that there is neither a gap nor a doublet where the past ends. There is no
    buffer: a reader that lags by more than the log holds is told so.

    Attributes:
        cursor: The place to go on from, should this stream end: right after the event that was returned last.

    Raises:
        CursorError: On entering, if it is no cursor.
        CursorExpiredError: On entering and while iterating, if events after it are gone.
        Invalid: While iterating, if an event does not fit its type any more; iterating may go on after it.

    Example:
        >>> import anyio
        >>> from plugbus import Event, EventBus, MemoryEventLog
        >>> class Tick(Event):
        ...     number: int
        >>> async def main() -> None:
        ...     bus, log = EventBus(), MemoryEventLog()
        ...     with bus.attach_log(log):
        ...         start = log.cursor
        ...         await bus.aemit(Tick(number=1))
        ...         async with bus.stream(Tick, since=start) as ticks:
        ...             print(await anext(ticks))
        >>> anyio.run(main)
        number=1
    """

    def __init__(
        self,
        log: EventLog,
        registry: TypeRegistry,
        owner: Owner,
        targets: tuple[Target, ...],
        *,
        since: str,
        filters: Options,
    ) -> None:
        self.cursor = self._read_to = since
        self._log, self._registry, self._owner = log, registry, owner
        self._types = tuple(target for target in targets if isinstance(target, type))
        self._patterns = [Pattern(target) for target in targets if isinstance(target, str)]
        self._filters = filters
        self._batch: deque[LoggedEvent] = deque()
        self._disown: Callable[[], object] | None = None
        self._waiting: tuple[anyio.lowlevel.EventLoopToken, anyio.CancelScope] | None = None
        self._closed = False

    async def __aenter__(self) -> LoggedStream[E]:
        self._log.check(self.cursor)
        self._disown = self._owner.own(self.close, what=f"stream from {self.cursor}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the stream, from any thread: a reader that waits ends, too."""
        self._closed = True
        if self._disown is not None:
            self._disown()
        if self._waiting is not None:
            token, scope = self._waiting
            call_soon(token, scope.cancel)

    def __aiter__(self) -> LoggedStream[E]:
        return self

    async def __anext__(self) -> E:
        if self._disown is None:
            raise RuntimeError("this stream is not open; iterate inside `async with bus.stream(..., since=...)`")
        await anyio.lowlevel.checkpoint()
        while not self._closed:
            while self._batch:
                logged = self._batch.popleft()
                self.cursor = logged.cursor
                if self._wants(logged.name) and self._passes(event := named(self._registry, logged.name, logged.data)):
                    return event  # type: ignore[no-any-return]
            await self._fetch()
        raise StopAsyncIteration

    async def _fetch(self) -> None:
        batch = await self._log.read(self._read_to)
        if batch:
            self._batch.extend(batch)
            self._read_to = batch[-1].cursor
            return
        with anyio.CancelScope() as scope:
            self._waiting = (anyio.lowlevel.current_token(), scope)
            if not self._closed:  # asked after it can be cancelled, so that no closing is missed
                await self._log.wait(self._read_to)
        self._waiting = None

    def _wants(self, name: str) -> bool:
        """Tell whether an event with a wire name was asked for, and may be heard."""
        declared = self._registry.named(name)
        cls, names = (NamedEvent, (name,)) if declared is None else (declared.cls, (declared.name, *declared.aliases))
        permits = self._owner.permits
        allowed = permits is None or permits.may_hear(declared or event_type(NamedEvent), None if declared else name)
        return allowed and (
            issubclass(cls, self._types) or any(pattern.matches(each) for pattern in self._patterns for each in names)
        )

    def _passes(self, event: Any) -> bool:
        where, key, field = self._filters.where, self._filters.key, event_type(type(event)).key
        if key is not ABSENT and (field is None or getattr(event, field) != key):
            return False
        return where is None or bool(where(event))
