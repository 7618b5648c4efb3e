"""Subscribe and close while emitting, from any thread: an emit runs the chain it started with."""

from __future__ import annotations

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
