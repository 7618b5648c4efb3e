"""Nothing that was accepted is lost in silence: it is finished, or told of as left over; in a kernel, per plugin."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import structlog
from tests.bus.tools import SECONDS, Gate, HandClock, failures, opening, virtual_time

from plugbus import (
    BackgroundFullError,
    BackgroundStatistics,
    Clock,
    Event,
    EventBus,
    Kernel,
    ListenerFailed,
    Plugin,
    PluginUnloaded,
    Retry,
    observes,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(SECONDS * 2)]


class Job(Event, name="draining.job", lane="lane"):
    """Work in a lane."""

    lane: str = "a"
    number: int = 0


def told(failed: list[ListenerFailed]) -> list[tuple[int, int, str]]:
    """Number of the event, attempt, and what became of it."""
    return [(failure.event.number, failure.attempt, failure.error.reason) for failure in failed]  # type: ignore[attr-defined]


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


# ----------------------------------------------------------------------------------------------- leftovers


@virtual_time
async def test_what_is_left_over_is_told_of_by_what_became_of_it(bus: EventBus) -> None:
    """Logged with the events, counted, announced; and the end waits no longer than it may."""
    failed: list[ListenerFailed] = []
    bus.observe(ListenerFailed, failed.append, run_in="caller")  # a thread would let the clock run ahead

    async def observer(job: Job) -> None:
        if job.number == 1:
            await anyio.sleep_forever()
        raise OSError

    start = anyio.current_time()
    with structlog.testing.capture_logs() as logs:
        async with bus.background(drain_seconds=5):
            retry = Retry(attempts=2, delay_seconds=60, jitter=False)
            subscription = bus.observe(Job, observer, background=True, name="slow", retry=retry)
            for lane, number in (("a", 1), ("b", 2), ("a", 3)):
                await bus.aemit(Job(lane=lane, number=number))
            await anyio.wait_all_tasks_blocked()

    assert anyio.current_time() - start == 5
    up = "when the time to drain was up"
    assert told(failed) == [
        (1, 1, f"it was still running {up}"),
        (2, 1, f"it was to be tried again {up}"),
        (3, 0, f"it had not begun {up}"),
    ]
    assert [line["lost"] for line in logs if "lost" in line] == [
        f"Job(lane={lane!r}, number={number})" for lane, number in (("a", 1), ("b", 2), ("a", 3))
    ]
    assert subscription.background is not None
    assert subscription.background[0].statistics() == BackgroundStatistics(retried=1, left=3)


async def test_an_emit_after_the_end_is_told_of(bus: EventBus) -> None:
    failed = failures(bus)
    async with bus.background():
        bus.observe(Job, print, background=True, name="late")

    await bus.aemit(Job(number=1))
    bus.emit(Job(number=2))

    assert told(failed) == [(number, 0, "nothing is run in the background any more") for number in (1, 2)]


async def test_an_emitter_that_waits_for_room_at_the_end_is_let_go(bus: EventBus) -> None:
    failed = failures(bus)
    async with anyio.create_task_group() as group, bus.background(drain_seconds=0):
        bus.observe(Job, lambda _: anyio.sleep_forever(), background=True, max_queue=1, run_in=None)
        bus.subscriptions()[-1].close()

        async def hangs(job: Job) -> None:
            await anyio.sleep_forever()

        bus.observe(Job, hangs, background=True, max_queue=1)
        for number in range(3):
            group.start_soon(bus.aemit, Job(number=number))
            await anyio.wait_all_tasks_blocked()

    assert sorted(number for number, _, _ in told(failed)) == [0, 1, 2]


async def test_a_thread_that_hangs_is_abandoned_and_counted(bus: EventBus) -> None:
    """A shutdown must not wait for it."""
    failed = failures(bus)
    with opening(Gate()) as gate:
        async with bus.background(drain_seconds=0):
            bus.observe(Job, lambda _: gate.wait(), background=True)
            bus.observe(Job, lambda _: gate.wait(), background=True, timeout_seconds=SECONDS * 10)
            await bus.aemit(Job())
            await gate.wait_for_arrivals(2)

        assert bus.statistics().plugins["host"].threads_abandoned == 2
        assert len(failed) == 2


async def test_a_cancelled_body_still_drains(bus: EventBus) -> None:
    """What was accepted was promised; the budget bounds it."""
    seen: list[int] = []

    async def observer(job: Job) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(job.number)

    with anyio.CancelScope() as scope:
        async with bus.background():
            bus.observe(Job, observer, background=True)
            for number in range(3):
                await bus.aemit(Job(number=number))
            scope.cancel()
            await anyio.sleep_forever()

    assert seen == [0, 1, 2]


# -------------------------------------------------------------------------------------------------- kernel


class Told(Plugin, id="told"):
    """Hears what got lost."""

    def __init__(self) -> None:
        self.failed: list[ListenerFailed] = []
        self.unloaded = 0

    @observes(ListenerFailed)
    async def note(self, failure: ListenerFailed) -> None:
        self.failed.append(failure)

    @observes(PluginUnloaded)
    async def gone(self, _: PluginUnloaded) -> None:
        self.unloaded = len(self.failed)


class Mail(Plugin, id="mail"):
    """Works in the background, with something that it closes."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.open = True
        self.go_on = threading.Event()

    @observes(Job, background=True, retry=Retry(attempts=2, delay_seconds=0))
    def send(self, job: Job) -> None:
        assert self.go_on.wait(SECONDS)
        assert self.open
        self.sent.append(job.number)

    def on_shutdown(self) -> None:
        self.open = False


async def test_a_kernel_drains_before_its_plugins_shut_down() -> None:
    mail = Mail()
    async with Kernel(plugins=[mail]) as kernel:
        for number in range(5):
            await kernel.bus.aemit(Job(number=number))
        assert mail.sent == []
        mail.go_on.set()

    assert (mail.sent, mail.open) == (list(range(5)), False)


async def test_an_unload_drains_its_plugin_and_leaves_the_others_alone() -> None:
    mail, doors = Mail(), anyio.Event()
    kept: list[int] = []

    async def keeps(job: Job) -> None:
        await doors.wait()
        kept.append(job.number)

    async with Kernel(plugins=[mail]) as kernel:
        kernel.bus.observe(Job, keeps, background=True)
        for number in range(3):
            await kernel.bus.aemit(Job(number=number))
        mail.go_on.set()
        await kernel.unload("mail")

        assert (mail.sent, mail.open, kept) == ([0, 1, 2], False, [])
        await kernel.bus.aemit(Job(number=3))
        doors.set()
    assert kept == [0, 1, 2, 3]


@virtual_time
async def test_an_unload_tells_of_what_is_left_over_before_it_is_over() -> None:
    class Stuck(Plugin, id="stuck"):
        @observes(Job, background=True)
        async def hang(self, job: Job) -> None:
            await anyio.sleep_forever()

    told_ = Told()
    async with Kernel(plugins=[told_, Stuck], drain_seconds=8) as kernel:
        for number in (1, 2):
            await kernel.bus.aemit(Job(number=number))
        start = anyio.current_time()
        await kernel.unload("stuck")

        assert anyio.current_time() - start == pytest.approx(4)
        assert [(failure.plugin, failure.event.number) for failure in told_.failed] == [("stuck", 1), ("stuck", 2)]  # type: ignore[attr-defined]
        assert told_.unloaded == 2


@virtual_time
async def test_a_kernel_that_cannot_drain_ends_in_time() -> None:
    class Stuck(Plugin, id="stuck"):
        @observes(Job, background=True)
        async def hang(self, job: Job) -> None:
            await anyio.sleep_forever()

    with structlog.testing.capture_logs() as logs:
        async with Kernel(plugins=[Stuck], drain_seconds=8) as kernel:
            kernel.bus.observe(Job, Stuck().hang, background=True)
            await kernel.bus.aemit(Job(number=1))
            start = anyio.current_time()

    assert anyio.current_time() - start < 8 + 2
    assert [line["plugin"] for line in logs if "lost" in line] == ["stuck", "host"]


async def test_a_plugin_that_unloads_itself_from_a_delivery_does_not_wait_for_that() -> None:
    done = anyio.Event()

    class Leaves(Plugin, id="leaves"):
        @observes(Job, background=True)
        async def leave(self, job: Job, bus: EventBus) -> None:
            await kernel.unload("leaves")
            done.set()

    with anyio.fail_after(SECONDS):
        async with Kernel(plugins=[Leaves], drain_seconds=1000) as kernel:
            await kernel.bus.aemit(Job())
            await done.wait()
            assert kernel.plugins["leaves"].state == "stopped"


async def test_what_is_emitted_before_the_kernel_starts_waits_for_it() -> None:
    """As far as there is room; nobody could make any."""
    seen: list[int] = []
    kernel = Kernel()
    kernel.bus.observe(Job, lambda job: seen.append(job.number), background=True, max_queue=2)
    kernel.bus.emit(Job(number=1))
    await kernel.bus.aemit(Job(number=2))
    with pytest.raises(BackgroundFullError, match="before the kernel has started"):
        await kernel.bus.aemit(Job(number=3))

    async with kernel:
        pass

    assert seen == [1, 2]


async def test_the_kernels_clock_is_waited_on() -> None:
    clock, tries = HandClock(), []
    kernel = Kernel()
    kernel.services.value(Clock, clock)

    def observer(job: Job) -> None:
        tries.append(job.number)
        if len(tries) == 1:
            raise OSError

    async with kernel:
        retry = Retry(delay_seconds=500, max_delay_seconds=500, jitter=False)
        kernel.bus.observe(Job, observer, background=True, retry=retry)
        await kernel.bus.aemit(Job(number=1))

    assert (tries, clock.seconds) == ([1, 1], 500)


async def test_health_shows_what_waits_and_degrades_what_is_full() -> None:
    mail = Mail()
    async with Kernel(plugins=[mail]) as kernel:
        send = kernel.bus.subscriptions()[0].name
        await kernel.bus.aemit(Job())
        await kernel.bus.aemit(Job())
        await anyio.wait_all_tasks_blocked()
        health = await kernel.health()
        assert health.status == "up"
        assert (
            dict(health.plugins["mail"].background[send]) | {"depth": 1, "running": 1}
            == health.plugins["mail"].background[send]
        )
        for _ in range(999):
            await kernel.bus.aemit(Job())
        full = (await kernel.health()).plugins["mail"]
        mail.go_on.set()

    assert (full.status, full.reason) == ("degraded", f"as many events wait for {send} as may")


async def test_check_knows_background_observers_before_the_start() -> None:
    assert Kernel(plugins=[Mail]).check() == []


async def test_a_portal_kernel_delivers_for_sync_code() -> None:
    seen: list[int] = []

    def sync() -> None:
        with Kernel().portal() as kernel:
            kernel.bus.observe(Job, lambda job: seen.append(job.number), background=True, max_queue=1)
            for number in range(20):
                kernel.bus.emit(Job(number=number))

    await anyio.to_thread.run_sync(sync)

    assert seen == list(range(20))


async def test_a_failure_that_is_not_an_exception_does_not_leave_the_lane_blocked(bus: EventBus) -> None:
    """It ends whoever runs it all; and what it was is not counted as done."""

    class Stop(BaseException):
        pass

    async def observer(job: Job) -> None:
        raise Stop

    with contextlib.suppress(BaseExceptionGroup, Stop):
        async with bus.background(drain_seconds=0):
            subscription = bus.observe(Job, observer, background=True)
            await bus.aemit(Job())
            await anyio.wait_all_tasks_blocked()

    assert subscription.background is not None
    assert subscription.background[0].statistics().delivered == 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # on trio only a cancelled scope raises such an error
async def test_a_cancellation_of_its_own_fails_a_delivery_and_cancels_nobody_else() -> None:
    """As of a task that it waited for: tried again, and told of; the kernel and the other observers go on."""
    failed: list[ListenerFailed] = []
    attempts: list[int] = []
    others: list[int] = []

    async def observer(job: Job) -> None:
        attempts.append(job.number)
        task = asyncio.ensure_future(anyio.sleep_forever())
        task.cancel()
        await task

    async with Kernel() as kernel:
        kernel.bus.observe(ListenerFailed, failed.append, run_in="caller")
        kernel.bus.observe(Job, observer, background=True, retry=Retry(attempts=2, delay_seconds=0), name="mine")
        kernel.bus.observe(Job, lambda job: others.append(job.number), background=True, run_in="caller")
        await kernel.bus.aemit(Job(number=1))
        await kernel.bus.aemit(Job(number=2))

    assert attempts == [1, 1, 2, 2]
    assert others == [1, 2]
    assert [(failure.event.number, failure.attempt) for failure in failed] == [(1, 2), (2, 2)]  # type: ignore[attr-defined]
    assert all("CancelledError() came out of 'mine'" in str(failure.error) for failure in failed)
