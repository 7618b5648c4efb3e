"""What every connection passes before the app: proxies that are believed, CORS, limits, sessions.

Owns their order, and building them again when the settings change, so that nothing of it waits for a restart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

from starlette.middleware.cors import CORSMiddleware

from plugbus_adapters.http._inbound import Receive, Scope, Send
from plugbus_adapters.http._shield import Shield
from plugbus_adapters.http.settings import HttpSettings

__all__ = ("Front",)

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_HEADERS: Final = ("authorization", "last-event-id", "traceparent", "tracestate", "x-correlation-id")


@final
class Front:
    """An ASGI app around another one, by the settings in force.

    Args:
        app: The app.
        settings: Returns the settings; another object means that they changed.
    """

    def __init__(self, app: Callable[..., Any], settings: Callable[[], HttpSettings]) -> None:
        self._app, self._settings = app, settings
        self._built = settings()
        self._chain = _chain(app, self._built)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        found = self._settings()
        if found is not self._built:
            self._chain = _chain(self._app, found)
            self._built = found
        await self._chain(scope, receive, send)


def _chain(app: Callable[..., Any], settings: HttpSettings) -> Callable[..., Any]:
    if settings.session_secrets:
        from plugbus_adapters.http.sessions import Sessions

        app = Sessions(
            app, secrets=settings.session_secrets, seconds=settings.session_seconds, secure=settings.secure_cookies
        )
    app = Shield(app, settings)
    if settings.cors_origins:
        # Outside of the limits, so that a page that may ask can read why it was refused.
        app = CORSMiddleware(
            app,
            allow_origins=settings.cors_origins,
            allow_methods=_METHODS,
            allow_headers=_HEADERS,
            allow_credentials=settings.cors_credentials,
            expose_headers=("x-correlation-id", "retry-after"),
        )
    if settings.trusted_proxies:
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

        app = ProxyHeadersMiddleware(app, list(settings.trusted_proxies))  # type: ignore[arg-type]
    return app
