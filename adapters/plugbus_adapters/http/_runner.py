"""``plugbus run --http HOST:PORT``: serve a kernel over HTTP for the life of the process.

Owns the server's life; the command line finds it by its entry point, so that neither imports the other.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, final

import anyio
import uvicorn

from plugbus import Kernel
from plugbus_adapters.http._bind import is_loopback, refuse_open_bind
from plugbus_adapters.http._tokens import new_token
from plugbus_adapters.http.app import create_app, lifespan
from plugbus_adapters.http.security import BearerTokens
from plugbus_adapters.http.server import server_config

__all__ = ("run",)

_ENDING = (signal.SIGTERM, signal.SIGINT)
_GRACE_SECONDS = 10


def run(kernel: Kernel, address: str, note: Callable[[str], None], *, dev: bool = False) -> None:
    """Start a kernel, serve it until SIGTERM or SIGINT, finish what is under way, and shut it down.

    Args:
        kernel: The kernel, not started.
        address: Where to listen: ``HOST:PORT``, ``:PORT`` of this machine alone, ``[::1]:PORT``; port 0 is a free one.
        note: Tells people something.
        dev: Make a token that may do everything, for this run, and tell it.

    Raises:
        ValueError: If the address cannot be used.
        KernelStartError: If the kernel does not start.
        PlugbusError: If other machines come in, and nobody tells who asks.
        OSError: If the address is taken, or is none of this machine.
    """
    host, port = parsed(address)
    auth = None
    if dev:
        token = new_token()
        auth = BearerTokens({token: ["**"]})
        note(f"a token for this run, which may do everything: {token}")
    app = create_app(kernel, auth=auth)
    config = server_config(
        app, host=host, port=port, lifespan="off", log_level="warning", timeout_graceful_shutdown=_GRACE_SECONDS
    )
    loopback = is_loopback(host)  # it may ask the name service, so not on the loop
    server = _Server(config, note)
    before = {number: signal.signal(number, server.end) for number in _ENDING}
    try:
        anyio.run(_serve, kernel, app, server, host, loopback)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _serve(kernel: Kernel, app: Any, server: _Server, host: str, loopback: bool) -> None:  # noqa: FBT001
    async with lifespan(kernel)(app):
        if not loopback:
            refuse_open_bind(host, authenticated=app.state.http_authenticated())
        await server.serve()
        if server.failed:
            raise OSError(f"cannot listen on {host}: the address is taken, or none of this machine")


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
        except SystemExit:  # what uvicorn does where it cannot listen
            self.failed = True
            self.should_exit = True
            return
        if self.started:
            host, port, *_ = self.servers[0].sockets[0].getsockname()
            self._note(f"serving http://{f'[{host}]' if ':' in host else host}:{port}")
