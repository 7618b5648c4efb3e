"""What tests of the event API share: a shop, an ASGI client that reads streams, and a real server."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
import httpx2
import uvicorn
from sseclient import Event as ServerSentEvent
from sseclient import SSEClient

from plugbus import Event, Kernel, NotFound, Plugin, Principal, Request, Veto, answers, listens
from plugbus_adapters.http import create_app, server_config

SECONDS = 20
ANN = Principal("ann", ["publish:order.**", "subscribe:order.**", "call:orders.*", "publish:unknown.*"])


class OrderPlaced(Event, name="order.placed", key="shop", aliases=["order.created"]):
    shop: str
    order_id: int


class OrderPaid(Event, name="order.paid", key="shop"):
    shop: str


class SecretTold(Event, name="secret.told"):
    word: str


class PlaceOrder(Request[dict[str, int]], name="orders.place"):
    order_id: int


class Fire(Request[str], name="staff.fire"):
    who: str


class Shop(Plugin, id="shop"):
    events = (OrderPlaced, OrderPaid, SecretTold, Fire)

    @answers(PlaceOrder)
    async def place(self, request: PlaceOrder) -> dict[str, int]:
        if request.order_id == 404:
            raise NotFound("no such order")
        return {"order_id": request.order_id}

    @listens(OrderPlaced)
    async def refuse(self, event: OrderPlaced, next_fn: Any) -> Any:
        if event.order_id == 13:
            raise Veto("not today")
        if event.order_id == 500:
            raise RuntimeError("s3cret of the inside")
        return await next_fn(event)


def told(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A CloudEvent as plain data."""
    data = {"shop": "berlin", "order_id": number}
    return {"specversion": "1.0", "id": f"m-{number}", "source": "/x", "type": "order.placed", "data": data, **changes}


def structured(*events: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a POST in structured mode, or batched for several or none."""
    one = len(events) == 1
    media_type = "application/cloudevents+json" if one else "application/cloudevents-batch+json"
    return {"headers": {"content-type": media_type}, "content": json.dumps(events[0] if one else events)}


class Frames:
    """Server-sent events, parsed as the specification says."""

    def __init__(self) -> None:
        self._rest = ""
        self.last_id = ""
        self.comments = 0

    def feed(self, text: str) -> Iterator[tuple[str, str, str]]:
        """Yield (event, id, data) of each complete event."""
        *blocks, self._rest = (self._rest + text).split("\n\n")
        for block in blocks:
            name, data = "message", []
            for line in block.split("\n"):
                field, _, value = line.partition(": ")
                if line.startswith(":"):
                    self.comments += 1
                elif field == "id":
                    self.last_id = value
                elif field == "event":
                    name = value
                elif field == "data":
                    data.append(value)
            if data:
                yield name, self.last_id, "\n".join(data)


class Stream:
    """One reader of an app, without a network; it may stop reading."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.frames = Frames()
        self.body = b""
        self.closed = anyio.Event()
        self.leave = anyio.Event()
        self.open_door = anyio.Event()
        self._sends, self._takes = anyio.create_memory_object_stream[Any](math.inf)

    def close(self) -> None:
        self._sends.close()
        self._takes.close()

    async def receive(self) -> dict[str, Any]:
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        await self.open_door.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self.body += message.get("body", b"")
        for frame in self.frames.feed(message.get("body", b"").decode()):
            self._sends.send_nowait(frame)

    async def next(self) -> tuple[str, str, Any]:
        """The next event: its name, id and data."""
        with anyio.fail_after(SECONDS):
            name, found, data = await self._takes.receive()
        return name, found, json.loads(data)

    async def numbers(self, count: int) -> list[int]:
        return [(await self.next())[2]["data"]["order_id"] for _ in range(count)]


@asynccontextmanager
async def reading(
    app: Any, query: str = "", *, as_: Principal | None = ANN, path: str = "/events/stream", stuck: bool = False,
    headers: dict[str, str] | None = None,
) -> AsyncIterator[Stream]:  # fmt: skip
    """Read a stream for a block."""
    stream = Stream()
    if not stuck:
        stream.open_door.set()
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "", "scheme": "http",
        "query_string": query.encode(), "http_version": "1.1", "server": ("testserver", 80), "client": ("127.0.0.1", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "plugbus.principal": as_,
    }  # fmt: skip

    async def run() -> None:
        await app(scope, stream.receive, stream.send)
        stream.closed.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        yield stream
        stream.open_door.set()
        stream.leave.set()
        with anyio.fail_after(SECONDS):
            await stream.closed.wait()
    stream.close()


@asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[tuple[Any, Kernel]]:
    """A running kernel and its app."""
    kernel = Kernel([Shop], config={"plugins": {"events": settings, "http": {"max_streams_per_principal": 200}}})
    app = create_app(kernel)
    async with kernel:
        yield app, kernel


@contextmanager
def live(app: Any, *, ours: bool = False) -> Iterator[str]:
    """The same behind a real server in a thread, on a free port; yields host and port.

    *ours* is the server as ``server_config`` makes it, else it is uvicorn as it comes.
    """
    with running(app, ours=ours) as (address, _):
        yield address


@contextmanager
def running(app: Any, *, ours: bool) -> Iterator[tuple[str, uvicorn.Server]]:
    """Do the same, and yield the server, too."""
    configure = server_config if ours else uvicorn.Config
    server = uvicorn.Server(configure(app, port=0, log_level="critical", timeout_graceful_shutdown=1, lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + SECONDS
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"{host}:{port}", server
    finally:
        server.should_exit = True
        thread.join(SECONDS)


def server_sent(response: httpx2.Response) -> Iterator[ServerSentEvent]:
    """Read a stream with a client of others."""
    response.raise_for_status()
    yield from SSEClient(response.iter_bytes()).events()
