"""The trace: who caused what, as trees, bounded, from any thread, and without cost while nobody watches."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from typing import Any

import anyio
import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bus.tools import (
    BACKENDS,
    SECONDS,
    Ask,
    Boom,
    HandClock,
    Ping,
    Pong,
    World,
    coloured,
    in_every_world,
    in_worlds,
    marks,
    noting,
    plugin,
    raising,
    run,
    sync_or_async,
    tracer,
)

from plugbus import (
    Carried,
    Event,
    EventBus,
    Kernel,
    KernelStartError,
    Manifest,
    NamedEvent,
    PermissionDeniedError,
    Plugin,
    Veto,
    current,
    event,
    observes,
    resumed,
)
from plugbus.testing import settle
from plugbus_contrib.trace import Span, Trace, TracePlugin, _records

pytestmark = marks


class Count(Event, name="trace.count"):
    number: int


def shape(span: Span) -> Any:
    """A tree as nested lists of titles."""
    title = span.subscriber.rpartition(".")[2] or span.event
    return [title, *map(shape, span.children)] if span.children else title


def shapes(trace: Trace) -> list[Any]:
    return list(map(shape, trace.recent()))


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


# ---------------------------------------------------------------------------------------------------- what is whose


@in_every_world
@sync_or_async
def test_each_stands_below_what_it_runs_in(bus: EventBus, world: World, asynchronous: bool) -> None:
    """Listeners around what is below them, in whatever threads and loops they run."""
    trail: list[str] = []
    for number in range(3):
        listener = tracer(f"l{number}", trail, asynchronous=asynchronous == (number != 1))
        bus.listen(Ask, listener, name=f"l{number}")
    bus.answer(Ask, coloured(lambda request: "answer", asynchronous=asynchronous), name="h")
    bus.observe(Ask, noting("inside", trail, asynchronous=asynchronous), name="inside", inside=True)
    bus.observe(Ask, noting("o", trail, asynchronous=not asynchronous), name="o")
    with Trace(bus) as trace:
        assert world.call(bus, Ask()) == "answer"

    assert shapes(trace) == [["tools.ask", ["l0", ["l1", ["l2", "h", "inside"]]], "o"]]
    assert all(span.seconds is not None for _, span in trace.recent()[0].walk())


@in_every_world
@sync_or_async
def test_a_nested_emit_stands_below_the_subscriber_that_emitted(
    bus: EventBus, world: World, asynchronous: bool
) -> None:
    if asynchronous:

        async def nest(ping):
            await bus.aemit(Pong())

    else:

        def nest(ping):
            bus.emit(Pong())

    bus.observe(Ping, lambda ping: None, name="before")
    bus.observe(Ping, nest, name="nest")
    bus.observe(Pong, lambda pong: None, name="inner")
    with Trace(bus) as trace:
        world.emit(bus, Ping())

    (top,) = trace.recent()
    assert shape(top) == ["tools.ping", "before", ["nest", ["tools.pong", "inner"]]]
    inner = top.children[1].children[0]
    assert (inner.cause, inner.correlation_id) == (top.id, top.id)


@in_worlds
def test_a_span_says_who_and_for_whom(bus: EventBus, world: World) -> None:
    _, shop = plugin(bus, "shop")
    shop.observe(Ping, lambda ping: shop.emit(NamedEvent("shop.told", {})), name="tell")
    with Trace(bus) as trace:
        world.emit(bus, Ping())

    (top,) = trace.recent()
    assert [(span.kind, span.event, span.plugin) for _, span in top.walk()] == [
        ("emit", "tools.ping", "host"),
        ("observer", "tools.ping", "shop"),
        ("emit", "shop.told", "shop"),
    ]


async def test_emits_at_the_same_time_in_one_subscriber_are_told_apart(bus: EventBus) -> None:
    async def fan_out(ping):
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(bus.aemit, Pong(number=number))

    async def nest(pong):
        await anyio.lowlevel.checkpoint()
        await bus.aemit(NamedEvent(f"n{pong.number}", None))

    bus.observe(Ping, fan_out, name="fan")
    bus.observe(Pong, nest, name="nest")
    with Trace(bus, data=True) as trace, anyio.fail_after(SECONDS):
        await bus.aemit(Ping())

    (fan,) = trace.recent()[0].children
    found = {span.data: shape(span.children[0].children[0]) for span in fan.children}
    assert found == {f"Pong(number={number})": f"n{number}" for number in range(3)}


async def test_what_a_task_emits_later_stands_below_what_started_it(bus: EventBus) -> None:
    go = anyio.Event()

    async def later():
        await go.wait()
        await bus.aemit(Pong())

    with Trace(bus) as trace, anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            bus.observe(Ping, coloured(lambda ping: group.start_soon(later), asynchronous=True), name="starts")
            await bus.aemit(Ping())
            assert shapes(trace) == [["tools.ping", "starts"]]
            go.set()

    assert shapes(trace) == [["tools.ping", ["starts", "tools.pong"]]]


def test_what_travelled_stands_below_the_emit_that_it_came_of(bus: EventBus) -> None:
    """As posts and background work do, in a context that has nothing else of the emit."""
    ids: list[str] = []
    bus.observe(Ping, lambda ping: ids.append(current().id), name="o")
    with Trace(bus) as trace:
        bus.emit(Ping())
        with resumed(Carried(None, None, cause=ids[0])):
            bus.emit(Pong())

    assert shapes(trace) == [["tools.ping", "o", "tools.pong"]]


async def test_background_work_and_posts_stand_below_what_caused_them(bus: EventBus) -> None:
    told: list[str] = []

    class Poster(Plugin, id="poster"):
        def __init__(self, bus: EventBus) -> None:
            self.bus = bus

        def on_boot(self) -> None:
            self.bus.observe(Ping, self.behind, background=True, name="behind")
            self.bus.observe(Pong, lambda pong: told.append("pong"), name="o")

        async def behind(self, ping: Ping) -> None:
            self.bus.post(Pong())

    with anyio.fail_after(SECONDS):
        async with Kernel([Poster, TracePlugin]) as kernel:
            trace = kernel.services.get(Trace)
            await kernel.bus.aemit(Ping())

    (top,) = [top for top in trace.recent() if top.event == "tools.ping"]
    assert told == ["pong"]
    assert shape(top) == ["tools.ping", ["behind", ["tools.pong", "o"]]]


@event(name="trace.sticky", sticky=True)
class Kept:
    """Replayed to those who come later."""


async def test_a_replay_is_a_tree_of_its_own(bus: EventBus) -> None:
    """The emit is long over, and nobody may have watched it."""
    await bus.aemit(Kept())
    with Trace(bus) as trace:
        bus.observe(Kept, lambda kept: bus.emit(Pong()), name="late")

    assert shapes(trace) == [["late", "tools.pong"]]
    assert trace.recent()[0].kind == "observer"


def test_a_listener_that_calls_twice_has_everything_below_it_twice(bus: EventBus) -> None:
    bus.listen(Ping, lambda ping, next_fn: next_fn(next_fn(ping)), name="twice")
    bus.listen(Ping, lambda ping, next_fn: next_fn(ping), name="below")
    with Trace(bus) as trace:
        bus.emit(Ping())

    assert shapes(trace) == [["tools.ping", ["twice", "below", "below"]]]


def test_two_traces_do_not_disturb_each_other(bus: EventBus) -> None:
    bus.observe(Ping, lambda ping: bus.emit(Pong()), name="o")
    with Trace(bus) as one, Trace(bus) as two:
        bus.emit(Ping())

    assert shapes(one) == shapes(two) == [["tools.ping", ["o", "tools.pong"]]]


# -------------------------------------------------------------------------------------------------- many at a time

Forest = list["Forest"]
forests = st.recursive(st.builds(list[Any]), lambda inner: st.lists(inner, max_size=3), max_leaves=8)


class Node(Event, name="trace.node"):
    """Emitted with what its observers are to emit in turn."""

    below: Any


def plain(span: Span) -> Forest:
    """Which emits stand below which."""
    return [plain(emit) for run in span.children for emit in run.children]


@settings(max_examples=30)
@given(planned=st.lists(forests, min_size=2, max_size=5), keep=st.integers(50, 200))
@pytest.mark.parametrize("how", ["threads", *BACKENDS])
def test_every_tree_is_what_was_emitted_whoever_emits_meanwhile(how: str, planned: list[Forest], keep: int) -> None:
    """Emits of several threads or tasks never mix: each node has one parent, and each tree is what its emitter did."""
    bus, barrier = EventBus(), threading.Barrier(len(planned))

    def nest(node: Node) -> None:
        for below in node.below:
            bus.emit(Node(below=below))

    bus.observe(Node, nest, name="nest", run_in="thread")

    def emit(plan: Forest) -> None:
        barrier.wait(SECONDS)
        bus.emit(Node(below=plan))

    async def together() -> None:
        async with anyio.create_task_group() as group:
            for plan in planned:
                group.start_soon(bus.aemit, Node(below=plan))

    with Trace(bus, keep=keep) as trace:
        if how == "threads":
            threads = [threading.Thread(target=emit, args=(plan,)) for plan in planned]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(SECONDS)
        else:
            run(how, together)

    spans = [span for top in trace.recent() for _, span in top.walk()]
    assert len({id(span) for span in spans}) == len(spans)
    emits = [span.id for span in spans if span.kind == "emit"]
    assert len(set(emits)) == len(emits)
    assert sorted(map(plain, trace.recent())) == sorted(planned)


@given(planned=forests, keep=st.integers(1, 12))
def test_whatever_goes_what_stays_is_well_formed(planned: Forest, keep: int) -> None:
    """The last emits, each once; one whose cause went is a tree of its own, and still names it."""
    bus, emitted = EventBus(), list[str]()

    def nest(node: Node) -> None:
        emitted.append(current().id)
        for below in node.below:
            bus.emit(Node(below=below))

    bus.observe(Node, nest)
    with Trace(bus, keep=keep) as trace:
        bus.emit(Node(below=planned))

    tops = trace.recent()
    spans = [span for top in tops for _, span in top.walk() if span.kind == "emit"]
    assert sorted(span.id for span in spans) == sorted(emitted[-keep:])
    assert all(top.cause is None or top.cause not in emitted[-keep:] for top in tops)
    for span in spans:
        assert all(emit.cause == span.id for run in span.children for emit in run.children)
        assert trace.tree(span.id).id == span.id


# ------------------------------------------------------------------------------------------------------- how it ends


@in_worlds
@sync_or_async
def test_an_error_is_told_by_its_type_alone(bus: EventBus, world: World, asynchronous: bool) -> None:
    """Its message may quote what is secret."""
    bus.answer(Ask, raising(Boom("password"), asynchronous=asynchronous), name="h")
    with Trace(bus) as trace, pytest.raises(Boom):
        world.call(bus, Ask())

    (top,) = trace.recent()
    assert (top.error, top.children[0].error) == ("Boom", "Boom")
    assert "password" not in str(top)


def test_a_refusal_tells_its_reason(bus: EventBus) -> None:
    def refuse(ping, next_fn):
        raise Veto("closed today")

    bus.listen(Ping, refuse)
    with Trace(bus) as trace, pytest.raises(Veto):
        bus.emit(Ping())

    assert trace.recent()[0].error == "Veto: closed today"


async def test_a_cancelled_emit_says_so_and_one_that_runs_still_runs(bus: EventBus) -> None:
    bus.observe(Ping, coloured_sleep, name="sleeps")
    with Trace(bus) as trace, anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.aemit, Ping())
            await anyio.wait_all_tasks_blocked()
            (before,) = trace.recent()
            group.cancel_scope.cancel()

    (after,) = trace.recent()
    assert [span.seconds for _, span in before.walk()] == [None, None]
    assert str(before).splitlines()[0].split() == ["emit", "tools.ping", "[host]", "running"]
    assert [span.error for _, span in after.walk()] == ["cancelled", "cancelled"]


async def coloured_sleep(ping: Ping) -> None:
    await anyio.sleep_forever()


class Odd:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise Boom


@pytest.mark.parametrize(("emitted", "expected"), [
    (Ping(number=3), "Ping(number=3, trail=())"),
    (Odd(), "<no text: Boom>"),
    (NamedEvent("long", "x" * 10_000), f"{'x' * 470}..."),
])  # fmt: skip
def test_data_is_kept_on_request(bus: EventBus, emitted: object, expected: str) -> None:
    """On one line, and cut short."""
    with Trace(bus, data=True) as trace, Trace(bus) as without:
        bus.emit(emitted)

    assert trace.recent()[0].data.endswith(expected[-100:])
    assert without.recent()[0].data == ""


def test_the_message_of_an_error_is_data(bus: EventBus) -> None:
    def fail(ping, next_fn):
        raise Boom("first\nsecond")

    bus.listen(Ping, fail)
    with Trace(bus, data=True) as trace, pytest.raises(Boom):
        bus.emit(Ping())

    assert trace.recent()[0].error == "Boom: first second"


# ------------------------------------------------------------------------------------------------- what is kept of it


def test_the_last_emits_stay(bus: EventBus) -> None:
    with Trace(bus, keep=3) as trace:
        for number in range(10):
            bus.emit(NamedEvent(f"n{number}", None))

    assert shapes(trace) == ["n7", "n8", "n9"]
    trace.clear()
    assert trace.recent() == ()


def test_what_came_of_an_emit_that_went_is_a_tree_of_its_own(bus: EventBus) -> None:
    bus.observe(Ping, lambda ping: bus.emit(Pong()), name="o")
    with Trace(bus, keep=1) as trace:
        bus.emit(Ping())

    (top,) = trace.recent()
    assert (top.event, bool(top.cause)) == ("tools.pong", True)
    with pytest.raises(LookupError, match="no emit"):
        trace.tree(top.cause)


def test_nothing_that_went_is_held_on_to(bus: EventBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of causes without an end, as a task has that emits for ever, keeps no memory."""
    made: weakref.WeakSet[Any] = weakref.WeakSet()

    class Emit(_records.Emit):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.add(self)

    monkeypatch.setattr("plugbus_contrib.trace._trace.Emit", Emit)
    ids: list[str] = [""]
    bus.observe(Ping, lambda ping: ids.append(current().id))
    with Trace(bus, keep=5):
        for _ in range(100):
            with resumed(Carried(None, "all", cause=ids[-1])):
                bus.emit(Ping())
        gc.collect()

        assert len(made) == 5


def test_an_emit_with_too_many_runs_says_how_many_it_did_not_keep(
    bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_records, "MAX_SPANS", 3)

    def retry(ping, next_fn):
        for _ in range(9):
            next_fn(ping)
        return ping

    bus.listen(Ping, retry, name="retry")
    bus.listen(Ping, lambda ping, next_fn: next_fn(ping), name="below")
    with Trace(bus) as trace:
        bus.emit(Ping())

    assert shapes(trace) == [["tools.ping", ["retry", "below"]]]
    assert trace.recent()[0].skipped == 8
    assert "(8 runs not kept)" in str(trace.recent()[0])


def test_a_deep_tree_is_cut_into_trees(bus: EventBus) -> None:
    """However long a chain of causes is, nothing of it is lost, and none is too deep for JSON."""
    ids: list[str] = [""]
    bus.observe(Ping, lambda ping: ids.append(current().id))
    with Trace(bus, keep=2000) as trace:
        for _ in range(1500):
            with resumed(Carried(None, "all", cause=ids[-1])):
                bus.emit(Ping())

    trees = trace.recent(correlation_id="all")
    assert trace.recent(correlation_id="none") == ()
    assert [max(depth for depth, _ in top.walk()) for top in trees] == [200] * 7 + [100]
    assert "".join(map(str, trees)).count("emit tools.ping") == 1500
    assert [json.loads(json.dumps(top.as_dict()))["id"] for top in trees] == [top.id for top in trees]
    assert trace.tree(ids[-1]).cause == ids[-2]


# --------------------------------------------------------------------------------------------------- how it is shown


def test_a_tree_is_readable_without_colour(bus: EventBus) -> None:
    clock = HandClock()

    def slow(ping, next_fn):
        clock.seconds += 0.25
        bus.emit(Pong())
        return next_fn(ping)

    def fail(ping):
        raise Veto("no")

    bus.listen(Ping, slow, name="slow")
    bus.observe(Ping, fail, name="fails", on_error="raise", inside=True)
    with Trace(bus, clock=clock) as trace, pytest.raises(ExceptionGroup):
        bus.emit(Ping())

    assert str(trace.recent()[0]).splitlines() == [
        "emit tools.ping [host]       250.00 ms  ! ExceptionGroup",
        "  listener slow [host]       250.00 ms  ! ExceptionGroup",
        "    emit tools.pong [host]     0.00 ms",
        "    observer fails [host]      0.00 ms  ! Veto: no",
    ]


def test_a_tree_is_plain_data_for_programs(bus: EventBus) -> None:
    bus.observe(Ping, lambda ping: bus.emit(Pong()), name="o")
    with Trace(bus, clock=HandClock()) as trace:
        bus.emit(Ping())

    (top,) = trace.recent()
    found = json.loads(json.dumps(top.as_dict()))
    assert (found["kind"], found["event"], found["seconds"]) == ("emit", "tools.ping", 0.0)
    assert found["time"] == top.time.isoformat()
    assert found["children"][0]["subscriber"] == "o"
    assert found["children"][0]["children"][0]["cause"] == found["id"]
    assert repr(top) == "<Span emit tools.ping [host]>"


# ------------------------------------------------------------------------------------------------------- on and off


@in_worlds
def test_off_means_no_cost(bus: EventBus, world: World) -> None:
    """Chains are compiled with it while it watches, and without it before, in between and afterwards."""
    trace = Trace(bus)
    core: Any = bus._core
    world.emit(bus, Ping())
    assert (core.instruments, trace.watching, repr(trace)) == ((), False, "<Trace paused>")

    for number in range(1, 3):
        trace.resume()
        trace.resume()
        world.emit(bus, Ping())
        assert (len(core.instruments), repr(trace)) == (1, "<Trace watching>")
        trace.pause()
        trace.pause()
        world.emit(bus, Ping())
        assert (core.instruments, len(trace.recent())) == ((), number)


def test_a_trace_that_keeps_nothing_is_refused(bus: EventBus) -> None:
    with pytest.raises(ValueError, match="must be above zero"):
        Trace(bus, keep=0)


async def test_a_service_enables_it_as_a_plugin() -> None:
    async with Kernel([TracePlugin], config={"plugins": {"trace": {"keep": 2, "data": True}}}, strict=True) as kernel:
        trace = await kernel.services.aget(Trace)
        for number in range(3):
            await kernel.bus.aemit(Ping(number=number))
        assert [top.data for top in trace.recent()] == [f"Ping(number={number}, trail=())" for number in (1, 2)]

        await kernel.unload("trace")
        await kernel.bus.aemit(Ping())
        assert len(trace.recent()) == 2, "its instrument leaves with it"


async def test_it_may_be_loaded_and_watch_nothing_yet() -> None:
    async with Kernel([TracePlugin], config={"plugins": {"trace": {"paused": True}}}) as kernel:
        trace = kernel.services.get(Trace)
        assert not trace.watching
        trace.resume()
        await kernel.bus.aemit(Ping())
        assert "tools.ping" in shapes(trace)


async def test_its_settings_change_while_it_runs() -> None:
    """What is kept stays as far as there is room; whether it watches changes only with that setting."""
    async with Kernel([TracePlugin]) as kernel:
        trace = kernel.services.get(Trace)
        for number in range(3):
            await kernel.bus.aemit(Ping(number=number))
        assert await kernel.plugins.configure("trace", {"keep": 2, "data": True}) == ("keep", "data")

        assert kernel.services.get(Trace) is trace, "it was not reloaded"
        assert trace.watching
        assert len(trace.recent()) <= 2
        await kernel.bus.aemit(Ping(number=7))
        assert trace.recent()[-1].data == "Ping(number=7, trail=())"

        await kernel.plugins.configure("trace", {"paused": True})
        assert not trace.watching
        trace.resume()
        await kernel.plugins.configure("trace", {"keep": 5})
        assert trace.watching, "somebody resumed it"
        trace.pause()
        await kernel.plugins.configure("trace", {"paused": False})
        assert trace.watching
        with pytest.raises(ValueError, match="must be above zero"):
            trace.adjust(keep=0, data=False)


@pytest.mark.parametrize(("permissions", "state"), [((), "failed"), (("trace",), "ready")])
async def test_who_reads_it_needs_the_permission(permissions: tuple[str, ...], state: str) -> None:
    """It tells of everybody's events, also those that the reader may not hear."""

    class Reader(Plugin):
        manifest = Manifest(id="reader", publishes=[], subscribes=[], permissions=permissions)

        def __init__(self, trace: Trace) -> None: ...

    async with Kernel([TracePlugin, Reader]) as kernel:
        assert kernel.plugins["reader"].state == state


async def test_a_plugin_that_may_not_hear_everything_cannot_watch() -> None:
    found: list[str] = []

    class Curious(Plugin):
        manifest = Manifest(id="curious", subscribes=["order.*"])

        def __init__(self, bus: EventBus) -> None:
            trace = Trace(bus)
            with pytest.raises(PermissionDeniedError):
                trace.resume()
            found.append(repr(trace))

    async with Kernel([Curious], required=["curious"]):
        assert found == ["<Trace paused>"]


async def test_settings_that_do_not_fit_are_told() -> None:
    with pytest.raises(KernelStartError, match="greater than 0"):
        async with Kernel([TracePlugin], config={"plugins": {"trace": {"keep": 0}}}, required=["trace"]):
            pass


@pytest.mark.anyio
async def test_a_chain_of_causes_without_end_is_cut_into_trees() -> None:
    """Else its text grows with the square of its length, and neither JSON nor pickle takes it."""

    class Echo(Plugin):
        def __init__(self, bus: EventBus) -> None:
            self.bus = bus

        @observes(Count, background=True)
        async def again(self, event: Count) -> None:
            if event.number < 1000:
                self.bus.post(Count(number=event.number + 1))

    async with Kernel([Echo]) as kernel:
        with Trace(kernel.bus, keep=10_000) as trace:
            await kernel.bus.aemit(Count(number=0))
            await settle(kernel)
        trees = trace.recent(correlation_id=trace.recent()[0].correlation_id)

    emits = [span for tree in trees for _, span in tree.walk() if span.kind == "emit"]
    assert len(emits) == 1001
    assert len(trees) == 11
    assert all(json.loads(json.dumps(tree.as_dict()))["event"] == "trace.count" for tree in trees)
    assert {after.cause for after in trees[1:]} < {span.id for span in emits}
    assert max(map(len, str(trees[0]).splitlines())) < 1000
