"""Calls and emits: sent at most once, each failure told for what it is, and nothing of a token anywhere."""

from __future__ import annotations

import json
import logging
import math
import pickle

import anyio
import httpx2
import pytest
from tests.adapters.http.remote.scripted import ONCE, SILENT, TOKEN, Reply, Script, answer, problem, remote
from tests.support import virtual_time

from plugbus import (
    Forbidden,
    Invalid,
    PlugbusError,
    Problem,
    Retry,
    UnknownEventError,
    acting_as,
)
from plugbus_adapters.http import (
    NotConnectedError,
    RemoteBus,
    RemoteError,
    RemoteTimeoutError,
    SyncRemoteBus,
    Unauthenticated,
)

pytestmark = [pytest.mark.anyio, virtual_time]
ACCEPTED = answer(b'{"events":[{"id":"1","source":"/x","status":202,"data":{"order_id":7}}]}', 202)
REFUSED, RESET = httpx2.ConnectError("refused"), httpx2.ReadError("reset")


# ------------------------------------------------------------------------------------------------ at most once


@pytest.mark.parametrize("use", ["call", "emit"])
async def test_where_nothing_was_sent_it_is_tried_again(use: str) -> None:
    script = Script(REFUSED, httpx2.ConnectTimeout("slow"), ACCEPTED if use == "emit" else answer())
    async with remote(script, connect_retry=Retry(attempts=3)) as bus:
        await getattr(bus, use)("order.placed", {"order_id": 7})

    assert len(script.asked) == 3


@pytest.mark.parametrize("use", ["call", "emit"])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (RESET, NotConnectedError),
        (httpx2.RemoteProtocolError("Server disconnected"), NotConnectedError),
        (Reply(body=(b"{", RESET)), NotConnectedError),
        (Reply(body=(b"{", SILENT)), RemoteTimeoutError),
        (problem(500, id="7f"), RemoteError),
        (problem(503), RemoteError),
    ],
)
async def test_where_it_may_have_happened_it_is_not_sent_again(use: str, reply: Reply, error: type[Exception]) -> None:
    """Publishing twice without a word would be worse than an error that says so."""
    script = Script(reply)
    async with remote(script, connect_retry=Retry(attempts=3), timeout_seconds=30) as bus:
        with pytest.raises(error) as caught:
            await getattr(bus, use)("order.placed", {"order_id": 7})

    assert len(script.asked) == 1
    assert getattr(caught.value, "sent", True)


async def test_an_error_says_that_nothing_was_sent() -> None:
    async with remote(Script(REFUSED), connect_retry=ONCE) as bus:
        with pytest.raises(NotConnectedError, match="trying again is safe") as caught:
            await bus.emit("order.placed")

    assert (caught.value.sent, caught.value.url) == (False, "https://shop.example/api")


async def test_an_answer_has_a_deadline_as_a_whole() -> None:
    """A server that trickles cannot move it."""
    trickling = Reply(body=tuple(part for _ in range(100) for part in (1, b" ")))
    async with remote(Script(trickling), timeout_seconds=30) as bus:
        before = anyio.current_time()
        with pytest.raises(RemoteTimeoutError):
            await bus.call("orders.count")

    assert anyio.current_time() - before == 30


# ------------------------------------------------------------------------------------------------ what goes out


async def test_an_event_goes_out_as_a_cloudevent_with_an_id_of_its_own() -> None:
    script = Script(ACCEPTED)
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with remote(script, source="/till/7") as bus:
        with acting_as(None, correlation_id="c-7", traceparent=trace):
            assert await bus.emit("order.placed", {"order_id": 7}) == {"order_id": 7}
        await bus.emit("order.placed", {"order_id": 7})

    first, second = (json.loads(request.content) for request in script.asked)
    assert first["id"] != second["id"]
    assert (first["type"], first["source"], first["data"]) == ("order.placed", "/till/7", {"order_id": 7})
    assert (first["correlationid"], first["traceparent"]) == ("c-7", trace)
    headers = script.asked[0].headers
    assert (headers["x-correlation-id"], headers["traceparent"]) == ("c-7", trace)
    assert not {"correlationid", "traceparent"} & set(second)
    assert not {"x-correlation-id", "traceparent"} & set(script.asked[1].headers)


@pytest.mark.parametrize("wrong", ["a\r\nb: c", "x" * 200, "é"])
async def test_a_correlation_id_that_no_header_takes_stays_here(wrong: str) -> None:
    script = Script(answer())
    async with remote(script) as bus:
        with acting_as(None, correlation_id=wrong):
            await bus.call("orders.count")

    assert "x-correlation-id" not in script.asked[0].headers


async def test_data_that_no_json_can_tell_is_refused_here() -> None:
    script = Script(answer())
    async with remote(script) as bus:
        with pytest.raises(Invalid):
            await bus.call("orders.count", {"handle": object()})

    assert script.asked == []


async def test_no_compression_is_asked_for() -> None:
    """What comes compressed could be any size, once it is not."""
    script = Script(answer())
    async with remote(script) as bus:
        await bus.call("orders.count", {"limit": math.inf})

    assert script.asked[0].headers["accept-encoding"] == "identity"
    assert json.loads(script.asked[0].content) == {"limit": "Infinity"}


# ------------------------------------------------------------------------------------------------ what comes back


async def test_a_fault_has_the_id_that_the_servers_log_has() -> None:
    async with remote(Script(problem(500, detail="it failed", code="internal", id="7f-1"))) as bus:
        with pytest.raises(RemoteError, match="7f-1") as caught:
            await bus.call("orders.count")

    assert (caught.value.status, caught.value.code, caught.value.id) == (500, "internal", "7f-1")


@pytest.mark.parametrize(
    "reply",
    [
        answer(b"no json"), answer(b'{"a": NaN}'), answer(b"[" * 100_000), answer(b"x" * 1001), answer(b"", 204),
        answer(b"<html>", 500), answer(b"[]", 500, content_type="application/problem+json"),
        answer(b'{"problems": 7, "detail": [], "refusal": []}', 409, content_type="application/problem+json"),
        answer(b'{"problems": [7, {}], "retry_after_seconds": 1e999}', 503, content_type="application/problem+json"),
    ],
)  # fmt: skip
async def test_whatever_a_server_answers_is_a_clear_error(reply: Reply) -> None:
    async with remote(Script(reply), max_answer_bytes=200_000 if reply.body[0][:1] == b"[" else 1000) as bus:
        with pytest.raises(RemoteError) as caught:
            await bus.call("orders.count")

    assert caught.value.status == reply.status
    assert caught.value.doing == "call 'orders.count'"


@pytest.mark.parametrize("body", [b"{}", b'{"events": []}', b'{"events": [7]}', b"[]"])
async def test_an_emit_that_nobody_confirms_is_an_error(body: bytes) -> None:
    async with remote(Script(answer(body, 202))) as bus:
        with pytest.raises(RemoteError, match="what became of the event"):
            await bus.emit("order.placed")


async def test_an_emit_returns_nothing_where_the_token_may_not_read() -> None:
    async with remote(Script(answer(b'{"events":[{"id":"1","source":"/x","status":202}]}', 202))) as bus:
        assert await bus.emit("order.placed") is None


async def test_text_of_a_server_is_cut_short_and_drives_no_terminal() -> None:
    reply = problem(403, refusal="forbidden", detail="\x1b[2J" + "x" * 10_000, problems=[{"where": "a\x07"}] * 5000)
    async with remote(Script(reply)) as bus:
        with pytest.raises(Forbidden) as caught:
            await bus.call("orders.count")

    assert "\x1b" not in str(caught.value)
    assert len(caught.value.reason) <= 4096
    assert caught.value.problems[0] == Problem("a ", "")
    assert len(caught.value.problems) == 1000


async def test_a_redirection_is_told_and_not_followed() -> None:
    """The token is for one server."""
    script = Script(answer(b"", 307, location="https://elsewhere.example/steal?secret=1"))
    async with remote(script) as bus:
        with pytest.raises(RemoteError, match=r"redirects to https://elsewhere\.example/steal, which") as caught:
            await bus.call("orders.count")

    assert "secret" not in str(caught.value)
    assert [request.url.host for request in script.asked] == ["shop.example"]


# ------------------------------------------------------------------------------------------------ secrets


@pytest.mark.parametrize(
    "reply",
    [
        REFUSED, httpx2.ReadError(f"sent {TOKEN}"), Reply(body=(SILENT,)), problem(500, detail=f"header was {TOKEN}"),
        problem(401, refusal="unauthenticated", detail=TOKEN), problem(422, refusal="invalid", code=TOKEN),
        answer(b"", 302, location=f"https://x.example/{TOKEN}"), answer(TOKEN.encode()),
    ],
)  # fmt: skip
async def test_no_error_and_no_log_tells_the_token(reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where the server sends it back."""
    caplog.set_level(logging.DEBUG)
    async with remote(Script(reply)) as bus:
        for use in (bus.call("orders.count"), bus.emit("order.placed")):
            with pytest.raises(PlugbusError) as caught:
                await use
            error = caught.value
            chain = f"{error!r} {error} {error.__dict__} {error.__cause__!r} {error.args}"
            assert TOKEN not in chain
            assert str(pickle.loads(pickle.dumps(error))) == str(error)

        assert TOKEN not in f"{bus!r} {bus} {vars(bus)} {caplog.text}"


async def test_a_url_that_would_tell_secrets_or_go_nowhere_is_refused() -> None:
    for wrong in [
        "", "shop.example", "ftp://shop.example", "http://", "file:///etc/passwd", "https://shop.example/?a=b",
        "https://shop.example/#a", "http://shop.example:x", "http://sho p.example", "http://shop.example/\r\nX: y",
        None, f"https://ann:{TOKEN}@shop.example", f"https://{TOKEN}@shop.example",
    ]:  # fmt: skip
        for make in (RemoteBus, SyncRemoteBus):
            with pytest.raises(ValueError, match="RemoteBus") as caught:
                make(wrong)
            assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("wrong", ["", f"{TOKEN}\r\nX: y", f"{TOKEN} x", f"{TOKEN}é"])
async def test_a_token_that_no_header_takes_is_refused_without_telling_it(wrong: str) -> None:
    with pytest.raises(ValueError, match="token") as caught:
        RemoteBus("https://shop.example", wrong)

    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"timeout_seconds": 0}, {"silence_seconds": -1}, {"timeout_seconds": math.nan}])
async def test_times_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RemoteBus("https://shop.example", **wrong)


async def test_names_that_would_be_another_path_never_go_out() -> None:
    script = Script(answer())
    async with remote(script) as bus:
        for name in ("../admin", "a/b", "a?b", "a#b", "a%2e", "order.*", "a b", 7):
            with pytest.raises(UnknownEventError):
                await bus.call(name)
            with pytest.raises(UnknownEventError):
                await bus.emit(name)

    assert script.asked == []


async def test_a_proxy_without_manners_is_no_refusal_of_the_service() -> None:
    """Only a plugbus says what was refused; 401 is 401, whoever says it."""
    async with remote(Script(answer(b"no", 403, content_type="text/plain"))) as bus:
        with pytest.raises(RemoteError):
            await bus.call("orders.count")
    async with remote(Script(answer(b"no", 401, content_type="text/plain"))) as bus:
        with pytest.raises(Unauthenticated):
            await bus.call("orders.count")
