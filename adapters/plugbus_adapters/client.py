"""What every client of a kernel can do, wherever the kernel runs: code moves between processes by changing one line.

Owns the interface; ``inprocess`` fulfils it without a network.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from plugbus import NamedEvent
from plugbus.stream import Overflow

__all__ = ("Client", "SyncClient")


@runtime_checkable
class Client(Protocol):
    """Calls requests, emits events and reads them, by wire name and with plain data (what JSON can carry).

    Example:
        >>> import anyio
        >>> from plugbus import Kernel, Request
        >>> from plugbus_adapters.inprocess import InProcess
        >>> class Add(Request[int], name="maths.add"):
        ...     left: int
        ...     right: int
        >>> async def five(client: Client) -> int:
        ...     return await client.call("maths.add", {"left": 2, "right": 3})
        >>> async def main() -> None:
        ...     async with Kernel() as kernel:
        ...         kernel.bus.answer(Add, lambda request: request.left + request.right)
        ...         print(await five(InProcess(kernel)))
        >>> anyio.run(main)
        5
    """

    async def call(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Have a request answered.

        Args:
            name: Its wire name.
            data: Its fields; none unless given.

        Returns:
            The answer as plain data.

        Raises:
            UnknownEventError: If no request has the name.
            Invalid: If the data does not fit; its ``problems`` say where.
            Refused: What the handler or a listener refused with, as it is.
        """
        ...

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Emit an event.

        Args:
            name: Its wire name.
            data: Its fields; none unless given.

        Returns:
            What came out of the chain, as plain data.

        Raises:
            UnknownEventError: If no event has the name.
            Invalid: If the data does not fit; its ``problems`` say where.
            Refused: What a listener refused with, as it is.
        """
        ...

    def stream(
        self, events: str | Sequence[str], *, max_buffer: int = 1000, overflow: Overflow = "error"
    ) -> AbstractAsyncContextManager[AsyncIterator[NamedEvent]]:
        """Read events; subscribed between ``async with`` and its end.

        Args:
            events: Wire names and patterns: ``order.*`` is one segment, ``order.**`` one or more.
            max_buffer: How many events may wait for the reader.
            overflow: What a reader that lags gets: ``"error"`` after what is buffered, or events are dropped,
                ``"drop_oldest"`` or ``"drop_newest"``. The emitter never waits.

        Raises:
            StreamOverflowError: While iterating, if the reader lagged and its choice is ``"error"``.
        """
        ...


@runtime_checkable
class SyncClient(Protocol):
    """The same for code without ``await``.

    Example:
        >>> from plugbus import Kernel, Request
        >>> from plugbus_adapters.inprocess import SyncInProcess
        >>> class Twice(Request[int], name="maths.twice"):
        ...     number: int
        >>> with Kernel().portal() as kernel:
        ...     _ = kernel.bus.answer(Twice, lambda request: 2 * request.number)
        ...     client: SyncClient = SyncInProcess(kernel)
        ...     print(client.call("maths.twice", {"number": 4}))
        8
    """

    def call(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Have a request answered; as :meth:`Client.call`."""
        ...

    def emit(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Emit an event; as :meth:`Client.emit`."""
        ...

    def stream(
        self,
        events: str | Sequence[str],
        *,
        max_buffer: int = 1000,
        overflow: Overflow = "error",
        timeout_seconds: float | None = None,
    ) -> AbstractContextManager[Iterator[NamedEvent]]:
        """Read events; as :meth:`Client.stream`.

        Args:
            events: Wire names and patterns.
            max_buffer: How many events may wait for the reader.
            overflow: What a reader that lags gets.
            timeout_seconds: How long to wait for each event, in seconds; without end unless given.

        Raises:
            TimeoutError: While iterating, if there was no event in time; iterating may go on afterwards.
            StreamOverflowError: While iterating, if the reader lagged and its choice is ``"error"``.
        """
        ...
