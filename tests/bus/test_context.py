"""The context of an emit: what runs, who acts, what caused it."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import structlog
import structlog.testing
from tests.bus.tools import (
    EVERY_WORLD,
    Ask,
    Boom,
    HandClock,
    Ping,
    Pong,
    World,
    coloured,
    in_every_world,
    marks,
    plugin,
    raising,
    sync_or_async,
)

from plugbus import (
    Carried,
    ContextLeakError,
    Current,
    EventBus,
    ListenerFailed,
    NamedEvent,
    Principal,
    Request,
    Tasks,
    acting_as,
    carried,
    current,
    resumed,
)
from plugbus._chain.running import _arunning, _running
from plugbus._context import WANTED, Here, new_id
from plugbus.log import _Facts, plugin_logger

pytestmark = marks

ANN, BOB = Principal("ann"), Principal("bob")


@pytest.fixture(params=["asked", "never asked"])
def asked(request: pytest.FixtureRequest) -> bool:
    """Whether somebody in this process has asked before; nobody has where a test does not say so."""
    if request.param == "asked":
        current()
    return WANTED.on


def running() -> Current:
    """The emit that is running; there must be one."""
    found = current()
    assert found is not None
    return found


def asking(seen: list[Current | None], *, asynchronous: bool = False) -> Callable[..., None]:
    """An observer or handler that asks."""
    return coloured(lambda message: seen.append(current()), asynchronous=asynchronous)


def test_without_an_emit_there_is_none(asked: bool) -> None:
    assert current() is None
    assert carried() is None


def test_an_emit_says_what_it_is() -> None:
    """Its id, event, time and emitter."""
    clock = HandClock()
    clock.seconds = 86_400.0
    bus, seen = EventBus(clock=clock), list[Current | None]()
    _, view = plugin(bus, "shop")
    bus.observe(Ping, asking(seen))

    bus.emit(Ping())
    view.emit(Ping())

    host, shop = seen
    assert host is not None
    assert shop is not None
    assert host == Current(host.id, "tools.ping", dt.datetime(1970, 1, 2, tzinfo=dt.UTC), None, host.id, None, "host")
    assert (shop.emitter, shop.correlation_id) == ("shop", shop.id)
    assert host.id != shop.id


@in_every_world
def test_everybody_in_an_emit_sees_the_same(world: World, asked: bool) -> None:
    """Listeners, handler and observers, in threads, on the loop and over the bridge; also who asks first of all."""
    bus, seen = EventBus(), list[Current | None]()
    for asynchronous in (False, True, False):

        def listener(request):
            seen.append(current())
            return (yield request)

        bus.listen(Ask, coloured(listener, asynchronous=asynchronous))
        bus.observe(Ask, asking(seen, asynchronous=asynchronous))
        bus.observe(Ask, asking(seen, asynchronous=asynchronous), inside=True)
    bus.answer(Ask, coloured(lambda request: running().id, asynchronous=False))

    bus_id = world.call(bus, Ask())
    first_ids = {found.id for found in seen if found}
    seen.clear()
    again = world.call(bus, Ask())

    assert {found.id for found in seen if found} == {again}
    assert None not in seen
    assert first_ids == {bus_id}
    assert bus_id != again
    assert current() is None


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@in_every_world
def test_a_nested_emit_knows_its_cause(world: World, asynchronous: bool, bus: EventBus) -> None:
    """The id of the enclosing emit; they share the correlation id, which is the outermost one's id."""
    seen: list[Current | None] = []
    current()

    if asynchronous:

        async def nest(ping):
            seen.append(current())
            await bus.aemit(Pong())
            seen.append(current())

    else:

        def nest(ping):
            seen.append(current())
            bus.emit(Pong())
            seen.append(current())

    bus.observe(Ping, nest)
    bus.observe(Pong, asking(seen))
    world.emit(bus, Ping())

    before, inner, after = seen
    assert before is not None
    assert inner is not None
    assert before == after
    assert (inner.cause, inner.correlation_id) == (before.id, before.id)
    assert inner.id != before.id


@sync_or_async
@in_every_world
def test_nothing_stays_of_an_emit_that_failed(world: World, asynchronous: bool, bus: EventBus) -> None:
    current()
    bus.answer(Ask, raising(Boom(), asynchronous=asynchronous))

    with pytest.raises(Boom):
        world.call(bus, Ask())

    assert current() is None


async def test_nothing_stays_of_an_emit_that_was_cancelled(bus: EventBus) -> None:
    current()
    bus.listen(Ping, forever := coloured(lambda ping: (yield ping), asynchronous=True), name=forever.__name__)

    async def hang(ping):
        await anyio.sleep_forever()

    bus.observe(Ping, hang)
    with anyio.move_on_after(0):
        await bus.aemit(Ping())

    assert current() is None


async def test_a_task_that_outlives_its_emit_is_in_none_and_knows_its_cause(bus: EventBus) -> None:
    """Whatever it emits comes of the emit that started it, and belongs together with that."""
    seen: list[Current | None] = []
    current()
    bus.observe(Pong, asking(seen, asynchronous=True))
    may_go_on, ended = anyio.Event(), anyio.Event()

    async def linger() -> None:
        seen.append(current())
        may_go_on.set()
        await ended.wait()
        seen.append(current())
        await bus.aemit(Pong())

    async with anyio.create_task_group() as group:

        async def start(ping):
            group.start_soon(linger)
            await may_go_on.wait()

        bus.observe(Ping, start)
        with acting_as(ANN):
            await bus.aemit(Ping())
        ended.set()

    during, after, emitted = seen
    assert during is not None
    assert after is None
    assert emitted is not None
    assert (emitted.cause, emitted.correlation_id, emitted.principal) == (during.id, during.id, ANN)


async def test_tasks_and_threads_of_an_emit_are_in_it(bus: EventBus) -> None:
    """Context variables travel, in structured concurrency and into the user's own threads."""
    seen: list[Current | None] = []
    current()

    async def ask() -> None:
        seen.append(current())

    async def spread(ping):
        seen.append(current())
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
        await anyio.to_thread.run_sync(lambda: seen.append(current()))

    bus.observe(Ping, spread)
    await bus.aemit(Ping())

    assert len(set(seen)) == 1
    assert None not in seen


async def test_emits_side_by_side_do_not_mix(bus: EventBus) -> None:
    current()
    seen: dict[int, list[Current | None]] = {}
    arrived = [anyio.Event() for _ in range(3)]

    async def meet(ping):
        seen[ping.number] = [current()]
        arrived[ping.number].set()
        for event in arrived:
            await event.wait()
        seen[ping.number].append(current())

    bus.observe(Ping, meet)
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(bus.aemit, Ping(number=number))

    assert all(before == after for before, after in seen.values())
    assert len({before for before, _ in seen.values()}) == 3


def test_an_untyped_event_is_called_by_its_wire_name(bus: EventBus) -> None:
    current()
    seen: list[Current | None] = []
    bus.observe("order.**", asking(seen))

    bus.emit_named("order.placed", {})
    bus.emit(NamedEvent("order.paid", {}))

    assert [found and found.event for found in seen] == ["order.placed", "order.paid"]


# Paying only since somebody asked


def test_as_long_as_nobody_asks_the_chains_are_the_very_same() -> None:
    """Whoever acts: the context is compiled in by the first question, for every bus and view there is."""
    bus = EventBus()
    heard: list[Ping] = []
    bus.observe(Ping, heard.append)  # not a function of this module, which may ask
    _, view = plugin(bus, "shop")
    with acting_as(ANN):
        for each in (bus, view):
            each.emit(Ping())
    before = bus._emits[Ping]

    assert view._emits[Ping] is before
    assert before[0] is not _running

    current()
    for each in (bus, view):
        each.emit(Ping())

    for each in (bus, view):
        first, rest = each._emits[Ping]
        assert first is _running
        assert rest[:2] == before
    assert EventBus()._core.tables.apart


def test_an_emit_that_nobody_hears_gets_no_context_before_somebody_does(bus: EventBus) -> None:
    """There is nobody to ask, and an edge emits such events with each request; the first subscriber finds it."""
    current()
    bus.emit(Ping())

    assert bus._emits[Ping][0] is not _running

    bus.observe(Ping, lambda event: None)
    bus.emit(Ping())
    assert bus._emits[Ping][0] is _running


async def test_the_first_question_reaches_async_emits_too(bus: EventBus) -> None:
    seen: list[Current | None] = []
    bus.observe(Ping, asking(seen, asynchronous=True))
    await bus.aemit(Ping())
    await bus.aemit(Ping())

    assert bus._aemits[Ping][0] is _arunning
    assert seen[1] is not None


def test_a_module_that_imports_current_has_it_from_its_first_subscription_on() -> None:
    """So that the first emit is not under way when the first question comes."""
    bus = EventBus()
    bus.observe(Ping, print)
    assert not WANTED.on

    bus.observe(Pong, lambda pong: None)

    assert WANTED.on


@pytest.mark.parametrize("world", EVERY_WORLD, ids=repr)
def test_who_asks_first_of_all_in_a_worker_thread_is_told_what_it_can_know(world: World) -> None:
    """The event, and one id as long as the hop lasts; not who emitted it. Once it has ended, nothing is left."""
    bus, seen = EventBus(), list[Current | None]()

    def ask(ask: Ask) -> str:
        seen.extend([current(), current()])
        return ""

    bus.answer(Ask, ask)
    WANTED.on = False
    bus._core.tables.apart = False
    bus._core.tables.enter(bus, bus._owner)
    world.call(bus, Ask())

    assert seen[0] == seen[1]
    assert _expected(seen[0]).event == "tools.ask"
    assert current() is None


def test_subscriptions_change_as_ever_once_it_is_asked_for(bus: EventBus) -> None:
    """What was compiled for one owner goes with what was compiled for all."""
    current()
    _, view = plugin(bus, "shop")
    seen: list[Current | None] = []
    for each in (bus, view):
        each.emit(Ping())
    subscription = bus.observe(Ping, asking(seen))
    for each in (bus, view):
        each.emit(Ping())
    subscription.close()
    for each in (bus, view):
        each.emit(Ping())

    assert [found and found.emitter for found in seen] == ["host", "shop"]


# Who acts


class Who(Request[Principal | None]):
    pass


@in_every_world
def test_acting_as_names_the_principal_of_all_that_is_emitted_within(world: World, asked: bool) -> None:
    bus = EventBus()

    def ask(request):
        found = current()
        return found and (found.principal, found.correlation_id)

    bus.answer(Ask, ask)
    bus.listen(Ask, coloured(lambda request: (yield request), asynchronous=True))
    current()
    with acting_as(ANN, correlation_id="7f"):
        assert world.call(bus, Ask()) == (ANN, "7f")
        with acting_as(BOB):
            assert world.call(bus, Ask()) == (BOB, "7f")
        with acting_as(None, correlation_id="80"):
            assert world.call(bus, Ask()) == (None, "80")
        assert world.call(bus, Ask()) == (ANN, "7f")
    assert world.call(bus, Ask())[0] is None


def test_acting_as_within_an_emit_changes_who_acts_and_not_what_runs(bus: EventBus) -> None:
    seen: list[Current | None] = []
    current()

    def observer(ping):
        seen.append(current())
        with acting_as(BOB, correlation_id="7f"):
            seen.append(current())
            bus.emit(Pong())
        seen.append(current())

    bus.observe(Ping, observer)
    bus.observe(Pong, asking(seen))
    with acting_as(ANN):
        bus.emit(Ping())

    before, within, nested, after = map(_expected, seen)
    assert before == after
    assert within == before._replace(principal=BOB, correlation_id="7f")
    assert (nested.principal, nested.correlation_id, nested.cause) == (BOB, "7f", before.id)


def _expected(found: Current | None) -> Current:
    assert found is not None
    return found


def test_an_edge_says_what_it_received_came_of(bus: EventBus) -> None:
    """A message from a queue has a cause in another process."""
    current()
    seen: list[Current | None] = []
    bus.observe(Ping, asking(seen))

    with acting_as(None, cause="message-1"):
        bus.emit(Ping())

    assert _expected(seen[0]).cause == "message-1"


# Travelling


def test_what_is_carried_from_an_emit_is_resumed_elsewhere(bus: EventBus) -> None:
    """Emits there come of it; the emit itself goes along with what is still a part of it."""
    current()
    luggage: list[Carried | None] = []
    seen: list[Current | None] = []
    bus.observe(Ping, lambda ping: luggage.append(carried()))
    bus.observe(Ping, asking(seen))
    bus.observe(Pong, asking(seen))
    with acting_as(ANN):
        bus.emit(Ping())

    with resumed(luggage[0]):
        seen.append(current())
        bus.emit(Pong())

    ping, within, pong = map(_expected, seen)
    assert luggage == [Carried(ANN, ping.id, ping.id, ping)]
    assert within == ping
    assert (pong.principal, pong.correlation_id, pong.cause) == (ANN, ping.id, ping.id)
    assert current() is None


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_trace_context_is_that_of_all_that_comes_of_it(bus: EventBus) -> None:
    """As the correlation id is, until somebody says otherwise; log lines say the trace's id."""
    current()
    seen: list[Current | None] = []
    lines: list[object] = []
    bus.observe(Ping, lambda ping: bus.emit(Pong()))
    bus.observe(Pong, asking(seen))
    bus.observe(Pong, lambda pong: lines.append(_Facts(plugin="shop").copy().get("trace_id")))
    with acting_as(ANN, traceparent=TRACE):
        bus.emit(Ping())
        with acting_as(BOB):
            bus.emit(Pong())
        with acting_as(BOB, traceparent=TRACE.replace("b7ad", "ffff")):
            bus.emit(Pong())
    bus.emit(Pong())

    found = [emit and emit.traceparent for emit in seen]
    assert found == [TRACE, TRACE, TRACE.replace("b7ad", "ffff"), None]
    assert lines == [TRACE[3:35], TRACE[3:35], TRACE[3:35], None]


def test_a_trace_context_travels(bus: EventBus) -> None:
    """To work that is done later, and into what a message says of it."""
    seen: list[Current | None] = []
    bus.observe(Ping, asking(seen))
    with acting_as(ANN, traceparent=TRACE):
        luggage = carried()

    assert luggage is not None
    with resumed(Carried.from_dict(luggage.to_dict())):
        bus.emit(Ping())
    with resumed(luggage, Pong()):
        assert running().traceparent == TRACE

    assert _expected(seen[0]).traceparent == TRACE


def test_who_asks_first_within_an_emit_is_told_its_trace(bus: EventBus) -> None:
    seen: list[Current | None] = []
    bus.observe(Ping, asking(seen))
    bus.observe(Ping, lambda ping: bus.emit(Pong()))
    bus.observe(Pong, asking(seen))
    with acting_as(None, traceparent=TRACE):
        bus.emit(Ping())

    assert [_expected(emit).traceparent for emit in seen] == [TRACE, TRACE]


async def test_a_generator_lends_its_trace(bus: EventBus) -> None:
    """A dependency that yields within the block has it in force beyond."""

    async def dependency() -> AsyncIterator[None]:
        with acting_as(ANN, traceparent=TRACE):
            yield

    opened = dependency()
    await anext(opened)
    facts = carried()
    await opened.aclose()  # type: ignore[attr-defined]

    assert facts == Carried(ANN, traceparent=TRACE)


def test_to_resume_nothing_puts_nothing_in_force(bus: EventBus) -> None:
    """A worker does not act for whoever happened to start it."""
    with acting_as(ANN):
        with resumed(None):
            assert carried() is None
        assert carried() == Carried(ANN)


async def test_what_was_started_in_a_resumed_block_does_not_outlive_its_emit(bus: EventBus) -> None:
    current()
    seen: list[Current | None] = []
    ended = anyio.Event()

    async def linger() -> None:
        await ended.wait()
        seen.append(current())

    emit = Current(new_id(), "tools.ping", dt.datetime.now(dt.UTC), None, "7f", None, "host")
    async with anyio.create_task_group() as group:
        with resumed(Carried(None, "7f", emit.id, emit)):
            group.start_soon(linger)
        ended.set()

    assert seen == [None]


def test_who_handles_an_event_later_has_an_answer_though_nobody_had_asked() -> None:
    """An observer in the background is given its event, and asks: for the first time in this process."""
    with resumed(Carried(ANN, "7f"), Ping()):
        assert (running().event, running().principal, running().correlation_id) == ("tools.ping", ANN, "7f")
        assert carried() == Carried(ANN, "7f", running().id, running())
    with resumed(None, NamedEvent("order.paid", {})):
        assert (running().event, running().correlation_id) == ("order.paid", running().id)
    assert current() is None


def test_ids_differ_and_also_from_those_of_a_child_process() -> None:
    ids = {new_id() for _ in range(100)}
    read, write = os.pipe()

    child = os.fork()
    if not child:
        os.write(write, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)

    ids |= {os.read(read, 32).decode(), new_id()}
    os.close(read)
    os.close(write)
    assert len(ids) == 102
    assert {len(each) for each in ids} == {32}


async def test_a_task_knows_who_started_it_and_is_no_part_of_the_emit(bus: EventBus) -> None:
    """``Tasks.start`` is for what goes on: its emits come of the emit that it was started in."""
    seen: list[Current | None] = []
    bus.observe(Pong, asking(seen))

    async def work() -> None:
        seen.append(current())
        await bus.aemit(Pong())

    async with anyio.create_task_group() as group:
        tasks = Tasks(group)

        async def start(ping):
            seen.append(current())
            await tasks.start(work).wait()

        def start_from_thread(ping):
            tasks.start(work)

        bus.observe(Ping, start)
        bus.observe(Ping, start_from_thread)
        with acting_as(ANN):
            await bus.aemit(Ping())

    ping = _expected(seen[0])
    emitted = [_expected(found) for found in seen[1:] if found]
    assert seen.count(None) == 2
    assert {(each.event, each.cause, each.correlation_id, each.principal) for each in emitted} == {
        ("tools.pong", ping.id, ping.id, ANN)
    }


# In the log


@sync_or_async
@in_every_world
def test_log_lines_of_an_emit_say_of_which(world: World, asynchronous: bool, bus: EventBus) -> None:
    """Plugin, event and correlation id; what a line says itself goes before."""
    log, found = plugin_logger("shop").bind(shelf=1), list[Current]()

    def observer(ping):
        found.append(running())
        log.info("seen")
        log.unbind("shelf").info("again", correlation_id="own")

    bus.observe(Ping, coloured(observer, asynchronous=asynchronous))
    with structlog.testing.capture_logs() as lines:
        world.emit(bus, Ping())
        log.info("outside")

    facts = {"plugin": "shop", "event_type": "tools.ping", "log_level": "info"}
    assert lines == [
        {**facts, "event": "seen", "correlation_id": found[0].correlation_id, "shelf": 1},
        {**facts, "event": "again", "correlation_id": "own"},
        {"plugin": "shop", "event": "outside", "log_level": "info", "shelf": 1},
    ]


def test_log_lines_of_an_edge_say_what_belongs_together() -> None:
    with structlog.testing.capture_logs() as lines, acting_as(ANN, correlation_id="7f"):
        plugin_logger("http").info("received")
        with acting_as(BOB):
            plugin_logger("http").info("received")

    assert [line["correlation_id"] for line in lines] == ["7f", "7f"]


def test_the_failure_of_an_observer_is_logged_with_its_correlation_id(bus: EventBus) -> None:
    bus.observe(Ping, raising(Boom()))

    with structlog.testing.capture_logs() as lines, acting_as(None, correlation_id="7f"):
        bus.emit(Ping())

    assert [(line["event_type"], line["correlation_id"]) for line in lines] == [("tools.ping", "7f")]


def test_a_line_that_nobody_writes_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The context is looked at for each line that is written, and no other."""
    asked: list[str] = []
    monkeypatch.setattr(Here, "told", lambda here: asked.append("told") or {})
    log = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(40), context_class=_Facts)

    with structlog.testing.capture_logs(), acting_as(ANN):
        log.info("not written")
        log.error("written")

    assert asked == ["told"]


# ------------------------------------------------------------------------------------ async generators


async def rows(bus: EventBus, seen: list[Principal | None]) -> AsyncIterator[int]:
    """Yield inside the block; what it emits itself, and what it starts, is done in its name."""
    with acting_as(ANN):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.aemit, Ping())
            await anyio.lowlevel.checkpoint()
            await bus.aemit(Ping())
        await anyio.to_thread.run_sync(bus.emit, Ping())
        seen.append(running().principal if current() else None)
        yield 1


@pytest.mark.anyio
@pytest.mark.parametrize("act", ["aemit", "current", "carried", "acting_as"])
async def test_a_consumer_does_not_act_as_the_principal_of_a_generator(act: str, bus: EventBus) -> None:
    """It is an error to ask who acts while an async generator has yielded inside its block, and none afterwards."""
    current()
    acted: list[Principal | None] = []
    bus.observe(Ping, lambda ping: acted.append(running().principal), run_in="caller")
    generator = rows(bus, [])

    async with contextlib.aclosing(generator):
        async for _ in generator:
            with pytest.raises(ContextLeakError) as caught:
                if act == "aemit":
                    await bus.aemit(Ping())
                elif act == "acting_as":
                    with acting_as(BOB):
                        pass
                else:
                    {"current": current, "carried": carried}[act]()

    assert caught.value.generator == "rows"
    assert acted == [ANN] * 3
    assert carried() is None


@pytest.mark.anyio
async def test_nothing_stays_of_a_generator_that_was_closed_elsewhere(bus: EventBus) -> None:
    """Its block cannot be undone in the context of whoever iterated it; that it has ended is seen there."""
    generator = rows(bus, [])
    with acting_as(BOB):
        await anext(generator)
        async with anyio.create_task_group() as group:
            group.start_soon(generator.aclose)

        assert (facts := carried()) is not None
        assert facts.principal == BOB
    assert carried() is None


@pytest.mark.anyio
async def test_a_context_manager_made_of_a_generator_says_who_acts_in_its_block(bus: EventBus) -> None:
    """That is what it is for."""

    @contextlib.asynccontextmanager
    async def as_ann() -> AsyncIterator[None]:
        with acting_as(ANN):
            yield

    async with as_ann():
        assert (facts := carried()) is not None
        assert facts.principal == ANN
    assert carried() is None


@pytest.fixture
async def as_ann() -> AsyncIterator[None]:
    """Say who acts in a test, as anybody's fixture would."""
    with acting_as(ANN):
        yield


@pytest.mark.anyio
async def test_a_fixture_says_who_acts_in_a_test(as_ann: None, bus: EventBus) -> None:
    """What takes the step to the ``yield`` by hand wants what is in force there: so fixtures and injectors do it."""
    acted: list[Principal | None] = []
    bus.observe(Ping, lambda ping: acted.append(running().principal), run_in="caller")

    await bus.aemit(Ping())

    assert acted == [ANN]


@pytest.mark.anyio
async def test_a_wrapped_generator_can_be_made_a_context_manager(bus: EventBus) -> None:
    """A decorator that passes on what a generator yields changes nothing for it."""

    def traced(generator: Callable[[], AsyncIterator[None]]) -> Callable[[], AsyncIterator[None]]:
        async def wrapper() -> AsyncIterator[None]:
            async for item in generator():
                yield item

        return wrapper

    @contextlib.asynccontextmanager
    @traced
    async def as_ann() -> AsyncIterator[None]:
        with acting_as(ANN):
            yield

    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(as_ann())
        assert (facts := carried()) is not None
        assert facts.principal == ANN
        await bus.aemit(Ping())
    assert carried() is None


# ------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("background", [False, True])
async def test_a_failure_says_what_it_belongs_to(bus: EventBus, background: bool) -> None:
    """So that who observes failures can tell which request they came of."""
    told: list[ListenerFailed] = []

    def broken(ping: Ping) -> None:
        raise Boom

    async with bus.background():
        bus.observe(ListenerFailed, told.append, run_in="caller")
        bus.observe(Ping, broken, background=background)
        with acting_as(ANN, correlation_id="7f"):
            await bus.aemit(Ping())

    assert [failure.correlation_id for failure in told] == ["7f"]


async def test_an_event_that_was_dropped_is_told_with_what_it_belongs_to_itself(bus: EventBus) -> None:
    """And not with what the one belongs to that took its place."""
    told: list[ListenerFailed] = []
    go_on = anyio.Event()

    async def slow(ping: Ping) -> None:
        await go_on.wait()

    async with bus.background():
        bus.observe(ListenerFailed, told.append, run_in="caller")
        bus.observe(Ping, slow, background=True, max_queue=1, concurrency=1, overflow="drop_oldest")
        for number in range(4):
            with acting_as(ANN, correlation_id=str(number)):
                await bus.aemit(Ping(number=number))
            await anyio.wait_all_tasks_blocked()
        go_on.set()

    assert [failure.correlation_id for failure in told] == ["1", "2"]


def test_where_nobody_asked_a_failure_says_nothing_of_it(bus: EventBus) -> None:
    """It costs nothing then."""
    told: list[ListenerFailed] = []
    bus.observe(ListenerFailed, told.append)
    bus.observe(Ping, raising(Boom()))
    bus.emit(Ping())

    assert [failure.correlation_id for failure in told] == [None]
