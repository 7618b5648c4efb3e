"""A real uvicorn process with our limits, a client that sends bytes as they are, and the server's memory."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ("WHOLE", "Served", "served", "status", "until", "until_closed")

# The parent opens the socket, so that there is no port to guess and nothing to wait for.
SERVE = """
import asyncio, sys, uvicorn
{app}
from plugbus_adapters.http._protocol import uvicorn_options
config = uvicorn.Config(app, fd=int(sys.argv[1]), log_level="info", **uvicorn_options(lambda: settings))
asyncio.run(uvicorn.Server(config).serve())
"""
WHOLE = """
import asyncio, sys, uvicorn
{app}
from plugbus_adapters.http import server_config
asyncio.run(uvicorn.Server(server_config(app, fd=int(sys.argv[1]), log_level="info")).serve())
"""
"""Serves an app of ``create_app`` as a user would."""


@dataclass
class Served:
    """The process, and how to talk to it."""

    process: subprocess.Popen[bytes]
    port: int
    log_path: Path

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def send(self, *parts: bytes) -> bytes:
        """Send bytes; return all that comes until the server closes, or what came before it broke the connection."""
        with self.connect() as client:
            try:
                for part in parts:
                    client.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                pass  # refused before all was sent; the answer may still be there
            return until_closed(client)

    def memory(self) -> int:
        """Return the highest resident size so far, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def log(self) -> str:
        return self.log_path.read_text()


def until_closed(client: socket.socket) -> bytes:
    got = b""
    try:
        while part := client.recv(65536):
            got += part
    except ConnectionResetError:
        pass
    return got


def until(client: socket.socket, end: bytes) -> bytes:
    got = b""
    while not got.endswith(end):
        part = client.recv(65536)
        assert part, got
        got += part
    return got


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@contextmanager
def served(app: str, folder: Path, script: str = SERVE, host: str = "127.0.0.1") -> Iterator[Served]:
    """Serve an app: Python source that leaves ``app``, and ``settings`` unless it is a whole one."""
    listening = socket.create_server((host, 0), backlog=200)
    log_path = folder / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", script.format(app=app), str(listening.fileno())],
            pass_fds=[listening.fileno()], stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        found = Served(process, listening.getsockname()[1], log_path)
        listening.close()
        started = time.monotonic()
        assert status(found.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")), log_path.read_text()
        assert time.monotonic() - started < 30
        yield found
    finally:
        process.terminate()
        process.wait(20)
