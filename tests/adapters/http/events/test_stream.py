"""GET /events/stream: exact resume, nothing beyond the scopes, and a reader that stops reading harms nobody."""

from __future__ import annotations

import anyio
import pytest
import structlog
from tests.adapters.http.events.tools import (
    ANN,
    SECONDS,
    OrderPaid,
    OrderPlaced,
    SecretTold,
    Shop,
    reading,
    served,
)
from tests.support import virtual_time

from plugbus import Kernel, KernelStopping, NamedEvent, Principal
from plugbus_adapters.cloudevents import from_structured
from plugbus_adapters.http import create_app
from plugbus_adapters.http.events.plugin import EventsPlugin

pytestmark = pytest.mark.anyio


def plugin(kernel: object) -> EventsPlugin:
    return kernel.plugins["events"].instance


def placed(number: int, shop: str = "berlin") -> OrderPlaced:
    return OrderPlaced(shop=shop, order_id=number)


async def test_a_reader_gets_cloudevents_as_they_come() -> None:
    async with served() as (app, kernel), reading(app, "type=order.*") as stream:
        await kernel.bus.aemit(placed(1))
        name, found, data = await stream.next()

    event = from_structured(stream.body.split(b"data: ")[1].split(b"\n")[0])
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert stream.headers["cache-control"] == "no-store"
    assert (name, data["type"], data["subject"], data["source"]) == ("message", "order.placed", "berlin", "/plugbus")
    assert event.data == {"shop": "berlin", "order_id": 1}
    assert found == stream.frames.last_id


@pytest.mark.parametrize("how", ["since", "Last-Event-ID"])
async def test_a_reader_resumes_right_after_any_event(how: str) -> None:
    async with served() as (app, kernel):
        async with reading(app) as stream:
            for number in range(4):
                await kernel.bus.aemit(placed(number))
            cursors = [(await stream.next())[1] for _ in range(4)]

        for index, cursor in enumerate(cursors[:-1]):
            query = f"since={cursor}" if how == "since" else ""
            async with reading(app, query, headers={} if how == "since" else {how: cursor}) as again:
                assert await again.numbers(3 - index) == list(range(index + 1, 4))


async def test_a_reader_that_heard_nothing_yet_can_resume() -> None:
    """It is given a cursor before the first event."""
    async with served() as (app, kernel):
        await kernel.bus.aemit(placed(0))
        async with reading(app) as stream:
            pass
        await kernel.bus.aemit(placed(1))

        async with reading(app, f"since={stream.frames.last_id}") as again:
            assert await again.numbers(1) == [1]


async def test_last_event_id_goes_before_since() -> None:
    """A browser reconnects to the same URL, and the header is the newer of the two."""
    async with served() as (app, kernel):
        async with reading(app) as stream:
            for number in range(3):
                await kernel.bus.aemit(placed(number))
            cursors = [(await stream.next())[1] for _ in range(3)]
        async with reading(app, f"since={cursors[0]}", headers={"Last-Event-ID": cursors[1]}) as again:
            assert await again.numbers(1) == [2]


async def test_a_reader_that_missed_something_is_told_and_goes_on() -> None:
    async with served(log_max_events=2) as (app, kernel):
        async with reading(app) as stream:
            pass
        for number in range(5):
            await kernel.bus.aemit(placed(number))

        async with reading(app, f"since={stream.frames.last_id}") as again:
            name, found, data = await again.next()
            await kernel.bus.aemit(placed(9))
            assert await again.numbers(1) == [9]

    assert (name, data["reason"], data["cursor"]) == ("reset", "retention", found)


async def test_a_cursor_of_a_process_that_has_ended_is_told_as_reset() -> None:
    async with served() as (app, kernel):
        await kernel.bus.aemit(placed(1))
        async with reading(app, "since=0123456789abcdef-1") as stream:
            name, _, data = await stream.next()
            await kernel.bus.aemit(placed(2))
            assert await stream.numbers(1) == [2]
        assert plugin(kernel).statistics().resets == 1

    assert (name, data["reason"]) == ("reset", "another log")


@pytest.mark.parametrize("query", ["since=yesterday", "since=%0d%0a", "type=order%20x", "type=a..b", "type=order*"])
async def test_what_is_neither_cursor_nor_pattern_is_refused(query: str) -> None:
    async with served() as (app, _), reading(app, query) as stream:
        pass

    assert (stream.status, stream.headers["content-type"]) == (400, "application/problem+json")


async def test_types_and_keys_choose() -> None:
    async with (
        served() as (app, kernel),
        reading(app, "type=order.placed&key=oslo") as oslo,
        reading(app, "type=order.paid&type=order.created") as both,
    ):
        await kernel.bus.aemit(placed(1, "berlin"))
        await kernel.bus.aemit(placed(2, "oslo"))
        await kernel.bus.aemit(OrderPaid(shop="oslo"))
        await kernel.bus.aemit(placed(3, "oslo"))

        assert await oslo.numbers(2) == [2, 3]
        assert [(await both.next())[2]["type"] for _ in range(4)] == [
            "order.placed", "order.placed", "order.paid", "order.placed",
        ]  # fmt: skip


async def test_no_reader_gets_what_its_scopes_leave_out() -> None:
    """Not even if it asks for everything; the end of the stream shows that nothing came between."""
    nosy = Principal("nosy", ["subscribe:order.paid"])
    async with served() as (app, kernel), reading(app, as_=nosy) as stream:
        for event in (placed(1), SecretTold(word="x"), NamedEvent("secret.named", {}), OrderPaid(shop="oslo")):
            await kernel.bus.aemit(event)
        assert (await stream.next())[2]["type"] == "order.paid"

    assert b"secret" not in stream.body
    assert b"placed" not in stream.body


@pytest.mark.parametrize("query", ["type=secret.told", "type=*.*", "type=**", "type=order.*&type=secret.*"])
async def test_what_a_reader_may_not_have_it_may_not_ask_for(query: str) -> None:
    async with served() as (app, _), reading(app, query) as stream:
        pass

    assert stream.status == 403


@pytest.mark.parametrize("who", [None, Principal("x"), Principal("x", ["publish:order.*"])])
async def test_who_may_not_subscribe_to_anything_is_refused(who: Principal | None) -> None:
    async with served() as (app, _), reading(app, as_=who) as stream:
        pass

    assert stream.status == (401 if who is None else 403)


@virtual_time
async def test_a_silent_stream_has_heartbeats() -> None:
    async with served(heartbeat_seconds=15) as (app, kernel), reading(app) as stream:
        await anyio.sleep(50)
        assert stream.frames.comments == 3
        await kernel.bus.aemit(placed(1))
        assert await stream.numbers(1) == [1]


@virtual_time
async def test_what_was_passed_over_moves_the_place_to_resume_at() -> None:
    """Or a reader of something rare would be told that it missed what it never asked for."""
    async with served(heartbeat_seconds=15, log_max_events=3) as (app, kernel):
        async with reading(app, "type=order.paid") as stream:
            for number in range(3):
                await kernel.bus.aemit(placed(number))
            await anyio.sleep(16)
            assert stream.frames.last_id == plugin(kernel).readers.log.cursor
        for number in range(3):
            await kernel.bus.aemit(placed(number))
        await kernel.bus.aemit(OrderPaid(shop="x"))
        async with reading(app, f"type=order.paid&since={stream.frames.last_id}") as again:
            assert (await again.next())[0] == "reset"  # four came since, and the log holds three


@virtual_time
@pytest.mark.parametrize("silent", [True, False])
async def test_a_hundred_readers_that_stop_reading_are_cut_off_and_harm_nobody(*, silent: bool) -> None:
    """Each costs a cursor; the emitter and the reader that goes on reading do not notice. Heartbeats count, too."""
    async with served(heartbeat_seconds=5, send_timeout_seconds=20) as (app, kernel):
        readers = plugin(kernel).readers
        async with reading(app) as good, anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(_stuck, app)
            await anyio.wait_all_tasks_blocked()
            assert plugin(kernel).statistics().readers == 101

            with structlog.testing.capture_logs() as lines:
                before = anyio.current_time()
                for number in range(0 if silent else 300):
                    await kernel.bus.aemit(placed(1000 + number))
                assert anyio.current_time() == before
                if not silent:
                    assert await good.numbers(300) == list(range(1000, 1300))
                await anyio.sleep(30)

            assert plugin(kernel).statistics().readers == 1
            assert readers.statistics().cut_off == {"stopped reading": 100}
            cut = [line for line in lines if line["event"] == "event reader cut off"]
            assert {(line["cause"], line["principal"]) for line in cut} == {("stopped reading", "ann")}
            assert len(cut) == 100
            resumable = cut[0]["cursor"]
        async with reading(app, f"since={resumable}") as again:
            await kernel.bus.aemit(placed(999))
            expected = [999] if silent else [*range(1000, 1300), 999]
            assert await again.numbers(len(expected)) == expected


async def _stuck(app: object) -> None:
    async with reading(app, stuck=True) as stream:
        await stream.closed.wait()


@pytest.mark.parametrize(("limit", "status"), [("max_streams", 503), ("max_streams_per_principal", 429)])
async def test_readers_are_limited(limit: str, status: int) -> None:
    kernel = Kernel([Shop], config={"plugins": {"http": {limit: 1}}})
    app = create_app(kernel)
    async with kernel, reading(app) as first, reading(app) as second:
        pass

    assert (first.status, second.status, second.headers["retry-after"]) == (200, status, "5")


async def test_a_reader_that_leaves_is_forgotten() -> None:
    async with served() as (app, kernel):
        async with reading(app):
            assert plugin(kernel).statistics().readers == 1
        assert plugin(kernel).statistics().readers == 0


async def test_streams_end_when_the_kernel_is_stopping() -> None:
    """They have no end of their own, and a server would wait for them for ever."""
    async with served() as (app, kernel), reading(app) as stream, reading(app) as other:
        await kernel.bus.aemit(KernelStopping(reason="SIGTERM"))
        with anyio.fail_after(SECONDS):
            await stream.closed.wait()
            await other.closed.wait()
        async with reading(app) as late:
            pass

    assert (stream.status, late.status) == (200, 503)


async def test_an_event_is_rendered_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from plugbus_adapters.http.events import _readers

    made: list[str] = []
    render = _readers.logged_to_json
    monkeypatch.setattr(_readers, "logged_to_json", lambda *given: made.append("x") or render(*given))
    async with served() as (app, kernel), reading(app) as one, reading(app) as two:
        await kernel.bus.aemit(placed(1))
        assert await one.numbers(1) == await two.numbers(1) == [1]

    assert len(made) == 1


async def test_much_at_once_goes_out_in_parts() -> None:
    """A part is about 64 KiB, however far behind the reader is."""
    async with served() as (app, kernel):
        async with reading(app) as stream:
            pass
        for number in range(50):
            await kernel.bus.aemit(placed(1000 + number, "x" * 10_000))
        async with reading(app, f"since={stream.frames.last_id}") as again:
            assert await again.numbers(50) == list(range(1000, 1050))


async def test_a_head_request_has_no_body() -> None:
    import httpx2

    async with served() as (app, _):

        async def asked(scope: dict[str, object], receive: object, send: object) -> None:
            await app({**scope, "plugbus.principal": ANN}, receive, send)

        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=asked), base_url="http://t") as http:
            answer = await http.head("/events/stream")

    assert (answer.status_code, answer.content) == (200, b"")


async def test_health_tells_who_reads_and_what_is_held() -> None:
    async with served() as (app, kernel), reading(app):
        await kernel.bus.aemit(placed(1))
        metrics = (await kernel.health()).plugins["events"].metrics

    assert (metrics["readers"], metrics["events_held"] >= 1, metrics["events_lost"]) == (1, True, 0)
