"""A load generator that costs little: connections that are kept, requests made beforehand, answers compared as bytes.

It parses no more of an answer than its length and status, so what it takes is a tenth of what a server takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import perf_counter

from benchmarks.harness import WrongAnswerError


def request_of(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a POST request as bytes."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        "user-agent: benchmarks",
        "accept: application/json",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *(f"{name}: {value}" for name, value in (headers or {}).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Connection(asyncio.Protocol):
    """Sends one request after another, as long as its load has some left."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._data = b""
        self._sent = 0.0
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport

    def send(self) -> None:
        """Send the next request, if there is one."""
        load = self._load
        if load.left:
            load.left -= 1
            self._sent = perf_counter()
            self.transport.write(load.request)

    def data_received(self, data: bytes) -> None:
        data = self._data = self._data + data
        head = data.find(b"\r\n\r\n")
        if head < 0 or len(data) < head + 4 + len(self._load.answer):
            return
        self._load.took(perf_counter() - self._sent, data, head)
        self._data = b""
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost()


class Load:
    """Requests of one kind over some connections.

    Args:
        port: Where the server listens.
        request: The request.
        answer: The body of its only right answer.
        connections: How many requests are under way at once.
    """

    def __init__(self, port: int, request: bytes, answer: bytes, connections: int = 16) -> None:
        self.request, self.answer = request, answer
        self._port, self._count = port, connections
        self._open: list[_Connection] = []
        self._done: asyncio.Future[None] | None = None
        self._broken = False
        self.left = self._waiting = 0
        self.seconds: list[float] = []

    async def open(self) -> None:
        """Connect, unless that is done."""
        if self._open:
            return
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
            self._open.append(connection)

    async def run(self, requests: int) -> float:
        """Send so many, and return the seconds until the last was answered; how long each took is in ``seconds``."""
        if self._broken:
            raise WrongAnswerError("the server closed a connection while nothing was asked")
        self.left = self._waiting = requests
        self._done = asyncio.get_running_loop().create_future()
        self.seconds = []
        started = perf_counter()
        for connection in self._open:
            connection.send()
        await self._done
        return perf_counter() - started

    def took(self, seconds: float, data: bytes, head: int) -> None:
        """Note an answer."""
        self.seconds.append(seconds)
        self._waiting -= 1
        right = data.startswith(b"HTTP/1.1 200 ") and data[head + 4 :] == self.answer
        if self._done is not None and not self._done.done():
            if not right:
                self._done.set_exception(WrongAnswerError(f"the answer was {data!r}"))
            elif not self._waiting:
                self._done.set_result(None)

    def lost(self) -> None:
        """Note that a connection was lost."""
        self._broken = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(WrongAnswerError("the server closed a connection"))

    def close(self) -> None:
        """Disconnect."""
        for connection in self._open:
            connection.transport.abort()
        self._open.clear()
