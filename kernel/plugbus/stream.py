"""Reading events as a stream, from any loop, without slowing the emitter down.

Owns the buffer between emitters in any thread and one reader on its loop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, Literal, NamedTuple, TypeAlias, TypeVar, final

import anyio
import anyio.lowlevel

from plugbus._threads import call_soon
from plugbus.errors import StreamOverflowError

__all__ = ("EventStream", "Overflow", "StreamStatistics")

E = TypeVar("E")

Overflow: TypeAlias = Literal["error", "drop_oldest", "drop_newest"]


@final
class StreamStatistics(NamedTuple):
    """What a stream holds and has lost; see ``EventStream.statistics``.

    Attributes:
        buffered: Events that wait for the reader.
        dropped: Events that were dropped because the reader lagged.

    Example:
        >>> from plugbus import EventBus
        >>> EventBus().stream("order.*").statistics()
        StreamStatistics(buffered=0, dropped=0)
    """

    buffered: int
    dropped: int


@final
class EventStream(Generic[E]):
    """Events as an async iterator, between ``async with`` and its end; made by ``EventBus.stream``.

    Iterating suspends until there is an event; it ends when the stream is closed, also by its plugin's leaving.

    Raises:
        RuntimeError: While iterating, if it was never opened by ``async with``.
        StreamOverflowError: While iterating, after the events that were buffered, if the reader lagged by more than
            its buffer and its choice is ``"error"``.

    Example:
        >>> import anyio
        >>> from plugbus import Event, EventBus
        >>> class Tick(Event):
        ...     number: int
        >>> async def main() -> None:
        ...     bus = EventBus()
        ...     async with bus.stream(Tick) as ticks:
        ...         await bus.aemit(Tick(number=1))
        ...         print(await anext(ticks))
        >>> anyio.run(main)
        number=1
    """

    def __init__(
        self,
        name: str,
        max_buffer: int,
        overflow: Overflow,
        attach: Callable[[EventStream[E]], Callable[[], object]],
    ) -> None:
        if max_buffer < 1:
            raise ValueError(f"stream(max_buffer={max_buffer!r}): must be at least 1")
        if overflow not in ("error", "drop_oldest", "drop_newest"):
            hint = "a reader that lags never slows the emitter down; use 'error', 'drop_oldest' or 'drop_newest'"
            raise ValueError(f"stream(overflow={overflow!r}): {hint}")
        self._name, self._max_buffer, self._overflow = name, max_buffer, overflow
        self._buffer: deque[E] = deque()
        self._lock = threading.Lock()
        self._dropped = 0
        self._overflowed = False
        self._closed = False
        self._waiting: tuple[anyio.lowlevel.EventLoopToken, anyio.Event] | None = None
        self._attach = attach
        self._detach: Callable[[], object] | None = None

    def push(self, event: E) -> None:
        """Hand an event to the reader, from any thread; never waits."""
        with self._lock:
            if self._closed or self._overflowed:
                return
            if len(self._buffer) >= self._max_buffer:
                self._dropped += 1
                if self._overflow == "error":
                    self._overflowed = True
                if self._overflow == "drop_oldest":
                    self._buffer.popleft()
            if len(self._buffer) < self._max_buffer:
                self._buffer.append(event)
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            token, waiting = self._waiting
            self._waiting = None
            call_soon(token, waiting.set)

    def statistics(self) -> StreamStatistics:
        """Return what the stream holds and has lost."""
        with self._lock:
            return StreamStatistics(len(self._buffer), self._dropped)

    def close(self) -> None:
        """End the stream: the reader still gets what is buffered."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._wake()
        if self._detach is not None:
            self._detach()

    async def __aenter__(self) -> EventStream[E]:
        self._detach = self._attach(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __aiter__(self) -> EventStream[E]:
        return self

    async def __anext__(self) -> E:
        if self._detach is None:
            raise RuntimeError(f"the stream of {self._name} is not open; iterate inside `async with bus.stream(...)`")
        await anyio.lowlevel.checkpoint()
        while True:
            with self._lock:
                if self._buffer:
                    return self._buffer.popleft()
                if self._overflowed:
                    raise StreamOverflowError(self._name, self._max_buffer)
                if self._closed:
                    raise StopAsyncIteration
                if self._waiting is not None:
                    raise anyio.BusyResourceError("reading from")
                waiting = anyio.Event()
                self._waiting = (anyio.lowlevel.current_token(), waiting)
            try:
                await waiting.wait()
            finally:
                with self._lock:
                    if self._waiting is not None and self._waiting[1] is waiting:
                        self._waiting = None
