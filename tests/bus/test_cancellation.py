"""Cancellation at every point: never swallowed, everything given back, nothing new started below."""

from __future__ import annotations

import inspect
import threading

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from tests.bus.tools import SECONDS, Ask, Gate, Ping, marks, noting, opening, plugin, run, tracer, virtual_time

from plugbus import EmitCancelled, EventBus

pytestmark = marks

places = pytest.mark.parametrize("place", ["listener", "handler", "observer", "inside"])


class Emit:
    """An acall in a task of its own, to be cancelled from outside."""

    def __init__(self, bus: EventBus) -> None:
        self.bus, self.ended, self.scope = bus, "", anyio.CancelScope()

    async def run(self) -> None:
        with self.scope:
            try:
                await self.bus.acall(Ask())
                await anyio.lowlevel.checkpoint()  # a thread that ended well may return its result; then this is it
            except BaseException as error:
                self.ended = "cancelled" if isinstance(error, anyio.get_cancelled_exc_class()) else repr(error)
                raise
            else:
                self.ended = "returned"


def put(bus: EventBus, place: str, fn, **options) -> None:
    """Register *fn*, which takes the message, as whatever *place* says."""
    if place != "handler":
        bus.answer(Ask, lambda request: "answer", run_in="caller")
    if place == "handler":
        bus.answer(Ask, fn, **options)
    elif place in ("observer", "inside"):
        bus.observe(Ask, fn, inside=place == "inside", **options)
    elif _is_async(fn):

        async def alistener(message, next_fn):
            await fn(message)
            return await next_fn(message)

        bus.listen(Ask, alistener, **options)
    else:

        def listener(message, next_fn):
            fn(message)
            return next_fn(message)

        bus.listen(Ask, listener, **options)


def _is_async(fn) -> bool:
    return inspect.iscoroutinefunction(fn)


async def permits_are_back(bus: EventBus, shop: EventBus, limit: int) -> None:
    """As many emits as the plugin has permits stand side by side in its threads."""
    gate = Gate()
    with shop.observe(Ping, lambda message: gate.wait()), opening(gate):
        async with anyio.create_task_group() as group:
            for _ in range(limit):
                group.start_soon(bus.aemit, Ping())
            await gate.wait_for_arrivals(limit)
            gate.open()


@places
async def test_an_async_subscriber_is_cancelled(bus: EventBus, place: str) -> None:
    trace: list[str] = []

    async def slow(message):
        trace.append("started")
        try:
            await anyio.sleep_forever()
        finally:
            trace.append("cancelled")

    put(bus, place, slow)
    bus.observe(Ask, noting("told later", trace), priority=1000)
    emit = Emit(bus)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(emit.run)
            await anyio.wait_all_tasks_blocked()
            emit.scope.cancel()

    assert trace == ["started", "cancelled"]
    assert emit.ended == "cancelled"
    assert emit.scope.cancelled_caught


@places
async def test_during_a_hop_the_emit_waits_for_its_thread_and_is_cancelled_then(bus: EventBus, place: str) -> None:
    """The thread keeps its permit until it is done; only then the emit ends, and it ends cancelled."""
    _, shop = plugin(bus, "shop", thread_limit=1)
    gate, trace = Gate(), []

    def slow(message):
        gate.wait()
        trace.append("finished")

    put(shop, place, slow)
    emit = Emit(bus)

    with opening(gate), anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(emit.run)
            await gate.wait_for_arrivals()
            emit.scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert emit.ended == "", "the emit waits for its thread"
            assert trace == []
            gate.open()
        await permits_are_back(bus, shop, 1)

    assert trace == ["finished"]
    assert emit.ended == "cancelled"
    assert emit.scope.cancelled_caught


async def test_while_a_cancelled_thread_runs_its_permit_is_taken(bus: EventBus) -> None:
    _, shop = plugin(bus, "shop", thread_limit=1)
    gate, seen = Gate(), []
    shop.answer(Ask, lambda request: gate.wait() or "")
    shop.observe(Ping, lambda message: seen.append("ran"))
    emit = Emit(bus)

    with opening(gate), anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(emit.run)
            await gate.wait_for_arrivals()
            emit.scope.cancel()
            group.start_soon(bus.aemit, Ping())
            await anyio.wait_all_tasks_blocked()
            assert seen == [], "the one permit is still in the cancelled thread"
            gate.open()

    assert seen == ["ran"]


async def test_below_a_cancelled_scope_nothing_new_starts(bus: EventBus) -> None:
    """The thread comes back from its own work and calls next_fn: the async listener below must not start."""
    gate, trace = Gate(), []

    def slow(message, next_fn):
        gate.wait()
        try:
            return next_fn(message)
        except BaseException as error:
            trace.append(f"next_fn raised, Exception: {isinstance(error, Exception)}")
            raise

    async def below(message, next_fn):
        trace.append("below started")
        return await next_fn(message)

    bus.listen(Ask, slow)
    bus.listen(Ask, below)
    bus.answer(Ask, noting("handler started", trace))
    emit = Emit(bus)

    with opening(gate), anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(emit.run)
            await gate.wait_for_arrivals()
            emit.scope.cancel()
            await anyio.wait_all_tasks_blocked()
            gate.open()

    assert trace == ["next_fn raised, Exception: False"]
    assert emit.ended == "cancelled"


@pytest.mark.parametrize("on_error", ["raise", "skip"])
@pytest.mark.parametrize("below", ["listener", "handler", "inside"])
async def test_during_a_bridge_the_thread_sees_a_cancellation_that_no_policy_swallows(
    bus: EventBus, on_error: str, below: str
) -> None:
    """A sync listener waits in next_fn for an async one; the emit is cancelled there."""
    _, shop = plugin(bus, "shop", thread_limit=1)
    trace: list[str] = []
    started = anyio.Event()

    def careless(message, next_fn):
        try:
            return next_fn(message)
        except Exception as error:
            trace.append(f"swallowed {error!r}")
            return "swallowed"
        except BaseException:
            trace.append("passed")
            raise

    async def slow(message):
        trace.append("started")
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            trace.append("cancelled")

    shop.listen(Ask, careless, on_error=on_error)
    put(shop, below, slow)
    emit = Emit(bus)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(emit.run)
            await started.wait()
            await anyio.wait_all_tasks_blocked()
            emit.scope.cancel()
        await permits_are_back(bus, shop, 1)

    assert trace == ["started", "cancelled", "passed"]
    assert emit.ended == "cancelled"


async def test_a_thread_that_swallows_even_that_does_not_save_the_emit(bus: EventBus) -> None:
    """Its result comes too late: the scope stays cancelled, and nobody is told."""
    trace: list[str] = []
    started = anyio.Event()

    def stubborn(message, next_fn):
        try:
            return next_fn(message)
        except BaseException:
            trace.append("swallowed")
            return "swallowed"

    async def slow(request):
        trace.append("started")
        started.set()
        await anyio.sleep_forever()

    bus.listen(Ask, stubborn)
    bus.answer(Ask, slow)
    bus.observe(Ask, noting("told", trace))
    emit = Emit(bus)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(emit.run)
            await started.wait()
            await anyio.wait_all_tasks_blocked()
            emit.scope.cancel()

    assert trace == ["started", "swallowed"]
    assert emit.ended == "cancelled"


@pytest.mark.parametrize("waiting", [1, 5])
async def test_in_a_permits_queue_the_emit_leaves_at_once(bus: EventBus, waiting: int) -> None:
    _, shop = plugin(bus, "shop", thread_limit=1)
    gate, ran = Gate(), []

    def handler(request):
        ran.append(1)
        gate.wait()
        return ""

    shop.answer(Ask, handler)
    first, others = Emit(bus), [Emit(bus) for _ in range(waiting)]

    with opening(gate), anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(first.run)
            await gate.wait_for_arrivals()
            for emit in others:
                group.start_soon(emit.run)
            await anyio.wait_all_tasks_blocked()
            assert [emit.ended for emit in others] == [""] * waiting, "they wait in the queue"
            for emit in others:
                emit.scope.cancel()
            await anyio.wait_all_tasks_blocked()
            assert [emit.ended for emit in others] == ["cancelled"] * waiting, "though the thread is still busy"
            gate.open()
        await permits_are_back(bus, shop, 1)

    assert first.ended == "returned"
    assert ran == [1]


async def test_of_those_in_the_queue_the_cancelled_ones_never_run(bus: EventBus) -> None:
    _, shop = plugin(bus, "shop", thread_limit=1)
    gate, ran = Gate(), []

    def observer(message):
        ran.append(message.number)
        gate.wait()

    shop.observe(Ping, observer)
    scopes = [anyio.CancelScope() for _ in range(4)]

    async def emit(number: int) -> None:
        with scopes[number]:
            await bus.aemit(Ping(number=number))

    with opening(gate), anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(emit, number)
                await anyio.wait_all_tasks_blocked()
            await gate.wait_for_arrivals()
            scopes[1].cancel()
            scopes[3].cancel()
            await anyio.wait_all_tasks_blocked()
            gate.open()

    assert ran == [0, 2]
    assert [scope.cancelled_caught for scope in scopes] == [False, True, False, True]


async def test_a_scope_that_is_cancelled_before_the_emit_starts_nothing_async(bus: EventBus) -> None:
    trace: list[str] = []

    async def listener(message, next_fn):
        await anyio.lowlevel.checkpoint()
        trace.append("ran")
        return await next_fn(message)

    bus.listen(Ping, listener)

    with anyio.CancelScope() as scope:
        scope.cancel()
        await bus.aemit(Ping())

    assert scope.cancelled_caught
    assert trace == []


async def test_a_scope_that_is_cancelled_before_the_emit_starts_no_thread(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("sync", trace))

    with anyio.CancelScope() as scope:
        scope.cancel()
        await bus.aemit(Ping())

    assert scope.cancelled_caught
    assert trace == []


@virtual_time
async def test_a_deadline_of_the_emitter_is_a_timeout_and_nothing_else(bus: EventBus) -> None:
    async def slow(request):
        await anyio.sleep_forever()

    bus.listen(Ask, tracer("lenient", [], asynchronous=True), on_error="skip")
    bus.answer(Ask, slow)

    with pytest.raises(TimeoutError):
        with anyio.fail_after(60):
            await bus.acall(Ask())


async def test_a_failing_observer_does_not_hide_a_cancellation(bus: EventBus) -> None:
    """The first observer fails, the second is cancelled: the emit is cancelled, the third not told."""
    trace: list[str] = []

    def fails(message):
        trace.append("fails")
        raise ValueError("x")

    async def slow(message):
        trace.append("slow")
        started.set()
        await anyio.sleep_forever()

    for on_error in ("log", "raise"):
        trace.clear()
        started = anyio.Event()
        subs = [
            bus.observe(Ask, fails, on_error=on_error),
            bus.observe(Ask, slow, on_error=on_error),
            bus.observe(Ask, noting("third", trace), on_error=on_error),
            bus.answer(Ask, lambda request: ""),
        ]
        emit = Emit(bus)
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(emit.run)
                await started.wait()
                emit.scope.cancel()
        for sub in subs:
            sub.close()

        assert trace == ["fails", "slow"]
        assert emit.ended == "cancelled"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_sync_emit_on_a_worker_thread_is_cancelled_in_its_bridge(bus: EventBus, backend: str) -> None:
    """The thread's host task is cancelled while the emit waits for an async subscriber on the loop."""
    trace: list[str] = []
    started: list[anyio.Event] = []

    async def slow(request):
        trace.append("started")
        started[0].set()
        try:
            await anyio.sleep_forever()
        finally:
            trace.append("cancelled")

    bus.listen(Ask, tracer("lenient", []), on_error="skip")
    bus.answer(Ask, slow)

    def worker() -> None:
        try:
            bus.call(Ask())
        except Exception as error:
            trace.append(f"swallowed {error!r}")
        except BaseException:
            trace.append("passed")
            raise

    async def main() -> None:
        started.append(anyio.Event())
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, worker)
            await started[0].wait()
            group.cancel_scope.cancel()

    run(backend, main)
    assert trace == ["started", "cancelled", "passed"]


def test_an_emit_by_portal_whose_loop_is_cancelled_ends(bus: EventBus) -> None:
    """A foreign thread waits for an async subscriber; the portal's task group is cancelled: it gets EmitCancelled."""
    trace: list[str] = []
    started = threading.Event()

    async def slow(request):
        started.set()
        await anyio.sleep_forever()

    bus.answer(Ask, slow)

    def foreign() -> None:
        try:
            bus.call(Ask())
        except BaseException as error:
            trace.append(type(error).__name__)

    async def main() -> None:
        async with anyio.from_thread.BlockingPortal() as portal:
            bus.attach_portal(portal)
            thread = threading.Thread(target=foreign)
            thread.start()
            await anyio.to_thread.run_sync(started.wait, SECONDS)
            await portal.stop(cancel_remaining=True)
        await anyio.to_thread.run_sync(thread.join, SECONDS)
        bus.attach_portal(None)

    run("asyncio", main)
    assert trace == ["EmitCancelled"]
    assert not issubclass(EmitCancelled, Exception)


@pytest.mark.parametrize("round_", range(3))
async def test_cancelling_at_any_moment_leaves_no_permit_behind(bus: EventBus, round_: int) -> None:
    """Forty emits through sync - async - sync, cancelled after 0 to 39 turns of the loop."""
    _, shop = plugin(bus, "shop", thread_limit=2)

    async def between(message, next_fn):
        await anyio.lowlevel.checkpoint()
        return await next_fn(message)

    shop.listen(Ask, lambda message, next_fn: next_fn(message))
    shop.listen(Ask, between)
    shop.answer(Ask, lambda request: "answer")
    shop.observe(Ask, lambda request: None)
    ends: list[str] = []

    async def one(turns: int) -> None:
        emit = Emit(bus)
        async with anyio.create_task_group() as group:
            group.start_soon(emit.run)
            for _ in range(turns * (round_ + 1)):
                await anyio.lowlevel.checkpoint()
            emit.scope.cancel()
        ends.append(emit.ended)

    with anyio.fail_after(SECONDS):
        for turns in range(40):
            await one(turns)
        await permits_are_back(bus, shop, 2)
        assert await bus.acall(Ask()) == "answer"

    assert set(ends) <= {"", "cancelled", "returned"}
    assert "cancelled" in ends, "the fault happened"
