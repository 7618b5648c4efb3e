"""A bus with a log: what is on record, and reading it as a stream from any place on."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import anyio
import anyio.to_thread
import pytest
from pydantic import Field
from tests.bus.tools import SECONDS, Ask, Boom, Keyed, Ping, Pong, SubPing, marks, plugin, raising_listener

from plugbus import (
    CursorError,
    CursorExpiredError,
    Event,
    EventBus,
    Invalid,
    Kernel,
    Manifest,
    MemoryEventLog,
    NamedEvent,
    PermissionDeniedError,
    Plugin,
    Principal,
    Services,
    Veto,
    acting_as,
    arrived,
    event,
)

pytestmark = marks


@pytest.fixture
def log() -> MemoryEventLog:
    return MemoryEventLog()


@pytest.fixture
def start(bus: EventBus, log: MemoryEventLog) -> str:
    """The cursor before everything; the bus keeps the log."""
    bus.attach_log(log)
    return log.cursor


def on_record(log: MemoryEventLog, start: str) -> list[tuple[str, Any]]:
    return [(found.name, found.data) for found in log.read_nowait(start)]


async def take(events: Any, count: int) -> list[Any]:
    with anyio.fail_after(SECONDS):
        return [await anext(events) for _ in range(count)]


# ---------------------------------------------------------------------------------------------- what is on record


async def test_what_succeeded_is_on_record_as_it_came_out(bus: EventBus, log: MemoryEventLog, start: str) -> None:
    bus.listen(Ping, lambda ping, next_fn: next_fn(ping.model_copy(update={"number": ping.number + 1})))

    bus.emit(Ping(number=1))
    await bus.aemit(Ping(number=2))

    assert on_record(log, start) == [("tools.ping", {"number": number, "trail": []}) for number in (2, 3)]


async def test_what_was_refused_or_failed_is_not(bus: EventBus, log: MemoryEventLog, start: str) -> None:
    bus.listen(Ping, raising_listener(Veto("no")))
    bus.listen(Pong, raising_listener(Boom()))

    for message in (Ping(), Pong()):
        with pytest.raises((Veto, Boom)):
            await bus.aemit(message)
        with pytest.raises((Veto, Boom)):
            bus.emit(message)

    assert on_record(log, start) == []


class Session:
    """A service of one unit of work."""


@pytest.mark.parametrize("fails", [False, True])
async def test_what_is_emitted_in_a_unit_of_work_waits_for_its_success(log: MemoryEventLog, *, fails: bool) -> None:
    """It may yet be rolled back, and then it never happened."""
    services = Services()
    services.factory(Session, Session, scope="call")
    bus = EventBus(services=services)
    bus.attach_log(log)
    start, seen = log.cursor, []

    async def handle(ask: Ask, session: Session) -> str:
        await bus.aemit(Ping(number=ask.number))
        seen.append(on_record(log, start))
        if fails:
            raise Veto("rolled back")
        return "done"

    bus.answer(Ask, handle)
    with suppress(Veto):
        await bus.acall(Ask(number=5))

    assert seen == [[]]
    assert [data["number"] for _, data in on_record(log, start)] == ([] if fails else [5])


async def test_requests_are_not_events(bus: EventBus, log: MemoryEventLog, start: str) -> None:
    bus.answer(Ask, lambda ask: "answer")

    assert await bus.acall(Ask()) == "answer"

    assert on_record(log, start) == []


async def test_live_objects_are_not_kept_and_are_no_failure(bus: EventBus, log: MemoryEventLog, start: str) -> None:
    """No JSON could tell them to anybody."""

    @event(name="live")
    @dataclass
    class Setup:
        app: object

    failures: list[Any] = []
    bus.observe("plugbus.listener_failed", failures.append)

    await bus.aemit(Setup(app=threading.Lock()))
    await bus.aemit(Ping())

    assert [name for name, _ in on_record(log, start)] == ["tools.ping"]
    assert failures == []


async def test_the_json_is_json_whatever_the_numbers(bus: EventBus, log: MemoryEventLog, start: str) -> None:
    """NaN and infinity have no place in JSON, so they are null there."""
    await bus.aemit(NamedEvent("measured", {"celsius": float("nan")}))

    assert on_record(log, start) == [("measured", {"celsius": None})]


async def test_names_and_keys_are_told(bus: EventBus, log: MemoryEventLog, start: str) -> None:
    class Numbered(Event, name="numbered", key="number"):
        number: int

    for message in (Keyed(shop="oslo"), Keyed(shop=None), Numbered(number=7), NamedEvent("a.b", {})):
        await bus.aemit(message)

    found = [(each.name, each.key) for each in log.read_nowait(start)]
    assert found == [("tools.keyed", "oslo"), ("tools.keyed", None), ("numbered", "7"), ("a.b", None)]


async def test_aliases_of_fields_are_those_of_the_wire(bus: EventBus, log: MemoryEventLog, start: str) -> None:
    class Aliased(Event, name="aliased"):
        number: Annotated[int, Field(alias="n")]

    await bus.aemit(Aliased(n=1))

    assert on_record(log, start) == [("aliased", {"n": 1})]
    async with bus.stream(Aliased, since=start) as events:
        assert await take(events, 1) == [Aliased(n=1)]


async def test_who_waits_for_an_observer_finds_the_event_on_record(
    bus: EventBus, log: MemoryEventLog, start: str
) -> None:
    """The log is told first: what succeeded stays on record although an observer hangs and the emit is cancelled."""
    seen: list[int] = []
    bus.observe(Ping, lambda ping: seen.append(len(log.read_nowait(start))), priority=-5)

    await bus.aemit(Ping())

    assert seen == [1]


async def test_context_is_on_record(bus: EventBus, log: MemoryEventLog, start: str) -> None:
    bus.observe(Ping, lambda ping: bus.emit(Pong()), run_in="caller")

    with acting_as(Principal("ann"), correlation_id="c-1"):
        await bus.aemit(Ping())

    ping, pong = log.read_nowait(start)
    assert (ping.correlation_id, pong.correlation_id) == ("c-1", "c-1")
    assert pong.cause == ping.id != pong.id
    assert "ann" not in repr(ping)


async def test_a_message_keeps_its_id_and_what_comes_of_it_has_its_own(
    bus: EventBus, log: MemoryEventLog, start: str
) -> None:
    bus.observe(Ping, lambda ping: bus.emit(Pong()), run_in="caller")
    time = datetime(2020, 1, 1, tzinfo=UTC)

    with acting_as(None, cause="m-1"), arrived("m-1", source="/shop", time=time):
        await bus.aemit(Ping())

    ping, pong = log.read_nowait(start)
    assert (ping.id, ping.source, ping.time, ping.cause) == ("m-1", "/shop", time, None)
    assert (pong.source, pong.id == "m-1") == (None, False)


async def test_events_on_record_have_the_trace_that_they_belong_to(
    bus: EventBus, log: MemoryEventLog, start: str
) -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    bus.observe(Ping, lambda ping: bus.emit(Pong()), run_in="caller")

    with acting_as(None, cause="m-1", traceparent=trace), arrived("m-1"):
        await bus.aemit(Ping())
    await bus.aemit(Pong())

    assert [event.traceparent for event in log.read_nowait(start)] == [trace, trace, None]


async def test_events_may_be_chosen(bus: EventBus, log: MemoryEventLog) -> None:
    start = log.cursor
    with bus.attach_log(log, events=["order.*", Ping]):
        for message in (Pong(), SubPing(), NamedEvent("order.placed"), NamedEvent("stock.changed")):
            await bus.aemit(message)
    await bus.aemit(Ping())

    assert [name for name, _ in on_record(log, start)] == ["tools.ping.sub", "order.placed"]


async def test_a_bus_has_one_log_at_a_time(bus: EventBus, log: MemoryEventLog) -> None:
    with bus.attach_log(log):
        assert bus.event_log is log
        with pytest.raises(RuntimeError, match="a log already"):
            bus.attach_log(MemoryEventLog())
    assert bus.event_log is None

    other = MemoryEventLog()
    with bus.attach_log(other):
        assert bus.event_log is other


async def test_sticky_events_are_not_recorded_once_more(bus: EventBus, log: MemoryEventLog) -> None:
    """What happened before the log was attached did not happen now."""

    class Ready(Event, name="ready", sticky=True):
        pass

    await bus.aemit(Ready())
    start = log.cursor
    bus.attach_log(log)

    assert on_record(log, start) == []


async def test_without_a_log_nobody_is_subscribed(bus: EventBus) -> None:
    """What nobody asked for is not compiled in."""
    with bus.attach_log(MemoryEventLog()):
        assert [found.name for found in bus.subscriptions()] == ["event log"]

    assert bus.subscriptions() == ()


async def test_a_plugin_that_may_not_hear_everything_attaches_no_log() -> None:
    errors: list[Exception] = []

    class Curious(Plugin):
        manifest = Manifest(id="curious", subscribes=["order.*"])

        def __init__(self, bus: EventBus) -> None:
            for attempt in (lambda: bus.attach_log(MemoryEventLog()), lambda: bus.stream("stock.*", since="x")):
                try:
                    attempt()
                except Exception as error:
                    errors.append(error)

    kernel = Kernel(plugins=[Curious])
    kernel.bus.attach_log(MemoryEventLog())
    async with kernel:
        pass

    assert [type(error) for error in errors] == [PermissionDeniedError, PermissionDeniedError]


# ---------------------------------------------------------------------------------------------- streams


async def test_a_stream_reads_past_and_future(bus: EventBus, start: str) -> None:
    for number in range(3):
        await bus.aemit(Ping(number=number))

    async with bus.stream(Ping, since=start) as events:
        assert await take(events, 3) == [Ping(number=number) for number in range(3)]
        await bus.aemit(Ping(number=3))
        assert await take(events, 1) == [Ping(number=3)]


async def test_a_stream_goes_on_from_the_cursor_of_another(bus: EventBus, start: str) -> None:
    for number in range(4):
        await bus.aemit(Ping(number=number))

    async with bus.stream(Ping, since=start) as events:
        await take(events, 2)
    async with bus.stream(Ping, since=events.cursor) as rest:
        assert [ping.number for ping in await take(rest, 2)] == [2, 3]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Ping, ["tools.ping", "tools.ping.sub"]),
        ("tools.ping", ["tools.ping"]),
        ("tools.*", ["tools.ping", "tools.keyed"]),
        ("tools.**", ["tools.ping", "tools.ping.sub", "tools.keyed"]),
        (["unknown.*", Keyed], ["tools.keyed", "unknown.thing"]),
        (Event, ["tools.ping", "tools.ping.sub", "tools.keyed", "unknown.thing"]),
        (NamedEvent, ["unknown.thing"]),
    ],
)
async def test_a_stream_means_by_its_targets_what_a_subscription_means(
    bus: EventBus, start: str, target: Any, expected: list[str]
) -> None:
    for message in (Ping(), SubPing(), Keyed(), NamedEvent("unknown.thing")):
        await bus.aemit(message)

    heard: list[Any] = []
    bus.observe(target, heard.append)
    for message in (Ping(), SubPing(), Keyed(), NamedEvent("unknown.thing")):
        await bus.aemit(message)
    async with bus.stream(target, since=start) as events:
        found = await take(events, len(expected))

    assert found == heard


async def test_a_stream_filters_by_key_and_function(bus: EventBus, start: str) -> None:
    for number in range(6):
        await bus.aemit(Keyed(shop="oslo" if number % 2 else "berlin", number=number))
        await bus.aemit(Ping(number=number))

    async with bus.stream(Keyed, since=start, key="oslo", where=lambda keyed: keyed.number > 1) as events:
        assert await take(events, 2) == [Keyed(shop="oslo", number=3), Keyed(shop="oslo", number=5)]


async def test_an_event_that_fits_its_type_no_more_is_told_and_passed(bus: EventBus, log: MemoryEventLog) -> None:
    """The type may have changed since."""
    start = log.cursor
    bus.attach_log(log)
    await bus.aemit(NamedEvent("changed", {"old": 1}))

    class Changed(Event, name="changed"):
        new: int

    await bus.aemit(Changed(new=2))
    async with bus.stream(Changed, since=start) as events:
        with pytest.raises(Invalid):
            await take(events, 1)
        assert await take(events, 1) == [Changed(new=2)]


async def test_threads_emit_while_a_stream_resumes(bus: EventBus, start: str) -> None:
    """Cut off and resumed again and again, it has every event once, and those of each thread in their order."""
    found: list[tuple[str | None, int]] = []
    threads, each = 4, 100

    def emit(shop: str) -> None:
        for number in range(each):
            bus.emit(Keyed(shop=shop, number=number))

    async def read() -> None:
        cursor = start
        while len(found) < threads * each:
            async with bus.stream(Keyed, since=cursor) as events:
                for _ in range(min(7, threads * each - len(found))):
                    keyed = await anext(events)
                    found.append((keyed.shop, keyed.number))
            cursor = events.cursor

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            for shop in "abcd":
                group.start_soon(anyio.to_thread.run_sync, emit, shop)

    assert Counter(found) == Counter((shop, number) for shop in "abcd" for number in range(each))
    for shop in "abcd":
        assert [number for found_shop, number in found if found_shop == shop] == list(range(each))


async def test_a_reader_that_lags_by_more_than_the_log_holds_is_told(bus: EventBus) -> None:
    log = MemoryEventLog(max_events=2)
    bus.attach_log(log)
    async with bus.stream(Ping, since=log.cursor) as events:
        for number in range(3):
            await bus.aemit(Ping(number=number))

        with pytest.raises(CursorExpiredError):
            await take(events, 1)


@pytest.mark.parametrize(("cursor", "error"), [("nonsense", CursorError), ("0123456789abcdef-1", CursorExpiredError)])
async def test_a_cursor_that_is_no_good_is_refused_on_entering(
    bus: EventBus, start: str, cursor: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        async with bus.stream(Ping, since=cursor):
            pass


async def test_a_stream_needs_a_log(bus: EventBus) -> None:
    with pytest.raises(RuntimeError, match="keeps no log"):
        bus.stream(Ping, since="0123456789abcdef-1")


async def test_a_stream_has_to_be_opened(bus: EventBus, start: str) -> None:
    with pytest.raises(RuntimeError, match="not open"):
        await anext(bus.stream(Ping, since=start))


async def test_closing_ends_a_reader_that_waits(bus: EventBus, start: str) -> None:
    ended = anyio.Event()

    async def read() -> None:
        async for _ in events:
            pass
        ended.set()

    with anyio.fail_after(SECONDS):
        async with bus.stream(Ping, since=start) as events, anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(events.close)
            await ended.wait()


async def test_a_stream_ends_with_its_plugin(bus: EventBus, start: str) -> None:
    owner, view = plugin(bus, "shop")
    ended = anyio.Event()

    async def read() -> None:
        async with view.stream(Ping, since=start) as events:
            async for _ in events:
                pass
        ended.set()

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await owner.aclose()
            await ended.wait()


async def test_a_plugin_reads_no_more_than_it_may_hear() -> None:
    """A base class means many events; what the manifest leaves out is passed over, in the log as live."""

    class Sold(Event, name="shop.sold"):
        pass

    class Fired(Sold, name="staff.fired"):
        pass

    found: list[Event] = []
    done = anyio.Event()

    class Reader(Plugin):
        manifest = Manifest(id="reader", subscribes=["shop.**"], publishes=[])

        def __init__(self, bus: EventBus) -> None:
            self.bus = bus

        async def read(self, since: str) -> None:
            async with self.bus.stream(Sold, since=since) as events:
                found.extend([await anext(events) for _ in range(2)])
            done.set()

    async with Kernel(plugins=[Reader]) as kernel:
        log = MemoryEventLog()
        kernel.bus.attach_log(log)
        start = log.cursor
        for message in (Sold(), Fired(), Sold()):
            await kernel.bus.aemit(message)
        with anyio.fail_after(SECONDS):
            await kernel.plugins["reader"].instance.read(start)

    assert found == [Sold(), Sold()]


async def test_the_plan_shows_the_log_first(bus: EventBus) -> None:
    """Other observers come after the log; the plan shows it."""
    bus.attach_log(MemoryEventLog())
    bus.observe(Ping, lambda ping: None, name="first", priority=0)

    assert [step.name for step in bus.explain(Ping).steps] == ["event log", "first"]
