"""The event API behind a real server: readers that stop reading, messages without an end, and a server that stops."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.adapters.http.events.tools import ANN, SECONDS, Shop, live, running, server_sent, structured, told
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from plugbus import Kernel
from plugbus_adapters.http import BearerTokens, create_app

pytestmark = pytest.mark.timeout(120)
TOKEN = "a-token-that-only-tests-know"
AUTH = {"authorization": f"Bearer {TOKEN}"}
READERS = 50
ORDERS = "/events/stream?type=order.*"  # the kernel tells of itself, too, when it stops and starts


def shop(events: dict[str, Any] | None = None, **http: Any) -> tuple[Any, Kernel]:
    kernel = Kernel([Shop], config={"plugins": {"events": events or {}, "http": http}})
    return create_app(kernel, auth=BearerTokens({TOKEN: ANN})), kernel


def post(url: str, event: dict[str, Any], headers: dict[str, str] = AUTH) -> None:
    request = structured(event)
    answer = httpx2.post(f"{url}/events", headers={**request["headers"], **headers}, content=request["content"])
    assert answer.status_code == 202, answer.text


def until(done: Callable[[], bool], doing: Callable[[], object] = lambda: time.sleep(0.01)) -> None:
    """Do something until it is done."""
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline
        doing()


# ------------------------------------------------------------------------------------------ who stops reading


def test_behind_our_server_a_reader_that_stopped_reading_is_disconnected() -> None:
    """Not only its stream ends: its connection is gone, and what the server kept for it."""
    big = told(data={"shop": "x" * 500_000, "order_id": 1})
    app, kernel = shop({"send_timeout_seconds": 0.3, "heartbeat_seconds": 0.2}, send_seconds=0.5)
    with running(app, ours=True) as (address, server), socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = address.split(":")
        stuck.connect((host, int(port)))
        stuck.sendall(f"GET /events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert stuck.recv(12) == b"HTTP/1.1 200"
        readers = kernel.plugins["events"].instance.readers

        until(lambda: bool(readers.statistics().cut_off), lambda: post(f"http://{address}", big))
        until(lambda: not server.server_state.connections)

        assert readers.statistics().readers == 0


def test_a_socket_that_stopped_reading_is_cut_off() -> None:
    """Its frames wait for it no longer than it has time to take them."""
    big = told(data={"shop": "x" * 500_000, "order_id": 1})
    app, kernel = shop({"send_timeout_seconds": 0.3, "heartbeat_seconds": 0.2})
    with (
        live(app, ours=True) as address,
        connect(f"ws://{address}/events/ws", additional_headers=AUTH, max_queue=1, close_timeout=1) as ws,
    ):
        ws.send(json.dumps({"type": "subscribe", "id": "1"}))
        readers = kernel.plugins["events"].instance.readers

        until(lambda: bool(readers.statistics().cut_off), lambda: post(f"http://{address}", big))

        until(lambda: readers.statistics().readers == 0)
        assert readers.statistics().cut_off == {"stopped reading": 1}


# ------------------------------------------------------------------------------------------ what is too much


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("parts", [1, 1000])
def test_a_message_that_is_too_large_closes_its_socket(parts: int, *, ours: bool) -> None:
    """Whether in one piece or in a thousand; 1009 says why, and the server goes on."""
    app, _ = shop(max_message_bytes=10_000)
    with live(app, ours=ours) as address:
        url = f"ws://{address}/events/ws"
        with connect(url, additional_headers=AUTH) as ws, pytest.raises(ConnectionClosed) as caught:
            ws.send("x" * 1_000_000 if parts == 1 else ("x" * 1000 for _ in range(parts)))
            ws.recv(timeout=SECONDS)
        with connect(url, additional_headers=AUTH) as ws:
            ws.send(json.dumps({"type": "subscribe", "id": "1"}))
            answer = json.loads(ws.recv(timeout=SECONDS))

    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, answer["type"]) == (1009, "subscribed")


@pytest.mark.parametrize("limit", ["max_streams", "max_streams_per_principal"])
def test_sockets_and_streams_are_counted_together(limit: str) -> None:
    app, _ = shop(**{limit: 1})
    with live(app) as address:
        ws, stream = f"ws://{address}/events/ws", f"http://{address}/events/stream"
        with connect(ws, additional_headers=AUTH) as first:
            first.send(json.dumps({"type": "subscribe", "id": "1"}))
            first.recv(timeout=SECONDS)
            refused = httpx2.get(stream, headers=AUTH)
            with pytest.raises(InvalidStatus) as second, connect(ws, additional_headers=AUTH):
                pass
        with (
            httpx2.stream("GET", stream, headers=AUTH) as opened,
            pytest.raises(InvalidStatus),
            connect(ws, additional_headers=AUTH),
        ):
            pass

    assert refused.status_code == second.value.response.status_code == (503 if limit == "max_streams" else 429)
    assert opened.status_code == 200


# ------------------------------------------------------------------------------------------ a server that stops


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[[], tuple[subprocess.Popen[str], str, dict[str, str]]]]:
    """Starts ``plugbus run --http`` on one log file, again and again."""
    log = json.dumps(str(tmp_path / "events.db"))
    settings = f"[plugins.events]\nlog_path = {log}\n[plugins.http]\nmax_streams_per_principal = 99\n"
    (tmp_path / "plugbus.toml").write_text(f"[kernel]\nplugins = []\n{settings}")
    processes: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], str, dict[str, str]]:
        main = "import sys; from plugbus_adapters.cli import main; sys.exit(main())"
        command = [sys.executable, "-c", main, "run", "--dev", "--http", ":0"]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        text, assured = "", process.stderr
        assert assured is not None
        for line in assured:
            text += line
            if found := re.search(r"serving (http://\S+)", line):
                token = re.search(r"which may do everything: (\S+)", text)
                assert token is not None
                return process, found[1], {"authorization": f"Bearer {token[1]}"}
        raise AssertionError(text)

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_server_that_stops_lets_its_readers_go_and_they_go_on_after_it_is_back(served: Any) -> None:
    """Fifty streams end in order, and the process with code 0; each resumes where it was, without a gap."""
    process, url, auth = served()
    limits = httpx2.Limits(max_connections=None)
    with httpx2.Client(timeout=60, headers=auth, limits=limits) as client, ExitStack() as stack:
        streams = [server_sent(stack.enter_context(client.stream("GET", f"{url}{ORDERS}"))) for _ in range(READERS)]
        post(url, told(1), auth)
        seen = [next(stream) for stream in streams]
        before = time.monotonic()
        process.terminate()
        rest = [list(stream) for stream in streams]  # to the end, which is a clean one: httpx2 raises for others
    code, seconds = process.wait(timeout=30), time.monotonic() - before

    process, url, auth = served()
    post(url, told(2), auth)
    found = []
    with httpx2.Client(timeout=60, headers=auth, limits=limits) as client:
        for event in seen:
            with client.stream("GET", f"{url}{ORDERS}", headers={"last-event-id": event.id}) as response:
                found.append(json.loads(next(server_sent(response)).data)["id"])

    assert (code, rest) == (0, [[]] * READERS)
    assert seconds < 10
    assert found == ["m-2"] * READERS
