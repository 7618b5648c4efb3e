"""The kernel as a whole: several in one process, for sync code, as a process that drains, its report."""

from __future__ import annotations

import copy
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio import fail_after, to_thread

from plugbus import (
    Event,
    EventBus,
    Kernel,
    KernelStartError,
    Manifest,
    Plugin,
    PluginError,
    PluginGoneError,
    PluginNotFoundError,
    Request,
    answers,
    observes,
    provides,
)

pytestmark = pytest.mark.anyio


class Tick(Event, name="kernel_test.tick"):
    number: int


class Double(Request[int], name="kernel_test.double"):
    number: int


class Database: ...


class Doubling(Plugin, id="doubling", version="2.1"):
    def __init__(self) -> None:
        self.seen: list[int] = []

    @answers(Double)
    async def double(self, request: Double) -> int:
        return request.number * 2

    @observes(Tick)
    def see(self, event: Tick) -> None:
        self.seen.append(event.number)


class Serving(Plugin, id="serving"):
    @provides
    def database(self) -> Database:
        return Database()


class Asking(Plugin):
    manifest = Manifest(id="asking", version="1.0", requires=["doubling>=2"], optional=["nobody"])

    def __init__(self, database: Database) -> None: ...


async def test_several_kernels_live_in_one_process() -> None:
    async with Kernel(plugins=[Doubling]) as one, Kernel(plugins=[Doubling]) as two:
        await one.bus.aemit(Tick(number=1))

        assert one.plugins["doubling"].instance.seen == [1]
        assert two.plugins["doubling"].instance.seen == []
        assert one.bus is not two.bus


async def test_the_host_subscribes_and_provides_before_the_start() -> None:
    kernel = Kernel(plugins=[Asking, Doubling])
    seen: list[Tick] = []
    kernel.bus.observe(Tick, seen.append)
    kernel.services.value(Database, Database())

    async with kernel:
        assert kernel.plugins["asking"].state == "ready"
        await kernel.bus.aemit(Tick(number=1))

    assert [event.number for event in seen] == [1]


async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    """Not wrapped into a group by the kernel's own tasks."""
    with pytest.raises(ZeroDivisionError):
        async with Kernel(plugins=[Doubling]):
            raise ZeroDivisionError


async def test_explain_says_which_plugins_boot_in_which_order_and_why() -> None:
    plugins = [Asking, Doubling, Serving, "os.nothing"]
    kernel = Kernel(plugins=plugins)
    before = await to_thread.run_sync(kernel.explain)

    async with kernel:
        after = kernel.explain()

    assert [step.id for step in before.plugins] == ["doubling", "serving", "asking", "os.nothing"]
    assert [step.id for step in after.plugins] == ["doubling", "serving", "asking", "os.nothing"]
    assert after.plugins[2].after == {"doubling": "requires doubling>=2", "serving": "uses its service database"}
    assert str(after).splitlines()[:4] == [
        "#  plugin      version  state   why here",
        "1  doubling    2.1      ready   nothing before it",
        "2  serving     0        ready   nothing before it",
        "3  asking      1.0      ready   after doubling (requires doubling>=2), serving (uses its service database)",
    ]
    assert str(after).splitlines()[4].startswith("-  os.nothing           failed  there is no module 'os.nothing'")
    assert [step.state for step in before.plugins[:3]] == ["resolved"] * 3


async def test_the_records_are_a_mapping_by_id() -> None:
    async with Kernel(plugins=[Doubling]) as kernel:
        assert dict(kernel.plugins).keys() == {"doubling"}
        assert kernel.plugins.get("nobody") is None
        assert kernel.plugins.get("doubling").id == "doubling"
        assert "nobody" not in kernel.plugins
        assert 7 not in kernel.plugins
        record = kernel.plugins["doubling"]
        assert (str(record), repr(record)) == ("doubling 2.1: ready", "<PluginRecord doubling 2.1: ready>")
        assert repr(kernel) == "<Kernel with 1 plugins>"
        with pytest.raises(PluginNotFoundError, match="did you mean 'doubling'"):
            kernel.plugins["doublin"]


async def test_a_sync_emit_from_a_foreign_thread_uses_the_kernels_loop() -> None:
    threads: list[int] = []

    class Looping(Plugin):
        @observes(Tick)
        async def see(self, event: Tick) -> None:
            threads.append(threading.get_ident())

    async with Kernel(plugins=[Looping]) as kernel:
        thread = threading.Thread(target=kernel.bus.emit, args=[Tick(number=1)])
        thread.start()
        with fail_after(5):
            while not threads:
                await anyio.lowlevel.checkpoint()
        await to_thread.run_sync(thread.join)

    assert threads == [threading.get_ident()]


def test_a_time_must_be_above_zero() -> None:
    for options in ({"boot_timeout_seconds": 0}, {"drain_seconds": float("nan")}):
        with pytest.raises(ValueError, match="must be above zero"):
            Kernel(**options)


async def test_a_configuration_that_cannot_be_used_stops_the_start() -> None:
    kernel = Kernel(config={"kernel": {"plugin": ["x"]}})

    assert "kernel.plugin in argument" in str(kernel.check()[0])
    with pytest.raises(KernelStartError, match=r"kernel\.plugin in argument"):
        await kernel.__aenter__()


async def test_services_of_the_host_are_closed_and_one_that_fails_stops_nothing() -> None:
    closed: list[str] = []

    async def open_database() -> AsyncIterator[Database]:
        yield Database()
        closed.append("database")
        raise OSError("cannot close")

    async with Kernel() as kernel:
        kernel.services.factory(Database, open_database)
        await kernel.services.aget(Database)

    assert closed == ["database"]
    with pytest.raises(PluginGoneError, match="host"):
        await kernel.services.aget(Database)


# For sync code


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_portal_runs_the_kernel_for_sync_code(backend: str) -> None:
    with Kernel(plugins=[Doubling]).portal(backend=backend) as kernel:
        plugin = kernel.plugins["doubling"].instance
        kernel.bus.emit(Tick(number=7))
        assert kernel.bus.call(Double(number=4)) == 8
        assert kernel.load(Serving).state == "ready"
        assert kernel.services.has(Database)
        assert kernel.unload("serving", cascade=True) == ("serving",)
        assert kernel.health().status == "up"
        assert [step.id for step in kernel.explain().plugins] == ["doubling", "serving"]
        assert kernel.check() == []
        assert kernel.call(sum, [1, 2]) == 3

    assert plugin.seen == [7]
    with pytest.raises(RuntimeError, match="not running"):
        kernel.bus  # noqa: B018 - looking is using
    kernel.close()


def test_portal_raises_what_the_start_raises_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())

    with pytest.raises(KernelStartError), Kernel(required=["nobody"]).portal():
        pass

    left = set(threading.enumerate()) - before
    for thread in left:  # a worker thread ends a moment after its loop
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)


def test_portal_raises_what_the_end_raises() -> None:
    kernel = Kernel()
    end = kernel._life.end

    async def fail() -> None:
        await end()
        raise OSError("no")

    kernel._life.end = fail
    with pytest.raises(OSError, match="no"), kernel.portal():
        pass


def test_a_lazy_portal_starts_on_first_use() -> None:
    kernel = Kernel(plugins=[Doubling])
    lazy = kernel.portal(lazy=True)
    assert kernel.plugins == {}

    with lazy:
        results: list[int] = []
        threads = [threading.Thread(target=lambda: results.append(lazy.bus.call(Double(number=2)))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert results == [4] * 4


def test_after_a_fork_a_lazy_portal_is_new() -> None:
    """What the child does, without a fork: the parent's kernel stays as it is, and another one is started."""
    parent = Kernel(plugins=[Doubling]).portal(lazy=True)
    never_used = copy.copy(parent)
    never_used._forked()
    assert parent.bus.call(Double(number=2)) == 4
    child = copy.copy(parent)
    child._forked()

    assert child.bus.call(Double(number=3)) == 6
    assert child.plugins["doubling"].instance is not parent.plugins["doubling"].instance
    child.close()
    assert parent.bus.call(Double(number=2)) == 4
    parent.close()


def run(tmp_path: Path, script: str, *, until: str = "", send: int | None = None) -> tuple[int, list[str]]:
    """Run a script in a process of its own; return its exit code and the lines it printed."""
    file = tmp_path / "script.py"
    file.write_text(script)
    with subprocess.Popen(
        [sys.executable, "-u", str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path
    ) as process:
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line.strip())
            if until and line.strip() == until:
                process.send_signal(send)
        return process.wait(timeout=30), lines


LAZY = """
import os
from plugbus import Kernel, Plugin, Request, answers

class Ask(Request[int]): ...

class Shop(Plugin):
    def on_boot(self):
        print("boot in", "parent" if os.getpid() == PARENT else "child")
    @answers(Ask)
    async def answer(self, request: Ask) -> int:
        return os.getpid()
    async def on_shutdown(self):
        print("shutdown in", "parent" if os.getpid() == PARENT else "child")

PARENT = os.getpid()
kernel = Kernel(plugins=[Shop]).portal(lazy=True)
{before}
pid = os.fork()
if pid == 0:
    assert kernel.bus.call(Ask()) == os.getpid()
    kernel.close()
    os._exit(0)
_, status = os.waitpid(pid, 0)
print("child", os.waitstatus_to_exitcode(status))
assert kernel.bus.call(Ask()) == PARENT
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("used_before", [False, True], ids=["fresh", "used before the fork"])
def test_a_lazy_portal_starts_once_per_process_and_ends_with_the_main_thread(tmp_path: Path, used_before: bool) -> None:
    """In a forked child it starts anew, because the parent's threads do not exist there."""
    before = "assert kernel.bus.call(Ask()) == PARENT" if used_before else ""

    code, lines = run(tmp_path, LAZY.replace("{before}", before))

    lines = [line for line in lines if "Warning" not in line and "os.fork" not in line]
    child = ["boot in child", "shutdown in child", "child 0"]
    parent = ["boot in parent"]
    assert lines == [*(parent + child if used_before else child + parent), "done", "shutdown in parent"]
    assert code == 0


# As a process

DRAINING = """
import os, signal, threading
import anyio
from plugbus import Kernel, KernelStopping, Manifest, Plugin, observes

class Database(Plugin):
    manifest = Manifest(id="database")
    async def on_shutdown(self):
        print("database stops")

class Shop(Plugin):
    manifest = Manifest(id="shop", requires=["database"])
    @observes(KernelStopping)
    async def stopping(self, event):
        print("stopping because of", event.reason)
    def on_shutdown(self):
        print("shop stops")

class Hanging(Plugin):
    manifest = Manifest(id="hanging", requires=["database"])
    HANG
    async def on_ready(self):
        print("ready")

Kernel(plugins=[Shop, Hanging, Database], drain_seconds=4).run(backend="BACKEND")
print("after run")
"""
HANGS = {
    "nothing hangs": ("async def on_shutdown(self): print('hanging stops')", ["hanging stops"]),
    "async hangs": ("async def on_shutdown(self): await anyio.sleep_forever()", []),
    "thread hangs": ("def on_shutdown(self): threading.Event().wait()", []),
}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("hang", HANGS)
def test_sigterm_drains_and_exits_with_code_0(tmp_path: Path, hang: str, backend: str) -> None:
    """In reverse order, each within its time; that the signal came is told by the event that names it."""
    text, stops = HANGS[hang]
    script = DRAINING.replace("HANG", text).replace("BACKEND", backend)

    code, lines = run(tmp_path, script, until="ready", send=signal.SIGTERM)

    told = [line for line in lines if line.endswith(("stops", "SIGTERM"))]
    assert told == ["stopping because of SIGTERM", *stops, "shop stops", "database stops"]
    assert code == 0
    assert ("after run" in lines) == (hang != "thread hangs")


BOOTING = """
import anyio
from plugbus import Kernel, Plugin

class First(Plugin):
    async def on_shutdown(self): print("first stops")

class Booting(Plugin):
    async def on_boot(self):
        print("booting")
        await anyio.sleep_forever()

Kernel(plugins=[First, Booting]).run()
print("after run")
"""


def test_sigterm_during_the_start_rolls_it_back(tmp_path: Path) -> None:
    assert run(tmp_path, BOOTING, until="booting", send=signal.SIGTERM) == (0, ["booting", "first stops", "after run"])


def test_a_start_that_fails_is_an_error_of_run() -> None:
    with pytest.raises(KernelStartError, match="is required"):
        Kernel(required=["nobody"]).run()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("phase", ["on_boot", "on_ready"])
def test_run_ends_by_a_signal_whenever_it_comes(phase: str, backend: str) -> None:
    async def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        if phase == "on_boot":
            await anyio.sleep_forever()

    kernel = Kernel(plugins=[type("Killing", (Plugin,), {phase: kill})])
    kernel.run(backend=backend)

    assert kernel.plugins["killing"].state == "stopped"


def test_run_ends_the_process_where_threads_hang_that_it_has_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter would wait for them for ever."""
    codes: list[int] = []
    gate = threading.Event()
    monkeypatch.setattr(os, "_exit", codes.append)

    class Hanging(Plugin):
        def on_boot(self) -> None:
            gate.wait(20)

        async def on_ready(self) -> None: ...

    class Killing(Plugin):
        async def on_ready(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    Kernel(plugins=[Hanging, Killing], boot_timeout_seconds=0.1).run()
    gate.set()

    assert codes == [0]


def test_a_time_without_limit_is_infinite() -> None:
    with Kernel(plugins=[Doubling], boot_timeout_seconds=math.inf, drain_seconds=math.inf).portal() as kernel:
        assert kernel.bus.call(Double(number=1)) == 2


def test_without_the_kernel_sigterm_kills(tmp_path: Path) -> None:
    """The control: the same signal ends a process that does not drain, and the exit code says so."""
    code, _ = run(tmp_path, "import time\nprint('ready')\ntime.sleep(30)\n", until="ready", send=signal.SIGTERM)

    assert code == -signal.SIGTERM


async def test_serve_ends_by_stop_too() -> None:
    with fail_after(5):
        async with Kernel() as kernel, anyio.create_task_group() as tasks:
            tasks.start_soon(kernel.serve)
            await anyio.wait_all_tasks_blocked()
            kernel.stop("enough")


async def test_serve_ends_by_a_signal() -> None:
    names: list[str] = []

    async def serve(kernel: Kernel) -> None:
        names.append(await kernel.serve())

    with fail_after(5):
        async with Kernel() as kernel, anyio.create_task_group() as tasks:
            tasks.start_soon(serve, kernel)
            await anyio.wait_all_tasks_blocked()
            os.kill(os.getpid(), signal.SIGINT)

    assert names == ["SIGINT"]


async def test_serve_needs_a_running_kernel() -> None:
    kernel = Kernel()
    kernel.stop("too early")
    with pytest.raises(KernelStartError, match="not running"):
        await kernel.serve()


async def test_a_plugin_serves_the_host_through_the_bus_it_was_handed() -> None:
    class Bridge(Plugin):
        def __init__(self, bus: EventBus) -> None:
            self.bus = bus

    async with Kernel(plugins=[Bridge, Doubling]) as kernel:
        bus = kernel.plugins["bridge"].instance.bus
        assert await bus.acall(Double(number=21)) == 42


@pytest.mark.anyio
async def test_a_stream_of_the_hosts_ends_with_the_kernel() -> None:
    """A reader that waits on ``kernel.bus`` is not left waiting when the kernel has stopped."""
    ended = anyio.Event()

    async def read(kernel: Kernel, reading: anyio.Event) -> None:
        async with kernel.bus.stream("order.*") as events:
            reading.set()
            async for _ in events:
                raise AssertionError("nothing was emitted")
        ended.set()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            async with Kernel() as kernel:
                reading = anyio.Event()
                group.start_soon(read, kernel, reading)
                await reading.wait()
            await ended.wait()


@pytest.mark.parametrize("name", ["plugins", "enabled", "required", "plugin_dirs"])
@pytest.mark.parametrize("given", ["shop:Shop", Path("plugins"), Plugin], ids=["text", "path", "class"])
def test_one_thing_where_a_list_belongs_is_one_clear_error(name: str, given: object) -> None:
    """A text would otherwise be a list of its letters, each with a problem of its own."""
    with pytest.raises(TypeError) as caught:
        Kernel(**{name: given})

    assert str(caught.value) == f"Kernel({name}={given!r}): takes a list; write {name}=[...] around it, also for one"


# -- plugins that an edge brings along


async def test_a_plugin_is_added_before_the_start_and_boots_with_the_others() -> None:
    """The same one twice is one; once the kernel has started, it is refused."""

    class Extra(Plugin, id="extra"): ...

    kernel = Kernel()
    kernel.plugins.add(Extra)
    kernel.plugins.add(Extra)
    assert [step.id for step in kernel.explain().plugins] == ["extra"]

    async with kernel:
        assert {record.id: str(record.state) for record in kernel.plugins.values()} == {"extra": "ready"}
        with pytest.raises(PluginError, match="has started"):
            kernel.plugins.add(Extra)
