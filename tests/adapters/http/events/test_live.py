"""The event API behind a real server: SSE and WebSocket clients that were not written here, and real kills."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sseclient import Event as ServerSentEvent
from tests.adapters.http.events.tools import (
    ANN,
    SECONDS,
    OrderPlaced,
    SecretTold,
    Shop,
    live,
    server_sent,
    structured,
    told,
)
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from plugbus import Kernel
from plugbus_adapters.http import BearerTokens, create_app

pytestmark = pytest.mark.timeout(120)
TOKEN = "a-token-that-only-tests-know"
AUTH = {"authorization": f"Bearer {TOKEN}"}
ROOT = Path(__file__).parents[4]
SERVER = Path(__file__).with_name("server.py")


def shop(**settings: Any) -> tuple[Any, Kernel]:
    kernel = Kernel([Shop], config={"plugins": {"events": settings}})
    return create_app(kernel, auth=BearerTokens({TOKEN: ANN})), kernel


@pytest.fixture
def address() -> Iterator[str]:
    with live(shop()[0]) as found:
        yield found


def publish(address: str, *numbers: int) -> None:
    for number in numbers:
        answer = httpx2.post(f"http://{address}/events", **_with_auth(structured(told(number))))
        assert answer.status_code == 202, answer.text


def _with_auth(request: dict[str, Any]) -> dict[str, Any]:
    return {**request, "headers": {**request["headers"], **AUTH}}


def read(address: str, count: int, **headers: str) -> list[ServerSentEvent]:
    """Read events until there are *count*."""
    found: list[ServerSentEvent] = []
    url = f"http://{address}/events/stream"
    with (
        httpx2.Client(timeout=SECONDS) as client,
        client.stream("GET", url, headers={**AUTH, **headers}) as response,
    ):
        for event in server_sent(response):
            found.append(event)
            if len(found) == count:
                break
    return found


def numbers(events: list[ServerSentEvent]) -> list[int]:
    return [json.loads(event.data)["data"]["order_id"] for event in events if event.event == "message"]


# ------------------------------------------------------------------------------------------------ server-sent events


def test_an_sse_client_of_others_reads_and_resumes(address: str) -> None:
    publish(address, 1)
    url = f"http://{address}/events/stream?type=order.*"
    with httpx2.Client(timeout=SECONDS) as client, client.stream("GET", url, headers=AUTH) as response:
        events = server_sent(response)
        publish(address, 2, 3, 4)
        seen = [next(events), next(events)]

    assert numbers(seen) == [2, 3]
    assert numbers(read(address, 1, **{"last-event-id": seen[-1].id})) == [4]


def test_a_reader_that_stops_reading_is_cut_off_and_the_publisher_goes_on() -> None:
    """Its socket is full, and the server has bounded what it holds for it."""
    app, kernel = shop(send_timeout_seconds=0.3, heartbeat_seconds=0.2)
    with live(app) as address, socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = address.split(":")
        stuck.connect((host, int(port)))
        stuck.sendall(f"GET /events/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert stuck.recv(12) == b"HTTP/1.1 200"
        readers = kernel.plugins["events"].instance.readers
        big = "x" * 100_000
        deadline = time.monotonic() + SECONDS
        count = 0
        while not readers.statistics().cut_off and time.monotonic() < deadline:
            before = time.monotonic()
            answer = httpx2.post(
                f"http://{address}/events", **_with_auth(structured(told(1, data={"shop": big, "order_id": 1})))
            )
            assert answer.status_code == 202
            assert time.monotonic() - before < SECONDS / 4
            count += 1

        assert readers.statistics().cut_off == {"stopped reading": 1}
        assert readers.statistics().readers == 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """Starts servers in processes of their own, one after another, on one log; a test kills them."""
    processes: list[subprocess.Popen[str]] = []

    def start(log: str) -> tuple[subprocess.Popen[str], str]:
        path = str(tmp_path / "events.db") if log == "sqlite" else ""
        command = [sys.executable, str(SERVER), TOKEN, path]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        processes.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_after_a_kill_a_reader_goes_on_without_a_gap(server: Any) -> None:
    """Whatever was acknowledged is there, once, three kills in a row; what it had not read yet, too."""
    last, seen, sent = "", [], 0
    for _ in range(3):
        process, address = server("sqlite")
        publish(address, *range(sent + 1000, sent + 1010))
        sent += 10
        count = sent - len(seen) - 5  # it leaves five unread each time
        found = read(address, count, **{"last-event-id": last}) if last else _from_the_beginning(address, count)
        assert all(event.event == "message" for event in found)
        seen += numbers(found)
        last = found[-1].id
        kill(process)
    process, address = server("sqlite")
    seen += numbers(read(address, sent - len(seen), **{"last-event-id": last}))

    assert seen == list(range(1000, 1000 + sent))


def _from_the_beginning(address: str, count: int) -> list[ServerSentEvent]:
    """Read from the first event on: the log's identity with the number zero."""
    cursor = httpx2.get(f"http://{address}/events", headers=AUTH).json()["cursor"]
    return read(address, count, **{"last-event-id": f"{cursor.partition('-')[0]}-0"})


def test_after_a_restart_without_a_file_a_reader_is_told(server: Any) -> None:
    process, address = server("memory")
    publish(address, 1, 2)
    last = _from_the_beginning(address, 1)[-1].id
    kill(process)
    _, address = server("memory")

    [reset] = read(address, 1, **{"last-event-id": last})

    assert (reset.event, json.loads(reset.data)["reason"]) == ("reset", "another log")


# ------------------------------------------------------------------------------------------------ WebSocket


@pytest.fixture
def ws(address: str) -> Iterator[ClientConnection]:
    with connect(f"ws://{address}/events/ws", additional_headers=AUTH) as found:
        yield found


def say(ws: ClientConnection, **frame: Any) -> dict[str, Any]:
    """Send a frame and return the next one."""
    ws.send(json.dumps(frame))
    return hear(ws)


def hear(ws: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ws.recv(timeout=SECONDS))
    return found


def test_a_socket_subscribes_publishes_and_unsubscribes(ws: ClientConnection, address: str) -> None:
    subscribed = say(ws, type="subscribe", id="s1", events=["order.*"], key="berlin")
    published = say(ws, type="publish", id="p1", event=told(7))
    frames = [published, hear(ws)]
    [event] = [frame for frame in frames if frame["type"] == "event"]

    assert (subscribed["type"], subscribed["id"]) == ("subscribed", "s1")
    assert {frame["type"] for frame in frames} == {"event", "published"}
    assert (event["id"], event["event"]["id"], event["event"]["data"]["order_id"]) == ("s1", "m-7", 7)
    assert say(ws, type="unsubscribe", id="s1") == {"type": "unsubscribed", "id": "s1"}
    publish(address, 8)
    again = say(ws, type="subscribe", id="s2", since=event["cursor"])
    assert again["cursor"] == event["cursor"]
    assert hear(ws)["event"]["data"]["order_id"] == 8


def test_a_socket_is_told_what_it_missed(ws: ClientConnection) -> None:
    assert say(ws, type="subscribe", id="s1", since="0123456789abcdef-1")["type"] == "subscribed"
    reset = hear(ws)

    assert (reset["type"], reset["id"], reset["reason"]) == ("reset", "s1", "another log")


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        ("no json", 400),
        ({"type": "dance", "id": "1"}, 400),
        ({"type": "subscribe"}, 400),
        ({"type": "subscribe", "id": "1", "events": ["secret.told"]}, 403),
        ({"type": "subscribe", "id": "1", "events": ["**"]}, 403),
        ({"type": "subscribe", "id": "1", "events": ["a b"]}, 400),
        ({"type": "subscribe", "id": "1", "since": "x"}, 400),
        ({"type": "unsubscribe", "id": "1"}, 404),
        ({"type": "publish", "id": "1", "event": {}}, 400),
        ({"type": "publish", "id": "1", "event": told(type="secret.told")}, 403),
        ({"type": "publish", "id": "1", "event": told(data={})}, 422),
        ({"type": "publish", "id": "1", "event": told(13)}, 403),
    ],
)
def test_a_frame_that_fails_is_answered_and_the_socket_goes_on(ws: ClientConnection, frame: Any, status: int) -> None:
    ws.send(frame if isinstance(frame, str) else json.dumps(frame))
    answer = hear(ws)

    assert (answer["type"], answer["error"]["status"]) == ("error", status), answer
    assert say(ws, type="subscribe", id="fine", events=["order.*"])["type"] == "subscribed"


def test_a_name_is_subscribed_once(ws: ClientConnection) -> None:
    say(ws, type="subscribe", id="1")

    assert say(ws, type="subscribe", id="1")["error"]["status"] == 409


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong-wrong-wrong-wrong"}])
def test_nobody_connects_without_credentials(address: str, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as caught, connect(f"ws://{address}/events/ws", additional_headers=headers):
        pass

    assert caught.value.response.status_code == 401  # the server knows the denial response of ASGI


def test_no_socket_gets_what_its_scopes_leave_out() -> None:
    app, kernel = shop()
    with live(app) as address, connect(f"ws://{address}/events/ws", additional_headers=AUTH) as ws:
        say(ws, type="subscribe", id="1")
        kernel.bus.emit(SecretTold(word="x"))
        kernel.bus.emit(OrderPlaced(shop="oslo", order_id=1))

        assert hear(ws)["event"]["type"] == "order.placed"
