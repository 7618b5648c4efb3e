"""Reading events from a server: connected again whenever the connection breaks, each event once and in order.

Owns reconnecting and the buffer; what is sent and what comes back is ``_client_wire.py``'s job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, final

import anyio
import anyio.abc
import httpx2
import structlog
from pydantic_core import from_json

from plugbus import CursorExpiredError, EventStream, NamedEvent, PlugbusError, Retry, Unavailable
from plugbus.stream import Overflow
from plugbus_adapters.http._client_answers import OK, Asked
from plugbus_adapters.http._client_errors import NotConnectedError, RemoteError, RemoteTimeoutError
from plugbus_adapters.http._client_frames import Frame, FrameError, Frames
from plugbus_adapters.http._client_reading import chunks_of
from plugbus_adapters.http._client_wire import Wire

__all__ = ("Connect", "RemoteStatistics", "RemoteStream", "Subscription")

Connect = Callable[[Asked], AbstractAsyncContextManager[httpx2.Response]]

_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses of a server, or of a proxy before it, that has a bad moment."""


@final
@dataclass(frozen=True, slots=True)
class RemoteStatistics:
    """What a stream from a server holds, has lost, and how often it was connected again.

    Attributes:
        buffered: Events that wait for the reader.
        dropped: Events that were dropped because the reader lagged.
        reconnects: How often the connection was made anew.

    Example:
        >>> RemoteStatistics(buffered=0, dropped=0, reconnects=2).reconnects
        2
    """

    buffered: int
    dropped: int
    reconnects: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """What a stream reads, and how it keeps at it.

    Attributes:
        events: Wire names and patterns.
        key: Only events with this key value.
        since: Cursor to begin after.
        max_buffer: How many events may wait for the reader.
        overflow: What a reader that lags gets.
        retry: When to connect again.
        silence_seconds: After how long without a byte a connection counts as dead, in seconds.
        max_event_bytes: How long an event may be.
    """

    events: tuple[str, ...]
    key: str | None
    since: str | None
    max_buffer: int
    overflow: Overflow
    retry: Retry
    silence_seconds: float
    max_event_bytes: int


@final
class RemoteStream:
    """Events of a server as an async iterator of wire name and plain data; made by :meth:`RemoteBus.stream`.

    A connection that breaks, or falls silent, is made again by itself, and goes on after the last event that came:
    every event once, in order, as far back as the server's log reaches. Suspends until there is an event.

    Raises:
        CursorExpiredError: While iterating, after what is buffered, if the server no longer knows what was missed; its
            ``newest`` is the cursor to go on with, once the present state was loaded anew.
        Unauthenticated: Likewise, if the server refuses the token; it is not tried again.
        Forbidden: Likewise, if the token may not read this (any more).
        StreamOverflowError: Likewise, if the reader lagged and its choice is ``"error"``.
        NotConnectedError: On entering, if there is no server; while iterating, if there was none until the last try.
        RemoteError: If the server answers what cannot be read.

    Example:
        >>> import anyio
        >>> from plugbus_adapters.http import RemoteBus
        >>> async def follow(bus: RemoteBus, cursor: str | None = None) -> None:
        ...     async with bus.stream("order.*", since=cursor) as events:
        ...         async for event in events:
        ...             print(event.name, events.cursor)  # what to store, to go on after it another day
    """

    def __init__(self, connect: Connect, wire: Wire, wanted: Subscription) -> None:
        self._connect, self._wire, self._wanted = connect, wire, wanted
        self._buffer: EventStream[tuple[NamedEvent, str]] = EventStream(
            ", ".join(wanted.events), wanted.max_buffer, wanted.overflow, lambda _: _nothing
        )
        self._cursor = self._came_to = wanted.since or ""
        self._reconnects = 0
        self._failure: PlugbusError | None = None
        self._opened = False

    @property
    def cursor(self) -> str:
        """The place to go on from another time: right after the event that was returned last."""
        return self._cursor

    def statistics(self) -> RemoteStatistics:
        """Return what it holds and has lost, and how often it was connected again."""
        seen = self._buffer.statistics()
        return RemoteStatistics(seen.buffered, seen.dropped, self._reconnects)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(anyio.create_task_group())
            await stack.enter_async_context(self._buffer)
            await group.start(self._run)
            self._group, self._stack = group, stack.pop_all()
        if not self._opened:
            await self._stack.aclose()  # without the error: a task group would wrap it
            assert self._failure is not None, "or it would be open"
            raise self._failure
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._group.cancel_scope.cancel()
        await self._stack.aclose()  # as above, for what the block raised

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NamedEvent:
        try:
            event, cursor = await anext(self._buffer)
        except StopAsyncIteration:
            if self._failure is not None:
                raise self._failure from None
            raise
        self._cursor = cursor or self._cursor
        return event

    # The connection, in a task of its own

    async def _run(self, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """Be connected until there is a reason not to be; the reader hears it after what is buffered."""
        try:
            await self._keep(task_status.started)
        except PlugbusError as error:
            self._failure = error
        finally:
            self._buffer.close()
        if not self._opened:
            task_status.started()

    async def _keep(self, started: Callable[[], None]) -> None:
        delays: Iterator[float] | None = None
        while True:
            frames = Frames(self._wanted.max_event_bytes)
            try:
                lost = await self._read(frames, started)
            except (NotConnectedError, RemoteError, RemoteTimeoutError, Unavailable) as error:
                lost = error
            if lost is None:
                return
            if not self._opened or not _passes(lost):
                raise lost
            if delays is None or frames.alive:  # the last connection was well, so this is another failure
                delays = self._wanted.retry.delays()
            delay = next(delays, None)
            if delay is None:
                raise lost
            await self._pause(delay, lost)

    async def _pause(self, delay: float, lost: PlugbusError) -> None:
        """Wait before connecting again; as long as the server asks for, but never longer than the longest delay."""
        after = getattr(lost, "retry_after_seconds", None) or 0.0
        delay = max(delay, min(after, self._wanted.retry.max_delay_seconds))
        log = structlog.get_logger("plugbus.remote")
        log.warning("event stream lost", server=self._wire.server, reason=str(lost), again_in_seconds=round(delay, 3))
        await anyio.sleep(delay)
        self._reconnects += 1

    async def _read(self, frames: Frames, started: Callable[[], None]) -> PlugbusError | None:
        """Read one connection to its end; return what ended it, or nothing if no more is wanted."""
        asked = self._wire.stream(self._wanted.events, self._wanted.key, self._came_to or None)
        async with self._connect(asked) as response, chunks_of(response) as chunks:
            while True:
                chunk: bytes | None = None
                with anyio.move_on_after(self._wanted.silence_seconds) as waited:
                    chunk = await anext(chunks, None)
                if waited.cancelled_caught:
                    return RemoteTimeoutError(self._wire.server, asked.doing, self._wanted.silence_seconds)
                if chunk is None:
                    return NotConnectedError(self._wire.server, asked.doing, "the server ended the stream", sent=False)
                self._take_all(asked, frames, chunk)
                if self._buffer.statistics().dropped and self._wanted.overflow == "error":
                    return None
                if not self._opened and (self._came_to or frames.alive):
                    self._opened = True
                    started()

    def _take_all(self, asked: Asked, frames: Frames, chunk: bytes) -> None:
        try:
            for frame in frames.feed(chunk):
                self._take(asked, frame)
        except FrameError as error:
            raise self._wire.answers.bad(asked, OK, str(error)) from None

    def _take(self, asked: Asked, frame: Frame) -> None:
        if frame.event == "reset":
            raise self._missed(asked, frame)
        if frame.event == "message" and (not frame.id or frame.id != self._came_to):
            event = self._wire.answers.event(asked, frame.data)
            self._buffer.push((NamedEvent(event.type, event.data), frame.id))
        elif frame.event == "place" and not (self._cursor and self._buffer.statistics().buffered):
            self._cursor = frame.id  # nothing that the reader asked for is before it
        self._came_to = frame.id or self._came_to

    def _missed(self, asked: Asked, frame: Frame) -> PlugbusError:
        """Return what says that events are gone for good."""
        try:
            told = from_json(frame.data)
            return CursorExpiredError(self._came_to, str(told["reason"])[:80], str(told["cursor"])[:256])
        except (ValueError, KeyError, TypeError):
            return self._wire.answers.bad(asked, OK, "a reset of the stream does not say where to go on")


def _passes(error: PlugbusError) -> bool:
    """Tell whether it may be better in a while."""
    return not isinstance(error, RemoteError) or error.status in _PASSING


def _nothing() -> None:
    """Detach from nothing: the connection has its own end."""
