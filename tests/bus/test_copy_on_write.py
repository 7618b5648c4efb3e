"""Subscribe and close while emitting, from any thread: an emit runs the chain it started with."""

from __future__ import annotations

import collections
import threading

import anyio
import pytest
from tests.bus.tools import (
    SECONDS,
    Ask,
    Gate,
    Keyed,
    Ping,
    Pong,
    SubPing,
    World,
    in_threads,
    in_worlds,
    marks,
    noting,
    opening,
    sync_or_async,
    tracer,
)

from plugbus import DuplicateHandlerError, EventBus

pytestmark = marks

EMITTERS, CHURNERS, EMITS = 8, 8, 100_000


def test_subscribing_and_closing_from_eight_threads_while_eight_emit(bus: EventBus) -> None:
    """No exception, and exactly one call each for those who were there all the time."""
    listened, observed = collections.Counter(), collections.Counter()
    threads_of = [[] for _ in range(EMITTERS)]
    churned, heard = [0] * CHURNERS, [0] * CHURNERS
    left = threading.Semaphore(0)
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
        for number in range(mine, EMITS, EMITTERS):
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

    assert sum(listened.values()) == sum(observed.values()) == EMITS
    assert [numbers == list(range(mine, EMITS, EMITTERS)) for mine, numbers in enumerate(threads_of)] == [True] * 8
    assert min(churned) > 1, "every churner subscribed and closed more than once"
    assert sum(heard) > 0, "some of the passing subscribers were called"
    assert len(bus.subscriptions()) == 2, "and none of them stayed"


def test_keyed_subscriptions_come_and_go_under_load(bus: EventBus) -> None:
    seen: list[int] = []
    bus.observe(Keyed, lambda message: seen.append(message.number), key="berlin")

    def emitter() -> None:
        for number in range(2_000):
            bus.emit(Keyed(shop="berlin", number=number))

    def churner(mine: int) -> None:
        for number in range(300):
            bus.observe(Keyed, lambda message: None, key=f"shop-{mine}-{number % 7}").close()

    in_threads(emitter, emitter, *[lambda mine=mine: churner(mine) for mine in range(4)])

    assert sorted(seen) == sorted([*range(2_000)] * 2)


@in_worlds
@sync_or_async
def test_a_subscriber_may_close_itself(bus: EventBus, world: World, asynchronous: bool) -> None:
    trace: list[str] = []

    def once(message):
        trace.append("once")
        sub.close()

    async def aonce(message):
        once(message)

    sub = bus.observe(Ping, aonce if asynchronous else once)
    bus.observe(Ping, noting("other", trace))

    world.emit(bus, Ping())
    world.emit(bus, Ping())

    assert trace == ["once", "other", "other"]


@in_worlds
def test_a_listener_may_close_itself_and_others(bus: EventBus, world: World) -> None:
    """The emit that is under way runs its chain to the end."""
    trace: list[str] = []

    def closes(message, next_fn):
        for sub in subs:
            sub.close()
        return next_fn(message)

    subs = [
        bus.listen(Ping, closes),
        bus.listen(Ping, tracer("below", trace)),
        bus.observe(Ping, noting("observer", trace)),
    ]

    world.emit(bus, Ping())
    world.emit(bus, Ping())

    assert trace == [">below", "<below", "observer"]


@in_worlds
def test_a_subscriber_that_comes_during_an_emit_hears_the_next_one(bus: EventBus, world: World) -> None:
    trace: list[str] = []

    def subscribes(message, next_fn):
        bus.listen(Ping, tracer("new", trace))
        bus.observe(Ping, noting("new observer", trace))
        return next_fn(message)

    sub = bus.listen(Ping, subscribes)
    world.emit(bus, Ping())
    assert trace == []

    sub.close()
    world.emit(bus, Ping())
    assert trace == [">new", "<new", "new observer"]


@in_worlds
def test_a_handler_that_comes_during_a_call_answers_the_next_one(bus: EventBus, world: World) -> None:
    answers = [bus.answer(Ask, lambda request: "first")]

    def swaps(request, next_fn):
        answers.pop().close()
        answers.append(bus.answer(Ask, lambda request: "second"))
        return next_fn(request)

    bus.listen(Ask, swaps)

    assert world.call(bus, Ask()) == "first"
    assert world.call(bus, Ask()) == "second"


async def test_an_emit_that_waits_runs_the_chain_it_started_with(bus: EventBus) -> None:
    trace: list[str] = []
    entered, leave = anyio.Event(), anyio.Event()

    async def waits(message, next_fn):
        entered.set()
        await leave.wait()
        return await next_fn(message)

    bus.listen(Ping, waits)
    old = bus.listen(Ping, tracer("old", trace))

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.aemit, Ping())
            await entered.wait()
            old.close()
            bus.listen(Ping, tracer("new", trace))
            leave.set()

    assert trace == [">old", "<old"]


def test_closing_from_another_thread_does_not_wait_for_the_emit(bus: EventBus) -> None:
    gate = Gate()
    sub = bus.observe(Ping, lambda message: gate.wait())
    emitting = threading.Thread(target=bus.emit, args=(Ping(),))

    with opening(gate):
        emitting.start()
        gate.wait_for_arrivals_sync()
        sub.close()
        bus.observe(Pong, lambda message: None)
        bus.emit(Ping())
    emitting.join(SECONDS)

    assert gate.arrivals == 1


def test_subscribing_from_many_threads_loses_nobody(bus: EventBus) -> None:
    def many(mine: int) -> None:
        for number in range(50):
            bus.observe(Ping, lambda message: None, name=f"t{mine}-{number}")

    in_threads(*[lambda mine=mine: many(mine) for mine in range(8)])

    assert len(bus.subscriptions()) == 400


def test_closing_one_subscription_from_many_threads_closes_it_once(bus: EventBus) -> None:
    trace: list[str] = []
    sub = bus.observe(Ping, noting("closed", trace))
    bus.observe(Ping, noting("stays", trace))

    in_threads(*[sub.close] * 8)
    bus.emit(Ping())

    assert trace == ["stays"]


@pytest.mark.parametrize("round_", range(5))
def test_a_second_handler_loses_the_race_and_one_stays(bus: EventBus, round_: int) -> None:
    results: list[str] = []

    def register() -> None:
        try:
            bus.answer(Ask, lambda request: "answer")
        except DuplicateHandlerError:
            results.append("refused")
        else:
            results.append("registered")

    in_threads(*[register] * 8)

    assert sorted(results) == ["refused"] * 7 + ["registered"]
    assert bus.call(Ask()) == "answer"
