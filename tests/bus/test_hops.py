"""Worker threads: who shares a hop, who takes a permit, and how many at once."""

from __future__ import annotations

import threading
from functools import partial

import anyio
import pytest
from tests.bus.tools import (
    SECONDS,
    Ask,
    Gate,
    Hops,
    Ping,
    Pong,
    coloured,
    in_threads,
    marks,
    opening,
    plugin,
    run,
)

from plugbus import EventBus, Listener

pytestmark = marks


class Threads:
    """Listeners, handlers and observers that note the thread they run on."""

    def __init__(self) -> None:
        self.seen: dict[str, threading.Thread] = {}

    def listener(self, name: str, *, asynchronous: bool = False):
        def steps(message):
            self.seen[name] = threading.current_thread()
            return (yield message)

        return coloured(steps, asynchronous=asynchronous)

    def bottom(self, name: str, *, asynchronous: bool = False):
        def note(message) -> str:
            self.seen[name] = threading.current_thread()
            return name

        return coloured(note, asynchronous=asynchronous)

    @property
    def ids(self) -> list[int]:
        return [thread.ident or 0 for thread in self.seen.values()]


@pytest.fixture
def threads() -> Threads:
    return Threads()


async def test_async_subscribers_stay_on_the_loop(bus: EventBus, hops: Hops, threads: Threads) -> None:
    bus.listen(Ask, threads.listener("l", asynchronous=True))
    bus.answer(Ask, threads.bottom("h", asynchronous=True))
    bus.observe(Ask, threads.bottom("o", asynchronous=True))

    await bus.acall(Ask())

    assert set(threads.ids) == {threading.get_ident()}
    assert hops.count == 0


async def test_a_sync_subscriber_runs_on_a_worker_thread(bus: EventBus, hops: Hops, threads: Threads) -> None:
    bus.listen(Ping, threads.listener("l"))

    await bus.aemit(Ping())

    assert threads.ids != [threading.get_ident()]
    assert hops.count == 1


@pytest.mark.parametrize("count", [2, 5, 20])
async def test_neighbouring_sync_listeners_share_one_hop(
    bus: EventBus, hops: Hops, threads: Threads, count: int
) -> None:
    for n in range(count):
        bus.listen(Ping, threads.listener(f"l{n}"))

    await bus.aemit(Ping())

    assert hops.count == 1
    assert len(threads.ids) == count
    assert len(set(threads.ids)) == 1


async def test_sync_listeners_and_the_sync_handler_share_one_hop(bus: EventBus, hops: Hops, threads: Threads) -> None:
    for n in range(3):
        bus.listen(Ask, threads.listener(f"l{n}"))
    bus.answer(Ask, threads.bottom("h"))

    await bus.acall(Ask())

    assert hops.count == 1
    assert len(set(threads.ids)) == 1


async def test_neighbouring_sync_observers_share_one_hop(bus: EventBus, hops: Hops, threads: Threads) -> None:
    for n in range(5):
        bus.observe(Ping, threads.bottom(f"o{n}"))

    await bus.aemit(Ping())

    assert hops.count == 1
    assert len(set(threads.ids)) == 1


async def test_sync_observers_inside_share_the_hop_of_the_handler(bus: EventBus, hops: Hops, threads: Threads) -> None:
    bus.listen(Ask, threads.listener("l"))
    bus.answer(Ask, threads.bottom("h"))
    for n in range(3):
        bus.observe(Ask, threads.bottom(f"o{n}"), inside=True)

    await bus.acall(Ask())

    assert hops.count == 1
    assert len(set(threads.ids)) == 1


async def test_a_whole_sync_chain_takes_at_most_two_hops(bus: EventBus, hops: Hops, threads: Threads) -> None:
    """One for what wraps, one for what is told afterwards."""
    for n in range(3):
        bus.listen(Ask, threads.listener(f"l{n}"))
        bus.observe(Ask, threads.bottom(f"o{n}"))
    bus.answer(Ask, threads.bottom("h"))

    await bus.acall(Ask())

    assert hops.count <= 2


async def test_an_async_listener_between_sync_ones_costs_a_second_hop(
    bus: EventBus, hops: Hops, threads: Threads
) -> None:
    bus.listen(Ping, threads.listener("a"))
    bus.listen(Ping, threads.listener("b"))
    bus.listen(Ping, threads.listener("middle", asynchronous=True))
    bus.listen(Ping, threads.listener("c"))
    bus.listen(Ping, threads.listener("d"))

    await bus.aemit(Ping())

    seen = {name: thread.ident for name, thread in threads.seen.items()}
    assert seen["a"] == seen["b"]
    assert seen["c"] == seen["d"]
    assert seen["a"] != seen["c"]
    assert seen["middle"] == threading.get_ident()
    assert hops.count == 2


async def test_a_listener_with_both_colours_needs_no_hop(bus: EventBus, hops: Hops) -> None:
    class Both(Listener[Ping]):
        def handle(self, event, next_fn):
            return next_fn(event)

        async def ahandle(self, event, next_fn):
            return await next_fn(event)

    bus.listen(Ping, Both())

    await bus.aemit(Ping())

    assert hops.count == 0


async def test_sync_subscribers_of_two_plugins_do_not_share_a_hop(bus: EventBus, hops: Hops, threads: Threads) -> None:
    """Each works under its own plugin's limit, so each takes a permit of its own."""
    _, one = plugin(bus, "one")
    _, two = plugin(bus, "two")
    one.listen(Ping, threads.listener("a"))
    one.listen(Ping, threads.listener("b"))
    two.listen(Ping, threads.listener("c"))
    two.listen(Ping, threads.listener("d"))

    await bus.aemit(Ping())

    seen = {name: thread.ident for name, thread in threads.seen.items()}
    assert seen["a"] == seen["b"]
    assert seen["c"] == seen["d"]
    assert hops.count == 2


@pytest.mark.parametrize("kind", ["handler", "observer"])
async def test_run_in_caller_stays_on_the_loop(bus: EventBus, hops: Hops, threads: Threads, kind: str) -> None:
    if kind == "handler":
        bus.answer(Ask, threads.bottom("x"), run_in="caller")
    else:
        bus.answer(Ask, threads.bottom("h", asynchronous=True))
        bus.observe(Ask, threads.bottom("x"), run_in="caller")

    await bus.acall(Ask())

    assert threads.seen["x"] is threading.current_thread()
    assert hops.count == 0


async def test_run_in_thread_is_the_default_spelled_out(bus: EventBus, hops: Hops, threads: Threads) -> None:
    bus.observe(Ping, threads.bottom("o"), run_in="thread")

    await bus.aemit(Ping())

    assert threads.ids != [threading.get_ident()]
    assert hops.count == 1


async def test_without_subscribers_there_is_no_hop(bus: EventBus, hops: Hops) -> None:
    await bus.aemit(Ping())

    assert hops.count == 0


# ----------------------------------------------------------------------------------------------- permits


@pytest.mark.parametrize("depth", [1, 2, 4])
async def test_one_permit_is_enough_for_an_emit_of_any_depth(bus: EventBus, depth: int) -> None:
    """sync - async - sync - ... with one thread permit: the emit that holds it takes no second one."""
    _, shop = plugin(bus, "shop", thread_limit=1)
    for _ in range(depth):
        shop.listen(Ping, lambda message, next_fn: next_fn(message))

        async def between(message, next_fn):
            return await next_fn(message)

        shop.listen(Ping, between)
    shop.listen(Ping, lambda message, next_fn: next_fn(message))
    shop.observe(Ping, lambda message: None)

    with anyio.fail_after(SECONDS):
        for _ in range(3):
            await bus.aemit(Ping())


async def test_a_nested_emit_uses_the_permit_that_it_is_in(bus: EventBus) -> None:
    """A sync subscriber that emits again, to a subscriber of its own plugin behind an async one."""
    _, shop = plugin(bus, "shop", thread_limit=1)

    def nested(message):
        if message.number:
            bus.emit(Ping(number=message.number - 1))

    async def between(message, next_fn):
        return await next_fn(message)

    shop.listen(Ping, between)
    shop.listen(Ping, lambda message, next_fn: next_fn(message))
    shop.observe(Ping, nested)

    with anyio.fail_after(SECONDS):
        await bus.aemit(Ping(number=2))


@pytest.mark.parametrize("limit", [1, 3])
async def test_a_plugin_never_occupies_more_threads_than_its_limit(bus: EventBus, limit: int) -> None:
    _, shop = plugin(bus, "shop", thread_limit=limit)
    gate, lock = Gate(), threading.Lock()
    running, most = [], []

    def slow(message):
        with lock:
            running.append(message)
            most.append(len(running))
        gate.wait()
        with lock:
            running.remove(message)

    shop.observe(Ping, slow)

    with opening(gate), anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            for n in range(limit * 3):
                group.start_soon(bus.aemit, Ping(number=n))
            await gate.wait_for_arrivals(limit)
            await anyio.wait_all_tasks_blocked()
            assert gate.arrivals == limit, "the others wait for a permit"
            gate.open()

    assert gate.arrivals == limit * 3
    assert max(most) <= limit


async def test_one_plugin_at_its_limit_leaves_the_others_theirs(bus: EventBus) -> None:
    _, hog = plugin(bus, "hog", thread_limit=1)
    _, quick = plugin(bus, "quick", thread_limit=1)
    gate, seen = Gate(), []
    hog.observe(Ping, lambda message: gate.wait(), where=lambda message: message.number == 0)
    quick.observe(Ping, lambda message: seen.append(message.number), where=lambda message: message.number == 1)

    with opening(gate), anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.aemit, Ping(number=0))
            await gate.wait_for_arrivals()
            await bus.aemit(Ping(number=1))
            gate.open()

    assert seen == [1]


@pytest.mark.parametrize("order", [("asyncio", "trio"), ("trio", "asyncio"), ("asyncio", "asyncio"), ("trio", "trio")])
def test_one_bus_serves_one_loop_after_another(bus: EventBus, order: tuple[str, str]) -> None:
    """A limiter made under one loop must not be used under the next."""
    seen: list[int] = []
    bus.listen(Ping, lambda message, next_fn: next_fn(message))
    bus.observe(Ping, lambda message: seen.append(message.number))

    for number, backend in enumerate(order):
        run(backend, bus.aemit, Ping(number=number))

    assert seen == [0, 1]


def test_one_bus_serves_two_loops_at_once(bus: EventBus) -> None:
    gate, lock = Gate(), threading.Lock()
    seen: list[int] = []

    def slow(message):
        gate.wait()
        with lock:
            seen.append(message.number)

    async def between(message, next_fn):
        return await next_fn(message)

    bus.listen(Ping, between)
    bus.observe(Ping, slow)

    with opening(gate):
        in_threads(
            partial(run, "asyncio", bus.aemit, Ping(number=1)),
            partial(run, "trio", bus.aemit, Ping(number=2)),
            lambda: (gate.wait_for_arrivals_sync(2), gate.open()),
        )

    assert sorted(seen) == [1, 2]


async def test_emits_that_cross_two_plugins_in_opposite_order_do_not_deadlock(bus: EventBus) -> None:
    """Each holds one plugin's only permit and needs the other's: hold and wait would be for ever."""
    _, one = plugin(bus, "one", thread_limit=1)
    _, two = plugin(bus, "two", thread_limit=1)
    both = threading.Barrier(2)
    seen: list[str] = []

    def holds(message, next_fn):
        both.wait(SECONDS)  # both emits hold their first permit, before either asks for its second
        return next_fn(message)

    async def between(message, next_fn):
        return await next_fn(message)

    for kind, outer, inner in ((Ping, one, two), (Pong, two, one)):
        outer.listen(kind, holds)
        outer.listen(kind, between)
        inner.listen(kind, lambda message, next_fn: seen.append(type(message).__name__) or next_fn(message))

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.aemit, Ping())
            group.start_soon(bus.aemit, Pong())

    assert sorted(seen) == ["Ping", "Pong"]


@pytest.mark.parametrize("kind", ["listener", "observer", "inside"])
async def test_what_a_plugin_filters_out_needs_none_of_its_permits(bus: EventBus, hops: Hops, kind: str) -> None:
    """Or a plugin at its limit would hold up every event of the service, wanted or not."""
    _, shop = plugin(bus, "shop", thread_limit=1)
    never = lambda message: False
    if kind == "listener":
        shop.listen(Ping, lambda message, next_fn: next_fn(message), where=never)
    else:
        shop.observe(Ping, lambda message: None, where=never, inside=kind == "inside")

    await bus.aemit(Ping())

    assert hops.count == 0
