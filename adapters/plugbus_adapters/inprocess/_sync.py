"""The kernel's bus for threads: by wire name, with plain data.

Owns the sync face; sync subscribers run in the calling thread, async ones go through the kernel's portal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

from anyio.from_thread import start_blocking_portal

from plugbus import Kernel, KernelPortal, NamedEvent
from plugbus.stream import Overflow
from plugbus_adapters.inprocess._plain import Results, fields, plain_event, required_type
from plugbus_adapters.inprocess._reading import SyncReader, on_a_loop
from plugbus_adapters.inprocess._streams import PlainStream

__all__ = ("SyncInProcess",)


@final
class SyncInProcess:
    """Does for threads what :class:`InProcess` does on the event loop; a :class:`~plugbus_adapters.client.SyncClient`.

    Sync subscribers run in the calling thread, as in ``EventBus.call`` and ``EventBus.emit``; async ones run on the
    kernel's loop. Any number of threads may use one.

    Args:
        kernel: A kernel that runs in some event loop; or ``kernel.portal()``, also a lazy one.
        carry_unknown: Emit a name that no type has as a ``NamedEvent`` instead of refusing it.

    Example:
        >>> from plugbus import Kernel, Plugin, Request, answers
        >>> class Greet(Request[str], name="greeter.greet"):
        ...     who: str
        >>> class Greeter(Plugin):
        ...     @answers(Greet)
        ...     async def greet(self, request: Greet) -> str:
        ...         return f"hello {request.who}"
        >>> with Kernel(plugins=[Greeter]).portal() as kernel:
        ...     SyncInProcess(kernel).call("greeter.greet", {"who": "Ada"})
        'hello Ada'
    """

    def __init__(self, kernel: Kernel | KernelPortal, *, carry_unknown: bool = False) -> None:
        self._kernel = kernel
        self._carry_unknown = carry_unknown
        self._results = Results()

    def call(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Have a request answered.

        Args:
            name: Its wire name or alias.
            data: Its fields; none unless given.

        Returns:
            The answer, validated by the type that the request declares and told as JSON would tell it.

        Raises:
            UnknownEventError: If no type has the name.
            Invalid: If the data does not fit; its ``problems`` say where.
            Refused: What the handler or a listener refused with, as it is.
            NoHandlerError: If nobody answers the request.
            EventTypeError: If the name is that of an event, or the answer does not fit the declared type.
            SyncEmitError: If a subscriber needs the loop and this thread's own loop is running.
        """
        bus = self._kernel.bus
        declared = required_type(bus, name)
        with self._kernel.services.detached():  # as it would be in another process
            return self._results.plain(declared, bus.call_named(name, fields(name, data)))

    def emit(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Emit an event.

        Args:
            name: Its wire name or alias.
            data: Its fields; none unless given.

        Returns:
            What came out of the chain, as plain data.

        Raises:
            UnknownEventError: If no type has the name, and unknown names are not carried.
            Invalid: If the data does not fit; its ``problems`` say where.
            Refused: What a listener refused with, as it is.
            EventTypeError: If the name is that of a request, or what came out cannot be told as plain data.
            SyncEmitError: If a subscriber needs the loop and this thread's own loop is running.
        """
        bus = self._kernel.bus
        if not self._carry_unknown:
            required_type(bus, name)
        with self._kernel.services.detached():  # as it would be in another process
            return plain_event(bus.emit_named(name, fields(name, data))).data

    @contextmanager
    def stream(
        self,
        events: str | Sequence[str],
        *,
        max_buffer: int = 1000,
        overflow: Overflow = "error",
        timeout_seconds: float | None = None,
    ) -> Iterator[Iterator[NamedEvent]]:
        """Read events as wire name and plain data; subscribed between ``with`` and its end.

        Iterating blocks the thread until there is an event. The stream has a small loop and a thread of its own, so
        that a reader never holds the kernel's.

        Args:
            events: Wire names and patterns, as :meth:`InProcess.stream` takes them.
            max_buffer: How many events may wait for the reader.
            overflow: What a reader that lags gets.
            timeout_seconds: How long to wait for each event, in seconds; without end unless given.

        Raises:
            RuntimeError: If this thread runs an event loop, which would stand still.
            ValueError: If *max_buffer* or *overflow* is not possible.
            EventTypeError: If something is neither a wire name nor a pattern.
            TimeoutError: While iterating, if there was no event in time; iterating may go on afterwards.
            StreamOverflowError: While iterating, if the reader lagged and its choice is ``"error"``.
        """
        if on_a_loop():
            raise RuntimeError("a sync stream would block this thread's event loop; use InProcess(kernel).stream()")
        stream = PlainStream(self._kernel.bus.stream(events, max_buffer=max_buffer, overflow=overflow))
        with start_blocking_portal() as portal, portal.wrap_async_context_manager(stream):
            yield SyncReader(portal, stream, timeout_seconds)
