"""A kernel in another process, by wire name and plain data: what ``InProcess`` is in this one, over HTTP.

Owns the connections of async code; what is said over them is ``_client_wire.py``'s job, and threads have
``_client_sync.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, final

import anyio
import httpx2

from plugbus import Retry
from plugbus.stream import Overflow
from plugbus_adapters.http._client_answers import OK, Answer, Asked
from plugbus_adapters.http._client_errors import NotConnectedError, RemoteTimeoutError
from plugbus_adapters.http._client_reading import chunks_of
from plugbus_adapters.http._client_stream import RemoteStream, Subscription
from plugbus_adapters.http._client_wire import Wire, cursor_of, names_of

__all__ = ("RemoteBus",)

_CONNECT: Final = Retry(attempts=3, delay_seconds=0.2)
_STREAM: Final = Retry(attempts=None, delay_seconds=0.5, max_delay_seconds=30.0)
_KEEP_ALIVE_SECONDS: Final = 4.0
"""Less than servers keep an idle connection (uvicorn: 5 s), so that no request goes out on one that just ends."""


@final
class RemoteBus:
    """Calls a kernel that is served by :func:`create_app` elsewhere: by wire name, plain data in and out.

    It is a :class:`~plugbus_adapters.client.Client`, as ``InProcess`` is, for the event loop in which it is first
    used; asyncio or trio. It connects when it has something to say; ``async with`` or :meth:`aclose` give the
    connections back. For threads there is :class:`SyncRemoteBus`.

    A call or an emit is sent at most once: only where no connection could be made, so that nothing was sent, it is
    tried again. ``NotConnectedError.sent`` and ``RemoteTimeoutError`` tell when it may have happened. Principal and
    scopes are those of the token; the correlation id in force goes along.

    Args:
        url: Where the app is, with its prefix: ``https://shop.example/api``. Redirections are not followed.
        token: Bearer token, if the server wants one.
        source: CloudEvents source of what is emitted, a URI reference.
        carry_unknown: Have a name that no type has emitted as a ``NamedEvent`` instead of refused.
        timeout_seconds: How long an answer may take, in seconds, connecting included.
        connect_retry: When to try again to connect.
        stream_retry: When to connect a stream again that had been connected; without end unless given.
        silence_seconds: After how long without a byte a stream counts as dead, in seconds: some of the server's
            heartbeats, which are 15 s apart unless its settings say otherwise.
        max_answer_bytes: How long an answer may be.
        max_event_bytes: How long an event in a stream may be.
        transport: What to connect with, such as ``httpx2.AsyncHTTPTransport(verify=context)``.

    Raises:
        ValueError: If the URL cannot be used, such as one with credentials in it, or the token cannot.

    Example:
        >>> import anyio
        >>> from plugbus_adapters.client import Client
        >>> async def place(client: Client) -> None:  # InProcess(kernel) would do as well
        ...     await client.call("orders.place", {"order_id": 7})
        >>> async def main() -> None:
        ...     async with RemoteBus(
        ...         "http://127.0.0.1:1", "a-long-secret-text", connect_retry=Retry(attempts=1)
        ...     ) as bus:
        ...         await place(bus)
        >>> anyio.run(main)
        Traceback (most recent call last):
        plugbus_adapters.http._client_errors.NotConnectedError: call 'orders.place': no connection to ...
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        source: str = "/plugbus/remote",
        carry_unknown: bool = False,
        timeout_seconds: float = 30.0,
        connect_retry: Retry = _CONNECT,
        stream_retry: Retry = _STREAM,
        silence_seconds: float = 45.0,
        max_answer_bytes: int = 16 * 1024 * 1024,
        max_event_bytes: int = 2 * 1024 * 1024,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        for name, value in (("timeout_seconds", timeout_seconds), ("silence_seconds", silence_seconds)):
            if not value > 0:  # this way round, NaN fails too
                raise ValueError(f"RemoteBus({name}={value!r}): must be above zero; use math.inf for no limit")
        self._wire = Wire(url, token, source, carry_unknown=carry_unknown)
        self._timeout_seconds, self._silence_seconds = timeout_seconds, silence_seconds
        self._connect_retry, self._stream_retry = connect_retry, stream_retry
        self._max_answer_bytes, self._max_event_bytes = max_answer_bytes, max_event_bytes
        self._http = httpx2.AsyncClient(
            transport=transport,
            verify=self._wire.url.scheme == "https",  # else there is nothing to verify, and nothing to load for it
            timeout=None,
            limits=httpx2.Limits(keepalive_expiry=_KEEP_ALIVE_SECONDS),
            follow_redirects=False,
        )

    def __repr__(self) -> str:
        return f"RemoteBus({self._wire.server!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give the connections back; streams that are still open end."""
        await self._http.aclose()

    async def call(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Have a request answered; suspends until the answer is there.

        Args:
            name: Its wire name or alias.
            data: Its fields; none unless given.

        Returns:
            The answer as plain data.

        Raises:
            UnknownEventError: If no request has the name.
            Invalid: If the data does not fit; its ``problems`` say where.
            Refused: What the handler or a listener refused with, as it is.
            Forbidden: If the token does not have the scope ``call:name``.
            Unauthenticated: If the server does not know the token.
            NoHandlerError: If nobody answers the request.
            NotConnectedError: If there is no connection, or it broke; ``sent`` says whether it may have happened.
            RemoteTimeoutError: If there was no answer in time; it may have happened.
            RemoteError: If the server failed, with the id that its log has; or if it is no plugbus.
        """
        asked = self._wire.call(name, data)
        return self._wire.answers.result(asked, await self._answer(asked))

    async def emit(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Emit an event; suspends until its chain has ended and, where the server has a log, it is on record.

        It is published at most once: an error with ``sent`` says that it may have happened.

        Args:
            name: Its wire name or alias.
            data: Its fields; none unless given.

        Returns:
            What came out of the chain, as plain data; None if the token may not read it (``subscribe:name``).

        Raises:
            UnknownEventError: If no event has the name, and unknown names are not carried.
            Invalid: If the data does not fit; its ``problems`` say where.
            Refused: What a listener refused with, as it is.
            EventTypeError: If the name is that of a request.
            Forbidden: If the token does not have the scope ``publish:name``.
            Unauthenticated: As :meth:`call`, like what follows.
            NotConnectedError: If there is no connection, or it broke.
            RemoteTimeoutError: If there was no answer in time.
            RemoteError: If the server failed.
        """
        asked = self._wire.emit(name, data)
        return self._wire.answers.published(asked, await self._answer(asked))

    def stream(
        self,
        events: str | Sequence[str],
        *,
        key: str | None = None,
        since: str | None = None,
        max_buffer: int = 1000,
        overflow: Overflow = "error",
    ) -> RemoteStream:
        """Read events as wire name and plain data; subscribed between ``async with`` and its end.

        See :class:`RemoteStream` for what happens when the connection breaks. At most *max_buffer* times
        ``max_event_bytes`` are held.

        Args:
            events: Wire names and patterns: ``order.*`` is one segment, ``order.**`` one or more.
            key: Only events with this key value, as text.
            since: Go on after this cursor, as :attr:`RemoteStream.cursor` told it; begin with what is next if None.
            max_buffer: How many events may wait for the reader.
            overflow: What a reader that lags gets: ``"error"`` after what is buffered, or events are dropped,
                ``"drop_oldest"`` or ``"drop_newest"``. Whoever emits never waits.

        Raises:
            ValueError: If *max_buffer* or *overflow* is not possible.
            CursorError: On entering, if *since* is no cursor.
            EventTypeError: If something is neither a wire name nor a pattern.
        """
        wanted = Subscription(
            events=names_of(events), key=key, since=since and cursor_of(since),
            max_buffer=max_buffer, overflow=overflow, retry=self._stream_retry,
            silence_seconds=self._silence_seconds, max_event_bytes=self._max_event_bytes,
        )  # fmt: skip
        return RemoteStream(self._streaming, self._wire, wanted)

    # Connections

    async def _answer(self, asked: Asked) -> Answer:
        with anyio.move_on_after(self._timeout_seconds):
            response = await self._opened(asked)
            try:
                return await self._whole(asked, response)
            finally:
                await response.aclose()
        raise RemoteTimeoutError(self._wire.server, asked.doing, self._timeout_seconds)

    @asynccontextmanager
    async def _streaming(self, asked: Asked) -> AsyncIterator[httpx2.Response]:
        """Hand out the answer to a subscription, once it is known to be one."""
        response: httpx2.Response | None = None
        with anyio.move_on_after(self._timeout_seconds):
            response = await self._opened(asked)
        if response is None:
            raise RemoteTimeoutError(self._wire.server, asked.doing, self._timeout_seconds)
        try:
            if response.status_code != OK:
                self._wire.answers.refuse(asked, await self._whole(asked, response))
            self._wire.answers.check_stream(asked, response.headers)
            yield response
        except httpx2.TransportError as error:
            raise self._lost(asked, error, sent=False) from None
        finally:
            await response.aclose()

    async def _opened(self, asked: Asked) -> httpx2.Response:
        """Send a request; return the answer with its body yet to come."""
        delays = self._connect_retry.delays()
        while True:
            request = self._http.build_request(
                asked.method, self._wire.url_of(asked), headers=asked.headers, content=asked.body or None
            )
            try:
                return await self._http.send(request, stream=True)
            except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
                lost = self._lost(asked, error, sent=False)
            except httpx2.TransportError as error:
                raise self._lost(asked, error, sent=True) from None
            delay = next(delays, None)
            if delay is None:
                raise lost
            await anyio.sleep(delay)

    async def _whole(self, asked: Asked, response: httpx2.Response) -> Answer:
        """Return an answer with its body, which is read no further than its bound."""
        body = bytearray()
        try:
            async with chunks_of(response) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > self._max_answer_bytes:
                        told = f"it is longer than {self._max_answer_bytes} bytes"
                        raise self._wire.answers.bad(asked, response.status_code, told)
        except httpx2.TransportError as error:
            raise self._lost(asked, error, sent=True) from None
        return Answer(response.status_code, response.headers, bytes(body))

    def _lost(self, asked: Asked, error: Exception, *, sent: bool) -> NotConnectedError:
        reason = self._wire.answers.clean(f"{type(error).__name__} {error}".strip())
        return NotConnectedError(self._wire.server, asked.doing, reason, sent=sent)
