"""Background observers: the emitter goes on, lanes keep order and run side by side, attempts are retried."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from tests.bus.tools import SECONDS, Gate, HandClock, Ping, opening, virtual_time

from plugbus import (
    Breaker,
    BreakerOpenError,
    Event,
    EventBus,
    ListenerFailed,
    ListenerTimeoutError,
    NextFn,
    Principal,
    Retry,
    SubscriptionError,
    Veto,
    acting_as,
    current,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(SECONDS * 2)]


class Job(Event, name="background.job", lane="lane"):
    """Work in a lane."""

    lane: Any = "a"
    number: int = 0


class Opened(Event, name="background.opened", key="repo"):
    """An event whose key is its lane."""

    repo: str
    number: int = 0


def failures(bus: EventBus) -> list[ListenerFailed]:
    """A list that fills with failures, without a thread: on virtual time, the clock would run on meanwhile."""
    seen: list[ListenerFailed] = []
    bus.observe(ListenerFailed, seen.append, run_in="caller")
    return seen


class Doors:
    """An async observer that holds each delivery until its door is opened; notes who began, and how many at once."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.ended: list[int] = []
        self.most = 0
        self._doors: dict[int, anyio.Event] = {}
        self._changed = anyio.Event()

    def door(self, number: int) -> anyio.Event:
        return self._doors.setdefault(number, anyio.Event())

    async def observer(self, job: Any) -> None:
        self.began.append(job.number)
        self.most = max(self.most, len(self.began) - len(self.ended))
        self._tell()
        await self.door(job.number).wait()
        self.ended.append(job.number)
        self._tell()

    def open(self, *numbers: int) -> None:
        for number in numbers:
            self.door(number).set()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, reached: Callable[[], bool]) -> None:
        with anyio.fail_after(SECONDS):
            while not reached():
                await self._changed.wait()


def sent(*jobs: tuple[str, int]) -> list[Job]:
    return [Job(lane=lane, number=number) for lane, number in jobs]


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


# ------------------------------------------------------------------------------------------- not waiting


async def test_the_emitter_does_not_wait(bus: EventBus) -> None:
    """The emit is over before the observer has begun."""
    doors = Doors()
    async with bus.background():
        bus.observe(Job, doors.observer, background=True)

        await bus.aemit(Job(number=1))

        assert doors.ended == []
        doors.open(1)
    assert doors.ended == [1]


async def test_a_sync_emit_in_any_thread_hands_in(bus: EventBus) -> None:
    """On the loop's thread, in a worker thread, in a thread that no loop knows."""
    seen: list[int] = []
    async with bus.background():
        bus.observe(Job, lambda job: seen.append(job.number), background=True)

        bus.emit(Job(number=1))
        await anyio.to_thread.run_sync(bus.emit, Job(number=2))
        foreign = threading.Thread(target=bus.emit, args=(Job(number=3),))
        foreign.start()
        await anyio.to_thread.run_sync(foreign.join)

    assert seen == [1, 2, 3]


async def test_a_sync_observer_runs_in_a_worker_thread(bus: EventBus) -> None:
    threads: list[threading.Thread] = []
    async with bus.background():
        bus.observe(Job, lambda _: threads.append(threading.current_thread()), background=True)
        bus.observe(Job, lambda _: threads.append(threading.current_thread()), background=True, run_in="caller")
        await bus.aemit(Job())

    assert sorted(thread is threading.current_thread() for thread in threads) == [False, True]


async def test_an_event_whose_chain_failed_is_not_delivered(bus: EventBus) -> None:
    """As every observer, it is told once the chain has succeeded, of what came to its bottom."""
    seen: list[int] = []

    def refuse_odd(job: Job, next_fn: NextFn[Job]) -> Job:
        next_fn(job)
        if job.number % 2:
            raise Veto("odd")
        return job

    async with bus.background():
        bus.listen(Job, refuse_odd)
        bus.observe(Job, lambda job: seen.append(job.number), background=True)
        for number in range(4):
            try:
                await bus.aemit(Job(number=number))
            except Veto:
                continue

    assert seen == [0, 2]


async def test_filters_are_asked_by_the_emit(bus: EventBus) -> None:
    asked: list[int] = []
    seen: list[int] = []

    def where(opened: Opened) -> bool:
        asked.append(opened.number)
        return opened.number > 1

    async with bus.background():
        bus.observe(Opened, lambda it: seen.append(it.number), background=True, where=where, key="x")
        for number, repo in enumerate("xyxx"):
            await bus.aemit(Opened(repo=repo, number=number))
        assert asked == [0, 2, 3]
    assert seen == [2, 3]


async def test_a_closed_subscription_still_gets_what_it_accepted(bus: EventBus) -> None:
    doors = Doors()
    doors.open(1, 2, 3)
    async with bus.background():
        subscription = bus.observe(Job, doors.observer, background=True)
        for job in sent(("a", 1), ("a", 2)):
            await bus.aemit(job)
        subscription.close()
        await bus.aemit(Job(number=3))

    assert doors.ended == [1, 2]


async def test_a_sticky_event_is_delivered_in_the_background_too(bus: EventBus) -> None:
    class Ready(Event, name="background.ready", sticky=True):
        """Replayed."""

    seen: list[Any] = []
    await bus.aemit(Ready())
    async with bus.background():
        bus.observe(Ready, seen.append, background=True)

    assert seen == [Ready()]


# ------------------------------------------------------------------------------------------------- lanes


async def test_a_lane_keeps_order_while_others_go_on(bus: EventBus) -> None:
    doors = Doors()
    async with bus.background():
        bus.observe(Job, doors.observer, background=True)
        for job in sent(("a", 1), ("a", 2), ("b", 3), ("c", 4)):
            await bus.aemit(job)

        await doors.until(lambda: sorted(doors.began) == [1, 3, 4])
        doors.open(3, 4)
        await doors.until(lambda: sorted(doors.ended) == [3, 4])
        assert 2 not in doors.began
        doors.open(1, 2)

    assert doors.began.index(1) < doors.began.index(2)


async def test_no_more_run_at_once_than_allowed(bus: EventBus) -> None:
    doors = Doors()
    async with bus.background():
        bus.observe(Job, doors.observer, background=True, concurrency=2)
        for number in range(10):
            await bus.aemit(Job(lane=number, number=number))

        await doors.until(lambda: len(doors.began) == 2)
        await anyio.wait_all_tasks_blocked()
        assert bus.statistics().plugins["host"].background["Doors.observer"][:2] == (8, 2)
        doors.open(*range(10))

    assert (doors.most, sorted(doors.ended)) == (2, list(range(10)))


@pytest.mark.parametrize("events", [[Ping(number=n) for n in range(5)], [Job(lane=[n], number=n) for n in range(5)]])
async def test_without_a_lane_or_with_one_that_cannot_be_told_apart_all_keep_order(
    bus: EventBus, events: list[Any]
) -> None:
    doors = Doors()
    doors.open(*range(5))
    async with bus.background():
        bus.observe(type(events[0]), doors.observer, background=True)
        for each in events:
            await bus.aemit(each)

    assert (doors.most, doors.began) == (1, list(range(5)))


async def test_the_lane_is_the_key_unless_declared_and_shared_by_all_types(bus: EventBus) -> None:
    """What an observer hears of one repository comes in order, whatever its type."""
    doors = Doors()
    async with bus.background():
        bus.observe([Opened, Job], doors.observer, background=True)
        await bus.aemit(Opened(repo="x", number=1))
        await bus.aemit(Job(lane="x", number=2))
        await bus.aemit(Opened(repo="y", number=3))

        await doors.until(lambda: sorted(doors.began) == [1, 3])
        doors.open(1, 2, 3)

    assert sorted(doors.ended) == [1, 2, 3]


async def test_idle_lanes_cost_nothing(bus: EventBus, *, full: bool) -> None:
    """A hundred thousand lane values leave nothing behind, nor do the fewer of a quick run."""
    lanes = 100_000 if full else 5_000
    async with bus.background():
        subscription = bus.observe(Job, lambda _: None, background=True, run_in="caller", max_queue=100)
        for number in range(lanes):
            await bus.aemit(Job.model_construct(lane=number))
    assert subscription.background is not None
    queue = subscription.background[0]

    assert queue.statistics().delivered == lanes
    kept = (queue._lanes, queue._ready, queue._waiting, queue._due, queue._waiters, queue.running, queue.parked)
    assert [len(each) for each in kept] == [0] * 7


# ----------------------------------------------------------------------------------------------- retries


class Failing:
    """An observer that fails a number of times for each event, and then takes it."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.times, self.error = times, error or OSError("peer gone")
        self.tries: list[tuple[int, float]] = []
        self.took: list[int] = []

    async def observer(self, job: Job) -> None:
        self.tries.append((job.number, anyio.current_time()))
        if sum(number == job.number for number, _ in self.tries) <= self.times:
            raise self.error
        self.took.append(job.number)


@virtual_time
async def test_an_attempt_that_failed_is_made_again_after_its_delay(bus: EventBus) -> None:
    failing, failed = Failing(2), failures(bus)
    start = anyio.current_time()
    async with bus.background(drain_seconds=100):
        bus.observe(Job, failing.observer, background=True, retry=Retry(attempts=3, delay_seconds=10, jitter=False))
        await bus.aemit(Job(number=1))

    assert [(number, round(time - start)) for number, time in failing.tries] == [(1, 0), (1, 10), (1, 30)]
    assert (failing.took, failed) == ([1], [])


@virtual_time
async def test_the_last_attempt_that_fails_is_announced_with_its_number(bus: EventBus) -> None:
    failing, failed = Failing(9), failures(bus)
    async with bus.background(drain_seconds=100):
        bus.observe(Job, failing.observer, background=True, retry=Retry(attempts=3), name="bad")
        await bus.aemit(Job(number=1))
        bus.observe(Job, failing.observer, background=True, name="once")

        await bus.aemit(Job(number=2))

    assert sorted((f.subscriber, f.event.number, f.attempt) for f in failed) == [  # type: ignore[attr-defined]
        ("bad", 1, 3), ("bad", 2, 3), ("once", 2, 1),
    ]  # fmt: skip
    assert {type(failure.error) for failure in failed} == {OSError}
    host = bus.statistics().plugins["host"]
    assert (host.failures, host.background["bad"].failed, host.background["bad"].retried) == (3, 2, 4)


@virtual_time
async def test_between_two_attempts_the_lane_waits_and_others_run(bus: EventBus) -> None:
    """Even where one runs at a time: who waits for its next attempt is not running."""
    done: list[tuple[str, int]] = []

    async def observer(job: Job) -> None:
        if job.number == 1 and ("failed", 1) not in done:
            done.append(("failed", 1))
            raise OSError
        done.append((job.lane, job.number))

    async with bus.background(drain_seconds=100):
        bus.observe(Job, observer, background=True, concurrency=1, retry=Retry(delay_seconds=5))
        for job in sent(("a", 1), ("a", 2), ("b", 3)):
            await bus.aemit(job)

    assert done == [("failed", 1), ("b", 3), ("a", 1), ("a", 2)]


async def test_the_delay_is_waited_for_on_the_clock_of_the_bus() -> None:
    clock, failing = HandClock(), Failing(1)
    bus = EventBus(clock=clock)
    async with bus.background():
        retry = Retry(delay_seconds=3600, max_delay_seconds=3600, jitter=False)
        bus.observe(Job, failing.observer, background=True, retry=retry)
        await bus.aemit(Job(number=1))

    assert (failing.took, clock.seconds) == ([1], 3600)


async def test_a_refusal_is_not_retried(bus: EventBus) -> None:
    failing, failed = Failing(9, Veto("never")), failures(bus)
    async with bus.background():
        bus.observe(Job, failing.observer, background=True, retry=Retry(attempts=5, delay_seconds=0))
        await bus.aemit(Job(number=1))

    assert len(failing.tries) == 1
    assert [(failure.attempt, str(failure.error)) for failure in failed] == [(1, "never")]


@virtual_time
async def test_the_time_limit_is_for_each_attempt(bus: EventBus) -> None:
    failed, tries = failures(bus), []

    async def hangs(job: Job) -> None:
        tries.append(job.number)
        await anyio.sleep_forever()

    async with bus.background(drain_seconds=100):
        retry = Retry(attempts=2, delay_seconds=0)
        bus.observe(Job, hangs, background=True, retry=retry, timeout_seconds=5)
        await bus.aemit(Job())

    assert tries == [0, 0]
    assert [type(failure.error) for failure in failed] == [ListenerTimeoutError]


async def test_an_open_breaker_is_waited_for() -> None:
    """Its cool-down is longer than the delay, and trying earlier would be no attempt at all."""
    clock, failing = HandClock(), Failing(1)
    bus = EventBus(clock=clock)
    async with bus.background():
        bus.observe(
            Job, failing.observer, background=True, concurrency=1, retry=Retry(attempts=2, delay_seconds=0),
            breaker=Breaker(failures=1, cooldown_seconds=60),
        )  # fmt: skip
        await bus.aemit(Job(number=1))

    assert (failing.took, len(failing.tries), clock.seconds) == ([1], 2, 60)


async def test_an_open_breaker_is_an_attempt_that_failed(bus: EventBus) -> None:
    failing, failed = Failing(9), failures(bus)
    async with bus.background():
        bus.observe(Job, failing.observer, background=True, breaker=Breaker(failures=1))
        for job in sent(("a", 1), ("a", 2)):
            await bus.aemit(job)

    assert [type(failure.error) for failure in failed] == [OSError, BreakerOpenError]


async def test_a_failing_observer_of_failures_is_only_logged(bus: EventBus) -> None:
    """Or it would be told of itself for ever."""
    calls: list[ListenerFailed] = []

    def broken(failure: ListenerFailed) -> None:
        calls.append(failure)
        raise OSError

    async with bus.background():
        bus.observe(ListenerFailed, broken, background=True)
        bus.observe(Job, lambda _: 1 / 0, background=True)
        await bus.aemit(Job())

    assert len(calls) == 1


# ----------------------------------------------------------------------------------------------- context

number_here: ContextVar[int] = ContextVar("number_here", default=0)


async def test_context_travels_with_the_event(bus: EventBus) -> None:
    """Context variables of its emitter, and what current() says; each delivery has its own."""
    seen: list[tuple[int, int, str | None, str]] = []

    def observer(job: Job) -> None:
        now = current()
        assert now is not None
        principal = now.principal and now.principal.id
        seen.append((job.number, number_here.get(), principal, now.correlation_id))
        number_here.set(-1)

    async with bus.background():
        bus.observe(Job, observer, background=True)
        for number in (1, 2):
            number_here.set(number)
            with acting_as(Principal(f"user{number}"), correlation_id=f"c{number}"):
                await bus.aemit(Job(number=number))
        number_here.set(0)

    assert seen == [(1, 1, "user1", "c1"), (2, 2, "user2", "c2")]


@pytest.mark.parametrize("emitting", ["asyncio", "trio"])
async def test_an_emitter_on_a_loop_of_the_other_kind(bus: EventBus, emitting: str) -> None:
    """Its context says which library runs there, and must not say so here."""
    seen: list[int] = []

    async def observer(job: Job) -> None:
        await anyio.lowlevel.checkpoint()
        await anyio.to_thread.run_sync(lambda: None)
        seen.append(job.number)

    async with bus.background():
        bus.observe(Job, observer, background=True)
        await anyio.to_thread.run_sync(lambda: anyio.run(bus.aemit, Job(number=1), backend=emitting))

    assert seen == [1]


# ------------------------------------------------------------------------------------------ registration


def test_a_bus_alone_says_what_is_missing(bus: EventBus) -> None:
    """Events would be accepted that nobody ever delivers."""
    with pytest.raises(SubscriptionError, match=r"bus\.background\(\)"):
        bus.observe(Job, print, background=True)
    assert list(bus.subscriptions()) == []
    assert Job not in {declared.cls for declared in bus.types()}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"retry": Retry()}, "background=True"),
        ({"overflow": "wait"}, "background=True"),
        ({"max_queue": 5}, "background=True"),
        ({"concurrency": 5}, "background=True"),
        ({"background": True, "inside": True}, "inside=True"),
        ({"background": True, "on_error": "raise"}, "on_error='raise'"),
        ({"background": True, "overflow": "drop"}, "'drop_oldest'"),
        ({"background": True, "max_queue": 0}, "max_queue=0"),
        ({"background": True, "concurrency": 1.5}, "concurrency=1.5"),
        ({"background": True, "retry": 3}, "Retry(attempts=...)"),
    ],
)
def test_options_that_do_not_go_together_are_refused(bus: EventBus, options: dict[str, Any], told: str) -> None:
    with pytest.raises(SubscriptionError) as caught:
        bus.observe(Job, print, **options)

    assert told in str(caught.value)


async def test_a_bus_has_one_who_runs_its_background(bus: EventBus) -> None:
    async with bus.background():
        with pytest.raises(RuntimeError, match="already"):
            async with bus.background():
                pass
    with pytest.raises(ValueError, match="drain_seconds"):
        bus.background(drain_seconds=-1)
    async with bus.background():  # and another one after it
        pass


async def test_what_the_body_raises_comes_out_as_it_is(bus: EventBus) -> None:
    with pytest.raises(OSError, match="body"):
        async with bus.background():
            raise OSError("body")


async def test_explain_shows_what_it_asked_for(bus: EventBus) -> None:
    async with bus.background():
        bus.observe(Job, print, background=True, retry=Retry(attempts=4), max_queue=7, overflow="drop_oldest")
        bus.observe(Job, print, background=True, retry=Retry(attempts=None))

        first, second = bus.explain(Job).steps
    assert first.policies == ("background 8 at once, queue 7 drop_oldest", "retry 4 attempts")
    assert second.policies == ("background 8 at once, queue 1000 wait", "retry without end")


async def test_instruments_see_the_delivery_and_not_the_handing_in(bus: EventBus) -> None:
    trace: list[str] = []

    class Watch:
        def enter(self, what: Any, event: object) -> None:
            trace.append(f">{what.subscriber or what.kind}")

        def leave(self, what: Any, token: None, error: BaseException | None) -> None:
            trace.append(f"<{what.subscriber or what.kind}")

    with opening(Gate()) as gate, bus.instrument(Watch()):
        async with bus.background():
            bus.observe(Job, lambda _: gate.wait(), background=True, name="slow")
            await bus.aemit(Job())
            assert trace == [">emit", "<emit"]
            gate.open()

    assert trace == [">emit", "<emit", ">slow", "<slow"]


class Sour:
    """A lane that can be hashed, and not be compared."""

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        raise OSError("sour")


@pytest.mark.parametrize("max_queue", [1, 10])
async def test_a_lane_that_cannot_be_compared_fails_its_own_delivery_alone(max_queue: int) -> None:
    """Wherever it is let in: by its emitter, or by the runner when there is room."""
    bus, taken, let_go = EventBus(), [], anyio.Event()
    failed = failures(bus)

    async def observer(job: Job) -> None:
        await let_go.wait()
        taken.append(job.number)

    async with bus.background():
        options: Any = {"max_queue": max_queue, "concurrency": 1, "retry": Retry(delay_seconds=0)}
        bus.observe(Job, observer, background=True, **options)
        async with anyio.create_task_group() as group:
            for number, lane in enumerate((Sour(), Sour(), "b", Sour(), "b")):
                group.start_soon(bus.aemit, Job(lane=lane, number=number))
                await anyio.wait_all_tasks_blocked()
            let_go.set()

    told = [(failure.event.number, failure.attempt, str(failure.error)) for failure in failed]  # type: ignore[attr-defined]
    assert len(taken) + len(told) == 5
    assert {2, 4} < set(taken)
    assert {(attempt, error) for _, attempt, error in told} == {(1, "sour")}
