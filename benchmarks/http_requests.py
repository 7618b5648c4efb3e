"""H1 and H2: requests per second of an endpoint with a request and a response model, one worker.

The row is a server: uvicorn in a process of its own, 16 connections that are never idle. One worker is one core, so
what a request takes of the core is what decides how many there are per second; it is the same on a busy machine. Beside
it stand the time on the wall, which is not, and the app alone, called in process: there nothing of the difference is
hidden behind what the server takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from time import perf_counter
from typing import Any

from benchmarks.harness import REPORTED, Case
from benchmarks.http_apps import ANSWER, APPS, BODY, TOKEN
from benchmarks.http_load import Load, request_of
from benchmarks.http_server import Server
from benchmarks.sides import Pair, Side
from plugbus_adapters.http._inbound import TIMED

AT_LEAST = 300
"""Requests of one turn: enough that 16 connections are busy for nearly all of it."""

KNOWN = {"authorization": f"Bearer {TOKEN}"}


class Served:
    """A server process and its load."""

    def __init__(self, app: str, path: str, headers: dict[str, str], *, core: bool) -> None:
        self._server = Server(app)
        self._load = Load(self._server.port, request_of(path, BODY, headers), ANSWER)
        self._core = core

    async def run(self, times: int) -> tuple[float, object]:
        """Time requests; the connections are opened first."""
        await self._load.open()
        count, before = max(times, AT_LEAST), self._server.core_seconds()
        seconds = await self._load.run(count)
        return (self._server.core_seconds() - before if self._core else seconds) * times / count, True

    async def close(self) -> None:
        """End both."""
        self._load.close()
        self._server.close()


def served(peer: str, path: str, headers: dict[str, str], *, core: bool = True) -> Pair:
    ours, theirs = (Served(app, path, headers, core=core) for app in ("ours", peer))

    async def close() -> None:
        await theirs.close()
        await ours.close()

    return Pair(Side(ours.run, answer=True), Side(theirs.run, answer=True), close)


class InProcess:
    """An app that is called without a server, within its lifespan."""

    def __init__(self, app: Any, path: str, headers: dict[str, str]) -> None:
        self._app, self._stack = app, AsyncExitStack()
        head, _, self._body = request_of(path, BODY, headers).partition(b"\r\n\r\n")
        pairs = (line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        self._scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "scheme": "http", "method": "POST",
            "root_path": "", "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [(name, value) for name, value in pairs], "state": {TIMED: True},
        }  # fmt: skip  # our server bounds the time of a body, which costs a timer that no loop would clear away here
        self._started = False

    async def run(self, times: int) -> tuple[float, object]:
        if not self._started:
            self._started = True
            await self._stack.enter_async_context(self._app.router.lifespan_context(self._app))
        app, scope, body = self._app, self._scope, self._body
        messages: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        started = perf_counter()
        for _ in range(times):
            messages.clear()
            await app({**scope, "headers": list(scope["headers"])}, receive, send)
        seconds = perf_counter() - started
        return seconds, (messages[0]["status"], messages[-1]["body"])

    async def close(self) -> None:
        await self._stack.aclose()


def in_process(peer: str, path: str, headers: dict[str, str]) -> Pair:
    ours, theirs = (InProcess(APPS[app](), path, headers) for app in ("ours", peer))

    async def close() -> None:  # in reverse: each leaves cancel scopes of this task
        await theirs.close()
        await ours.close()

    return Pair(Side(ours.run, (200, ANSWER)), Side(theirs.run, (200, ANSWER)), close)


def _cases(
    row: str, peer: str, against: str, bar: float, ways: dict[str, tuple[str, dict[str, str]]]
) -> Iterator[Case]:
    for name, where in ways.items():
        yield Case(row, f"core time of {name}", against, bar, partial(served, peer, *where), loop="asyncio", turns=5)
    for name, where in ways.items():
        wall = partial(served, peer, *where, core=False)
        yield Case(row, f"wall time of {name}", against, REPORTED, wall, loop="asyncio", turns=5)
        yield Case(row, f"{name} in process", against, REPORTED, partial(in_process, peer, *where), loop="asyncio")


DIRECT = {"a request": ("/orders", {}), "a request with a token": ("/private/orders", KNOWN)}
BUS = {"a request through the bus": ("/bus/orders", {})}

CASES = (
    *_cases("H1", "bare", "bare Starlette", 1 / 0.9, {**DIRECT, **BUS}),
    *_cases("H2", "fastapi", "FastAPI", 1 / 1.15, DIRECT),
)
