"""What somebody who means harm sends to a whole service: a real uvicorn process, real sockets, its own memory."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
from tests.adapters.http.served import WHOLE, Served, served, status, until

from plugbus_adapters.http._tokens import hash_of

MIB = 1024 * 1024
LIMIT = 200_000
SLACK = 24 * MIB
CANARY = "canary-" + "7f3a9" * 8

APP = """
from typing import Annotated
from pydantic import BaseModel
from plugbus import Kernel, Plugin, Request, answers
from plugbus_adapters.http import Body, create_app, endpoint

class Order(BaseModel):
    number: int
    price: float = 0.0
    notes: object = None

class Place(Request[int], name="orders.place"):
    number: int
    price: float = 0.0
    notes: object = None

class Shop(Plugin, id="shop"):
    @endpoint("GET", "/mine")
    async def mine(self) -> str:
        return "yours"

    @endpoint("POST", "/orders", auth="public")
    async def order(self, order: Order) -> int:
        return order.number

    @endpoint("POST", "/through", auth="public")
    @answers(Place)
    async def place(self, request: Place) -> int:
        return request.number

    @endpoint("POST", "/raw", auth="public")
    async def raw(self, body: Annotated[bytes, Body()]) -> int:
        return len(body)

    @endpoint("POST", "/fail", auth="public")
    async def fail(self, order: Order) -> None:
        raise RuntimeError("the disk is full")

{kernel}
app = create_app(kernel)
"""
UNBOUNDED = """
from types import SimpleNamespace
from plugbus_adapters.http import HttpSettings
settings = HttpSettings()

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % len(body)})
"""


def whole(encodings: tuple[str, ...] = ()) -> str:
    settings = {
        "max_body_bytes": LIMIT,
        "tokens": {"ci": {"hash": hash_of(CANARY)}},
        "accept_encodings": encodings,
        "session_secrets": [CANARY[::-1]],
    }
    return APP.replace("{kernel}", f"kernel = Kernel([Shop], config={ {'plugins': {'http': settings}}!r})")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(whole(), tmp_path_factory.mktemp("server"), WHOLE) as found:
        yield found


def request(path: str, *headers: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", "connection: close", "content-type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def post(server: Served, path: str, body: bytes, *headers: str) -> bytes:
    return server.send(request(path, f"content-length: {len(body)}", *headers), body)


def test_bodies_over_the_limit_leave_the_memory_flat(server: Served, full: bool) -> None:
    """Said to be too large, too large without saying so, and chunked without end: 413, and 200 MB leave no trace."""
    assert status(post(server, "/raw", b"x" * LIMIT)) == 200
    before = server.memory()
    rounds = 10 if full else 2

    for path in ("/raw", "/orders", "/through"):
        assert status(server.send(request(path, f"content-length: {LIMIT + 1}"))) == 413
        for _ in range(rounds):
            pieces = [b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 500
            assert status(server.send(request(path, "transfer-encoding: chunked"), *pieces, b"0\r\n\r\n")) in {413, 0}
        one = b"%x\r\n%s\r\n" % (LIMIT + 1, b"x" * (LIMIT + 1))
        assert status(server.send(request(path, "transfer-encoding: chunked"), one)) == 413

    assert server.memory() - before < SLACK


def test_without_limits_the_same_bodies_fill_the_memory(tmp_path) -> None:
    """The control: what the tests above send is large, and what they measure would show it."""
    with served(UNBOUNDED, tmp_path) as server:
        before = server.memory()
        pieces = [b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 1000
        answer = server.send(request("/raw", "transfer-encoding: chunked"), *pieces, b"0\r\n\r\n")

        assert b"65536000" in answer
        assert server.memory() - before > 2 * SLACK


def test_a_gzip_bomb_does_not_burst(tmp_path) -> None:
    """400 MB packed twenty times over, where gzip is taken: 413 with flat memory. Where it is not: 415."""
    bomb = gzip.compress(bytes(100 * MIB))
    with served(whole(("gzip",)), tmp_path, WHOLE) as server:
        assert status(post(server, "/raw", gzip.compress(b"x" * LIMIT), "content-encoding: gzip")) == 200
        before = server.memory()

        answers = {status(post(server, "/raw", bomb, "content-encoding: gzip")) for _ in range(20)}

        assert (answers, server.memory() - before < SLACK) == ({413}, True)


def odd_bodies(seed: int, count: int) -> Iterator[bytes]:
    """Valid requests with bytes changed, cut, doubled; the seed is in the test's id."""
    fuzz = random.Random(seed)
    valid = json.dumps({"number": 1, "price": 2.5, "notes": ["a", {"b": None}]}).encode()
    for _ in range(count):
        body = bytearray(valid)
        for _ in range(fuzz.randrange(1, 6)):
            at = fuzz.randrange(len(body))
            kind = fuzz.randrange(3)
            body[at : at + kind] = bytes(fuzz.randrange(256) for _ in range(fuzz.randrange(3))) or body[: at // 2]
        yield bytes(body)


@pytest.mark.parametrize("seed", [1, 2])
def test_malformed_bodies_are_the_callers_mistake(server: Served, full: bool, seed: int) -> None:
    """Never 500: depth 100,000, NaN, infinities, huge numbers, bad UTF-8, and what a fuzzer makes of valid ones."""
    deep = b"[" * 100_000
    nines = b"9" * 5000
    known = [
        b"", b"{", b"[]", b"nul", deep, deep + b"]" * 100_000, b'{"number":1,"notes":' + deep + b"]" * 99_999 + b"}",
        b'{"number":NaN}', b'{"number":1,"price":Infinity}', b'{"number":1,"price":1e999}',
        b'{"number":' + nines + b"}",
        b'{"number":1,"notes":' + nines + b"}", b'{"number":1,"notes":"\xff"}', b'{"number":1,"notes":"\\ud800"}',
    ]  # fmt: skip
    for path in ("/orders", "/through"):
        for body in known:
            assert 400 <= status(post(server, path, body)) < 500, (path, body[:50])
        for body in odd_bodies(seed, 500 if full else 60):
            assert 200 <= status(post(server, path, body)) < 500, (path, body)


def test_nobody_gets_in_without_credentials(server: Served) -> None:
    """401 with a challenge, whatever else is tried; the token itself gets in."""
    for value in (
        "",
        "Bearer",
        f"Bearer {CANARY}x",
        f"Bearer {hash_of(CANARY)}",
        f"Basic {CANARY}",
        f"Bearer {CANARY},x",
    ):
        answer = server.send(request("/mine", f"authorization: {value}", method="GET"))
        assert (status(answer), b"www-authenticate: Bearer" in answer) == (401, True), value
    twice = request("/mine", "authorization: Bearer x", f"authorization: Bearer {CANARY}", method="GET")
    assert status(server.send(twice)) == 401
    for spoofed in (
        "x-forwarded-user: root",
        "x-forwarded-for: 127.0.0.1",
        "plugbus.principal: root",
        "cookie: session=e30=",
    ):
        assert status(server.send(request("/mine", spoofed, method="GET"))) == 401

    assert status(server.send(request("/mine", f"authorization: Bearer {CANARY}", method="GET"))) == 200


@pytest.mark.parametrize(
    ("origin", "expected"), [("http://x", {404, 403}), ("https://evil.example", {403}), ("null", {403})]
)
def test_another_sites_page_opens_no_websocket(server: Served, origin: str, expected: set[int]) -> None:
    """403 before anything of the app is asked."""
    key = base64.b64encode(os.urandom(16)).decode()
    with server.connect() as client:
        client.sendall(
            f"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\norigin: {origin}\r\n"
            f"sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n".encode()
        )
        assert status(client.recv(65536)) in expected


def test_secrets_are_in_no_answer_and_no_log_of_the_process(server: Served) -> None:
    """Planted in credentials, cookies, bodies and settings; uvicorn's own logs count."""
    planted = [
        f"authorization: Bearer {CANARY}x",
        f"cookie: __Host-session={CANARY}; sid={CANARY}",
        f"x-api-key: {CANARY}",
    ]
    told = b"".join(
        post(server, path, body, *planted)
        for path, body in [
            ("/orders", json.dumps({"number": CANARY}).encode()), ("/fail", b'{"number": 1}'),
            ("/orders", CANARY.encode()),
            ("/nothing", CANARY.encode()), ("/through", json.dumps({CANARY: 1}).encode()),
        ]
    )  # fmt: skip
    told += server.send(f"GET / HTTP/1.1\r\nhost: x\r\n{CANARY}\r\n\r\n".encode())
    log = server.log()

    assert "request failed" in log  # it was a fault, and it is on record
    assert b"the disk is full" not in told
    for secret in (CANARY, CANARY[::-1], hash_of(CANARY)):
        assert secret.encode() not in told
        assert secret not in log


def test_it_still_serves_after_all_of_this(server: Served) -> None:
    """And keeps a connection for the next request."""
    with server.connect() as client:
        for number in (7, 8):
            body = b'{"number": %d}' % number
            client.sendall(
                request("/orders", f"content-length: {len(body)}").replace(b"connection: close\r\n", b"") + body
            )
            assert status(until(client, b"%d" % number)) == 200


OPEN = "kernel = Kernel([Shop])"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "localhost.localdomain.invalid"])
def test_an_open_server_that_nobody_guards_does_not_start(host: str) -> None:
    """Exit code 3, the reason in its log, and the kernel has stopped in order; with a token it starts."""
    ended = subprocess.run(
        [sys.executable, "-c", APP.replace("{kernel}", OPEN) + START, host], capture_output=True, text=True, timeout=50,
        check=False,
    )  # fmt: skip

    assert ended.returncode == 3
    assert "there is no authenticator" in ended.stderr
    assert "Application startup failed" in ended.stderr


START = """
import asyncio, sys, uvicorn
from plugbus_adapters.http import server_config
uvicorn_server = uvicorn.Server(server_config(app, host=sys.argv[1], port=0))
try:
    asyncio.run(uvicorn_server.serve())
finally:
    assert not uvicorn_server.servers if hasattr(uvicorn_server, "servers") else True
sys.exit(0 if uvicorn_server.started else 3)
"""


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
def test_an_open_server_with_a_token_starts_and_a_closed_one_without(tmp_path, host: str) -> None:
    """A socket that was opened before is looked at itself."""
    app = whole() if host == "0.0.0.0" else APP.replace("{kernel}", OPEN)
    with served(app, tmp_path, WHOLE, host) as server:
        assert status(post(server, "/orders", b'{"number": 1}')) == 200
        assert status(server.send(request("/mine", method="GET"))) == 401
