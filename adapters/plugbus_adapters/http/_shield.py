"""What stands around the whole app: limits on what comes in, headers on what goes out.

Owns the order of both. It is one layer, pure ASGI, because every request pays for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, final

from plugbus.log import plugin_logger
from plugbus_adapters.http._inbound import Body, Message, Receive, Scope, Send, checked_head
from plugbus_adapters.http._origins import origin_allowed
from plugbus_adapters.http.csrf import is_cross_site
from plugbus_adapters.http.problems import ProblemError
from plugbus_adapters.http.settings import HttpSettings

__all__ = ("Shield",)

_LINE_BREAK: Final = re.compile(rb"[\x00\r\n]")
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_FOR_PAGES: Final = ((b"x-frame-options", b"DENY"), (b"cross-origin-opener-policy", b"same-origin"))


@final
class Shield:
    """An ASGI app around another one.

    Args:
        app: The app.
        settings: The limits.
    """

    def __init__(self, app: Callable[..., Any], settings: HttpSettings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(scope, send, self._settings)
        try:
            answer.body = body = checked_head(scope, self._settings)
            self._check_site(scope)
        except ProblemError as error:
            await answer.refuse(error)
            return
        if body is not None and body.encoding is not None:
            told = {b"content-encoding", b"content-length"}  # of what was sent; the app sees what it means
            scope = {**scope, "headers": [each for each in scope["headers"] if each[0] not in told]}
        try:
            await self._app(scope, receive if body is None else lambda: body.receive(receive), answer.send)
        except ProblemError as error:
            if body is None or error is not body.failure:
                raise
        if body is not None and body.failure is not None:
            await answer.refuse(body.failure)

    def _check_site(self, scope: Scope) -> None:
        allowed = self._settings.cors_origins
        if is_cross_site(scope["method"], scope["headers"], scheme=scope.get("scheme", "http"), allowed=allowed):
            raise ProblemError(403, "a page of another site asked the browser for this", code="cross_site")

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            checked_head(scope, self._settings)
        except ProblemError:
            allowed = False
        else:
            found = {name: value.decode("latin-1") for name, value in scope["headers"] if name in {b"origin", b"host"}}
            allowed = origin_allowed(
                found.get(b"origin"), scheme=scope.get("scheme", "ws"), host=found.get(b"host"),
                allowed=self._settings.websocket_origins,
            )  # fmt: skip
        if allowed:
            await self._app(scope, receive, send)
        else:
            await receive()  # websocket.connect; to close before accepting it is 403
            await send({"type": "websocket.close", "code": 1008, "reason": ""})


@final
class _Answer:
    """What goes out for one request: the app's answer with headers of safety, or a refusal in its place."""

    def __init__(self, scope: Scope, send: Send, settings: HttpSettings) -> None:
        self._scope, self._send, self._settings = scope, send, settings
        self.body: Body | None = None
        self._started = self._refused = False

    async def send(self, message: Message) -> None:
        """Send a message of the app."""
        if self._refused:
            return
        if self.body is not None and self.body.failure is not None and not self._started:
            await self.refuse(self.body.failure)
            return
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            everything = b"".join(map(b"".join, headers))
            if len(everything.translate(None, b"\x00\r\n")) != len(everything):
                names = [name for name, value in headers if _LINE_BREAK.search(name + value)]
                plugin_logger("http").error("header refused", header=repr(names[0][:50]), path=self._scope["path"])
                await self.refuse(ProblemError(500, "the answer has a header that cannot be sent", code="internal"))
                return
            message = {**message, "headers": headers + self._missing(headers)}
            self._started = True
        await self._send(message)

    async def refuse(self, error: ProblemError) -> None:
        """Send a problem document instead of the app's answer, unless that has begun."""
        if self._refused or self._started:
            return
        self._refused = True
        content = error.document.to_json()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(content)).encode()),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in error.document.headers),
            (b"connection", b"close"),  # what is left of the request is not read any more
        ]
        status = error.document.status
        await self._send({"type": "http.response.start", "status": status, "headers": headers + self._missing(headers)})
        await self._send({"type": "http.response.body", "body": content})

    def _missing(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the headers of safety that the app has not set itself."""
        present = {name.lower(): value for name, value in headers}
        wanted = list(_ALWAYS)
        if present.get(b"content-type", b"").startswith(b"text/html"):
            wanted += _FOR_PAGES
            wanted.append((b"content-security-policy", self._settings.content_security_policy.encode()))
        if self._settings.hsts_seconds and self._scope.get("scheme") == "https":
            wanted.append((b"strict-transport-security", b"max-age=%d" % self._settings.hsts_seconds))
        return [each for each in wanted if each[0] not in present]
