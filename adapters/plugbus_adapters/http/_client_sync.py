"""The same for threads: a ``RemoteBus`` on a small loop of its own.

Owns that loop's thread, and nothing of what is said.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, final

import anyio
from anyio.from_thread import BlockingPortal

from plugbus.stream import Overflow
from plugbus_adapters.http._client_stream import RemoteStatistics, RemoteStream
from plugbus_adapters.http.client import RemoteBus
from plugbus_adapters.inprocess._reading import SyncReader, on_a_loop

__all__ = ("SyncRemoteBus", "SyncRemoteStream")


@final
class SyncRemoteStream(SyncReader[RemoteStream]):
    """Events of a server as an iterator; made by :meth:`SyncRemoteBus.stream`, and otherwise as :class:`RemoteStream`.

    Raises:
        TimeoutError: While iterating, if there was no event in time; iterating may go on afterwards.

    Example:
        >>> def follow(bus: SyncRemoteBus, cursor: str | None = None) -> None:
        ...     with bus.stream("order.*", since=cursor) as events:
        ...         for event in events:
        ...             print(event.name, events.cursor)  # what to store, to go on after it another day
    """

    __slots__ = ()

    @property
    def cursor(self) -> str:
        """The place to go on from another time: right after the event that was returned last."""
        return self._stream.cursor

    def statistics(self) -> RemoteStatistics:
        """Return what the stream holds and has lost, and how often it was connected again."""
        return self._stream.statistics()


@final
class SyncRemoteBus:
    """Does for threads what :class:`RemoteBus` does on the event loop; a :class:`~plugbus_adapters.client.SyncClient`.

    Any number of threads may use one. Its connections live in a thread of their own, which starts with the first use
    and, after a fork, once more in the child; ``with`` or :meth:`close` ends it.

    Args:
        url: Where the app is, with its prefix.
        token: Bearer token, if the server wants one.
        **options: Those of :class:`RemoteBus`.

    Raises:
        ValueError: As :class:`RemoteBus`.

    Example:
        >>> from plugbus import Retry
        >>> with SyncRemoteBus("http://127.0.0.1:1", connect_retry=Retry(attempts=1)) as bus:
        ...     bus.call("orders.place", {"order_id": 7})
        Traceback (most recent call last):
        plugbus_adapters.http._client_errors.NotConnectedError: call 'orders.place': no connection to ...
    """

    def __init__(self, url: str, token: str | None = None, **options: Any) -> None:
        self._make: Callable[[], RemoteBus] = lambda: RemoteBus(url, token, **options)
        self._told = repr(self._make())[len("RemoteBus") :]  # which also refuses at once what is wrong
        self._lock = threading.Lock()
        self._running: _Running | None = None

    def __repr__(self) -> str:
        return f"SyncRemoteBus{self._told}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back and end the thread; using it again begins anew."""
        with self._lock:
            running, self._running = self._running, None
            if running is not None and running.process == os.getpid():
                running.close()

    def call(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Have a request answered; as :meth:`RemoteBus.call`.

        Args:
            name: Its wire name or alias.
            data: Its fields; none unless given.

        Raises:
            RuntimeError: If this thread runs an event loop, which would stand still.
        """
        portal, bus = self._started()
        return portal.call(bus.call, name, data)

    def emit(self, name: str, data: Mapping[str, Any] | None = None) -> Any:
        """Emit an event; as :meth:`RemoteBus.emit`.

        Args:
            name: Its wire name or alias.
            data: Its fields; none unless given.

        Raises:
            RuntimeError: If this thread runs an event loop, which would stand still.
        """
        portal, bus = self._started()
        return portal.call(bus.emit, name, data)

    @contextmanager
    def stream(
        self,
        events: str | Sequence[str],
        *,
        key: str | None = None,
        since: str | None = None,
        max_buffer: int = 1000,
        overflow: Overflow = "error",
        timeout_seconds: float | None = None,
    ) -> Iterator[SyncRemoteStream]:
        """Read events; as :meth:`RemoteBus.stream`. Iterating blocks the thread until there is an event.

        Args:
            events: Wire names and patterns.
            key: Only events with this key value, as text.
            since: Go on after this cursor.
            max_buffer: How many events may wait for the reader.
            overflow: What a reader that lags gets.
            timeout_seconds: How long to wait for each event, in seconds; without end unless given.

        Raises:
            RuntimeError: If this thread runs an event loop, which would stand still.
            TimeoutError: While iterating, if there was no event in time; iterating may go on afterwards.
        """
        portal, bus = self._started()
        stream = bus.stream(events, key=key, since=since, max_buffer=max_buffer, overflow=overflow)
        with portal.wrap_async_context_manager(stream):
            yield SyncRemoteStream(portal, stream, timeout_seconds)

    def _started(self) -> tuple[BlockingPortal, RemoteBus]:
        if on_a_loop():
            raise RuntimeError(f"{self!r} would block this thread's event loop; use RemoteBus")
        with self._lock:
            if self._running is None or self._running.process != os.getpid():
                self._running = _Running(self._make())
            return self._running.portal, self._running.bus


@final
class _Running:
    """A loop in a thread, with the bus whose connections live there.

    No context manager holds it open: a forked process, which has neither thread nor loop, can let go of it.
    """

    def __init__(self, bus: RemoteBus) -> None:
        self.process, self.bus = os.getpid(), bus
        self._portal: Future[BlockingPortal] = Future()
        self._thread = threading.Thread(target=anyio.run, args=(self._serve,), name="plugbus remote", daemon=True)
        self._thread.start()
        self.portal = self._portal.result()

    async def _serve(self) -> None:
        async with self.bus, BlockingPortal() as portal:
            self._portal.set_result(portal)
            await portal.sleep_until_stopped()

    def close(self) -> None:
        """Give the connections back and end the thread; whatever still runs there is cancelled."""
        self.portal.call(self.portal.stop, True)  # noqa: FBT003 - anyio calls it so
        self._thread.join()
