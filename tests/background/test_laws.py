"""What holds for any events, lanes, failures, retries and bounds."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.bus.tools import BACKENDS, SECONDS, HandClock, run

from plugbus import BackgroundFullError, Event, EventBus, ListenerFailed, NotDeliveredError, Retry

pytestmark = pytest.mark.timeout(300)


class Job(Event, name="laws.job", lane="lane"):
    """Work in a lane that fails a number of times."""

    lane: int
    number: int
    failing: int


lanes_and_failures = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=25)
bounds = st.fixed_dictionaries({"concurrency": st.integers(1, 4), "max_queue": st.integers(1, 6)})


class Work:
    """An observer that fails as its events say, and keeps book."""

    def __init__(self, *, asynchronous: bool) -> None:
        self.tries: list[Job] = []
        self.took: list[Job] = []
        self.running: Counter[int] = Counter()
        self.most = 0
        self.overlaps = 0
        self._lock = threading.Lock()
        self.observer: Any = self._aobserve if asynchronous else self._observe

    def _begin(self, job: Job) -> None:
        with self._lock:
            self.overlaps += self.running[job.lane] > 0
            self.running[job.lane] += 1
            self.most = max(self.most, self.running.total())
            self.tries.append(job)

    def _end(self, job: Job) -> None:
        with self._lock:
            self.running[job.lane] -= 1
            if self.tries.count(job) <= job.failing:
                raise OSError
            self.took.append(job)

    def _observe(self, job: Job) -> None:
        self._begin(job)
        self._end(job)

    async def _aobserve(self, job: Job) -> None:
        self._begin(job)
        for _ in range(job.number % 3):
            await anyio.lowlevel.checkpoint()
        self._end(job)


@pytest.mark.parametrize("backend", BACKENDS)
@given(plan=lanes_and_failures, limits=bounds, attempts=st.integers(1, 3), asynchronous=st.booleans())
@settings(max_examples=60)
def test_lanes_keep_order_and_nothing_is_lost_or_done_twice(
    backend: str, plan: list[tuple[int, int]], limits: dict[str, int], attempts: int, *, asynchronous: bool
) -> None:
    """Each event is tried until it is taken or its attempts are used up, before the next of its lane is begun."""
    jobs = [Job(lane=lane, number=number, failing=failing) for number, (lane, failing) in enumerate(plan)]
    work, failed = Work(asynchronous=asynchronous), []

    async def main() -> EventBus:
        bus = EventBus(clock=HandClock())
        bus.observe(ListenerFailed, failed.append, run_in="caller")
        async with bus.background(drain_seconds=SECONDS):
            bus.observe(Job, work.observer, background=True, retry=Retry(attempts=attempts), name="work", **limits)
            for job in jobs:
                await bus.aemit(job)
            return bus

    bus = run(backend, main)

    for lane in range(4):
        expected = [job for job in jobs if job.lane == lane for _ in range(min(attempts, job.failing + 1))]
        assert [job for job in work.tries if job.lane == lane] == expected
    assert sorted(job.number for job in work.took) == [job.number for job in jobs if job.failing < attempts]
    given_up = sorted((failure.event.number, failure.attempt) for failure in failed)
    assert given_up == [(job.number, attempts) for job in jobs if job.failing >= attempts]
    assert work.overlaps == 0
    assert work.most <= limits["concurrency"]
    figures = bus.statistics().plugins["host"].background["work"]
    assert (figures.delivered, figures.failed) == (len(work.took), len(failed))
    assert figures.retried == len(work.tries) - len(jobs)
    assert (figures.depth, figures.running, figures.dropped, figures.left) == (0, 0, 0, 0)


@pytest.mark.parametrize("backend", BACKENDS)
@given(
    plan=lanes_and_failures,
    limits=bounds,
    overflow=st.sampled_from(["drop_oldest", "drop_newest"]),
    pauses=st.sets(st.integers(0, 25)),
)
@settings(max_examples=60)
def test_what_is_accepted_is_delivered_or_told_of(
    backend: str, plan: list[tuple[int, int]], limits: dict[str, int], overflow: Any, pauses: set[int]
) -> None:
    """Whatever is dropped on the way: each event ends in exactly one of the books, and lanes keep their order."""
    jobs = [Job(lane=lane, number=number, failing=failing) for number, (lane, failing) in enumerate(plan)]
    work, failed = Work(asynchronous=True), []

    async def main() -> EventBus:
        bus = EventBus(clock=HandClock())
        bus.observe(ListenerFailed, failed.append, run_in="caller")
        async with bus.background(drain_seconds=SECONDS):
            retry = Retry(attempts=2)
            bus.observe(Job, work.observer, background=True, retry=retry, overflow=overflow, name="work", **limits)
            for job in jobs:
                await bus.aemit(job)
                if job.number in pauses:
                    await anyio.lowlevel.checkpoint()
            return bus

    bus = run(backend, main)

    taken = [job.number for job in work.took]
    dropped = [failure.event.number for failure in failed if isinstance(failure.error, NotDeliveredError)]
    given_up = [failure.event.number for failure in failed if isinstance(failure.error, OSError)]
    assert sorted(taken + dropped + given_up) == [job.number for job in jobs]
    for lane in range(4):
        in_lane = [job.number for job in work.tries if job.lane == lane]
        assert in_lane == sorted(in_lane)
    figures = bus.statistics().plugins["host"].background["work"]
    assert (figures.delivered, figures.failed, figures.dropped) == (len(taken), len(given_up), len(dropped))


@pytest.mark.parametrize("overflow", ["wait", "error"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_emitters_in_many_threads_lose_nothing_and_each_keeps_its_order(backend: str, overflow: Any) -> None:
    """Handing in and running meet at one lock; four threads and the loop use it at once."""
    threads, each, took = 4, 250, []
    refused: list[int] = []

    async def main() -> None:
        bus = EventBus()

        def emit_all(lane: int) -> None:
            for number in range(each):
                try:
                    bus.emit(Job(lane=lane, number=number, failing=0))
                except BackgroundFullError:
                    refused.append(number)

        async with bus.background(drain_seconds=SECONDS):
            options: Any = {"max_queue": 5, "overflow": overflow, "concurrency": 3}
            bus.observe(Job, lambda job: took.append((job.lane, job.number)), background=True, **options)
            async with anyio.create_task_group() as group:
                for lane in range(threads):
                    group.start_soon(anyio.to_thread.run_sync, emit_all, lane)

    run(backend, main)

    assert len(took) + len(refused) == threads * each
    assert overflow == "error" or not refused
    for lane in range(threads):
        numbers = [number for owner, number in took if owner == lane]
        assert numbers == sorted(set(numbers))
