"""Limits against a real uvicorn process: what is too much, too slow or malformed is refused, with flat memory."""

from __future__ import annotations

import gzip
import socket
import time
import zlib
from collections.abc import Iterator

import anyio
import pytest
from tests.adapters.http.served import Served, served, status, until, until_closed
from tests.support import virtual_time

from plugbus_adapters.http import HttpSettings
from plugbus_adapters.http._shield import Shield

MIB = 1024 * 1024
LIMIT = 100_000
SLACK = 24 * MIB

APP = """
import json
from plugbus_adapters.http._shield import Shield
from plugbus_adapters.http._json import parse_json
from plugbus_adapters.http.problems import ProblemError
from plugbus_adapters.http.settings import HttpSettings
settings = HttpSettings(max_body_bytes={limit}, body_seconds=1.0, head_seconds=1.0, send_seconds=1.0, max_headers=50,
                        max_header_bytes=8192, idle_seconds=2, accept_encodings={encodings}, hsts_seconds=60)

async def inner(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more, headers = b"", True, []
    if scope["path"] == "/endless":
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        for _ in range(4000):  # not for ever: what is sent to a client that went away, uvicorn drops in silence
            await send({{"type": "http.response.body", "body": bytes(65536), "more_body": True}})
        return
    if scope["path"] == "/late":
        await send({{"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}})
        await send({{"type": "http.response.body", "body": b"ok"}})
        return
    if scope["path"] == "/swallow":
        try:
            while more:
                more = (await receive())["more_body"]
        except Exception:
            pass
        more = False
    if scope["path"] == "/break":
        headers = [(b"x-name", scope["query_string"].replace(b"+", b"\\r\\n"))]
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return
        body, more = body + message["body"], message["more_body"]
    if scope["path"] == "/page":
        headers = [(b"content-type", b"text/html; charset=utf-8")]
    answer = str(len(body)).encode()
    await send({{"type": "http.response.start", "status": 200,
                 "headers": [*headers, (b"content-length", str(len(answer)).encode())]}})
    await send({{"type": "http.response.body", "body": answer}})

app = Shield(inner, settings)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(APP.format(limit=LIMIT, encodings="()"), tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture(scope="module")
def unpacking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(APP.format(limit=LIMIT, encodings="('gzip', 'deflate')"), tmp_path_factory.mktemp("server")) as found:
        yield found


def post(*headers: str, path: str = "/") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", "connection: close", *headers, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


# ------------------------------------------------------------------------------------------------ size


def test_a_body_up_to_the_limit_is_taken(server: Served) -> None:
    answer = server.send(post(f"content-length: {LIMIT}"), b"x" * LIMIT)

    assert (status(answer), answer.endswith(str(LIMIT).encode())) == (200, True)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(server: Served) -> None:
    """413, although not one byte of it was sent; and it need not be HTTP's own 100-continue."""
    for header in (f"content-length: {LIMIT + 1}", f"content-length: {10**17}"):
        assert status(server.send(post(header))) == 413


def test_a_body_without_a_length_is_counted_with_flat_memory(server: Served) -> None:
    """Chunked, 200 MB: refused as soon as the limit is passed, and nothing of the rest is kept."""
    before = server.memory()

    answer = server.send(post("transfer-encoding: chunked"), *([chunk(b"x" * 65536)] * 3200), b"0\r\n\r\n")

    assert status(answer) in {413, 0}  # 0: the answer was lost to the reset, as all of it was not read
    assert server.memory() - before < SLACK
    assert status(server.send(post("transfer-encoding: chunked"), chunk(b"x" * LIMIT), chunk(b"y"))) == 413


@pytest.mark.parametrize(
    "headers",
    [
        ["content-length: 5", "content-length: 6"],
        ["content-length: -1"],
        ["content-length: 1e3"],
        ["content-length: 0x10"],
        ["content-length: 5, 6"],
        ["content-length: 5", "transfer-encoding: chunked"],
        ["transfer-encoding: gzip"],
        ["transfer-encoding: chunked, gzip"],
    ],
    ids=" + ".join,
)
def test_lengths_that_contradict_each_other_are_refused(server: Served, headers: list[str]) -> None:
    """A proxy before us may have read them otherwise: request smuggling."""
    answer = server.send(post(*headers), b"5\r\nhello\r\n0\r\n\r\n")

    assert status(answer) in {400, 413, 501}


def test_more_than_the_length_says_is_not_part_of_the_body(server: Served) -> None:
    """What follows is the next request, which is none."""
    answer = server.send(post("content-length: 5").replace(b"connection: close\r\n", b""), b"hello" + b"x" * 1000)

    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"\r\n\r\n5" in answer


def test_less_than_the_length_says_is_not_waited_for(server: Served) -> None:
    """408 after body_seconds, in all: a byte now and then does not help."""
    with server.connect() as client:
        client.sendall(post("content-length: 1000"))
        started = time.monotonic()
        answer = drip(client, b"x")
        taken = time.monotonic() - started

    assert (status(answer), 0.8 < taken < 4) == (408, True)


def drip(client: socket.socket, data: bytes) -> bytes:
    """Send a byte each tenth of a second until the server answers; at most 10 seconds."""
    client.settimeout(0.1)
    for _ in range(100):
        try:
            client.sendall(data)
            return client.recv(65536)
        except TimeoutError:
            continue
        except (ConnectionResetError, BrokenPipeError):
            return b""
    raise AssertionError("it was still waiting")


def test_an_app_that_swallows_the_refusal_does_not_make_it_a_success(server: Served) -> None:
    """Whatever the app answers, the caller reads 413."""
    answer = server.send(post("transfer-encoding: chunked", path="/swallow"), chunk(b"x" * (LIMIT + 1)))

    assert (status(answer), b"too_large" in answer) == (413, True)


# ------------------------------------------------------------------------------------------------ compression


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP", "x"])
def test_a_compressed_body_is_refused_unless_it_was_allowed(server: Served, encoding: str) -> None:
    """415, and the answer says what would be taken (RFC 9110, section 15.5.16)."""
    answer = server.send(post("content-length: 1", f"content-encoding: {encoding}"), b"x")

    assert (status(answer), b"accept-encoding: identity" in answer.lower()) == (415, True)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_counted_as_it_bursts(unpacking: Served, encoding: str) -> None:
    """200 MB of zeros fit in 200 kB; refused as soon as the limit is passed, with flat memory."""
    packed = gzip.compress(bytes(200 * MIB)) if encoding == "gzip" else zlib.compress(bytes(200 * MIB))
    before = unpacking.memory()

    # In small pieces, so that it is the decompressed size that counts.
    pieces = [chunk(packed[start : start + 500]) for start in range(0, LIMIT // 2, 500)]
    answer = unpacking.send(post("transfer-encoding: chunked", f"content-encoding: {encoding}"), *pieces)

    assert status(answer) in {413, 0}
    assert unpacking.memory() - before < SLACK
    head = post("content-length: 4000", f"content-encoding: {encoding}")
    assert status(unpacking.send(head, packed[:4000])) == 413


def test_a_bomb_of_bombs_is_refused(unpacking: Served) -> None:
    packed = gzip.compress(gzip.compress(bytes(MIB)))
    head = post(f"content-length: {len(packed)}", "content-encoding: gzip, gzip")

    assert status(unpacking.send(head, packed)) == 415


def test_an_allowed_encoding_reaches_the_app_unpacked(unpacking: Served) -> None:
    packed = gzip.compress(b"x" * LIMIT)

    answer = unpacking.send(post(f"content-length: {len(packed)}", "content-encoding: gzip"), packed)

    assert (status(answer), answer.endswith(str(LIMIT).encode())) == (200, True)


@pytest.mark.parametrize(
    "packed",
    [b"not gzip", gzip.compress(b"x" * 100)[:-4], gzip.compress(b"x") + b"more", gzip.compress(b"x") * 2, b""],
    ids=["no gzip", "cut off", "more behind", "twice", "empty"],
)
def test_what_cannot_be_unpacked_is_malformed(unpacking: Served, packed: bytes) -> None:
    head = post(f"content-length: {len(packed)}", "content-encoding: gzip")

    assert status(unpacking.send(head, packed)) == 400


# ------------------------------------------------------------------------------------------------ headers


@pytest.mark.parametrize("headers", [[f"x-{n}: 1" for n in range(60)], ["x: " + "y" * 7000, "z: " + "y" * 7000]])
def test_too_many_or_too_large_headers_are_refused(server: Served, headers: list[str]) -> None:
    assert status(server.send(post(*headers))) in {400, 431}


def test_endless_headers_take_no_memory(server: Served) -> None:
    """100 MB of one header: the server does not keep it until it ends."""
    before = server.memory()

    server.send(b"GET / HTTP/1.1\r\nx: ", *([b"y" * 65536] * 1600))

    assert server.memory() - before < SLACK


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /a%00b HTTP/1.1",
        b"GET /a%0d%0aset-cookie:x HTTP/1.1",
        b"GET /a\x00b HTTP/1.1",
        b"GET / HTTP/1.1\r\nx: a\x00b",
        b"GET / HTTP/1.1\r\nx: a\x0bb",
        b"GET / HTTP/1.1\r\nx y: a",
        b"GET / HTTP/1.1\r\n folded: a",
        b"\x16\x03\x01\x02",
    ],
)
def test_control_characters_are_refused(server: Served, request_line: bytes) -> None:
    """CR, LF and NUL in the path or in a header, whether escaped or not."""
    assert status(server.send(request_line + b"\r\nhost: x\r\nconnection: close\r\n\r\n")) == 400


def test_a_line_break_in_an_answers_header_is_refused(server: Served) -> None:
    """500 with nothing of it in the answer, and a line in the log: an app put something of the request there."""
    answer = server.send(b"GET /break?a+set-cookie:evil=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    assert (status(answer), b"evil" in answer) == (500, False)
    assert "header refused" in server.log()


# ------------------------------------------------------------------------------------------------ time


def test_headers_that_never_end_are_not_waited_for(server: Served) -> None:
    """Slow loris: a byte each tenth of a second, and the connection is closed after head_seconds all the same."""
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n")
        started = time.monotonic()
        answer = drip(client, b"x")

    assert (status(answer), 0.8 < time.monotonic() - started < 3) == (408, True)


def test_a_connection_that_says_nothing_is_closed(server: Served) -> None:
    with server.connect() as client:
        started = time.monotonic()
        assert until_closed(client) == b""

    assert 0.8 < time.monotonic() - started < 3


def test_the_second_request_has_no_more_time_than_the_first(server: Served) -> None:
    """uvicorn's own timer of idle connections ends with the first byte."""
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert status(until(client, b"\r\n\r\n0")) == 200
        started = time.monotonic()
        client.sendall(b"GET / HT")
        answer = drip(client, b"x")

    assert (answer, 0.8 < time.monotonic() - started < 3) == (b"", True)


def test_a_body_that_nobody_reads_does_not_hold_the_connection(server: Served) -> None:
    """The answer is there, the client goes on sending slowly: closed after head_seconds."""
    with server.connect() as client:
        client.sendall(post("content-length: 90000", path="/late").replace(b"connection: close\r\n", b""))
        assert status(until(client, b"\r\n\r\nok")) == 200
        started = time.monotonic()
        answer = drip(client, b"x")

    assert (answer, 0.8 < time.monotonic() - started < 3) == (b"", True)


def test_two_hundred_slow_clients_are_gone_after_their_time(server: Served) -> None:
    """And somebody else is served meanwhile."""
    slow = [server.connect() for _ in range(200)]
    try:
        for client in slow:
            client.sendall(b"GET / HTTP/1.1\r\nx: ")
        answer = server.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        started = time.monotonic()
        ends = [status(until_closed(client)) for client in slow]
    finally:
        for client in slow:
            client.close()

    assert (status(answer), set(ends), time.monotonic() - started < 5) == (200, {408}, True)


def test_a_client_that_stops_reading_is_cut_off(server: Served) -> None:
    """After send_seconds, with nothing kept for it but what the socket holds; the log says so."""
    before = server.memory()
    with server.connect() as client:
        client.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        assert client.recv(1000)
        deadline = time.monotonic() + 10
        while "read nothing for 1 s" not in server.log():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    assert server.memory() - before < SLACK


def test_clients_in_order_are_not_hurried(server: Served) -> None:
    """A pause between requests may be longer than head_seconds, within idle_seconds; many may be sent ahead."""
    with server.connect() as client:
        for _ in range(2):
            client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert status(until(client, b"\r\n\r\n0")) == 200
            time.sleep(1.3)
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 10)
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert until_closed(client).count(b"HTTP/1.1 200") == 11


# ------------------------------------------------------------------------------------------------ what goes out


def test_every_answer_tells_browsers_to_be_careful(server: Served) -> None:
    """Refusals too; pages more so. HSTS only over HTTPS."""
    plain = server.send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").lower()
    page = server.send(b"GET /page HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").lower()
    refused = server.send(post("content-length: 999999999")).lower()

    assert all(b"x-content-type-options: nosniff" in answer for answer in (plain, page, refused))
    assert (b"content-security-policy" in plain, b"frame-ancestors 'none'" in page) == (False, True)
    assert b"x-frame-options: deny" in page
    assert not any(b"strict-transport-security" in answer or b"server:" in answer for answer in (plain, page))


# ------------------------------------------------------------------------------------------------ other servers


@pytest.mark.anyio
@virtual_time
async def test_another_server_than_uvicorn_does_not_wait_for_a_body_either() -> None:
    """The layer itself bounds the time where the server does not say that it does; a wait of the app does not count."""
    sent: list[dict[str, object]] = []
    parts = [(20.0, b"a"), (9.0, b"b"), (2.0, b"c")]

    async def receive() -> dict[str, object]:
        seconds, body = parts.pop(0)
        await anyio.sleep(seconds)
        return {"type": "http.request", "body": body, "more_body": True}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def app(scope, receive, send) -> None:
        while True:
            await receive()
            await anyio.sleep(100)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"content-length", b"9")]}
    started = anyio.current_time()
    await Shield(app, HttpSettings(body_seconds=30))(scope, receive, send)

    assert (sent[0]["status"], parts, 229 < anyio.current_time() - started < 232) == (408, [], True)
