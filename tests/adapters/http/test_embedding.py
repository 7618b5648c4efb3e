"""A FastAPI host: its routes, documents and lifespan stay, kernels start and stop with it, and nothing is cut off."""

from __future__ import annotations

import signal
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from tests.adapters.http.served import WHOLE, Served, served, status, until_closed

from plugbus import Event, Kernel, Manifest, Plugin
from plugbus_adapters.http import endpoint, mount
from plugbus_adapters.http.testing import client

IN_FLIGHT = 20


class Told(Event, name="told"):
    who: str


class Shop(Plugin, id="shop"):
    @endpoint("GET", "/price", auth="public")
    async def price(self) -> int:
        return 3


@pytest.mark.anyio
async def test_the_documents_of_the_host_are_its_own() -> None:
    """FastAPI describes its routes, and none of the plugins'."""
    app = FastAPI(title="the host")
    app.get("/own")(lambda: "own")
    mount(app, Kernel([Shop]), "/shop")

    async with app.router.lifespan_context(app), client(app) as http:
        document = (await http.get("/openapi.json")).json()
        assert (document["info"]["title"], list(document["paths"])) == ("the host", ["/own"])
        assert "swagger" in (await http.get("/docs")).text
        assert [(await http.get(path)).json() for path in ("/own", "/shop/price")] == ["own", 3]


@pytest.mark.anyio
async def test_the_lifespan_of_the_host_runs_within_that_of_its_kernels() -> None:
    """What the host does when it starts and stops may use the bus, and its state is kept."""
    seen: list[str] = []

    class Listener(Plugin):
        manifest = Manifest(id="listener")

        async def on_ready(self) -> None:
            seen.append("kernel up")

        async def on_shutdown(self) -> None:
            seen.append("kernel down")

    kernels = [Kernel([Listener]), Kernel([Listener])]

    @asynccontextmanager
    async def own(_app: FastAPI) -> AsyncIterator[dict[str, int]]:
        for kernel in kernels:
            kernel.bus.observe(Told, lambda event: seen.append(event.who), run_in="caller")
            await kernel.bus.aemit(Told(who="host up"))
        yield {"answer": 42}
        await kernels[0].bus.aemit(Told(who="host down"))

    app = FastAPI(lifespan=own)
    for number, kernel in enumerate(kernels):
        mount(app, kernel, f"/{number}")
    async with app.router.lifespan_context(app) as state:
        assert state == {"answer": 42}

    assert seen == ["kernel up"] * 2 + ["host up"] * 2 + ["host down"] + ["kernel down"] * 2


SLOW = """
import itertools, pathlib, sys, time
import anyio
from fastapi import FastAPI
from plugbus import Kernel, Plugin
from plugbus_adapters.http import endpoint, mount
from plugbus_adapters.http.settings import HttpSettings

folder = pathlib.Path({folder!r})
flying = itertools.count(1)

class Slow(Plugin):
    def arrive(self):
        if next(flying) == {count}:
            (folder / "all in flight").touch()

    @endpoint("GET", "/async/{{number}}", auth="public")
    async def on_loop(self, number: int) -> int:
        self.arrive()
        while not (folder / "go on").exists():
            await anyio.sleep(0.01)
        return number

    @endpoint("GET", "/thread/{{number}}", auth="public")
    def in_thread(self, number: int) -> int:
        self.arrive()
        while not (folder / "go on").exists():
            time.sleep(0.01)
        return number

    async def on_shutdown(self):
        print("plugin stopped", flush=True)

settings = HttpSettings()
app = FastAPI()
app.get("/")(lambda: None)
mount(app, Kernel([Slow]), "/slow")
"""


def ask(server: Served, number: int) -> bytes:
    kind = "async" if number % 5 else "thread"
    with server.connect() as client:
        client.sendall(f"GET /slow/{kind}/{number} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        return until_closed(client)


def wait_until(happened: Callable[[], bool], server: Served) -> None:
    while not happened():
        assert server.process.poll() is None, server.log()


def test_a_server_that_stops_finishes_what_is_in_flight(tmp_path: Path) -> None:
    """After SIGTERM every request that was under way is answered, then plugins stop."""
    with (
        served(SLOW.format(folder=str(tmp_path), count=IN_FLIGHT), tmp_path) as server,
        ThreadPoolExecutor(IN_FLIGHT) as pool,
    ):
        asked = [pool.submit(ask, server, number) for number in range(IN_FLIGHT)]
        wait_until((tmp_path / "all in flight").exists, server)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Waiting for connections to close" in server.log(), server)
        assert not any(each.done() for each in asked)  # the proof that they were under way when it was told to stop
        assert "plugin stopped" not in server.log()
        (tmp_path / "go on").touch()
        answers = [each.result() for each in asked]
        server.process.wait(20)

    assert [(status(answer), answer.rpartition(b"\r\n")[2]) for answer in answers] == [
        (200, str(number).encode()) for number in range(IN_FLIGHT)
    ]
    assert "plugin stopped" in server.log()
    assert "Traceback" not in server.log()


WITH_READERS = """
from fastapi import FastAPI
from plugbus import Kernel, Principal
from plugbus_adapters.http import BearerTokens, mount

app = FastAPI()
app.get("/")(lambda: None)
for path in ("/one", "/two"):
    mount(app, Kernel(), path, auth=BearerTokens({"a-token-of-this-test": Principal("ann", ["**"])}))
"""


def test_a_host_may_have_our_server_whose_readers_are_let_go(tmp_path: Path) -> None:
    """The streams of all its kernels end when it begins to stop; it waits for answers, and they have no end."""

    def read(path: str) -> bytes:
        with server.connect() as client:
            client.sendall(
                f"GET {path}/events/stream HTTP/1.1\r\nhost: x\r\n"
                "authorization: Bearer a-token-of-this-test\r\n\r\n".encode()
            )
            started = client.recv(65536)
            reading.release()
            return started + until_closed(client)

    reading = threading.Semaphore(0)
    with served(WITH_READERS, tmp_path, WHOLE) as server, ThreadPoolExecutor(2) as pool:
        streams = [pool.submit(read, path) for path in ("/one", "/two")]
        for _ in streams:
            assert reading.acquire(timeout=20)
        server.process.send_signal(signal.SIGTERM)
        ended = [each.result(20) for each in streams]
        server.process.wait(20)

    assert [(status(each), each.endswith(b"0\r\n\r\n")) for each in ended] == [(200, True)] * 2
    assert "Application shutdown complete" in server.log()
