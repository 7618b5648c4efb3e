"""A server of its own process: uvicorn with one worker on loopback, on a port that is free. Linux tells what it takes.

It ends with its parent: it reads its standard input, which the parent's end closes.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import uvicorn

from benchmarks import http_apps, http_streams
from plugbus_adapters.http.server import server_config

PAGE = 4096


class Server:
    """A server process of one app.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, app: str) -> None:
        command = [sys.executable, "-m", "benchmarks.http_server", app]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line.strip().isdigit():
            self.close()
            raise RuntimeError(f"the server of {app} said {line!r} in place of its port")
        self.port = int(line)

    def resident_bytes(self) -> int:
        """Return the memory that the process occupies."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]) * PAGE

    def core_seconds(self) -> float:
        """Return how long the server's thread has had a core; what others do on the machine is not in it."""
        return int(Path(f"/proc/{self._process.pid}/schedstat").read_text().split()[0]) / 1e9

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()


async def _serve(app: str) -> None:
    # With the protocol named, or asyncio does not know it for TCP and leaves Nagle's algorithm on: 40 ms per request.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(2048)
    print(listening.getsockname()[1], flush=True)
    server = uvicorn.Server(_config(app))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.should_exit = True
    await serving


def _config(app: str) -> uvicorn.Config:
    """Configure each server as it comes: ours with its limits, uvicorn's own for the others."""
    options: dict[str, Any] = {"log_level": "warning", "access_log": False, "timeout_graceful_shutdown": 1}
    made = {**http_apps.APPS, **http_streams.APPS}[app]()
    if app.startswith("ours"):
        return server_config(made, **options)
    return uvicorn.Config(made, lifespan="on", **options)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
