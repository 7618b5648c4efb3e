"""uvicorn, with our limits, and with a look at who could come in before it listens.

Owns the configuration of the server; what it serves is ``app.py``'s job.
"""

from __future__ import annotations

from typing import Any, final

import uvicorn
from starlette.applications import Starlette

from plugbus_adapters.http._bind import is_loopback, refuse_open_bind
from plugbus_adapters.http._inbound import Message, Receive, Scope, Send
from plugbus_adapters.http._protocol import uvicorn_options

__all__ = ("server_config",)


def server_config(
    app: Starlette,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    fd: int | None = None,
    **options: Any,
) -> uvicorn.Config:
    """Configure uvicorn for an app of :func:`create_app`, with the limits of its settings.

    Where other machines come in, it does not start unless somebody tells who asks: ``auth=``, tokens in the settings,
    or a plugin that provides an authenticator. That is known once the kernel runs, and looked at before the server
    listens: the start fails then, with :class:`OpenBindError` in its log.

    Args:
        app: The app; or a host into which kernels are mounted, which gets the limits of the first one.
        host: Where to listen; an address or a name.
        port: The port; 0 takes any that is free.
        uds: Path of a Unix socket to listen on instead.
        fd: Number of a socket that is open already, to listen on instead.
        **options: Further ones of ``uvicorn.Config``.

    Raises:
        TypeError: If the app is another one, into which no kernel is mounted.

    Example:
        >>> from plugbus import Kernel
        >>> from plugbus_adapters.http import create_app
        >>> config = server_config(create_app(Kernel()), port=0)  # asyncio.run(uvicorn.Server(config).serve())
    """
    state = getattr(app, "state", None)
    if not hasattr(state, "http_settings"):
        told = "give what create_app() returned, or a host into which a kernel is mounted"
        raise TypeError(f"server_config({type(app).__name__}(...)): {told}")
    looked_at = _LookedAt(app, host, uds, fd)
    limits = uvicorn_options(app.state.http_settings, app.state.http_stopping)
    return uvicorn.Config(looked_at, host=host, port=port, uds=uds, fd=fd, **{**limits, **options})


@final
class _LookedAt:
    """The app, whose start fails where it would be open to everybody."""

    def __init__(self, app: Starlette, host: str, uds: str | None, fd: int | None) -> None:
        self._app, self._uds, self._fd = app, uds, fd
        self._host = host
        # Asking the name service blocks, so it is done before the event loop runs.
        self._loopback = fd is None and uds is None and is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""
        if scope["type"] != "lifespan" or self._loopback:
            await self._app(scope, receive, send)
            return

        async def looked(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                # Raised within the app's lifespan, so the kernel stops again, in order.
                authenticated = self._app.state.http_authenticated()
                refuse_open_bind(self._host, authenticated=authenticated, uds=self._uds, fd=self._fd)
            await send(message)

        await self._app(scope, receive, looked)
