"""HTTP/1.1 as uvicorn speaks it, with two limits on time that it lacks: for headers to arrive, for clients to read.

Owns the timers of a connection. A middleware is too late for these two: the first request is none before its headers
are complete, and what the socket does not take, the server keeps.

Why h11, and not httptools where that is installed: it bounds what it keeps of incomplete headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from plugbus_adapters.http._inbound import TIMED
from plugbus_adapters.http.settings import HttpSettings

__all__ = ("uvicorn_options",)

_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _BoundedProtocol(H11Protocol):
    """A connection whose client has to go on; made with the settings that are in force by then."""

    settings: ClassVar[staticmethod[[], HttpSettings]]
    stopping: ClassVar[staticmethod[[], None]]

    def __init__(self, config: Config, *args: Any, **options: Any) -> None:
        found = type(self).settings()
        config.h11_max_incomplete_event_size = found.max_header_bytes
        super().__init__(config, *args, **options)
        self.app_state = {**self.app_state, TIMED: True}
        self.timeout_keep_alive = found.idle_seconds
        self.limit_concurrency = found.max_connections
        config.ws_max_size = found.max_message_bytes
        self._head_seconds, self._send_seconds = found.head_seconds, found.send_seconds
        self._body_seconds = found.body_seconds
        self._head: asyncio.TimerHandle | None = None
        self._body: asyncio.TimerHandle | None = None
        self._reader: asyncio.TimerHandle | None = None
        self._begun = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # What the socket does not take at once counts as not read, so that not even the last bytes are kept for ever.
        transport.set_write_buffer_limits(high=0)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        self._begun = True
        super().data_received(data)
        self._watch_head()
        self._watch_body()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._stop_head()
        super().handle_websocket_upgrade(event)

    def shutdown(self) -> None:
        # The server waits for answers that are under way, and those that have no end are to find one.
        type(self).stopping()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head()
        self._stop_body()
        self._stop_reader()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self.transport.get_protocol() is not self:
            return  # a WebSocket by now
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_head()
        elif self._head is None:
            # Once, whatever comes meanwhile: a byte now and then is what it is for.
            self._head = self.loop.call_later(self._head_seconds, self._head_too_slow)

    def _stop_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _head_too_slow(self) -> None:
        self._head = None
        if self.transport.is_closing():
            return
        if self._begun and self.cycle is None:
            self.transport.write(_TOO_SLOW)
        self.transport.close()

    def _watch_body(self) -> None:
        waiting = self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete
        if not waiting:
            self._stop_body()
        elif self._body is None:
            self._body = self.loop.call_later(self._body_seconds, self._body_too_slow)

    def _stop_body(self) -> None:
        if self._body is not None:
            self._body.cancel()
            self._body = None

    def _body_too_slow(self) -> None:
        self._body = None
        if self.flow.read_paused:
            self._watch_body()  # it is the app that takes its time
        elif self.cycle.more_body and not self.cycle.response_complete and not self.transport.is_closing():
            if not self.cycle.response_started:
                self.transport.write(_TOO_SLOW)
            self.transport.close()  # the app is told that the client went away

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._reader is None:
            self._reader = self.loop.call_later(self._send_seconds, self._reader_too_slow)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_reader()

    def _stop_reader(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _reader_too_slow(self) -> None:
        self._reader = None
        self.logger.info("%s read nothing for %g s, and was cut off", self.client, self._send_seconds)
        self.transport.abort()


def uvicorn_options(
    settings: Callable[[], HttpSettings], stopping: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Return the options by which ``uvicorn.Config`` keeps the limits of the settings.

    Args:
        settings: Returns the settings in force; it is asked with each connection.
        stopping: Called when the server begins to stop, once for each connection that is open by then.

    Example:
        >>> sorted(uvicorn_options(HttpSettings))
        ['http', 'proxy_headers', 'server_header', 'ws_per_message_deflate']
    """
    return {
        "http": type(
            "BoundedProtocol",
            (_BoundedProtocol,),
            {"settings": staticmethod(settings), "stopping": staticmethod(stopping)},
        ),
        "ws_per_message_deflate": False,  # a small message may decompress to a large one
        "proxy_headers": False,  # uvicorn believes any local process; whom to believe, the settings say
        "server_header": False,
    }
