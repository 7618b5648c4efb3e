"""A server that does what a test says: answers in order, streams byte by byte, silence, breaks. No network."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx2

from plugbus import Retry
from plugbus_adapters.http import RemoteBus

TOKEN = "canary-token-that-nobody-tells"
SILENT = object()
"""In a stream: nothing more, and no end."""


@dataclass
class Reply:
    """One answer: its status, headers, and body; parts of it may be errors, ``SILENT``, or seconds to wait."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})
    body: tuple[Any, ...] = ()


class Body(httpx2.AsyncByteStream):
    def __init__(self, parts: tuple[Any, ...]) -> None:
        self._parts = parts
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, Exception):
                raise part
            if part is SILENT:
                await anyio.sleep_forever()
            elif isinstance(part, int | float):
                await anyio.sleep(part)
            else:
                await anyio.lowlevel.checkpoint()
                yield part

    async def aclose(self) -> None:
        self.closed = True


class Script(httpx2.AsyncBaseTransport):
    """Gives its replies one after another, the last one again and again; keeps what was asked, and when."""

    def __init__(self, *replies: Reply | Exception) -> None:
        self._replies: Iterator[Reply | Exception] = iter(replies)
        self._last: Reply | Exception = replies[-1]
        self.asked: list[httpx2.Request] = []
        self.times: list[float] = []
        self.bodies: list[Body] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        await anyio.lowlevel.checkpoint()
        self.asked.append(request)
        self.times.append(anyio.current_time())
        reply = next(self._replies, self._last)
        if isinstance(reply, Exception):
            raise reply
        self.bodies.append(Body(reply.body))
        return httpx2.Response(reply.status, headers=reply.headers, stream=self.bodies[-1])


def frame(number: int, name: str = "order.placed") -> bytes:
    event = {"specversion": "1.0", "id": f"m{number}", "source": "/x", "type": name, "data": {"number": number}}
    return f"id: log-{number}\ndata: {json.dumps(event)}\n\n".encode()


def problem(status: int, **document: Any) -> Reply:
    body = json.dumps({"type": "about:blank", "status": status, **document}).encode()
    return Reply(status, {"content-type": "application/problem+json"}, (body,))


def answer(body: bytes = b"{}", status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"content-type": "application/json", **named}, (body,))


STEADY = Retry(attempts=None, delay_seconds=1, factor=2, max_delay_seconds=8, jitter=False)
ONCE = Retry(attempts=1)


def remote(script: Script, **options: Any) -> RemoteBus:
    settings = {"connect_retry": ONCE, "stream_retry": STEADY, **options}
    return RemoteBus("https://shop.example/api", TOKEN, transport=script, **settings)


Make = Callable[..., RemoteBus]
