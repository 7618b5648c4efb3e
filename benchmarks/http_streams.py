"""What the rows of readers compare: events from our log, and from one queue per reader in bare Starlette."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from benchmarks.http_apps import TOKEN, Orders
from plugbus import Event, EventBus, Kernel, Plugin, Principal
from plugbus_adapters.http import BearerTokens, create_app, endpoint

TEXT = "x" * 100


class Told(Event, name="benchmarks.told"):
    number: int
    text: str


class Teller(Plugin, id="teller"):
    """Ours: emits, and the readers of ``/events/stream`` hear it."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    @endpoint("POST", "/emit/{count}", auth="public")
    async def emit(self, count: int) -> bool:
        for number in range(count):
            await self._bus.aemit(Told(number=number, text=TEXT))
            await asyncio.sleep(0)  # or no reader would get a turn before all is told
        return True

    @endpoint("POST", "/fill/{count}", auth="public")
    async def fill(self, count: int) -> bool:
        for number in range(count):
            await self._bus.aemit(Told(number=number, text=TEXT))
        return True


def ours() -> Starlette:
    settings = {"http": {"max_streams": 2000, "max_streams_per_principal": 2000, "max_connections": 4000}}
    kernel = Kernel([Orders, Teller], config={"plugins": settings})
    return create_app(kernel, auth=BearerTokens({TOKEN: Principal("ann", ["subscribe:benchmarks.*"])}))


def bare() -> Starlette:
    queues: set[asyncio.Queue[tuple[int, str]]] = set()

    async def emit(request: Request) -> Response:
        for number in range(int(request.path_params["count"])):
            text = Told(number=number, text=TEXT).model_dump_json()
            for queue in queues:
                queue.put_nowait((number, text))
            await asyncio.sleep(0)
        return Response(b"true", media_type="application/json")

    async def read(queue: asyncio.Queue[tuple[int, str]]) -> AsyncIterator[str]:
        try:
            yield ":\n\n"
            while True:
                number, text = await queue.get()
                yield f"id: {number}\ndata: {text}\n\n"
        finally:
            queues.discard(queue)

    async def stream(_: Request) -> Response:
        queue: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        queues.add(queue)
        return StreamingResponse(read(queue), media_type="text/event-stream")

    return Starlette(
        routes=[Route("/emit/{count}", emit, methods=["POST"]), Route("/events/stream", stream)],
    )


APPS: dict[str, Any] = {"ours-streams": ours, "bare-streams": bare}
