"""A stream from a server that breaks, falls silent, refuses and lies: on virtual time, without a network."""

from __future__ import annotations

import anyio
import httpx2
import pytest
import structlog.testing
from tests.adapters.http.remote.scripted import SILENT, TOKEN, Reply, Script, answer, frame, problem, remote
from tests.support import virtual_time

from plugbus import (
    CursorError,
    CursorExpiredError,
    EventTypeError,
    Forbidden,
    NamedEvent,
    Retry,
    StreamOverflowError,
    Unavailable,
)
from plugbus_adapters.http import NotConnectedError, RemoteError, RemoteStream, RemoteTimeoutError, Unauthenticated

pytestmark = [pytest.mark.anyio, virtual_time]
START = b"id: log-0\n\n"
RESET = b'event: reset\ndata: {"reason": "retention", "cursor": "log-9"}\n\n'


async def numbers(events: RemoteStream, count: int) -> list[int]:
    with anyio.fail_after(10_000):
        return [(await anext(events)).data["number"] for _ in range(count)]


def after(script: Script) -> list[str | None]:
    """The cursors that were asked for."""
    return [request.headers.get("last-event-id") for request in script.asked]


async def test_a_connection_that_breaks_is_made_again_after_the_last_event() -> None:
    """At the end of the answer, in the middle of an event, and by an error of the network: each event once."""
    script = Script(
        Reply(body=(START, frame(1))),
        Reply(body=(b"id: log-1\n\n", frame(2), frame(3)[:20])),
        Reply(body=(frame(3), httpx2.ReadError("reset by peer"))),
        Reply(body=(frame(4), SILENT)),
    )
    async with remote(script) as bus, bus.stream("order.*") as events:
        assert await numbers(events, 4) == [1, 2, 3, 4]

        assert after(script) == [None, "log-1", "log-2", "log-3"]
        assert (events.cursor, events.statistics().reconnects) == ("log-4", 3)


async def test_a_reader_that_heard_nothing_yet_resumes_where_it_entered() -> None:
    script = Script(Reply(body=(START,)), Reply(body=(frame(1), SILENT)))
    async with remote(script) as bus, bus.stream("order.*") as events:
        assert events.cursor == "log-0"
        assert await numbers(events, 1) == [1]

    assert after(script) == [None, "log-0"]


async def test_an_event_that_is_sent_again_is_given_once() -> None:
    script = Script(Reply(body=(START, frame(1))), Reply(body=(frame(1), frame(2), SILENT)))
    async with remote(script) as bus, bus.stream("order.*") as events:
        assert await numbers(events, 2) == [1, 2]


async def test_waits_grow_while_nothing_helps_and_begin_anew_after_a_sign_of_life() -> None:
    """An opening alone is no sign: a server that ends every stream at once would be asked without pause."""
    script = Script(
        Reply(body=(START,)), Reply(body=(START,)), httpx2.ConnectError("refused"), problem(503), problem(500),
        Reply(body=(b":\n\n",)), Reply(body=(frame(1), SILENT)),
    )  # fmt: skip
    async with remote(script) as bus, bus.stream("order.*") as events:
        await numbers(events, 1)

    waits = [round(later - earlier, 3) for earlier, later in zip(script.times, script.times[1:], strict=False)]
    assert waits == [1, 2, 4, 8, 8, 1]


async def test_waits_are_random_unless_they_are_not_to_be() -> None:
    """Or all clients of a server that was restarted would come back at once."""
    script = Script(Reply(body=(START,)), *[httpx2.ConnectError("refused")] * 20, Reply(body=(frame(1), SILENT)))
    retry = Retry(attempts=None, delay_seconds=4, factor=1, max_delay_seconds=4)
    async with remote(script, stream_retry=retry) as bus, bus.stream("order.*") as events:
        await numbers(events, 1)

    waits = {round(later - earlier, 6) for earlier, later in zip(script.times, script.times[1:], strict=False)}
    assert len(waits) > 15
    assert max(waits) <= 4


@pytest.mark.parametrize(("said", "waited"), [("3", 3), ("100000", 8), ("soon", 1)])
async def test_a_server_says_when_to_come_back_within_bounds(said: str, waited: float) -> None:
    busy = problem(503)
    busy.headers["retry-after"] = said
    script = Script(Reply(body=(b":\n\n", httpx2.ReadError("gone"))), busy, Reply(body=(frame(1), SILENT)))
    retry = Retry(attempts=None, delay_seconds=1, factor=1, max_delay_seconds=8, jitter=False)
    async with remote(script, stream_retry=retry) as bus, bus.stream("order.*") as events:
        await numbers(events, 1)

    assert round(script.times[2] - script.times[1], 3) == waited


async def test_silence_is_the_end_of_a_connection() -> None:
    """No byte for some heartbeats: the other side is gone without a word."""
    script = Script(Reply(body=(START, 40, b":\n\n", 40, b":\n\n", SILENT)), Reply(body=(frame(1), SILENT)))
    with structlog.testing.capture_logs() as lines:
        async with remote(script, silence_seconds=45) as bus, bus.stream("order.*") as events:
            await numbers(events, 1)

    assert round(script.times[1] - script.times[0]) == 40 + 40 + 45 + 1
    assert [(line["event"], line["server"]) for line in lines] == [("event stream lost", "https://shop.example/api")]
    assert script.bodies[0].closed


async def test_after_the_last_try_the_stream_ends_with_what_happened() -> None:
    script = Script(Reply(body=(START, frame(1))), httpx2.ConnectError("refused"))
    async with remote(script, stream_retry=Retry(attempts=3)) as bus, bus.stream("order.*") as events:
        assert await numbers(events, 1) == [1]
        for _ in range(2):
            with pytest.raises(NotConnectedError, match="refused"):
                await numbers(events, 1)

    assert len(script.asked) == 3


@pytest.mark.parametrize("first", [True, False])
async def test_a_reset_is_an_error_with_the_place_to_go_on_from(first: bool) -> None:
    """After what came before it; nobody reads over a gap without being told."""
    opening = (b"id: log-2\n\n", RESET) if first else (START, frame(1), frame(2), RESET, frame(10))
    script = Script(Reply(body=(*opening, SILENT)))
    async with remote(script) as bus, bus.stream("order.*", since="log-2") as events:
        if not first:
            assert await numbers(events, 2) == [1, 2]
        with pytest.raises(CursorExpiredError) as caught:
            await anext(events)

    assert (caught.value.cursor, caught.value.reason, caught.value.newest) == ("log-2", "retention", "log-9")
    assert len(script.asked) == 1


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (problem(401, refusal="unauthenticated", detail="expired"), Unauthenticated),
        (answer(b"<html>", 401, content_type="text/html"), Unauthenticated),
        (problem(403, refusal="forbidden", code="insufficient_scope"), Forbidden),
        (problem(400, code="invalid_cursor"), CursorError),
        (problem(404, code="no_route"), RemoteError),
        (answer(b"", 302, location="https://elsewhere.example/x?y"), RemoteError),
        (answer(b"{}"), RemoteError),
        (Reply(headers={"content-type": "text/event-stream", "content-encoding": "gzip"}), RemoteError),
        (Reply(body=(b"id: a b\n\n",)), RemoteError),
        (Reply(body=(b"data: {}\n\n",)), RemoteError),
        (Reply(body=(b"event: reset\ndata: 7\n\n",)), RemoteError),
    ],
)
async def test_what_would_be_the_same_next_time_is_not_tried_again(
    opened: bool, reply: Reply, error: type[Exception]
) -> None:
    """A token that is refused, above all: on entering, or whenever it happens."""
    script = Script(Reply(body=(START, b":\n\n")), reply) if opened else Script(reply)
    with anyio.fail_after(1000):
        async with remote(script) as bus:
            with pytest.raises(error) as caught:
                async with bus.stream("order.*", since="log-0") as events:
                    await anext(events)

    assert len(script.asked) == 1 + opened
    assert TOKEN not in f"{caught.value!r} {caught.value} {caught.value.__dict__}"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (httpx2.ConnectError("refused"), NotConnectedError),
        (Reply(body=(SILENT,)), RemoteTimeoutError),
        (problem(503, refusal="unavailable", retry_after_seconds=2.5), Unavailable),
        (problem(500, id="7f"), RemoteError),
    ],
)
async def test_a_stream_that_could_not_be_opened_says_so_at_once(reply: Reply, error: type[Exception]) -> None:
    """Trying for ever is for streams that once were: a wrong URL is to be noticed."""
    async with remote(Script(reply)) as bus:
        with pytest.raises(error):
            async with bus.stream("order.*"):
                pytest.fail("it is not open")


async def test_an_event_that_is_too_long_ends_the_stream() -> None:
    """It is neither held nor passed over."""
    script = Script(Reply(body=(START, *[b"data: " + b"x" * 1000] * 1000, SILENT)))
    async with remote(script, max_event_bytes=10_000) as bus, bus.stream("order.*") as events:
        with pytest.raises(RemoteError, match="longer than 10000 bytes") as caught:
            await anext(events)

    assert caught.value.code == "bad_answer"


async def test_after_an_overflow_the_cursor_leads_to_what_was_lost() -> None:
    flood = Reply(body=(START, *map(frame, range(1, 6)), SILENT))
    script = Script(flood, Reply(body=(frame(3), frame(4), SILENT)))
    async with remote(script) as bus:
        async with bus.stream("order.*", max_buffer=2) as events:
            await anyio.wait_all_tasks_blocked()
            assert await numbers(events, 2) == [1, 2]
            with pytest.raises(StreamOverflowError):
                await anext(events)
        async with bus.stream("order.*", since=events.cursor) as again:
            assert await numbers(again, 2) == [3, 4]

    assert after(script)[1] == "log-2"


async def test_a_place_alone_moves_the_cursor_of_a_reader_that_has_all() -> None:
    """Events that it did not ask for are behind it, so a log that forgets them does it no harm."""
    script = Script(Reply(body=(START, frame(1), 1, b":\nid: log-70\n\n")), Reply(body=(SILENT,)))
    async with remote(script) as bus, bus.stream("order.*") as events:
        await numbers(events, 1)
        assert events.cursor == "log-1"
        await anyio.sleep(5)

        assert events.cursor == "log-70"
    assert after(script)[1] == "log-70"


async def test_names_patterns_and_key_are_asked_for() -> None:
    script = Script(Reply(body=(START, SILENT)))
    async with remote(script) as bus, bus.stream(["order.*", "box.sent"], key="a b&c"):
        pass

    [asked] = script.asked
    assert asked.url.path == "/api/events/stream"
    assert asked.url.params.multi_items() == [("type", "order.*"), ("type", "box.sent"), ("key", "a b&c")]


@pytest.mark.parametrize("cursor", ["a b", "x\r\ny", "é", "1" * 300])
async def test_what_cannot_be_a_cursor_is_refused_here(cursor: str) -> None:
    async with remote(Script(answer())) as bus:
        with pytest.raises(CursorError):
            bus.stream("order.*", since=cursor)


async def test_nothing_to_read_is_refused() -> None:
    async with remote(Script(answer())) as bus:
        with pytest.raises(EventTypeError):
            bus.stream([])


async def test_events_of_other_kinds_are_passed_over() -> None:
    script = Script(Reply(body=(START, b"event: gossip\ndata: x\n\n", frame(1), SILENT)))
    async with remote(script) as bus, bus.stream("order.*") as events:
        assert await anext(events) == NamedEvent("order.placed", {"number": 1})
