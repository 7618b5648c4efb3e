"""A background queue is bounded: what its emitters get when it is full, and that nobody waits for ever."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from tests.bus.tools import SECONDS, HandClock, failures, plugin, virtual_time

from plugbus import BackgroundFullError, Event, EventBus, ListenerFailed, NotDeliveredError, Retry

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(SECONDS * 2)]


class Job(Event, name="overflow.job", lane="lane"):
    """Work in a lane."""

    lane: str = "a"
    number: int = 0


class Next(Event, name="overflow.next"):
    """What the work leads to."""

    number: int = 0


class Held:
    """An async observer that holds everything until it is let go."""

    def __init__(self) -> None:
        self.let_go = anyio.Event()
        self.began: list[int] = []
        self.ended: list[int] = []

    async def observer(self, job: Any) -> None:
        self.began.append(job.number)
        await self.let_go.wait()
        self.ended.append(job.number)


async def fill(bus: EventBus, *numbers: int, held: Held) -> None:
    """Emit jobs, the first of which is under way when this returns."""
    for number in numbers:
        await bus.aemit(Job(number=number))
        if not held.began:
            await anyio.wait_all_tasks_blocked()
            assert held.began == [numbers[0]]


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


def lost(failed: list[ListenerFailed]) -> list[tuple[int, int]]:
    assert all(isinstance(failure.error, NotDeliveredError) for failure in failed)
    return [(failure.event.number, failure.attempt) for failure in failed]  # type: ignore[attr-defined]


# ---------------------------------------------------------------------------------------------- dropping


async def test_drop_newest_drops_what_comes_and_tells(bus: EventBus) -> None:
    held, failed = Held(), failures(bus)
    async with bus.background():
        bus.observe(Job, held.observer, background=True, max_queue=2, overflow="drop_newest", name="slow")
        await fill(bus, 1, 2, 3, 4, held=held)
        bus.emit(Job(number=5))

        assert lost(failed) == [(4, 0), (5, 0)]
        assert bus.statistics().plugins["host"].background["slow"].dropped == 2
        held.let_go.set()
    assert held.ended == [1, 2, 3]


async def test_drop_oldest_drops_what_has_waited_longest_and_tells(bus: EventBus) -> None:
    """Of those that have not begun; the event that is told of is the one that was dropped."""
    held, failed = Held(), failures(bus)
    async with bus.background():
        bus.observe(Job, held.observer, background=True, max_queue=2, overflow="drop_oldest", concurrency=1)
        await fill(bus, 1, 2, 3, held=held)
        await bus.aemit(Job(lane="b", number=4))
        await bus.aemit(Job(lane="b", number=5))
        await bus.aemit(Job(lane="c", number=6))

        assert lost(failed) == [(2, 0), (3, 0), (4, 0)]
        held.let_go.set()
    assert held.ended == [1, 5, 6]


async def test_drop_oldest_spares_what_has_begun() -> None:
    """Where all that wait are between two attempts, it is the new one that is dropped."""
    parked, go_on = anyio.Event(), anyio.Event()
    tries: list[int] = []

    class Stopped(HandClock):
        """A clock that waits until it is told."""

        async def sleep(self, seconds: float) -> None:
            parked.set()
            await go_on.wait()

    bus = EventBus(clock=Stopped())
    failed = failures(bus)

    async def observer(job: Job) -> None:
        tries.append(job.number)
        if len(tries) == 1:
            raise OSError

    async with bus.background():
        options: Any = {"max_queue": 1, "overflow": "drop_oldest", "retry": Retry(delay_seconds=1)}
        bus.observe(Job, observer, background=True, **options)
        await bus.aemit(Job(number=1))
        await parked.wait()
        await bus.aemit(Job(number=2))
        go_on.set()

    assert (tries, lost(failed)) == ([1, 1], [(2, 0)])


# ------------------------------------------------------------------------------------------------- error


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_error_is_raised_before_anything_ran(bus: EventBus, *, asynchronous: bool) -> None:
    held, passed = Held(), []
    async with bus.background():
        bus.listen(Job, lambda job, next_fn: passed.append(job.number) or next_fn(job))
        bus.observe(Job, held.observer, background=True, max_queue=1, overflow="error", name="slow")
        await fill(bus, 1, 2, held=held)

        with pytest.raises(BackgroundFullError) as caught:
            if asynchronous:
                await bus.aemit(Job(number=3))
            else:
                bus.emit(Job(number=3))
        held.let_go.set()

    error = caught.value
    assert (error.event, error.subscriber, error.plugin, error.max_queue) == ("overflow.job", "slow", "host", 1)
    assert (passed, held.ended) == ([1, 2], [1, 2])


async def test_error_is_for_those_that_the_observer_wants(bus: EventBus) -> None:
    """A filter that says no, or fails, refuses nobody."""
    held, failed = Held(), failures(bus)

    def where(job: Job) -> bool:
        return 10 / job.number > 1

    async with bus.background():
        bus.observe(Job, held.observer, background=True, max_queue=1, overflow="error", where=where)
        await fill(bus, 1, 2, held=held)
        assert await bus.aemit(Job(number=20)) == Job(number=20)
        assert await bus.aemit(Job(number=0)) == Job(number=0)
        held.let_go.set()

    assert held.ended == [1, 2]
    assert [type(failure.error) for failure in failed] == [ZeroDivisionError]


async def test_what_was_admitted_is_accepted_although_it_is_full_by_now(bus: EventBus) -> None:
    """Its chain has succeeded, so an error would lie; the bound gives by as many emits as are under way."""
    held, entered, go_on = Held(), anyio.Event(), anyio.Event()

    async def slow(job: Job, next_fn: Any) -> Any:
        if job.number == 9:
            entered.set()
            await go_on.wait()
        return await next_fn(job)

    async with bus.background(), anyio.create_task_group() as group:
        bus.listen(Job, slow)
        bus.observe(Job, held.observer, background=True, max_queue=1, overflow="error")
        group.start_soon(bus.aemit, Job(number=9))
        await entered.wait()
        await fill(bus, 1, 2, held=held)
        go_on.set()
        await anyio.wait_all_tasks_blocked()
        held.let_go.set()

    assert held.ended == [1, 2, 9]


# -------------------------------------------------------------------------------------------------- wait


async def test_aemit_waits_for_room_and_keeps_order(bus: EventBus) -> None:
    held, emitted = Held(), []

    async def emit(number: int) -> None:
        await bus.aemit(Job(number=number))
        emitted.append(number)

    async with bus.background(), anyio.create_task_group() as group:
        bus.observe(Job, held.observer, background=True, max_queue=1)
        await fill(bus, 1, 2, held=held)
        for number in (3, 4, 5):
            group.start_soon(emit, number)
            await anyio.wait_all_tasks_blocked()
        assert emitted == []
        held.let_go.set()

    assert (sorted(emitted), held.ended) == ([3, 4, 5], [1, 2, 3, 4, 5])


@pytest.mark.parametrize("known", [True, False])
async def test_a_sync_emit_in_a_thread_waits_for_room(bus: EventBus, *, known: bool) -> None:
    """Whether the loop knows the thread or not."""
    held = Held()
    thread = threading.Thread(target=bus.emit, args=(Job(number=3),))
    async with bus.background(), anyio.create_task_group() as group:
        subscription = bus.observe(Job, held.observer, background=True, max_queue=1)
        await fill(bus, 1, 2, held=held)
        if known:
            group.start_soon(anyio.to_thread.run_sync, bus.emit, Job(number=3))
        else:
            thread.start()
        assert subscription.background is not None
        while not subscription.background[0]._waiters:
            await anyio.to_thread.run_sync(lambda: None)
        held.let_go.set()
    if not known:
        await anyio.to_thread.run_sync(thread.join)

    assert held.ended == [1, 2, 3]


@pytest.mark.parametrize("in_thread", [True, False])
async def test_who_waits_for_room_can_be_cancelled(bus: EventBus, *, in_thread: bool) -> None:
    """In a worker thread, too; the event is not accepted then, and nobody's place is lost."""
    held = Held()

    async def emit() -> None:
        if in_thread:
            await anyio.to_thread.run_sync(bus.emit, Job(number=3))
        else:
            await bus.aemit(Job(number=3))

    async with bus.background():
        subscription = bus.observe(Job, held.observer, background=True, max_queue=1)
        await fill(bus, 1, 2, held=held)
        assert subscription.background is not None
        async with anyio.create_task_group() as group:
            group.start_soon(emit)
            while not subscription.background[0]._waiters:
                await anyio.to_thread.run_sync(lambda: None)
            group.cancel_scope.cancel()
        assert not subscription.background[0]._waiters
        held.let_go.set()

    assert held.ended == [1, 2]


async def test_a_sync_emit_on_the_loop_is_refused_when_it_is_full(bus: EventBus) -> None:
    """It would wait for the loop that it stops; nothing of it has run."""
    held, passed = Held(), []
    async with bus.background():
        bus.listen(Job, lambda job, next_fn: passed.append(job.number) or next_fn(job))
        bus.observe(Job, held.observer, background=True, max_queue=1)
        await fill(bus, 1, 2, held=held)

        with pytest.raises(BackgroundFullError, match="aemit"):
            bus.emit(Job(number=3))
        held.let_go.set()

    assert (passed, held.ended) == ([1, 2], [1, 2])


async def test_an_observer_that_emits_to_itself_is_refused_before_it_waits_for_itself(bus: EventBus) -> None:
    """Its own attempt fails, and is made again; by then there may be room."""
    refused: list[str] = []

    async def crawl(job: Job) -> None:
        if job.number < 2:
            for _ in range(3):
                try:
                    await bus.aemit(Job(number=job.number + 1))
                except BackgroundFullError as error:
                    refused.append(error.reason)

    with anyio.fail_after(SECONDS):
        async with bus.background():
            bus.observe(Job, crawl, background=True, max_queue=2, concurrency=1)
            await bus.aemit(Job(number=0))

    assert refused
    assert set(refused) == {"all that could make room wait for room themselves"}


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_two_observers_that_fill_each_other_do_not_wait_for_ever(bus: EventBus, *, asynchronous: bool) -> None:
    """One of them is refused, and the other goes on."""
    refused, taken = [], []

    async def forward(job: Job) -> None:
        for number in range(4):
            try:
                await bus.aemit(Next(number=number))
            except BackgroundFullError:
                refused.append(number)

    def sync_back(event: Next) -> None:
        taken.append(event.number)
        try:
            bus.emit(Job(number=event.number)) if len(taken) < 50 else None
        except BackgroundFullError:
            refused.append(event.number)

    async def back(event: Next) -> None:
        taken.append(event.number)
        try:
            await bus.aemit(Job(number=event.number)) if len(taken) < 50 else None
        except BackgroundFullError:
            refused.append(event.number)

    with anyio.fail_after(SECONDS):
        async with bus.background(drain_seconds=SECONDS):
            bus.observe(Job, forward, background=True, max_queue=1, concurrency=1)
            bus.observe(Next, back if asynchronous else sync_back, background=True, max_queue=1, concurrency=1)
            await bus.aemit(Job())

    assert refused
    assert len(taken) >= 50


async def test_a_chain_of_observers_waits_and_loses_nothing(bus: EventBus) -> None:
    """The slow one at the end holds up the quick one before it; nobody is refused."""
    taken, failed = [], failures(bus)

    async def quick(job: Job) -> None:
        for number in range(10):
            await bus.aemit(Next(number=job.number * 10 + number))

    async def slow(event: Next) -> None:
        await anyio.lowlevel.checkpoint()
        taken.append(event.number)

    async with bus.background():
        bus.observe(Job, quick, background=True, max_queue=1)
        bus.observe(Next, slow, background=True, max_queue=1)
        for number in range(10):
            await bus.aemit(Job(number=number))

    assert (taken, failed) == (list(range(100)), [])


@pytest.mark.parametrize("nested", [True, False])
async def test_emitters_that_hold_all_threads_of_a_plugin_do_not_keep_it_from_delivering(
    bus: EventBus, *, nested: bool
) -> None:
    """A delivery, and what it emits, waits for no permit that somebody holds who waits for room."""
    owner, shop = plugin(bus, "shop", thread_limit=1)
    taken: list[int] = []

    def emits(event: Next) -> None:
        for number in range(5):
            shop.emit(Job(number=number))

    async def takes_in_a_nested_hop(job: Job) -> None:
        await shop.aemit(f"job {job.number}")

    with anyio.fail_after(SECONDS):
        async with bus.background(drain_seconds=SECONDS):
            shop.observe(Next, emits)
            shop.observe(str, lambda text: taken.append(int(text[4:])))
            takes: Any = takes_in_a_nested_hop if nested else lambda job: taken.append(job.number)
            shop.observe(Job, takes, background=True, max_queue=1, concurrency=1)
            await bus.aemit(Next())

    assert taken == list(range(5))
    assert owner.threads.abandoned == 0


@virtual_time
@pytest.mark.parametrize("concurrency", [1, 2, 8])
@pytest.mark.parametrize("count", [2, 5])
async def test_two_observers_that_emit_each_other_lose_and_wait_for_nothing(count: int, concurrency: int) -> None:
    """Each gives for each event one: there is always a place for what a delivery leads to, at once and in any lane."""
    bus, failed, ended = EventBus(), [], []

    async def note(failure: ListenerFailed) -> None:
        failed.append(failure)

    async def forward(job: Job) -> None:
        await bus.aemit(Next(number=job.number + 1)) if job.number < 9 else ended.append(job)

    async def back(event: Next) -> None:
        await bus.aemit(Job(number=event.number + 1)) if event.number < 9 else ended.append(event)

    began = anyio.current_time()
    async with bus.background(drain_seconds=1000):
        options: Any = {"max_queue": 1, "concurrency": concurrency, "retry": Retry(delay_seconds=10, jitter=False)}
        bus.observe(ListenerFailed, note)
        bus.observe(Job, forward, background=True, **options)
        bus.observe(Next, back, background=True, **options)
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(bus.aemit, Job())
                group.start_soon(bus.aemit, Next())

    assert (len(ended), failed, anyio.current_time() - began) == (2 * count, [], 0)


@virtual_time
async def test_what_a_circle_has_over_the_bound_is_bounded_too() -> None:
    """As many more as run at once; a circle that multiplies is refused then, and its retries come to an end."""
    bus, most, refused = EventBus(), [], []

    async def note(failure: ListenerFailed) -> None:
        refused.append(type(failure.error))

    async def multiply(job: Job) -> None:
        statistics = bus.statistics().plugins["host"].background["multiply"]
        most.append(statistics.depth)
        if len(most) < 100:
            for _ in range(3):
                await bus.aemit(Job(number=job.number + 1))

    async with bus.background(drain_seconds=1000):
        options: Any = {"max_queue": 2, "concurrency": 3, "retry": Retry(attempts=2, delay_seconds=1)}
        bus.observe(ListenerFailed, note)
        bus.observe(Job, multiply, background=True, name="multiply", **options)
        await bus.aemit(Job())

    assert 2 < max(most) <= 2 + 3
    assert set(refused) == {BackgroundFullError}


async def test_what_waits_for_what_is_found_out_at_once_among_many_queues() -> None:
    """Whether a wait would close a circle is asked under the lock of all: it looks at queues, and not at each path."""
    hops = [type(Job)(f"Hop{number}", (Job,), {}, name=f"overflow.hop{number}") for number in range(12)]
    bus, gate, entered, delivered = EventBus(), anyio.Event(), anyio.Event(), []
    running = 0

    def forwards(number: int) -> Any:
        async def forward(job: Job) -> None:
            nonlocal running
            if job.number == 0:
                running += 1
                entered.set() if running == len(hops) * 8 else None
                await gate.wait()
                where = (number * 7 + int(job.lane) * 5) % len(hops)
                await bus.aemit(hops[where](lane=f"{number}/{job.lane}", number=1))
            delivered.append(job)

        return forward

    with anyio.fail_after(SECONDS):
        async with bus.background(drain_seconds=1000):
            for number, hop in enumerate(hops):
                bus.observe(hop, forwards(number), background=True, max_queue=1, concurrency=8)
                for lane in range(8):
                    await bus.aemit(hop(lane=str(lane)))
            await entered.wait()
            for hop in hops:
                await bus.aemit(hop(lane="full", number=1))
            gate.set()

    assert len(delivered) == len(hops) * (8 + 8 + 1)
