"""Tasks: owned background work, cancelled on close, crashes kept and restarted."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio.lowlevel import checkpoint
from tests.support import virtual_time

from plugbus.errors import PluginGoneError, PluginTimeoutError
from plugbus.retry import Retry
from plugbus.tasks import TaskHandle, Tasks

pytestmark = pytest.mark.anyio

AT_ONCE = Retry(attempts=3, delay_seconds=0, jitter=False)


class FakeClock:
    """Time that passes only in sleeps, and in ``pass_``."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.time = 0.0

    def now(self) -> datetime:
        return datetime(2026, 1, 15, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await checkpoint()


@asynccontextmanager
async def running_tasks(**options: Any) -> AsyncIterator[Tasks]:
    """Tasks in a group of their own, closed and bounded."""
    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            tasks = Tasks(group, **options)
            yield tasks
            await tasks.aclose()


async def crash() -> None:
    raise OSError("peer gone")


async def test_start_runs_the_function_with_its_arguments() -> None:
    got: list[int] = []

    async def add(one: int, two: int) -> None:
        got.append(one + two)

    async with running_tasks() as tasks:
        await tasks.start(add, 1, 2).wait()

    assert got == [3]


async def test_start_does_not_wait() -> None:
    never = anyio.Event()

    async with running_tasks() as tasks:
        handle = tasks.start(never.wait)

        assert handle.state == "running"


async def test_a_task_that_returns_has_finished() -> None:
    async with running_tasks() as tasks:
        handle = tasks.start(checkpoint)
        await handle.wait()

        assert (handle.state, handle.starts, handle.error) == ("finished", 1, None)
        assert tasks.statistics().alive == ()


async def test_a_task_is_named_after_what_it_runs() -> None:
    async with running_tasks() as tasks:
        assert tasks.start(crash).name.endswith("test_tasks.crash")
        assert tasks.start(crash, name="feed").name == "feed"
        assert "'feed': running" in repr(tasks.start(crash, name="feed"))


async def test_a_crash_stays_with_its_task() -> None:
    """Neither the group nor the other tasks hear of it."""
    async with running_tasks() as tasks:
        other = tasks.start(anyio.Event().wait)
        handle = tasks.start(crash)
        await handle.wait()

        assert (handle.state, str(handle.error)) == ("crashed", "peer gone")
        assert other.state == "running"


async def test_a_crash_shows_in_the_statistics() -> None:
    async with running_tasks() as tasks:
        await tasks.start(crash, name="feed").wait()
        waiting = tasks.start(anyio.Event().wait, name="poll")
        statistics = tasks.statistics()

        assert [task.name for task in statistics.crashed] == ["feed"]
        assert str(statistics.crashed[0].error) == "peer gone"
        assert statistics.alive == (waiting.statistics(),)
        assert (statistics.started, statistics.crashes) == (2, 1)


async def test_kept_crashes_are_bounded() -> None:
    """Work that is started and crashes for ever does not fill the memory."""
    async with running_tasks() as tasks:
        for number in range(50):
            await tasks.start(crash, name=str(number)).wait()
        statistics = tasks.statistics()

    assert (len(statistics.crashed), statistics.crashed[-1].name, statistics.crashes) == (20, "49", 50)


async def test_a_crash_is_told() -> None:
    told: list[tuple[str, str]] = []

    async with running_tasks(on_crash=lambda handle, error: told.append((handle.name, str(error)))) as tasks:
        await tasks.start(crash, name="feed", restart=AT_ONCE).wait()

    assert told == [("feed", "peer gone")] * 3


class Odd(BaseException):
    """Neither an error nor an interrupt."""


BASE_EXCEPTIONS = [SystemExit(3), Odd("odd"), GeneratorExit(), BaseExceptionGroup("both", [SystemExit(3), OSError()])]


@pytest.mark.parametrize("error", BASE_EXCEPTIONS, ids=repr)
@pytest.mark.parametrize("sync", [False, True])
async def test_whatever_work_raises_is_its_own_crash(error: BaseException, sync: bool) -> None:
    """``sys.exit()`` in one plugin's task ends that task, and nobody else's."""

    async def work() -> None:
        raise error

    def sync_work() -> None:
        raise error

    async with running_tasks() as tasks:
        other = tasks.start(anyio.Event().wait)
        handle = tasks.start(sync_work if sync else work, name="odd")
        await handle.wait()
        await anyio.wait_all_tasks_blocked()

        assert (handle.state, handle.error, other.state) == ("crashed", error, "running")
        assert [crashed.name for crashed in tasks.statistics().crashed] == ["odd"]


async def test_work_that_exits_is_restarted_as_after_any_crash() -> None:
    outcomes = [SystemExit(), None]

    async def exits() -> None:
        if outcome := outcomes.pop(0):
            raise outcome

    async with running_tasks(clock=FakeClock()) as tasks:
        handle = tasks.start(exits, restart=AT_ONCE)
        await handle.wait()

    assert (handle.state, handle.starts) == ("finished", 2)


async def test_a_cancellation_that_is_the_works_own_is_a_crash() -> None:
    """As of a future that somebody else cancelled; the work itself was not."""

    async def work() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            try:
                await checkpoint()
            except BaseException as error:
                kept.append(error)
                raise
        raise kept[0]

    kept: list[BaseException] = []
    async with running_tasks() as tasks:
        handle = tasks.start(work)
        await handle.wait()

    assert handle.state == "crashed"


async def test_work_with_a_task_group_of_its_own_is_cancelled_as_a_whole() -> None:
    """Trio hands on the cancellations of several tasks as a group, which is no crash."""

    async def work() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(anyio.Event().wait)

    async with running_tasks() as tasks:
        handle = tasks.start(work)
        await anyio.wait_all_tasks_blocked()
        handle.cancel()
        await handle.wait()

    assert (handle.state, handle.error) == ("cancelled", None)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("grouped", [False, True])
def test_an_interrupt_is_the_processes_and_passes(backend: str, grouped: bool) -> None:
    async def work() -> None:
        if not grouped:
            raise KeyboardInterrupt
        raise BaseExceptionGroup("both", [KeyboardInterrupt(), OSError()])

    async def main() -> None:
        async with running_tasks() as tasks:
            await tasks.start(work).wait()
            await anyio.Event().wait()

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as caught:
        anyio.run(main, backend=backend)

    group = caught.value if isinstance(caught.value, BaseExceptionGroup) else None
    assert group is None or group.subgroup(KeyboardInterrupt) is not None


async def test_failing_to_tell_of_a_crash_is_noted_on_it() -> None:
    def no_log(handle: TaskHandle, error: Exception) -> None:
        raise ValueError("disk full")

    async with running_tasks(on_crash=no_log) as tasks:
        handle = tasks.start(crash)
        await handle.wait()

    assert handle.error is not None
    assert "disk full" in handle.error.__notes__[0]


async def test_a_crashed_task_is_restarted_until_its_attempts_are_used_up() -> None:
    clock = FakeClock()

    async with running_tasks(clock=clock) as tasks:
        handle = tasks.start(crash, restart=Retry(attempts=4, delay_seconds=1, jitter=False))
        await handle.wait()

    assert (handle.state, handle.starts, clock.slept) == ("crashed", 4, [1, 2, 4])


async def test_a_restarted_task_may_finish() -> None:
    outcomes = [OSError(), OSError(), None]

    async def flaky() -> None:
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome

    async with running_tasks(clock=FakeClock()) as tasks:
        handle = tasks.start(flaky, restart=AT_ONCE)
        await handle.wait()

    assert (handle.state, handle.starts) == ("finished", 3)
    assert tasks.statistics().crashed == ()


async def test_a_long_run_counts_as_recovered() -> None:
    """A crash a day is no crash loop: the delays begin anew, and so does the count."""
    clock = FakeClock()
    runs = [0.0, 0.0, 100.0, 0.0, 0.0]

    async def run() -> None:
        clock.time += runs.pop(0)
        raise OSError

    async with running_tasks(clock=clock) as tasks:
        handle = tasks.start(run, restart=Retry(attempts=3, delay_seconds=1, max_delay_seconds=50, jitter=False))
        await handle.wait()

    assert (handle.starts, clock.slept) == (5, [1, 2, 1, 2])


@virtual_time
async def test_between_crash_and_restart_a_task_waits() -> None:
    """It is alive, and can be cancelled."""
    async with running_tasks() as tasks:
        handle = tasks.start(crash, restart=Retry(delay_seconds=5, jitter=False))
        await anyio.sleep(1)
        assert handle.state == "waiting"

        handle.cancel()
        await handle.wait()

    assert (handle.state, handle.starts) == ("cancelled", 1)


async def test_cancel_ends_a_task() -> None:
    async with running_tasks() as tasks:
        handle = tasks.start(anyio.Event().wait)
        handle.cancel()
        await handle.wait()

        assert handle.state == "cancelled"


async def test_cancel_after_the_end_does_nothing() -> None:
    async with running_tasks() as tasks:
        handle = tasks.start(checkpoint)
        await handle.wait()
        handle.cancel()

    assert handle.state == "finished"


async def test_close_cancels_everything_and_waits_for_it() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await anyio.Event().wait()
        finally:
            with anyio.CancelScope(shield=True):
                await checkpoint()
            ended.append(number)

    async with running_tasks() as tasks:
        for number in range(3):
            tasks.start(work, number)
        await anyio.wait_all_tasks_blocked()

        await tasks.aclose()

        assert (sorted(ended), tasks.statistics().alive) == ([0, 1, 2], ())


async def test_close_waits_even_when_its_caller_is_cancelled() -> None:
    async with running_tasks() as tasks:
        tasks.start(anyio.Event().wait)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await tasks.aclose()

        assert tasks.statistics().alive == ()


@virtual_time
async def test_close_names_what_did_not_stop_in_time() -> None:
    """And does not wait for it any longer."""
    release = anyio.Event()

    async def stubborn() -> None:
        with anyio.CancelScope(shield=True):
            await release.wait()

    async with running_tasks(owner="shop") as tasks:
        tasks.start(stubborn, name="feed")
        await anyio.wait_all_tasks_blocked()

        with pytest.raises(PluginTimeoutError, match="its task 'feed' was still running after 3 s") as caught:
            await tasks.aclose(timeout_seconds=3)
        release.set()

    assert caught.value.plugin == "shop"


async def test_a_task_may_close_its_owner() -> None:
    """A plugin that unloads itself does not wait for the task that does it."""
    async with running_tasks() as tasks:
        handle = tasks.start(tasks.aclose)
        await handle.wait()

        assert tasks.statistics().alive == ()


async def test_nothing_starts_after_close() -> None:
    async with running_tasks(owner="shop") as tasks:
        await tasks.aclose()

        with pytest.raises(PluginGoneError, match="'shop': its task 'feed'"):
            tasks.start(crash, name="feed")


async def test_nothing_starts_after_the_group_has_ended() -> None:
    async with anyio.create_task_group() as group:
        tasks = Tasks(group, owner="shop")

    with pytest.raises(PluginGoneError, match="'shop'"):
        tasks.start(crash)
    assert tasks.statistics().started == 0


async def test_a_cancelled_group_leaves_nothing_alive() -> None:
    async with anyio.create_task_group() as group:
        tasks = Tasks(group)
        handle = tasks.start(anyio.Event().wait)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()

    assert (handle.state, tasks.statistics().alive) == ("cancelled", ())


async def test_a_sync_function_runs_in_a_thread() -> None:
    threads: list[int] = []

    async with running_tasks() as tasks:
        handle = tasks.start(lambda: threads.append(threading.get_ident()))
        await handle.wait()

    assert handle.state == "finished"
    assert threads != [threading.get_ident()]


async def test_sync_tasks_do_not_use_up_the_threads_of_others() -> None:
    """Work that lasts gets a thread of its own."""
    release = threading.Event()
    limiter = anyio.to_thread.current_default_thread_limiter()

    async with running_tasks() as tasks:
        handles = [tasks.start(release.wait, 10) for _ in range(3)]
        await anyio.wait_all_tasks_blocked()
        borrowed = limiter.borrowed_tokens
        release.set()
        for handle in handles:
            await handle.wait()

    assert borrowed == 0


async def test_a_thread_that_outlives_its_cancel_is_counted_until_it_ends() -> None:
    started, release, ended = threading.Event(), threading.Event(), threading.Event()

    def stubborn() -> None:
        started.set()
        release.wait(10)

    def run() -> None:
        try:
            stubborn()
        finally:
            ended.set()

    async with running_tasks() as tasks:
        handle = tasks.start(run)
        await anyio.to_thread.run_sync(started.wait, 10)
        handle.cancel()
        await handle.wait()
        assert (handle.state, tasks.statistics().threads_abandoned) == ("cancelled", 1)

        release.set()
        await anyio.to_thread.run_sync(ended.wait, 10)
        while tasks.statistics().threads_abandoned:  # noqa: ASYNC110 -- the thread has no event to set after its end
            await anyio.sleep(0.001)


async def test_a_lambda_around_an_async_function_is_awaited() -> None:
    async with running_tasks() as tasks:
        handle = tasks.start(lambda: crash())
        await handle.wait()

    assert str(handle.error) == "peer gone"


class Feed:
    """A callable object that is async."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    async def __call__(self) -> None:
        self.threads.append(threading.get_ident())


@pytest.mark.parametrize("wrap", [lambda call: call, functools.partial], ids=["object", "partial"])
async def test_async_callables_run_on_the_loop(wrap: Any) -> None:
    feed = Feed()

    async with running_tasks() as tasks:
        await tasks.start(wrap(feed)).wait()

    assert feed.threads == [threading.get_ident()]


async def test_start_and_cancel_work_from_a_thread() -> None:
    """``def on_boot`` runs in one."""
    async with running_tasks() as tasks:
        handle = await anyio.to_thread.run_sync(tasks.start, anyio.Event().wait)
        assert handle.state == "running"

        await anyio.to_thread.run_sync(handle.cancel)
        await handle.wait()

    assert handle.state == "cancelled"


async def test_tasks_can_be_made_in_a_thread_that_names_the_loop() -> None:
    async with anyio.create_task_group() as group:
        token = anyio.lowlevel.current_token()
        tasks = await anyio.to_thread.run_sync(lambda: Tasks(group, token=token))

        await tasks.start(checkpoint).wait()
        await tasks.aclose()

    assert tasks.statistics().started == 1
