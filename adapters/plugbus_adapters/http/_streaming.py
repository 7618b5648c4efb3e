"""Answers that come piece by piece: async iterators as bytes, text, or lines of JSON.

Owns the sending; it ends when the iterator ends, the client goes away, or the plugin leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

import anyio
from pydantic_core import to_json

from plugbus_adapters.http._exchange import DisconnectedError, Exchange, Receive, Send
from plugbus_adapters.http.problems import ProblemError

if TYPE_CHECKING:
    from plugbus_adapters.http._entries import Entry

__all__ = ("pieces", "streamed")

_END: Final = object()


def pieces(first: object) -> bytes:
    """Return the media type of a stream by its first piece."""
    if isinstance(first, (bytes, bytearray, memoryview)):
        return b"application/octet-stream"
    return b"text/plain; charset=utf-8" if isinstance(first, str) or first is _END else b"application/x-ndjson"


def _told(piece: Any) -> bytes:
    if isinstance(piece, str):
        return piece.encode()
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    return to_json(piece, by_alias=True) + b"\n"


async def streamed(  # noqa: PLR0917 - called from one place
    result: AsyncIterator[Any], status: int, headers: Any, entry: Entry, exchange: Exchange, send: Send
) -> None:
    """Send what an async iterator yields; what it fails with before its first piece is a failure like any other.

    Raises:
        Exception: What the iterator raised.
        ProblemError: If the plugin left meanwhile: the server breaks the connection off.
        DisconnectedError: If the client went away before the end.
    """
    iterator = aiter(result)
    try:
        first = await anext(iterator, _END)
        exchange.started = True
        await send({"type": "http.response.start", "status": status, "headers": headers(pieces(first))})
        if first is not _END:
            await _send_all(first, iterator, entry, exchange.receive, send)
        await send({"type": "http.response.body", "body": b""})
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            with anyio.CancelScope(shield=True):
                await close()


async def _send_all(first: Any, iterator: AsyncIterator[Any], entry: Entry, receive: Receive, send: Send) -> None:
    failure: list[Exception] = []
    gone: list[bool] = []

    async def watch(scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        gone.append(True)
        scope.cancel()

    async def forward() -> None:
        await send({"type": "http.response.body", "body": _told(first), "more_body": True})
        async for piece in iterator:
            await send({"type": "http.response.body", "body": _told(piece), "more_body": True})

    done = False
    async with anyio.create_task_group() as group:
        entry.streams.add(group.cancel_scope)
        group.start_soon(watch, group.cancel_scope)
        try:
            await forward()
            done = True
        except Exception as error:  # noqa: BLE001 - raised below, and not in a group
            failure.append(error)
        group.cancel_scope.cancel()
    entry.streams.discard(group.cancel_scope)
    if failure:
        raise failure[0]
    if not done:
        raise DisconnectedError if gone else ProblemError(503, "the plugin left while it answered", code="gone")
