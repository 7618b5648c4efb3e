"""Answers: results and failures as ASGI messages.

Owns status, headers and body of what is sent.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from plugbus_adapters.http._correlation import CORRELATION
from plugbus_adapters.http._exchange import Exchange, Send
from plugbus_adapters.http._framework import framework
from plugbus_adapters.http._streaming import streamed
from plugbus_adapters.http.pages import Page, Templates
from plugbus_adapters.http.problems import MEDIA_TYPE, ProblemDocument

if TYPE_CHECKING:
    from plugbus_adapters.http._entries import Entry

__all__ = ("answered", "denied", "failed", "sent")

JSON: Final = b"application/json"
HTML: Final = b"text/html; charset=utf-8"
_BODILESS: Final = frozenset({204, 205, 304})


async def answered(result: Any, entry: Entry, exchange: Exchange, send: Send, templates: Templates) -> None:
    """Send the result of an endpoint."""
    status = exchange.status or entry.endpoint.status
    if type(result) is not entry.exact:
        if type(result) is Page:
            await sent(status, HTML, await templates.render(entry.owner, result), exchange, send)
            return
        if isinstance(result, framework().responses):
            await _passed_on(result, exchange, send)
            return
        if hasattr(type(result), "__aiter__"):
            await streamed(result, status, partial(_headers, exchange), entry, exchange, send)
            return
    if status in _BODILESS or (result is None and 300 <= status <= 399):  # noqa: PLR2004 - a redirection says it all
        await sent(status, None, b"", exchange, send)
    else:
        await sent(status, JSON, entry.tell(result), exchange, send)


def _headers(exchange: Exchange, media: bytes | None) -> list[tuple[bytes, bytes]]:
    out = exchange.out or []
    headers = [(CORRELATION, exchange.correlation_id.encode("latin-1"))] if exchange.correlation_id else []
    if media is not None and not any(name == b"content-type" for name, _ in out):
        headers.append((b"content-type", media))
    return headers + out


async def sent(status: int, media: bytes | None, body: bytes, exchange: Exchange, send: Send) -> None:
    """Send an answer as a whole."""
    headers = _headers(exchange, media)
    if status not in _BODILESS:
        headers.append((b"content-length", str(len(body)).encode("latin-1")))
    exchange.started = True
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if exchange.scope.get("method") == "HEAD" else body})


async def _passed_on(response: Any, exchange: Exchange, send: Send) -> None:
    """Send a response of the web framework as it is, with what was set beside it."""

    async def added(message: Any) -> None:
        if message["type"] == "http.response.start":
            exchange.started = True
            own = [(CORRELATION, exchange.correlation_id.encode("latin-1")), *(exchange.out or ())]
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await send(message)

    await response(exchange.scope, exchange.receive, added)


async def failed(document: ProblemDocument, exchange: Exchange, send: Send, *, envelope: bool) -> None:
    """Send a failure as a problem document, or wrapped."""
    body = document.to_json()
    exchange.out = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in document.headers]
    if envelope:
        body = to_json({"success": False, "data": None, "error": document.to_dict()})
    await sent(document.status, JSON if envelope else MEDIA_TYPE, body, exchange, send)


async def denied(document: ProblemDocument, exchange: Exchange, send: Send) -> bool:
    """Send a failure instead of accepting a WebSocket, where the server can; tell whether it could.

    ASGI, the extension "WebSocket Denial Response"; without it, all that a client is told is 403.
    """
    if "websocket.http.response" not in (exchange.scope.get("extensions") or {}):
        return False

    async def as_denial(message: Any) -> None:
        await send({**message, "type": f"websocket.{message['type']}"})

    await failed(document, exchange, as_denial, envelope=False)
    return True
