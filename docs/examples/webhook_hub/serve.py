"""The hub behind HTTP: deliveries come in at POST /webhooks/github, and go out live at GET /events/stream.

The secret of the webhook is PLUGBUS_WEBHOOKS__SECRET; who may read the events, PLUGBUS_HTTP__TOKENS says.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import uvicorn
from hub_host.making import make_kernel
from starlette.applications import Starlette

from plugbus_adapters.http import create_app, server_config

__all__ = ("make_app",)


def make_app(seed: int = 1) -> Starlette:
    """Make the app, for any ASGI server: ``uvicorn --factory serve:make_app``.

    Args:
        seed: Chooses when the fake chat fails and hangs.
    """
    return create_app(make_kernel(seed))


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description=f"{__doc__}".partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="the port; 0 takes any that is free (default: 8000)")
    parser.add_argument("--fd", type=int, help="a socket that is open already, instead")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again once it has stopped, in order
    config = server_config(make_app(), host=options.host, port=options.port, fd=options.fd, log_level="warning")
    asyncio.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
