"""The jobs alone, on a clock that a test moves, with a database in memory that is committed run by run."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import anyio
import pytest
from jobs import Every, JobFailed, Jobs, every

from plugbus import (
    Event,
    EventBus,
    KernelStartError,
    Plugin,
    PluginInUseError,
    Principal,
    Retry,
    Veto,
    observes,
    provides,
)
from plugbus.testing import FakeClock, KernelFactory, PluginConformance, capture

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

JOBS = "jobs_plugin:JobsPlugin"  # by name: a plugin imports no other plugin, and those below are in this module


class DatabasePath(str):
    """Where the database is."""

    __slots__ = ()


class Counted(Event, name="shop.counted"):
    number: int


class Storage(Plugin, id="storage"):
    def __init__(self, path: DatabasePath) -> None:
        self._path = path

    @provides(scope="call")
    def connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path)
        try:
            yield connection
        except BaseException:
            connection.rollback()
            raise
        else:
            connection.commit()
        finally:
            connection.close()


class Shop(Plugin, id="shop"):
    """A def that writes into the database, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.failures = 0
        self.seen: list[str] = []

    @every(seconds=60, retry=Retry(attempts=3, delay_seconds=5, jitter=False), principal=Principal("ann", ["shop.*"]))
    def count(self, connection: sqlite3.Connection, principal: Principal, bus: EventBus) -> None:
        connection.execute("insert into runs (who) values (?)", (principal.id,))
        bus.emit(Counted(number=connection.execute("select count(*) from runs").fetchone()[0]))
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the till does not answer")

    @observes(Counted)
    async def note(self, event: Counted, principal: Principal) -> None:
        self.seen.append(f"{event.number} by {principal.id}")


class Clockwork(Plugin, id="clockwork"):
    """An async def without a unit of work, and one that is added at run time."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs, self.ticks, self.extra = jobs, 0, 0

    @every(seconds=10)
    async def tick(self) -> None:
        self.ticks += 1

    async def more(self) -> None:
        self.extra += 1


@pytest.fixture
def path(tmp_path: Path) -> DatabasePath:
    found = DatabasePath(tmp_path / "shop.db")
    with sqlite3.connect(found) as connection:
        connection.execute("create table runs (who text)")
    connection.close()
    return found


def rows(path: DatabasePath) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("select count(*) from runs").fetchone()[0])
    finally:
        connection.close()


async def test_a_def_runs_as_its_principal_in_a_unit_of_work(kernel_factory: KernelFactory, path: DatabasePath) -> None:
    clock = FakeClock()
    async with kernel_factory(Shop, Storage, JOBS, overrides={DatabasePath: path}, clock=clock) as kernel:
        with capture(kernel.bus, Counted) as counted:
            await clock.advance(59)
            assert counted == []
            await clock.advance(1)
            await until(lambda: len(counted) == 1)
            await clock.advance(60)
            await until(lambda: len(counted) == 2)

        assert kernel.plugins["shop"].instance.seen == ["1 by ann", "2 by ann"]
        assert await anyio.to_thread.run_sync(rows, path) == 2


async def test_a_failure_is_rolled_back_told_and_tried_again(kernel_factory: KernelFactory, path: DatabasePath) -> None:
    clock = FakeClock()
    async with kernel_factory(Shop, Storage, JOBS, overrides={DatabasePath: path}, clock=clock) as kernel:
        shop = kernel.plugins["shop"].instance
        shop.failures = 2
        with capture(kernel.bus, JobFailed, Counted) as told:
            await clock.advance(60)
            await until(lambda: len(told) == 1)
            assert await anyio.to_thread.run_sync(rows, path) == 0
            assert (await kernel.health()).plugins["jobs"].status == "degraded"
            await clock.advance(5)
            await until(lambda: len(told) == 2)
            await clock.advance(10)
            await until(lambda: len(told) == 3)

        error = "ConnectionError('the till does not answer')"
        assert told == [
            JobFailed(job="shop.count", attempt=1, error=error, again=True),
            JobFailed(job="shop.count", attempt=2, error=error, again=True),
            Counted(number=1),
        ]
        assert await anyio.to_thread.run_sync(rows, path) == 1
        await until(lambda: shop.seen == ["1 by ann"])
        assert (await kernel.health()).plugins["jobs"].status == "up"


async def test_a_pause_changes_while_it_lasts(kernel_factory: KernelFactory) -> None:
    clock = FakeClock()
    async with kernel_factory(Clockwork, JOBS, clock=clock) as kernel:
        clockwork = kernel.plugins["clockwork"].instance
        await clock.advance(4)
        changed = await kernel.plugins.configure("jobs", {"pauses": {"clockwork.tick": 5}})
        assert changed == ("pauses",)
        await clock.advance(1)
        assert clockwork.ticks == 1
        await kernel.plugins.configure("jobs", {"running": False})
        await clock.advance(50)
        assert clockwork.ticks == 1


async def test_jobs_are_added_and_taken_out_at_run_time(kernel_factory: KernelFactory) -> None:
    clock = FakeClock()
    async with kernel_factory(Clockwork, JOBS, clock=clock) as kernel:
        clockwork = kernel.plugins["clockwork"].instance
        close = clockwork.jobs.add(clockwork.more, seconds=1)
        await clock.advance(3)
        assert clockwork.extra == 3
        assert clockwork.jobs.report("more").runs == 3
        assert "job clockwork.more" in kernel.plugins["clockwork"].owns
        close()
        await clock.advance(3)
        assert clockwork.extra == 3
        assert "job clockwork.more" not in kernel.plugins["clockwork"].owns


async def test_jobs_leave_with_their_plugin_and_come_back_with_it(kernel_factory: KernelFactory) -> None:
    clock = FakeClock()
    async with kernel_factory(Clockwork, JOBS, clock=clock) as kernel:
        old = kernel.plugins["clockwork"].instance
        old.jobs.add(old.more, seconds=1)
        with pytest.raises(PluginInUseError):
            await kernel.unload("jobs")
        await kernel.unload("clockwork")
        assert clock.sleeping == 0
        await clock.advance(100)
        assert (old.ticks, old.extra) == (0, 0)

        await kernel.load(Clockwork)
        await clock.advance(10)
        assert kernel.plugins["clockwork"].instance.ticks == 1
        await kernel.unload("jobs", cascade=True)
        assert clock.sleeping == 0


async def test_a_reload_puts_the_new_jobs_in_the_place_of_the_old_ones(kernel_factory: KernelFactory) -> None:
    clock = FakeClock()

    class Extra(Clockwork, id="extra"):
        def __init__(self, jobs: Jobs) -> None:
            super().__init__(jobs)
            jobs.add(self.more, seconds=1)

    async with kernel_factory(Extra, JOBS, clock=clock) as kernel:
        old = kernel.plugins["extra"].instance
        for reloaded in ("extra", "jobs"):  # the second takes along who holds a view of it
            await kernel.reload(reloaded)
            new = kernel.plugins["extra"].instance
            assert new is not old
            await clock.advance(10)
            assert (new.ticks, new.extra, new.jobs.report("more").runs) == (1, 10, 10)
            assert (old.ticks, old.extra) == (0, 0) or reloaded == "jobs"
            old = new
        assert clock.sleeping == 2


async def test_the_scheduler_leaves_and_comes_back(kernel_factory: KernelFactory, path: DatabasePath) -> None:
    clock = FakeClock()
    async with kernel_factory(Shop, Storage, JOBS, overrides={DatabasePath: path}, clock=clock) as kernel:
        await kernel.unload("jobs")
        assert clock.sleeping == 0
        await kernel.load(JOBS)
        with capture(kernel.bus, Counted) as counted:
            await clock.advance(60)
            await until(lambda: len(counted) == 1)


async def test_a_run_that_is_under_way_is_finished(kernel_factory: KernelFactory) -> None:
    class Slow(Plugin, id="slow"):
        def __init__(self) -> None:
            self.began, self.go, self.done = anyio.Event(), anyio.Event(), False

        @every(seconds=1)
        async def work(self) -> None:
            self.began.set()
            await self.go.wait()
            self.done = True

    clock = FakeClock()
    async with kernel_factory(Slow, JOBS, clock=clock) as kernel, anyio.create_task_group() as group:
        slow = kernel.plugins["slow"].instance
        await clock.advance(1)
        await slow.began.wait()
        group.start_soon(kernel.unload, "slow")
        await anyio.wait_all_tasks_blocked()
        assert "slow" in kernel.plugins
        slow.go.set()
    assert slow.done


async def test_a_job_unloads_its_own_plugin(kernel_factory: KernelFactory) -> None:
    class Last(Plugin, id="last"):
        @every(seconds=1)
        async def work(self) -> None:
            await kernel.unload("last")

    clock = FakeClock()
    async with kernel_factory(Last, JOBS, clock=clock) as kernel:
        await clock.advance(1)
        await until(lambda: str(kernel.plugins["last"].state) == "stopped")
        assert clock.sleeping == 0


async def test_a_refusal_is_not_tried_again(kernel_factory: KernelFactory) -> None:
    class Proud(Plugin, id="proud"):
        @every(seconds=1, retry=Retry(attempts=5, delay_seconds=0.01, jitter=False))
        async def work(self) -> None:
            raise Veto("not today")

    clock = FakeClock()
    async with kernel_factory(Proud, JOBS, clock=clock) as kernel:
        with capture(kernel.bus, JobFailed) as failed:
            await clock.advance(1.5)
        assert [(each.attempt, each.again) for each in failed] == [(1, False)]


async def test_wrong_marks_stop_the_start() -> None:
    class Hasty(Plugin, id="hasty"):
        @every(seconds=0)
        async def first(self) -> None: ...

        @every(seconds=1, name="first")
        async def second(self) -> None: ...

    with KernelFactory() as kernels, pytest.raises(KernelStartError) as caught:
        async with kernels(Hasty, JOBS):
            pass
    assert "'hasty.first': a pause of 0 s" in str(caught.value)
    assert "'hasty.first': there are two of this name" in str(caught.value)


async def test_a_job_with_an_argument_fails_its_plugin(kernel_factory: KernelFactory) -> None:
    class Asking(Plugin, id="asking"):
        @every(seconds=1)
        async def work(self, number: int) -> None: ...

    async with kernel_factory(Asking, JOBS, required=()) as kernel:
        record = kernel.plugins["asking"]
        assert (str(record.state), "takes number: int" in record.reason) == ("failed", True)
        assert str(kernel.plugins["jobs"].state) == "ready"


class TestJobs(PluginConformance):
    plugin = JOBS


class TestClockwork(PluginConformance):
    plugin = Clockwork
    needs = (JOBS,)


def test_a_mark_changes_nothing() -> None:
    async def tidy() -> None: ...

    assert every(seconds=3)(tidy) is tidy
    assert Every(3).retry.attempts == 1


async def until(reached: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    with anyio.fail_after(5):
        while not reached():  # noqa: ASYNC110 - there is no event that a thread sets
            await anyio.sleep(0.005)
