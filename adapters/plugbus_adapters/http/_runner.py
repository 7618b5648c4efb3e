"""``plugbus run --http HOST:PORT``: serve a kernel over HTTP for the life of the process.

Owns the server's life; the command line finds it by its entry point, so that neither imports the other.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any, final

import anyio
import uvicorn

from plugbus import Kernel, PlugbusError
from plugbus_adapters.http._bind import is_loopback, refuse_open_bind
from plugbus_adapters.http._exchange import Receive, Scope, Send
from plugbus_adapters.http._guard import PRINCIPAL
from plugbus_adapters.http._tokens import new_token
from plugbus_adapters.http.app import create_app, lifespan
from plugbus_adapters.http.credentials import credentials_from
from plugbus_adapters.http.security import BearerTokens
from plugbus_adapters.http.server import server_config

__all__ = ("run",)

_ENDING = (signal.SIGTERM, signal.SIGINT)
_GRACE_SECONDS = 10


def run(served: Any, address: str, note: Callable[[str], None], *, dev: bool = False) -> None:
    """Start a kernel, serve it until SIGTERM or SIGINT, finish what is under way, and shut it down.

    Args:
        served: The kernel, not started; or an app of ``create_app``, or a host into which kernels are mounted.
        address: Where to listen: ``HOST:PORT``, ``:PORT`` of this machine alone, ``[::1]:PORT``; port 0 is a free one.
        note: Tells people something.
        dev: Make a token that may do everything, for this run, and tell it.

    Raises:
        ValueError: If the address cannot be used, or the app is one without a kernel.
        KernelStartError: If the kernel does not start.
        PlugbusError: If other machines come in, and nobody tells who asks.
        OSError: If the address is taken, or is none of this machine.
    """
    host, port = parsed(address)
    tokens = None
    if dev:
        token = new_token()
        tokens = BearerTokens({token: ["**"]})
        note(f"a token for this run, which may do everything: {token}")
    kernel = served if isinstance(served, Kernel) else None
    app: Any = served if kernel is None else create_app(kernel, auth=tokens)
    try:
        config = server_config(
            app, host=host, port=port, lifespan="on" if kernel is None else "off", log_level="warning",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )  # fmt: skip
    except TypeError as error:
        raise ValueError(str(error)) from error
    if kernel is None and tokens is not None:
        config.app = _Knowing(config.app, tokens)
    loopback = is_loopback(host)  # it may ask the name service, so not on the loop
    server = _Server(config, note)
    before = {number: signal.signal(number, server.end) for number in _ENDING}
    try:
        anyio.run(_serve_app if kernel is None else partial(_serve, kernel, app, loopback=loopback), server, host)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _serve(kernel: Kernel, app: Any, server: _Server, host: str, *, loopback: bool) -> None:
    async with lifespan(kernel)(app):
        if not loopback:
            refuse_open_bind(host, authenticated=app.state.http_authenticated())
        await _listen(server, host)


async def _serve_app(server: _Server, host: str) -> None:
    """Serve an app whose lifespan is its own business: it may hand out a state, which the server passes on."""
    await _listen(server, host)
    if not server.started:
        raise NotStartedError


async def _listen(server: _Server, host: str) -> None:
    await server.serve()
    if server.failed:
        raise OSError(f"cannot listen on {host}: the address is taken, or none of this machine")


class NotStartedError(PlugbusError):
    """The lifespan of an app failed; the server has logged what with."""

    def _parts(self) -> tuple[str, str]:
        return "the app did not start.", "what its lifespan failed with is logged above."


@final
class _Knowing:
    """An app, before which a token is known that its own authenticators do not know."""

    def __init__(self, app: Any, tokens: BearerTokens) -> None:
        self._app, self._tokens = app, tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""
        if scope["type"] != "lifespan":
            found = await self._tokens.authenticate(credentials_from(scope["headers"]))
            if found is not None:
                scope = {**scope, PRINCIPAL: found}
        await self._app(scope, receive, send)


def parsed(address: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        ValueError: If there is no port between 0 and 65535.
    """
    host, _, port = address.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - RFC 9293, section 3.1
        raise ValueError(f"{address!r} is no address; write HOST:PORT, such as 127.0.0.1:8000")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


@final
class _Server(uvicorn.Server):
    """uvicorn, which tells where it listens, and ends on a signal as if nothing had been."""

    def __init__(self, config: uvicorn.Config, note: Callable[[str], None]) -> None:
        super().__init__(config)
        self._note = note
        self.failed = False

    def end(self, number: int, _frame: object) -> None:
        """Handle a signal, also one that uvicorn has handled already and raises again."""
        del number
        self.should_exit = True

    async def startup(self, sockets: Any = None) -> None:
        """Listen, and tell where."""
        try:
            await super().startup(sockets)
        except SystemExit:  # what uvicorn does where it cannot listen, or the app does not start
            self.failed = not self.lifespan.should_exit
            self.should_exit = True
            return
        if self.started:
            host, port, *_ = self.servers[0].sockets[0].getsockname()
            self._note(f"serving http://{f'[{host}]' if ':' in host else host}:{port}")
