"""A shop, and every way to it: in this process, as an ASGI app in this loop, and behind a real server.

Each gives a ``Client`` (or a ``SyncClient``) of the same kernel, so that one suite holds for all of them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

import anyio
import httpx2
import uvicorn
from pydantic import BaseModel

from plugbus import (
    Conflict,
    Event,
    Forbidden,
    Invalid,
    Kernel,
    NotFound,
    Plugin,
    Principal,
    Problem,
    Refused,
    Request,
    Unavailable,
    Veto,
    answers,
    current,
    event,
    listens,
)
from plugbus_adapters.http import BearerTokens, RemoteBus, SyncRemoteBus, create_app
from plugbus_adapters.inprocess import InProcess, SyncInProcess

SECONDS = 20
TOKEN = "a-token-that-only-these-tests-know"


class ClosedToday(Veto):
    """A refusal of the shop's own."""


REFUSALS: dict[str, Refused] = {
    "refused": Refused("the shop is closed", code="closed"),
    "veto": Veto("over the limit", code="credit"),
    "forbidden": Forbidden("not yours"),
    "not_found": NotFound("there is no order 7"),
    "conflict": Conflict("product 0 exists", code="product_exists"),
    "invalid": Invalid("no good", problems=[Problem("lines.0", "is empty"), Problem("total", "is below zero")]),
    "unavailable": Unavailable("the warehouse sleeps", retry_after_seconds=1.5),
    "own": ClosedToday("closed today"),
}


class Product(BaseModel):
    id: int
    price: Decimal


class CreateProduct(Request[Product], name="products.create", aliases=["products.make"]):
    id: int
    price: Decimal = Decimal(1)


class Refuse(Request[None], name="shop.refuse"):
    how: str


class Fail(Request[None], name="shop.fail"):
    pass


class Belonging(Request[str | None], name="shop.belonging"):
    pass


class Lonely(Request[int], name="shop.lonely"):
    pass


class OrderPlaced(Event, name="order.placed", aliases=["order.made"]):
    order_id: int
    total: Decimal = Decimal(0)
    belongs_to: str = ""


class OrderPaid(Event, name="order.paid"):
    order_id: int


@event(name="order.window")
@dataclass
class OrderWindow:
    handle: object


class OpenWindow(Request[None], name="shop.open_window"):
    pass


class Shop(Plugin, id="shop"):
    events = (OrderPlaced, OrderPaid, OrderWindow, Lonely)

    @answers(CreateProduct)
    async def create(self, request: CreateProduct) -> Product:
        return Product(id=request.id, price=request.price)

    @answers(Refuse)
    def refuse(self, request: Refuse) -> None:
        raise REFUSALS[request.how]

    @answers(Fail)
    async def fail(self, _: Fail) -> None:
        raise RuntimeError("s3cret of the inside")

    @answers(Belonging)
    async def belonging(self, _: Belonging) -> str | None:
        running = current()
        return None if running is None else running.correlation_id

    @answers(OpenWindow)
    async def open_window(self, _: OpenWindow) -> None:
        await self.bus.aemit(OrderWindow(object()))

    @listens(OrderPlaced)
    async def enrich(self, placed: OrderPlaced, next_fn: Any) -> Any:
        if placed.total < 0:
            raise Veto("a total below zero")
        running = current()
        belongs_to = "" if running is None else running.correlation_id
        return await next_fn(placed.model_copy(update={"total": placed.total + 1, "belongs_to": belongs_to}))

    def __init__(self, bus: Any) -> None:
        self.bus = bus


def shop_app(**settings: Any) -> tuple[Any, Kernel]:
    """An app that has not started, and its kernel."""
    kernel = Kernel([Shop], config={"plugins": {"events": settings}})
    return create_app(kernel, auth=BearerTokens({TOKEN: Principal("ann", ["**"])})), kernel


class AppTransport(httpx2.AsyncBaseTransport):
    """Runs an ASGI app beside its client, so that an answer may go on for ever; no network between them."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._group = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._group.cancel_scope.cancel()
        await self._stack.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        exchange = Exchange(await request.aread())
        self._group.start_soon(exchange.run, self._app, request)
        await exchange.started.wait()
        return httpx2.Response(exchange.status, headers=exchange.headers, stream=exchange)


class Exchange(httpx2.AsyncByteStream):
    """One request of an ``AppTransport``, and the stream of its answer."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._sends, self._takes = anyio.create_memory_object_stream[bytes](math.inf)
        self._gone = anyio.Event()
        self.started = anyio.Event()
        self.status, self.headers = 500, list[tuple[bytes, bytes]]()

    async def run(self, app: Any, request: httpx2.Request) -> None:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": request.method,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "scheme": request.url.scheme, "path": request.url.path, "root_path": "",
            "raw_path": request.url.raw_path.partition(b"?")[0], "query_string": request.url.query,
            "server": (request.url.host, 80), "client": ("127.0.0.1", 1),
        }  # fmt: skip
        try:
            await app(scope, self.receive, self.send)
        finally:
            self.started.set()
            self._sends.close()

    async def receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message.get("headers", [])
            self.started.set()
        elif not self._gone.is_set():
            self._sends.send_nowait(message.get("body", b""))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._takes:
            yield chunk

    async def aclose(self) -> None:
        self._gone.set()
        self._takes.close()


@contextmanager
def live(app: Any) -> Iterator[str]:
    """Serve an app in a thread, on a free port; yields its URL."""
    config = uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + SECONDS
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        yield "http://{}:{}".format(*server.servers[0].sockets[0].getsockname()[:2])
    finally:
        server.should_exit = True
        thread.join(SECONDS)


Opened = Callable[..., Any]


@asynccontextmanager
async def opened(kind: str, url: str = "", **options: Any) -> AsyncIterator[Any]:
    """One client of the shop; *url* is that of the real server."""
    with anyio.fail_after(SECONDS):
        if kind == "uvicorn":
            async with RemoteBus(url, TOKEN, **options) as bus:
                yield bus
            return
        app, kernel = shop_app()
        async with kernel:
            if kind == "inprocess":
                yield InProcess(kernel, **options)
                return
            async with (
                AppTransport(app) as transport,
                RemoteBus("http://shop", TOKEN, transport=transport, **options) as bus,
            ):
                yield bus


@contextmanager
def opened_sync(kind: str, url: str = "", **options: Any) -> Iterator[Any]:
    """The same for code without ``await``."""
    if kind == "uvicorn":
        with SyncRemoteBus(url, TOKEN, **options) as bus:
            yield bus
        return
    with Kernel([Shop]).portal() as kernel:
        yield SyncInProcess(kernel, **options)


async def until(there: Callable[[], object]) -> None:
    """Wait for what happens in a server, which no event of ours tells."""
    with anyio.fail_after(SECONDS):
        while not there():  # noqa: ASYNC110 - the other side may be a thread
            await anyio.sleep(0.002)
