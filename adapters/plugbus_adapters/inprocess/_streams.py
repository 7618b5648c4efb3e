"""Streams of plain data over the bus's own streams.

Owns the conversion, which the reader pays for; buffer and overflow are the bus's.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, final

from plugbus import EventStream, EventTypeError, NamedEvent
from plugbus_adapters.inprocess._plain import plain_event

__all__ = ("PlainStatistics", "PlainStream")


@final
@dataclass(frozen=True, slots=True)
class PlainStatistics:
    """What a stream holds, has lost and has left out.

    Attributes:
        buffered: Events that wait for the reader.
        dropped: Events that were dropped because the reader lagged.
        skipped: Events that hold live objects, which no data can tell.

    Example:
        >>> PlainStatistics(buffered=0, dropped=0, skipped=1).skipped
        1
    """

    buffered: int
    dropped: int
    skipped: int


@final
class PlainStream:
    """Events as an async iterator of wire name and plain data; made by :meth:`InProcess.stream`.

    Events that hold live objects do not travel: they are skipped and counted.

    Args:
        stream: The bus's stream.

    Raises:
        StreamOverflowError: While iterating, if the reader lagged and its choice is ``"error"``.

    Example:
        >>> import anyio
        >>> from plugbus import EventBus, NamedEvent
        >>> async def main() -> None:
        ...     bus = EventBus()
        ...     async with PlainStream(bus.stream("tick")) as ticks:
        ...         await bus.aemit(NamedEvent("tick", {"number": 1}))
        ...         print(await anext(ticks))
        >>> anyio.run(main)
        name='tick' data={'number': 1}
    """

    __slots__ = ("_skipped", "_stream")

    def __init__(self, stream: EventStream[Any]) -> None:
        self._stream = stream
        self._skipped = 0

    def statistics(self) -> PlainStatistics:
        """Return what the stream holds, has lost and has left out."""
        seen = self._stream.statistics()
        return PlainStatistics(seen.buffered, seen.dropped, self._skipped)

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stream.__aexit__(kind, error, tb)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> NamedEvent:
        while True:
            event = await anext(self._stream)
            try:
                return plain_event(event)
            except EventTypeError:
                self._skipped += 1
