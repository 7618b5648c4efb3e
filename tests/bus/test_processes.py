"""Handlers and observers in worker processes: what crosses, who is refused, and that nothing is left over."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import fail_after, to_thread
from tests import outside
from tests.bus.tools import SECONDS, plugin
from tests.outside import Outside, Told, Work, tell, tell_plain, tell_view, work

from plugbus import (
    Event,
    EventBus,
    EventDataError,
    Kernel,
    ListenerFailed,
    ListenerTimeoutError,
    NotDeliveredError,
    Owner,
    Plugin,
    PluginGoneError,
    Principal,
    Retry,
    Services,
    SubscriptionError,
    SyncEmitError,
    Veto,
    WorkerProcessError,
    acting_as,
    current,
    observes,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(SECONDS * 2)]


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    """A FIFO that a worker writes to."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return str(path)


@pytest.fixture
def gates(tmp_path: Path) -> list[str]:
    """FIFOs that workers wait for."""
    paths = [tmp_path / name for name in ("first", "second")]
    for path in paths:
        os.mkfifo(path)
    return list(map(str, paths))


@pytest.fixture
def bus() -> Iterator[EventBus]:
    """A bus with a handler in a process; afterwards nothing may be left."""
    before = children()
    bus = EventBus()
    subscription = bus.answer(Work, work, run_in="process", name="work")
    yield bus
    subscription.close()
    gone(before)


def children() -> set[int]:
    """The processes that this one has started and not yet waited for."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            found.update(map(int, (task / "children").read_text().split()))
    return found


async def kids() -> set[int]:
    """The same, asked for on a loop."""
    return await to_thread.run_sync(children)


def gone(before: set[int]) -> None:
    """Wait until no other children are there; the test's time limit ends a wait for ever."""
    while children() - before:
        os.sched_yield()


async def reads(pipe: str, lines: int = 1) -> list[str]:
    """What workers wrote to a pipe."""

    def read() -> list[str]:
        found: list[str] = []
        while len(found) < lines:
            found += Path(pipe).read_text().split("\n")[:-1]
        return found

    with fail_after(SECONDS):
        return await to_thread.run_sync(read, abandon_on_cancel=True)


# ------------------------------------------------------------------------------------------------ what crosses


async def test_a_handler_runs_in_another_process_which_is_kept(bus: EventBus) -> None:
    first, second = await bus.acall(Work()), await bus.acall(Work())

    assert first == second != os.getpid()
    assert first in await kids()


def test_a_sync_call_goes_there_through_the_bridge(bus: EventBus) -> None:
    """One process serves loops that come and go."""
    assert bus.call(Work()) == bus.call(Work()) == anyio.run(bus.acall, Work()) != os.getpid()


async def test_a_sync_call_where_the_loop_runs_is_refused_as_for_any_async_step(bus: EventBus) -> None:
    with pytest.raises(SyncEmitError):
        bus.call(Work())


async def test_a_sync_call_from_a_worker_thread_comes_back_through_the_loop(bus: EventBus) -> None:
    assert await to_thread.run_sync(bus.call, Work(what="echo", data=5)) == 5


@pytest.mark.parametrize("data", [None, "text", b"\x00" * 3_000_000, [1, {"two": 3}], float("inf")], ids=type)
async def test_what_is_picklable_crosses_in_both_directions(bus: EventBus, data: Any) -> None:
    assert await bus.acall(Work(what="echo", data=data)) == data


async def test_an_observer_in_a_process_is_told(pipe: str) -> None:
    before, bus = await kids(), EventBus()
    with bus.observe(Told, tell, run_in="process"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bus.aemit, Told(pipe=pipe))
            (written,) = await reads(pipe)

    assert int(written) != os.getpid()
    await to_thread.run_sync(gone, before)


@pytest.mark.parametrize(("observer", "seen"), [(tell_view, "ToldView"), (tell_plain, "outside.told")])
async def test_a_view_is_made_here_and_crosses(pipe: str, observer: Callable[..., None], seen: str) -> None:
    before, bus = await kids(), EventBus()
    with bus.observe(Told, observer, run_in="process"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bus.aemit, Told(pipe=pipe))
            (written,) = await reads(pipe)

    assert written.split()[0] == seen
    await to_thread.run_sync(gone, before)


async def test_who_acts_and_what_belongs_together_go_along(bus: EventBus) -> None:
    """And are gone with the call: the next one has its own."""
    current()  # asked for once, it is there from then on
    with acting_as(Principal("ann", claims={"team": ["a"]}), correlation_id="7f"):
        assert await bus.acall(Work(what="context")) == ("outside.work", "ann", "7f")

    event, principal, correlation = await bus.acall(Work(what="context"))
    assert (event, principal) == ("outside.work", None)
    assert correlation != "7f"


async def test_an_error_arrives_as_itself_and_says_where_it_comes_from(bus: EventBus) -> None:
    with pytest.raises(LookupError, match="nothing there") as caught:
        await bus.acall(Work(what="fail"))

    notes = "\n".join(caught.value.__notes__)
    assert "in worker process" in notes
    assert "outside.py" in notes
    assert "in handler 'work' of plugin 'host', given 'outside.work'" in notes


async def test_a_refusal_arrives_as_it_is(bus: EventBus) -> None:
    with pytest.raises(Veto) as caught:
        await bus.acall(Work(what="veto"))

    assert (caught.value.code, getattr(caught.value, "__notes__", [])) == ("closed", [])


async def test_an_error_that_does_not_pickle_is_told_in_words(bus: EventBus) -> None:
    with pytest.raises(RuntimeError, match="Shout: shout"):
        await bus.acall(Work(what="shout"))

    assert await bus.acall(Work(what="echo", data=1)) == 1


async def test_an_error_of_which_pickle_makes_something_else_is_told_in_words(bus: EventBus) -> None:
    with pytest.raises(RuntimeError, match="Disguise: in words"):
        await bus.acall(Work(what="disguise"))


async def test_a_fork_of_a_worker_answers_nobody(bus: EventBus) -> None:
    """It ends where the function does, and its answer is nobody's: not of this call, and not of the next."""
    assert await bus.acall(Work(what="fork")) == "worker"
    assert await bus.acall(Work(what="echo", data=1)) == 1


async def test_a_result_that_does_not_pickle_is_an_error_and_the_process_goes_on(bus: EventBus) -> None:
    pid = await bus.acall(Work())
    with pytest.raises(Exception, match="pickle"):
        await bus.acall(Work(what="unpicklable"))

    assert await bus.acall(Work()) == pid


async def test_an_event_whose_content_does_not_pickle_is_an_error_that_names_it(bus: EventBus) -> None:
    with pytest.raises(EventDataError, match="cannot be pickled for a worker process") as caught:
        await bus.acall(Work(what="echo", data=lambda: None))

    assert caught.value.event == "outside.work"


async def test_what_is_written_to_standard_output_there_disturbs_nobody(
    bus: EventBus, capfd: pytest.CaptureFixture[str]
) -> None:
    """By Python, by C, by a program that it starts: it is on standard error. Standard input is empty."""
    assert await bus.acall(Work(what="noise")) == ""
    assert await bus.acall(Work(what="echo", data=2)) == 2

    out, err = capfd.readouterr()
    assert out == ""
    assert {"printed", "written", "echoed"} <= set(err.split())


async def test_two_at_once_take_two_processes(bus: EventBus, pipe: str, gates: list[str]) -> None:
    """They are there at one time, so they run side by side."""
    found: set[str] = set()

    async def one(gate: str) -> None:
        found.add(str(await bus.acall(Work(what="meet", pipe=pipe, data=gate))))

    async with anyio.create_task_group() as tasks:
        for gate in gates:
            tasks.start_soon(one, gate)
        there = await reads(pipe, lines=2)
        for gate in gates:
            await to_thread.run_sync(Path(gate).write_text, "go")

    assert found == set(there)
    assert len(found) == 2


# ------------------------------------------------------------------------------------------------ who is refused


def local(request: Work) -> None:
    """Found by its name, until that means something else."""


WRAPPED, local = local, functools.wraps(local)(lambda request: None)  # type: ignore[assignment]


class Local:
    def __call__(self, request: Work) -> None: ...
    def method(self, request: Work) -> None: ...


def in_main(request: Work) -> None: ...


in_main.__module__ = "__main__"


def nowhere(request: Work) -> None: ...


nowhere.__module__ = "page_that_is_no_file"


def inner() -> Callable[[Work], None]:
    def closure(request: Work) -> None: ...

    return closure


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda request: None, "it was made inside of a function"),
        (inner(), "it was made inside of a function"),
        (Local().method, "takes a function alone"),
        (Local(), "takes a function alone"),
        (functools.partial(work), "takes a function alone"),
        ([].append, "takes a function alone"),
        (in_main, "it is in __main__"),
        (nowhere, "there is no module 'page_that_is_no_file'"),
        (WRAPPED, "pickle says"),
        (outside.awaited, "needs a sync function"),
        (outside.greedy, "takes no services along: log, db"),
    ],
    ids=["lambda", "closure", "method", "object", "partial", "builtin", "main", "page", "other", "async", "services"],
)
def test_what_another_process_cannot_import_is_refused(call: Any, problem: str) -> None:
    """When it is registered, with what to do, and without starting anything."""
    before, bus = children(), EventBus(services=Services())
    with pytest.raises(SubscriptionError, match=problem):
        bus.answer(Work, call, run_in="process")

    assert (bus.subscriptions(), children()) == ((), before)


def test_an_event_type_that_another_process_cannot_import_is_refused() -> None:
    class Inside(Event): ...

    with pytest.raises(SubscriptionError, match=r"imports .*Inside by its name, and it was made inside"):
        EventBus().observe(Inside, print, run_in="process")


def test_a_bound_function_is_refused() -> None:
    """Its arguments come from whoever calls it."""
    kernel = Kernel()

    with pytest.raises(SubscriptionError, match="for handlers and observers"):
        kernel.services.get(Owner).bind(work, run_in="process")


def test_a_listener_is_refused() -> None:
    """The chain below it is here."""
    with pytest.raises(SubscriptionError, match="for handlers and observers"):
        EventBus().listen(Told, lambda event, next_fn: next_fn(event), run_in="process")  # type: ignore[arg-type]


async def test_a_parameter_with_a_default_keeps_it() -> None:
    before, bus = await kids(), EventBus(services=Services())
    with bus.answer(Work, outside.modest, run_in="process"):
        assert await bus.acall(Work()) == 3
    await to_thread.run_sync(gone, before)


def test_check_tells_of_a_subscriber_that_cannot_leave() -> None:
    class Bad(Plugin, id="bad"):
        @observes(Told, run_in="process")
        def see(self, event: Told) -> None: ...

    (problem,) = Kernel(plugins=[Bad]).check()

    assert "takes a function alone" in str(problem)
    assert "@staticmethod" in problem.hint


def test_explain_says_that_it_runs_in_a_process(bus: EventBus) -> None:
    assert [step.runs for step in bus.explain(Work).steps] == ["process"]


# ------------------------------------------------------------------------------------------------ time and cancellation


async def test_a_time_limit_ends_the_process(bus: EventBus, pipe: str) -> None:
    """The next event gets a new one; while one gets ready, it is not ended, or none ever answered in so little time."""
    bus_2 = EventBus()
    with bus_2.answer(Work, work, run_in="process", timeout_seconds=0.5, name="slow"), anyio.fail_after(60):
        answered = 0
        while not answered:
            with contextlib.suppress(ListenerTimeoutError):
                answered = await bus_2.acall(Work())
        pid = await bus.acall(Work())
        before = await kids()
        with pytest.raises(ListenerTimeoutError) as caught:
            await bus_2.acall(Work(what="hang", pipe="/dev/null"))

        assert caught.value.subscriber == "slow"
        assert len(before - await kids()) == 1
    assert await bus.acall(Work()) == pid


async def test_a_cancelled_emit_ends_its_process_before_it_returns(bus: EventBus, pipe: str) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.acall, Work(what="hang", pipe=pipe))
        (pid,) = map(int, await reads(pipe))
        assert pid in await kids()
        tasks.cancel_scope.cancel()

    assert pid not in await kids()
    assert await bus.acall(Work()) != pid


async def test_an_emit_that_is_cancelled_while_it_waits_for_a_process_starts_none(
    bus: EventBus, pipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one at a time here; the one that has it goes on."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    one = EventBus()
    before = await kids()
    with one.answer(Work, work, run_in="process"):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.acall, Work(what="hang", pipe=pipe))
            await reads(pipe)
            with anyio.move_on_after(0.05) as waited:
                await one.acall(Work())
            assert waited.cancelled_caught
            assert len(await kids() - before) == 1
            tasks.cancel_scope.cancel()


# ------------------------------------------------------------------------------------------------ nothing left over


async def test_unloading_a_plugin_ends_its_processes() -> None:
    before = await kids()
    async with Kernel(plugins=[Outside]) as kernel:
        pid = await kernel.bus.acall(Work())
        assert pid in (await kids()) - before
        assert "worker processes" in kernel.plugins["outside"].owns

        await kernel.unload("outside")

        assert await kids() == before


async def test_a_kernel_that_stops_ends_the_processes_of_plugins_and_host() -> None:
    before = await kids()
    async with Kernel(plugins=[Outside]) as kernel:
        kernel.bus.observe(Told, tell, run_in="process")
        await kernel.bus.acall(Work())
        with anyio.move_on_after(SECONDS):
            await kernel.bus.aemit(Told(pipe="/dev/null"))
        assert len(await kids() - before) == 2  # one for each owner

    assert await kids() == before


async def test_a_process_that_is_busy_when_its_plugin_leaves_is_ended_within_the_time(pipe: str) -> None:
    """What it was doing fails; nobody waits longer than the drain."""
    before, errors = await kids(), list[Exception]()

    async def hang(kernel: Kernel) -> None:
        try:
            await kernel.bus.acall(Work(what="hang", pipe=pipe))
        except Exception as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks, Kernel(plugins=[Outside], drain_seconds=0.5) as kernel:
        tasks.start_soon(hang, kernel)
        await reads(pipe)
        await kernel.unload("outside")
        assert await kids() == before

    assert [type(error).__name__ for error in errors] == ["WorkerProcessError"]


async def test_a_plugin_that_has_left_starts_no_process() -> None:
    """A chain that was under way before goes on, and is told."""
    before, bus = await kids(), EventBus()
    owner, view = plugin(bus, "shop")
    subscription = view.answer(Work, work, run_in="process")
    assert subscription.acall is not None
    await owner.aclose()

    with pytest.raises(PluginGoneError):
        await subscription.acall(Work())
    assert await kids() == before


async def test_closing_the_last_of_them_ends_idle_processes() -> None:
    before, bus = await kids(), EventBus()
    _, view = plugin(bus, "shop")
    first = view.answer(Work, work, run_in="process")
    second = view.observe(Told, tell, run_in="process")
    pid = await bus.acall(Work())

    first.close()
    assert await kids() == {*before, pid}
    second.close()

    await to_thread.run_sync(gone, before)


async def test_a_chain_that_outlives_its_subscription_keeps_no_process(pipe: str, gates: list[str]) -> None:
    before, bus = await kids(), EventBus()
    subscription = bus.answer(Work, work, run_in="process")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(bus.acall, Work(what="meet", pipe=pipe, data=gates[0]))
        await reads(pipe)
        subscription.close()
        await to_thread.run_sync(Path(gates[0]).write_text, "go")

    await to_thread.run_sync(gone, before)


SCRIPT = """
import os, sys
from plugbus import EventBus
from tests.outside import Work, work
bus = EventBus()
bus.answer(Work, work, run_in="process")
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT + script],
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS,
    )


def test_a_program_that_ends_without_closing_anything_leaves_nothing_and_warns_of_nothing() -> None:
    """Its standard error is at its end, which the worker would hold open."""
    ended = run("print(bus.call(Work()))")

    assert ended.stderr == ""
    assert not Path("/proc", ended.stdout.strip()).exists()


def test_a_fork_shares_no_worker_with_its_parent() -> None:
    """They would read each other's answers."""
    ended = run("""
first = bus.call(Work())
forked = os.fork()
second = bus.call(Work())
print("same" if first == second else "other", flush=True)
if forked:
    os.waitpid(forked, 0)
    print(bus.call(Work()) == first)
""")

    assert sorted(ended.stdout.split()) == ["True", "other", "same"]


def test_a_plugin_from_a_folder_runs_there_too(tmp_path: Path) -> None:
    """Its module has a name that only this kernel knows; its submodules come along."""
    folder = tmp_path / "plugins" / "painter"
    folder.mkdir(parents=True)
    (folder / "deeds.py").write_text("import os\n\ndef pid():\n    return os.getpid()\n")
    (folder / "__init__.py").write_text(
        "from plugbus import Manifest, answers\nfrom tests.outside import Work\nfrom .deeds import pid\n"
        "manifest = Manifest(id='painter')\n\n"
        "@answers(Work, run_in='process')\ndef paint(request: Work) -> int:\n    return pid()\n"
    )

    async def main() -> None:
        async with Kernel(plugin_dirs=[folder.parent], enabled=["painter"]) as kernel:
            assert str(kernel.plugins["painter"]) == "painter 0: ready"
            assert await kernel.bus.acall(Work()) != os.getpid()

    anyio.run(main)


# -------------------------------------------------------------------------------------------- in the background


async def test_a_background_observer_in_a_process_is_told_and_drained(pipe: str) -> None:
    """The emitter does not wait, and the end does."""
    before, bus = await kids(), EventBus()
    async with bus.background(drain_seconds=SECONDS):
        with bus.observe(Told, tell, run_in="process", background=True):
            await bus.aemit(Told(pipe=pipe))
            (written,) = await reads(pipe)

    assert int(written) != os.getpid()
    await to_thread.run_sync(gone, before)


async def test_a_background_observer_whose_process_dies_is_tried_again_and_told_of() -> None:
    """Each attempt has a process of its own then; the last failure is announced."""
    before, bus, failed = await kids(), EventBus(), list[ListenerFailed]()
    bus.observe(ListenerFailed, failed.append, run_in="caller")
    async with bus.background(drain_seconds=SECONDS):
        retry = Retry(attempts=2, delay_seconds=0)
        with bus.observe(Told, tell, run_in="process", background=True, retry=retry, name="tell"):
            await bus.aemit(Told(what="leave", data=3))
            with fail_after(SECONDS):
                while not failed:
                    await to_thread.run_sync(os.sched_yield)

        assert bus.statistics().plugins["host"].background["tell"].retried == 1
    assert [(failure.attempt, type(failure.error)) for failure in failed] == [(2, WorkerProcessError)]
    await to_thread.run_sync(gone, before)


async def test_what_a_process_still_does_when_the_drain_is_over_is_ended_and_told_of(pipe: str) -> None:
    """Its process is killed, as for any cancelled emit."""
    before, bus, failed = await kids(), EventBus(), list[ListenerFailed]()
    bus.observe(ListenerFailed, failed.append, run_in="caller")
    async with bus.background(drain_seconds=0):
        subscription = bus.observe(Told, tell, run_in="process", background=True, name="tell")
        await bus.aemit(Told(pipe=pipe, what="hang"))
        await reads(pipe)
    subscription.close()

    assert [(failure.attempt, type(failure.error)) for failure in failed] == [(1, NotDeliveredError)]
    await to_thread.run_sync(gone, before)
