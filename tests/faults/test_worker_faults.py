"""Worker processes that die: by SIGKILL, by a crash, by their own exit; and a parent that dies under them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import structlog.testing
from anyio import to_thread
from tests.bus.test_processes import children, gone, kids, reads
from tests.bus.tools import SECONDS, failures, plugin
from tests.outside import Told, Work, tell, work

from plugbus import Breaker, BreakerOpenError, EventBus, Subscription, WorkerProcessError
from plugbus._workers import process

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(SECONDS * 2)]


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    """A FIFO that a worker writes to."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return str(path)


@pytest.fixture
def bus() -> Iterator[EventBus]:
    """A bus without anything left over."""
    before, bus = children(), EventBus()
    yield bus
    for subscription in bus.subscriptions():
        subscription.close()
    gone(before)


def shop(bus: EventBus) -> tuple[EventBus, Subscription]:
    """A plugin with a handler in a process."""
    _, view = plugin(bus, "shop")
    return view, view.answer(Work, work, run_in="process", name="work")


async def test_a_worker_that_is_killed_fails_its_call_with_the_exit_status_and_is_replaced(
    bus: EventBus, pipe: str
) -> None:
    """A real SIGKILL, by its pid, in the middle of the work."""
    shop(bus)
    errors: list[WorkerProcessError] = []

    async def call() -> None:
        with pytest.raises(WorkerProcessError) as caught:
            await bus.acall(Work(what="hang", pipe=pipe))
        errors.append(caught.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        (pid,) = map(int, await reads(pipe))
        assert pid in await kids()
        os.kill(pid, signal.SIGKILL)

    (error,) = errors
    assert (error.event, error.subscriber, error.plugin, error.exit_status) == ("outside.work", "work", "shop", -9)
    assert "SIGKILL (exit status -9)" in str(error)
    assert pid not in await kids()
    assert await bus.acall(Work()) != pid


async def test_a_worker_that_is_killed_while_idle_costs_no_call(bus: EventBus) -> None:
    """It was known to be dead before anything was sent to it."""
    shop(bus)
    pid = await bus.acall(Work())
    os.kill(pid, signal.SIGKILL)
    await to_thread.run_sync(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert await bus.acall(Work()) != pid
    assert pid not in await kids()


@pytest.mark.parametrize(
    ("what", "data", "status"), [("leave", 3, 3), ("exit", 4, 4), ("crash", None, -signal.SIGSEGV)], ids=str
)
async def test_however_a_worker_ends_its_exit_status_is_told(
    bus: EventBus, what: str, data: int | None, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long its end takes: what the parent sees is the end of the process, not of its work."""
    monkeypatch.setattr(process, "_GRACE_SECONDS", 0)
    shop(bus)
    with pytest.raises(WorkerProcessError) as caught:
        await bus.acall(Work(what=what, data=data))

    assert caught.value.exit_status == status
    assert await bus.acall(Work(what="echo", data=1)) == 1


async def test_a_worker_that_dies_is_missed_also_where_a_fork_of_it_lives_on(bus: EventBus, pipe: str) -> None:
    """What the fork inherited of the pipes would hold up the call for as long as it lives, cancelled or not."""
    shop(bus)
    ended = anyio.Event()

    async def call() -> None:
        with pytest.raises(WorkerProcessError):
            await bus.acall(Work(what="orphan", pipe=pipe))
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        worker, orphan = map(int, await reads(pipe, lines=2))
        os.kill(worker, signal.SIGKILL)
        with anyio.move_on_after(SECONDS / 2) as waiting:
            await ended.wait()
        os.kill(orphan, signal.SIGKILL)

    assert not waiting.cancelled_caught


async def test_sigterm_leaves_it_to_the_parent_when_a_worker_ends(bus: EventBus) -> None:
    """Whoever stops a service tells all of its processes, and the service then finishes what it has begun."""
    shop(bus)

    assert await bus.acall(Work(what="terminated")) == "finished"
    assert await bus.acall(Work(what="echo", data=1)) == 1


async def test_an_observer_whose_worker_is_killed_is_a_failed_listener(bus: EventBus, pipe: str) -> None:
    """Logged and announced; the emitter gets its event, and the observers after it are told."""
    heard, announced = list[Told](), failures(bus)
    bus.observe(Told, tell, run_in="process", name="tell")
    bus.observe(Told, heard.append, run_in="caller")
    results: list[Told] = []

    async def emit() -> None:
        results.append(await bus.aemit(Told(what="hang", pipe=pipe)))

    with structlog.testing.capture_logs() as lines:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(emit)
            (pid,) = map(int, await reads(pipe))
            os.kill(pid, signal.SIGKILL)

    (failed,) = announced
    assert isinstance(failed.error, WorkerProcessError)
    assert (failed.error.event, failed.subscriber, failed.plugin) == ("outside.told", "tell", "host")
    assert failed.error.exit_status == -9
    assert len(heard) == len(results) == 1
    assert any("exit status -9" in str(line) for line in lines)


async def test_a_breaker_counts_lost_workers(bus: EventBus) -> None:
    """So that work which kills its process does not start one after another for ever."""
    bus.answer(Work, work, run_in="process", breaker=Breaker(failures=2, cooldown_seconds=60))
    for _ in range(2):
        with pytest.raises(WorkerProcessError):
            await bus.acall(Work(what="leave", data=1))

    with pytest.raises(BreakerOpenError):
        await bus.acall(Work())


async def test_a_sync_call_is_told_of_a_lost_worker_too(bus: EventBus) -> None:
    shop(bus)

    def call() -> None:
        with pytest.raises(WorkerProcessError):
            bus.call(Work(what="leave", data=1))

    await to_thread.run_sync(call)


def test_a_parent_that_is_killed_takes_its_worker_along() -> None:
    """The worker holds the parent's standard error, so its end is the worker's end, too."""
    script = """
import sys
from plugbus import EventBus
from tests.outside import Work, work
bus = EventBus()
bus.answer(Work, work, run_in="process")
print(bus.call(Work()), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}").exists()
        parent.kill()
        assert (parent.wait(), parent.stderr.read()) == (-9, "")

    assert "python" not in _command(worker)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


async def test_a_worker_that_is_killed_takes_no_other_along(bus: EventBus, pipe: str, tmp_path: Path) -> None:
    """Each has pipes of its own, which no other holds open."""
    shop(bus)
    gate, answers, losses = tmp_path / "gate", list[int](), list[int]()
    os.mkfifo(gate)

    async def call() -> None:
        try:
            answers.append(await bus.acall(Work(what="meet", pipe=pipe, data=str(gate))))
        except WorkerProcessError as error:
            losses.append(error.exit_status)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        tasks.start_soon(call)
        doomed, spared = map(int, await reads(pipe, lines=2))
        os.kill(doomed, signal.SIGKILL)
        with anyio.fail_after(SECONDS):
            while not losses:
                await anyio.lowlevel.checkpoint()
        await to_thread.run_sync(gate.write_text, "go")

    assert (losses, answers) == ([-9], [spared])
