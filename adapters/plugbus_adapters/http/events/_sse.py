"""Server-sent events: a reader of the log behind an ``EventSource``.

Owns the wire format (https://html.spec.whatwg.org/multipage/server-sent-events.html) and cutting off who stops reading.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, final

import anyio
from pydantic_core import to_json
from starlette.responses import StreamingResponse

from plugbus import LoggedEvent, Principal
from plugbus_adapters.http.events._readers import Reader, Readers, Reset

__all__ = ("EventSource",)

_CHUNK: Final = 64 * 1024
_HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


@final
class EventSource(StreamingResponse):
    """The answer that does not end: events as they come, and a comment where there is none for a while.

    Args:
        readers: What all readers share.
        reader: The reader.
        who: Who reads.
    """

    def __init__(self, readers: Readers, reader: Reader, who: Principal) -> None:
        super().__init__((), media_type="text/event-stream", headers=_HEADERS)
        self._readers, self._reader, self._who = readers, reader, who
        self._pending: deque[LoggedEvent] = deque()
        self._place = reader.cursor

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send until the reader leaves, stops reading, or the server stops."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        end = {"type": "http.response.body", "body": b"", "more_body": False}
        if scope["method"] == "HEAD":
            await send(start)
            await send(end)
            return
        with self._readers.reading(self._who) as reading:
            async with anyio.create_task_group() as group:
                group.start_soon(_until_gone, receive, group.cancel_scope)
                await self._send_all(start, send)
                group.cancel_scope.cancel()
        if reading.cancelled_caught:
            await self._readers.sending(send, end)

    async def _send_all(self, start: dict[str, Any], send: Callable[..., Any]) -> None:
        """Send whatever comes, heartbeats too; return once the reader has not taken something in time."""
        message, place = start, self._place
        chunk = _id(place)  # so that a reader can resume that has heard nothing yet
        while await self._readers.sending(send, message):
            if message is not start:
                self._place = place
                chunk, place = await self._next()
            message = {"type": "http.response.body", "body": chunk, "more_body": True}
        self._readers.cut_off("stopped reading", self._place, self._who.id)

    async def _next(self) -> tuple[bytes, str]:
        """Return what to send next, and the place that the reader has reached with it."""
        if not self._pending:
            try:
                self._pending.extend(await self._reader.take(self._readers.limits.heartbeat_seconds))
            except Reset as reset:
                told = to_json({"reason": reset.reason, "cursor": reset.cursor})
                return b"event: reset\ndata: %s\n%s" % (told, _id(reset.cursor)), reset.cursor
        if self._pending:
            return self._events()
        place = self._reader.cursor  # what was passed over counts: nobody is to read it once more
        return b":\n\n" if place == self._place else b":\n" + _id(place), place

    def _events(self) -> tuple[bytes, str]:
        """Return as many events as go into one chunk."""
        frames: list[str] = []
        size, place = 0, ""
        while self._pending and size < _CHUNK:
            event = self._pending.popleft()
            frame = f"id: {event.cursor}\ndata: {self._readers.render(event)}\n\n"
            frames.append(frame)
            size, place = size + len(frame), event.cursor
        return "".join(frames).encode(), place


def _id(cursor: str) -> bytes:
    return b"id: %s\n\n" % cursor.encode()


async def _until_gone(receive: Callable[..., Any], scope: anyio.CancelScope) -> None:
    """End the stream once the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
