"""Behind real servers and a real network: kills, restarts, connections that swallow what is sent, fresh processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
import structlog.testing
from tests.adapters.client_suite.peers import SECONDS, TOKEN, live, shop_app

from plugbus import CursorExpiredError, Forbidden, Principal, Retry
from plugbus_adapters.http import (
    BearerTokens,
    NotConnectedError,
    RemoteBus,
    RemoteError,
    SyncRemoteBus,
    Unauthenticated,
    create_app,
)

ROOT = Path(__file__).parents[4]
SERVER = Path(__file__).with_name("server.py")
QUICK = Retry(attempts=None, delay_seconds=0.05, max_delay_seconds=0.2)

Start = Callable[..., "subprocess.Popen[str]"]


class Servers:
    """Server processes, one after another, on one port and one log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[str]] = []
        self.port = "0"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, log: bool = True) -> None:
        path = str(self._folder / "events.db") if log else ""
        process = subprocess.Popen(
            [sys.executable, str(SERVER), self.port, path, "0.1"],
            stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self._processes.append(process)
        assert process.stdout is not None
        self.port = process.stdout.readline().strip()

    def kill(self) -> None:
        process = self._processes[-1]
        process.kill()
        assert process.wait() == -signal.SIGKILL

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with closing(Servers(tmp_path)) as found:
        yield found


def emit(bus: SyncRemoteBus, *numbers: int) -> None:
    """Emit, each until it was accepted for sure: the server may be starting."""
    for number in numbers:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                bus.emit("order.paid", {"order_id": number})
            except NotConnectedError as error:
                if error.sent or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                break


def read(url: str, count: int, seen: list[int], entered: threading.Event) -> None:
    """Read in a thread of its own, through whatever happens to the server."""
    with (
        SyncRemoteBus(url, TOKEN, stream_retry=QUICK, silence_seconds=5) as bus,
        bus.stream("order.paid", timeout_seconds=SECONDS) as events,
    ):
        entered.set()
        seen.extend(next(events).data["order_id"] for _ in range(count))


@pytest.mark.timeout(120)
def test_three_kills_in_a_row_cost_a_reader_nothing(servers: Servers) -> None:
    """Every event that was accepted, once, in order: the log is a file, and the stream resumes by itself."""
    seen: list[int] = []
    entered = threading.Event()
    servers.start()
    reading = threading.Thread(target=read, args=(servers.url, 80, seen, entered))
    with SyncRemoteBus(servers.url, TOKEN, connect_retry=Retry(attempts=1)) as bus:
        emit(bus, -1)  # it answers
        reading.start()
        assert entered.wait(SECONDS)
        for first in (0, 20, 40):
            emit(bus, *range(first, first + 20))
            servers.kill()
            servers.start()
        emit(bus, *range(60, 80))
    reading.join(SECONDS)

    assert seen == list(range(80))


@pytest.mark.timeout(120)
def test_a_log_that_was_lost_is_told(servers: Servers) -> None:
    """A log in memory ends with its process: what was missed nobody knows, and nobody reads on as if nothing was."""
    servers.start(log=False)
    with SyncRemoteBus(servers.url, TOKEN, stream_retry=QUICK) as bus:
        emit(bus, 0)
        with bus.stream("order.paid", timeout_seconds=SECONDS) as events:
            emit(bus, 1)
            assert next(events).data == {"order_id": 1}
            servers.kill()
            servers.start(log=False)
            with pytest.raises(CursorExpiredError) as caught:
                next(events)

        assert caught.value.reason == "another log"
        with bus.stream("order.paid", since=caught.value.newest, timeout_seconds=SECONDS) as events:
            emit(bus, 2)
            assert next(events).data == {"order_id": 2}


class Proxy:
    """Passes bytes on between a client and a server, until it swallows them: the connections stay, and say nothing."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._swallowing: set[int] = set()
        self.accepted = 0

    def swallow(self) -> None:
        """From now on, for the connections that there are."""
        self._swallowing |= set(range(self.accepted + 1))

    async def _serve(self, client: anyio.abc.SocketStream) -> None:
        self.accepted += 1
        number = self.accepted
        server = await anyio.connect_tcp("127.0.0.1", self._target)
        async with client, server, anyio.create_task_group() as group:
            group.start_soon(self._pass, number, client, server)
            group.start_soon(self._pass, number, server, client)

    async def _pass(self, number: int, source: anyio.abc.SocketStream, target: anyio.abc.SocketStream) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                data = await source.receive()
                if number not in self._swallowing:
                    await target.send(data)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, self._serve)
            yield f"http://127.0.0.1:{port}"
            group.cancel_scope.cancel()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with live(shop_app(heartbeat_seconds=0.05)[0]) as found:
        yield found


@pytest.mark.anyio
@pytest.mark.may_block("asyncio joins the thread that looked up where the proxy listens")
async def test_a_connection_that_swallows_everything_is_found_out_and_nothing_is_lost(url: str) -> None:
    """No reset and no end: only the heartbeats stop. What happened meanwhile comes from the log."""
    proxy = Proxy(int(url.rpartition(":")[2]))
    with anyio.fail_after(SECONDS), structlog.testing.capture_logs():
        async with (
            proxy.running() as through,
            RemoteBus(url, TOKEN) as direct,
            RemoteBus(through, TOKEN, silence_seconds=0.5, stream_retry=QUICK) as bus,
            bus.stream("order.paid") as events,
        ):
            await direct.emit("order.paid", {"order_id": 1})
            assert (await anext(events)).data == {"order_id": 1}
            proxy.swallow()
            await direct.emit("order.paid", {"order_id": 2})
            assert (await anext(events)).data == {"order_id": 2}

            assert (proxy.accepted, events.statistics().reconnects) == (2, 1)


@pytest.mark.anyio
async def test_a_stream_of_a_quiet_server_stays_open_by_its_heartbeats(url: str) -> None:
    """Silence is what counts, and a heartbeat breaks it."""
    with anyio.fail_after(SECONDS):
        async with (
            RemoteBus(url, TOKEN, silence_seconds=0.6, stream_retry=QUICK) as bus,
            bus.stream("order.paid") as events,
        ):
            with anyio.move_on_after(1.5) as waited:
                await anext(events)

            assert waited.cancelled_caught
            assert events.statistics().reconnects == 0


@pytest.mark.anyio
@pytest.mark.parametrize("token", [None, "another-token-altogether"])
async def test_nobody_gets_in_without_a_token_that_is_known(url: str, token: str | None) -> None:
    async with RemoteBus(url, token) as bus:
        with pytest.raises(Unauthenticated):
            await bus.call("shop.belonging")
        with pytest.raises(Unauthenticated):
            await bus.emit("order.paid", {"order_id": 1})
        with pytest.raises(Unauthenticated):
            async with bus.stream("order.*"):
                pass


@pytest.mark.anyio
async def test_a_token_does_what_its_scopes_say_and_no_more() -> None:
    """To publish is not to read: what came out of the chain is for those who may subscribe."""
    from tests.adapters.client_suite.peers import AppTransport, Shop

    from plugbus import Kernel

    kernel = Kernel([Shop])
    app = create_app(kernel, auth=BearerTokens({TOKEN: Principal("till", ["publish:order.paid"])}))
    async with kernel, AppTransport(app) as transport, RemoteBus("http://shop", TOKEN, transport=transport) as bus:
        assert await bus.emit("order.paid", {"order_id": 1}) is None
        for refused in (bus.emit("order.placed", {"order_id": 1}), bus.call("shop.belonging")):
            with pytest.raises(Forbidden) as caught:
                await refused
            assert caught.value.code == "insufficient_scope"
        with pytest.raises(Forbidden):
            async with bus.stream("order.*"):
                pass


@pytest.mark.anyio
async def test_a_fault_is_told_by_an_id_and_nothing_else() -> None:
    from tests.adapters.client_suite.peers import AppTransport

    app, kernel = shop_app()
    with structlog.testing.capture_logs() as lines:
        async with kernel, AppTransport(app) as transport, RemoteBus("http://shop", TOKEN, transport=transport) as bus:
            with pytest.raises(RemoteError) as caught:
                await bus.call("shop.fail")

    assert "s3cret" not in f"{caught.value} {caught.value.__dict__}"
    assert caught.value.id in {line.get("id") for line in lines}


def test_a_thread_goes_on_after_the_cursor_that_it_stored(url: str) -> None:
    with SyncRemoteBus(url, TOKEN) as bus:
        with bus.stream("order.paid", timeout_seconds=SECONDS) as events:
            bus.emit("order.paid", {"order_id": 1})
            next(events)
        bus.emit("order.paid", {"order_id": 2})
        with bus.stream("order.paid", since=events.cursor, timeout_seconds=SECONDS) as again:
            assert next(again).data == {"order_id": 2}
            assert again.statistics().reconnects == 0


def test_a_sync_client_goes_on_after_it_was_closed(url: str) -> None:
    bus = SyncRemoteBus(url, TOKEN)
    try:
        for _ in range(2):
            assert bus.call("products.create", {"id": 1})["id"] == 1
            bus.close()
    finally:
        bus.close()
    assert TOKEN not in f"{bus!r} {vars(bus)}"


def test_a_stream_left_early_by_a_thread_leaves_nothing_behind(url: str) -> None:
    before = threading.active_count()
    with SyncRemoteBus(url, TOKEN) as bus, suppress(KeyError), bus.stream("order.*"):
        raise KeyError
    assert threading.active_count() == before


FORKING: Any = """
import os, sys
from plugbus_adapters.http import SyncRemoteBus
bus = SyncRemoteBus(*sys.argv[1:])
assert bus.call("products.create", {"id": 1})["id"] == 1
child = os.fork()
assert bus.call("products.create", {"id": 2})["id"] == 2
bus.close()
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_process_makes_connections_of_its_own(url: str) -> None:
    """Threads and sockets stay with the parent, as in servers that fork their workers."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, url, TOKEN],
        timeout=40, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
