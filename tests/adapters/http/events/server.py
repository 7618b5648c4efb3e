"""Serves the shop's events from a process of its own, prints its address, and is killed in the end."""

from __future__ import annotations

import socket
import sys

import uvicorn
from tests.adapters.http.events.tools import ANN, Shop

from plugbus import Kernel
from plugbus_adapters.http import BearerTokens, create_app


def main(token: str, log_path: str) -> None:
    settings = {"log_path": log_path} if log_path else {}
    kernel = Kernel([Shop], config={"plugins": {"events": settings}})
    app = create_app(kernel, auth=BearerTokens({token: ANN}))
    listening = socket.create_server(("127.0.0.1", 0))
    host, port = listening.getsockname()
    sys.stdout.write(f"{host}:{port}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on")).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
