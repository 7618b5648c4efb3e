"""Serves the shop's events from a process of its own, on a port and a log that outlast it; a test kills it."""

from __future__ import annotations

import socket
import sys

import uvicorn
from tests.adapters.client_suite.peers import shop_app


def main(port: str, log_path: str, heartbeat_seconds: str) -> None:
    settings = {"log_path": log_path} if log_path else {}
    app, _ = shop_app(heartbeat_seconds=float(heartbeat_seconds), **settings)
    listening = socket.create_server(("127.0.0.1", int(port)))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on")).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
