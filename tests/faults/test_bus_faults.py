"""Errors of every kind at every place of a chain: they pass, and the bus is as good as new."""

from __future__ import annotations

import collections
import gc
import threading
import weakref
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from tests.bus.tools import (
    SECONDS,
    Ask,
    Boom,
    Gate,
    Hops,
    Ping,
    SubPing,
    World,
    coloured,
    in_every_world,
    in_threads,
    in_worlds,
    marks,
    opening,
    plugin,
    raising,
    raising_listener,
    run,
    sync_or_async,
    tracer,
)

from plugbus import EventBus, ListenerTimeoutError, replace

pytestmark = marks

EMITTERS, CHURNERS = 8, 8
PLACES = ["where", "before", "after", "handler", "inside", "observer"]
every_place = pytest.mark.parametrize("place", PLACES)


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> Hops:
    return Hops(monkeypatch)


def break_at(bus: EventBus, place: str, error: BaseException, *, asynchronous: bool) -> list[Any]:
    """A chain of both colours with one broken place; returns the subscriptions."""
    subs = [
        bus.listen(Ask, tracer("above", [])),
        bus.listen(Ask, tracer("above", [], asynchronous=True)),
        bus.answer(Ask, raising(error, asynchronous=asynchronous) if place == "handler" else lambda request: "answer"),
    ]
    if place in ("before", "after"):
        subs.append(bus.listen(Ask, raising_listener(error, after=place == "after", asynchronous=asynchronous)))
    if place in ("inside", "observer"):
        subs.append(bus.observe(Ask, raising(error, asynchronous=asynchronous), inside=place == "inside"))
    if place == "where":
        subs.append(bus.listen(Ask, tracer("x", [], asynchronous=asynchronous), where=raising(error)))
    return subs


def works(bus: EventBus, world: World) -> None:
    """The bus answers as if nothing had ever happened, as many times as a plugin has permits and more."""
    with bus.answer(Ask, lambda request: f"answer {request.number}"):
        assert [world.call(bus, Ask(number=n)) for n in range(3)] == ["answer 0", "answer 1", "answer 2"]


@in_every_world
@every_place
@sync_or_async
@pytest.mark.parametrize("kind", [Boom, OSError, RecursionError, MemoryError, AssertionError, TimeoutError])
def test_an_ordinary_error_anywhere(
    bus: EventBus, world: World, place: str, asynchronous: bool, kind: type[Exception]
) -> None:
    error = kind("fault")
    subs = break_at(bus, place, error, asynchronous=asynchronous)

    for _ in range(2):
        if place in ("inside", "observer"):
            assert world.call(bus, Ask()) == "answer"
        else:
            with pytest.raises(kind) as caught:
                world.call(bus, Ask())
            assert caught.value is error

    for sub in subs:
        sub.close()
    works(bus, world)


@every_place
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_stops_the_process_passes_a_sync_emit(bus: EventBus, place: str, kind: type[BaseException]) -> None:
    """No policy and no isolation holds it up: neither skip nor log."""
    error = kind()
    bus.listen(Ask, tracer("lenient", []), on_error="skip")
    handler = raising(error) if place == "handler" else lambda request: "answer"
    subs = [bus.answer(Ask, handler)]
    if place in ("before", "after"):
        subs.append(bus.listen(Ask, raising_listener(error, after=place == "after"), on_error="skip"))
    if place in ("inside", "observer"):
        subs.append(bus.observe(Ask, raising(error), inside=place == "inside"))
    if place == "where":
        subs.append(bus.listen(Ask, tracer("x", []), where=raising(error), on_error="skip"))

    with pytest.raises(kind) as caught:
        bus.call(Ask())

    assert caught.value is error
    for sub in subs:
        sub.close()
    with bus.answer(Ask, lambda request: "fine"):
        assert bus.call(Ask()) == "fine"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@every_place
@sync_or_async
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_stops_the_process_passes_an_async_emit(
    bus: EventBus, backend: str, place: str, asynchronous: bool, kind: type[BaseException]
) -> None:
    """Directly or out of a worker thread it reaches the emitter's own task."""
    error = kind()
    bus.listen(Ask, tracer("lenient", [], asynchronous=True), on_error="skip")
    handler = raising(error, asynchronous=asynchronous)
    subs = [bus.answer(Ask, handler if place == "handler" else lambda request: "answer")]
    if place in ("before", "after"):
        fails = raising_listener(error, after=place == "after", asynchronous=True)
        subs.append(bus.listen(Ask, fails, on_error="skip"))
    if place in ("inside", "observer"):
        subs.append(bus.observe(Ask, raising(error, asynchronous=asynchronous), inside=place == "inside"))
    if place == "where":
        subs.append(bus.listen(Ask, tracer("x", [], asynchronous=True), where=raising(error), on_error="skip"))

    async def main() -> None:
        with pytest.raises(kind) as caught:
            await bus.acall(Ask())
        assert caught.value is error
        for sub in subs:
            sub.close()
        with bus.answer(Ask, lambda request: "fine"):
            assert await bus.acall(Ask()) == "fine"

    run(backend, main)


@in_worlds
@pytest.mark.parametrize("place", ["before", "handler", "observer"])
def test_stop_iteration_on_a_worker_thread_hangs_nobody(bus: EventBus, world: World, place: str) -> None:
    """A future cannot carry StopIteration; whatever comes out, it comes out, and as an error."""
    subs = break_at(bus, place, StopIteration("odd"), asynchronous=False)
    subs[1].close()

    if place == "observer":
        assert world.call(bus, Ask()) == "answer"
    else:
        with pytest.raises((StopIteration, RuntimeError)):
            world.call(bus, Ask())

    for sub in subs:
        sub.close()
    works(bus, world)


@in_worlds
@sync_or_async
def test_an_error_whose_text_cannot_be_made(bus: EventBus, world: World, asynchronous: bool) -> None:
    """Reporting a failure must not fail itself."""

    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

        __repr__ = __str__

    bus.observe(Ping, raising(Unprintable(), asynchronous=asynchronous))
    ping = Ping()

    assert world.emit(bus, ping) is ping


@in_worlds
def test_an_event_whose_text_cannot_be_made(bus: EventBus, world: World) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no text")

        __str__ = __repr__

    bus.observe(object, raising(Boom()))
    bus.listen(object, raising_listener(Boom(), after=True), on_error="skip")
    odd = Odd()

    assert world.emit(bus, odd) is odd


@in_worlds
@sync_or_async
def test_a_subscriber_that_closes_itself_subscribes_another_and_emits_again(
    bus: EventBus, world: World, asynchronous: bool
) -> None:
    """All three at once, in one observer, five generations deep."""
    seen: list[int] = []

    def generation(message):
        seen.append(message.number)
        subs.pop().close()
        if message.number < 4:
            subs.append(bus.observe(Ping, coloured(generation, asynchronous=False)))
            bus.emit(replace(message, number=message.number + 1))

    async def ageneration(message):
        seen.append(message.number)
        subs.pop().close()
        if message.number < 4:
            subs.append(bus.observe(Ping, ageneration))
            await bus.aemit(replace(message, number=message.number + 1))

    asynchronous = asynchronous and world.asynchronous
    subs = [bus.observe(Ping, ageneration if asynchronous else generation)]

    world.emit(bus, Ping())

    assert seen == [0, 1, 2, 3, 4]
    assert list(bus.subscriptions()) == []


async def test_a_cancelled_emit_beside_others_disturbs_none(bus: EventBus) -> None:
    """Twenty emits wait at one place, half of them are cancelled: ten cancelled, ten done."""
    _, shop = plugin(bus, "shop", thread_limit=2)
    waiting: list[int] = []
    leave, ends = anyio.Event(), []

    async def waits(request, next_fn):
        waiting.append(request.number)
        await leave.wait()
        return await next_fn(request)

    shop.listen(Ask, lambda request, next_fn: next_fn(request))
    shop.listen(Ask, waits)
    shop.answer(Ask, lambda request: f"answer {request.number}", run_in="caller")
    bus.listen(Ask, tracer("host", [], asynchronous=True))

    async def emit(number: int, scope: anyio.CancelScope) -> None:
        with scope:
            assert await bus.acall(Ask(number=number)) == f"answer {number}"
        ends.append((number, scope.cancelled_caught))

    scopes = [anyio.CancelScope() for _ in range(2)]
    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            for number, scope in enumerate(scopes):
                group.start_soon(emit, number, scope)
            while len(waiting) < 2:
                await anyio.lowlevel.checkpoint()
            scopes[0].cancel()
            await anyio.wait_all_tasks_blocked()
            leave.set()

    assert sorted(ends) == [(0, True), (1, False)]
    with anyio.fail_after(SECONDS):
        assert await bus.acall(Ask(number=5)) == "answer 5"


async def test_a_loop_that_ends_while_a_thread_is_in_a_bridge(bus: EventBus) -> None:
    """A sync emit on a foreign thread waits for this loop's portal, which goes away: it ends, and not by hanging."""
    ends: list[str] = []
    entered = threading.Event()

    async def never(request):
        entered.set()
        await anyio.sleep_forever()

    bus.answer(Ask, never)

    def foreign() -> None:
        try:
            bus.call(Ask())
        except BaseException as error:
            ends.append(type(error).__name__)

    thread = threading.Thread(target=foreign, daemon=True)
    async with anyio.from_thread.BlockingPortal() as portal:
        bus.attach_portal(portal)
        thread.start()
        await anyio.to_thread.run_sync(entered.wait, SECONDS)
        await portal.stop(cancel_remaining=True)
    bus.attach_portal(None)
    await anyio.to_thread.run_sync(thread.join, SECONDS)

    assert ends == ["EmitCancelled"]


def test_an_emit_after_the_portals_loop_has_ended(bus: EventBus) -> None:
    """The kernel is gone but its portal is still attached: an error or a private loop, never a hang."""

    async def handler(request):
        return "answer"

    bus.answer(Ask, handler)
    with anyio.from_thread.start_blocking_portal() as portal:
        bus.attach_portal(portal)
        assert bus.call(Ask()) == "answer"

    ends: list[object] = []

    def late() -> None:
        try:
            ends.append(bus.call(Ask()))
        except Exception as error:
            ends.append(error)

    in_threads(late)

    assert ends[0] == "answer" or isinstance(ends[0], RuntimeError)


async def test_a_thread_pool_that_refuses_a_thread(bus: EventBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has no thread left: the emit fails, the permit is back, the next one works."""
    _, shop = plugin(bus, "shop", thread_limit=1)
    shop.answer(Ask, lambda request: "answer")
    original, faults = anyio.to_thread.run_sync, []

    async def refuses(*args: Any, **kwargs: Any) -> Any:
        if len(faults) < 3:
            faults.append(1)
            limiter = kwargs.get("limiter")
            if limiter is not None:
                async with limiter:  # as anyio does: the permit first, the thread then
                    raise RuntimeError("can't start new thread")
            raise RuntimeError("can't start new thread")
        return await original(*args, **kwargs)

    monkeypatch.setattr(anyio.to_thread, "run_sync", refuses)

    for _ in range(3):
        with pytest.raises(RuntimeError, match="new thread"):
            await bus.acall(Ask())

    assert len(faults) == 3, "the fault happened"
    with anyio.fail_after(SECONDS):
        assert await bus.acall(Ask()) == "answer"


def test_a_bus_that_is_dropped_takes_its_subscribers_with_it() -> None:
    """No cycle through a thread-local, a context variable or a registry keeps a bus alive."""

    class Big:
        def __call__(self, message: object) -> None: ...

    def use() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        bus, observer = EventBus(), Big()
        bus.observe(Ping, observer)
        bus.listen(Ping, tracer("x", [], asynchronous=True))
        bus.emit(Ping())
        run("asyncio", bus.aemit, Ping())
        return weakref.ref(bus), weakref.ref(observer)

    refs = use()
    for thread in threading.enumerate():  # a worker of the loop that ended may still hold its last call
        if thread.name.startswith("AnyIO worker"):
            thread.join(SECONDS)
    gc.collect()

    assert [ref() for ref in refs] == [None, None]


def test_a_closed_subscription_lets_go_of_its_subscriber(bus: EventBus) -> None:
    class Big:
        def __call__(self, message: object) -> None: ...

    observer = Big()
    ref = weakref.ref(observer)
    sub = bus.observe(Ping, observer)
    bus.emit(Ping())
    sub.close()
    bus.emit(Ping())
    del observer, sub
    gc.collect()

    assert ref() is None


def test_subscribing_and_closing_from_eight_threads_while_eight_emit(bus: EventBus, full: bool) -> None:
    """No exception, and exactly one call each for those who were there all the time."""
    emits = 100_000 if full else 20_000
    listened, observed = collections.Counter(), collections.Counter()
    threads_of = [[] for _ in range(EMITTERS)]
    churned, heard = [0] * CHURNERS, [0] * CHURNERS
    left, churning = threading.Semaphore(0), threading.Semaphore(0)
    done = threading.Event()

    def permanent(message, next_fn):
        listened[threading.get_ident()] += 1  # one thread per key: no two threads write one counter
        return next_fn(message)

    def told(message):
        observed[threading.get_ident()] += 1
        threads_of[message.number % EMITTERS].append(message.number)

    bus.listen(Ping, permanent)
    bus.observe(Ping, told)

    def emitter(mine: int) -> None:
        for number in range(mine, emits, EMITTERS):
            if number - mine == emits // 2:  # or a busy machine lets the emitters finish before the others began
                assert churning.acquire(timeout=SECONDS)
            bus.emit(Ping.model_construct(number=number))
        left.release()

    def churner(mine: int) -> None:
        def hear(message) -> None:
            heard[mine] += 1

        def pass_on(message, next_fn):
            heard[mine] += 1
            return next_fn(message)

        while not done.is_set():
            with bus.listen(Ping, pass_on, priority=mine), bus.observe(SubPing, hear), bus.observe(Ping, hear):
                churned[mine] += 1
                if churned[mine] == 2:
                    churning.release()
                done.wait(0.0005)  # lets the emitters at the interpreter lock

    def watcher() -> None:
        for _ in range(EMITTERS):
            left.acquire(timeout=SECONDS)
        done.set()

    in_threads(
        watcher,
        *[lambda mine=mine: emitter(mine) for mine in range(EMITTERS)],
        *[lambda mine=mine: churner(mine) for mine in range(CHURNERS)],
    )

    assert sum(listened.values()) == sum(observed.values()) == emits
    assert [numbers == list(range(mine, emits, EMITTERS)) for mine, numbers in enumerate(threads_of)] == [True] * 8
    assert min(churned) > 1, "every churner subscribed and closed more than once"
    assert sum(heard) > 0, "some of the passing subscribers were called"
    assert len(bus.subscriptions()) == 2, "and none of them stayed"


def test_owners_come_and_go_and_leave_nothing(bus: EventBus, full: bool) -> None:
    """Subscriptions, types and statistics are back at the baseline."""

    async def one_round() -> None:
        owner, shop = plugin(bus, "shop", thread_limit=1)
        shop.listen(Ping, tracer("x", []))
        shop.observe(Ping, raising(Boom()))
        shop.answer(Ask, lambda request: "shop")
        await bus.aemit(Ping())
        assert await bus.acall(Ask()) == "shop"
        assert await owner.aclose() == []

    run("asyncio", one_round)
    subscriptions, types = len(bus.subscriptions()), len(bus.types())

    async def rounds() -> None:
        for _ in range(200 if full else 40):
            await one_round()

    run("asyncio", rounds)

    assert (len(bus.subscriptions()), len(bus.types())) == (subscriptions, types)
    assert len(bus.statistics().plugins) <= 2


async def test_while_one_plugin_hangs_in_every_thread_the_others_go_on(bus: EventBus, hops: Hops) -> None:
    """Forty threads of forty hanging plugins: the forty-first still gets its own."""
    gate, seen = Gate(), []
    for n in range(40):
        _, view = plugin(bus, f"hangs{n}", thread_limit=1)
        view.observe(Ping, lambda message: gate.wait(), where=lambda message, n=n: message.number == n)
    _, fine = plugin(bus, "fine", thread_limit=1)
    fine.observe(Ping, lambda message: seen.append("fine"), where=lambda message: message.number == 99)

    with opening(gate), anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            for n in range(40):
                group.start_soon(bus.aemit, Ping(number=n))
            await gate.wait_for_arrivals(40)
            await bus.aemit(Ping(number=99))
            gate.open()

    assert seen == ["fine"]
    assert hops.count >= 41


async def test_a_hanging_thread_with_a_time_limit_ends_its_emit(bus: EventBus) -> None:
    """On the real clock, with a limit made small."""
    _, shop = plugin(bus, "shop")
    gate = Gate()
    shop.answer(Ask, lambda request: gate.wait() or "late", timeout_seconds=0.05)

    with opening(gate), anyio.fail_after(SECONDS):
        with pytest.raises(ListenerTimeoutError):
            await bus.acall(Ask())
        assert gate.arrivals == 1, "the fault happened: the thread was inside"
        assert bus.statistics().plugins["shop"].threads_abandoned == 1
