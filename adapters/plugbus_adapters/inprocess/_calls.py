"""The kernel's bus for async code: by wire name, with plain data.

Owns nothing but the face; plain data is ``_plain.py``'s job.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from plugbus import Kernel
from plugbus.stream import Overflow
from plugbus_adapters.inprocess._plain import Results, fields, plain_event, required_type
from plugbus_adapters.inprocess._streams import PlainStream

__all__ = ("InProcess",)


@final
class InProcess:
    """Calls a kernel in the same process as a remote client would: by wire name, plain data in and out, validated.

    It is a :class:`~plugbus_adapters.client.Client`, for the event loop that the kernel runs in; all subscribers run
    as in ``EventBus.acall`` and ``EventBus.aemit``. For threads there is :class:`SyncInProcess`.

    Args:
        kernel: A kernel.
        carry_unknown: Emit a name that no type has as a ``NamedEvent`` instead of refusing it.

    Example:
        >>> import anyio
        >>> from plugbus import Event, Kernel, Plugin, Request, answers
        >>> class Greet(Request[str], name="greeter.greet"):
        ...     who: str
        >>> class Greeter(Plugin):
        ...     @answers(Greet)
        ...     async def greet(self, request: Greet) -> str:
        ...         return f"hello {request.who}"
        >>> async def main() -> None:
        ...     async with Kernel(plugins=[Greeter]) as kernel:
        ...         calls = InProcess(kernel)
        ...         print(await calls.call("greeter.greet", {"who": "Ada"}))
        >>> anyio.run(main)
        hello Ada
    """

    def __init__(self, kernel: Kernel, *, carry_unknown: bool = False) -> None:
        self._kernel = kernel
        self._carry_unknown = carry_unknown
        self._results = Results()

    async def call(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Have a request answered; suspends as its subscribers do.

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
        """
        bus = self._kernel.bus
        declared = required_type(bus, name)
        with self._kernel.services.detached():  # as it would be in another process
            return self._results.plain(declared, await bus.acall_named(name, fields(name, data)))

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Emit an event; suspends as its subscribers do.

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
        """
        bus = self._kernel.bus
        if not self._carry_unknown:
            required_type(bus, name)
        with self._kernel.services.detached():  # as it would be in another process
            return plain_event(await bus.aemit_named(name, fields(name, data))).data

    def stream(
        self, events: str | Sequence[str], *, max_buffer: int = 1000, overflow: Overflow = "error"
    ) -> PlainStream:
        """Read events as wire name and plain data; subscribed between ``async with`` and its end.

        A name that no type has yet may get one later, so it is no error.

        Args:
            events: Wire names and patterns: ``order.*`` is one segment, ``order.**`` one or more.
            max_buffer: How many events may wait for the reader.
            overflow: What a reader that lags gets: ``"error"`` after what is buffered, or events are dropped,
                ``"drop_oldest"`` or ``"drop_newest"``. The emitter never waits.

        Raises:
            ValueError: If *max_buffer* or *overflow* is not possible.
            EventTypeError: If something is neither a wire name nor a pattern.
        """
        return PlainStream(self._kernel.bus.stream(events, max_buffer=max_buffer, overflow=overflow))
