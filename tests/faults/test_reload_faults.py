"""Reloading under load, again and again, and with whatever can go wrong in each phase of it."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import ClassVar

import anyio
import pytest
from anyio import fail_after
from anyio.lowlevel import checkpoint
from tests.support import virtual_time
from tests.test_ownership import Ask, Everything, Tick, census

from plugbus import Event, Kernel, Manifest, Plugin, PluginError, ReloadError, Request, answers, observes

pytestmark = pytest.mark.anyio

GENERATIONS = 200


class Load(Event, name="reload.load", key="shop"):
    number: int
    shop: str = "berlin"


class Question(Request[int], name="reload.question"):
    number: int


class Listening(Plugin, id="listening"):
    """Notes which generation heard what; lists and counters alone, which threads share without a lock."""

    made = 0
    heard: ClassVar[list[tuple[int, int]]] = []

    def __init__(self) -> None:
        type(self).made += 1
        self.generation = type(self).made

    @observes(Load)
    async def see(self, event: Load) -> None:
        self.note(event)

    @observes("reload.load", run_in="caller")
    def see_by_name(self, event: Load) -> None:
        self.note(event)

    @observes(Load, key="berlin")
    async def see_by_key(self, event: Load) -> None:
        await checkpoint()
        self.note(event)

    def note(self, event: Load) -> None:
        self.heard.append((event.number, self.generation))

    @answers(Question)
    async def answer(self, request: Question) -> int:
        await checkpoint()
        return self.generation


async def test_each_emit_under_load_is_heard_by_exactly_one_generation() -> None:
    """200 reloads while tasks and threads emit: never none, never both, no exception, no emit that ends late."""
    Listening.made, Listening.heard = 0, []
    emitted: Counter[int] = Counter()
    stop = threading.Event()
    errors: list[BaseException] = []

    with fail_after(120):
        async with Kernel(plugins=[Listening], drain_seconds=30) as kernel:

            async def emit(worker: int) -> None:
                number = worker
                while not stop.is_set():
                    await kernel.bus.aemit(Load(number=number))
                    assert await kernel.bus.acall(Question(number=number)) > 0
                    emitted[number] += 1
                    number += 10
                    await checkpoint()

            def emit_in_thread(worker: int) -> None:
                number = worker
                try:
                    while not stop.is_set():
                        kernel.bus.emit(Load(number=number))
                        emitted[number] += 1
                        number += 10
                except BaseException as error:
                    errors.append(error)

            threads = [threading.Thread(target=emit_in_thread, args=(worker,)) for worker in (4, 5)]
            async with anyio.create_task_group() as tasks:
                for worker in range(4):
                    tasks.start_soon(emit, worker)
                for thread in threads:
                    thread.start()
                between = 0
                for _ in range(GENERATIONS):
                    before = len(Listening.heard)
                    await kernel.reload("listening")
                    between += len(Listening.heard) > before
                stop.set()
                while any(thread.is_alive() for thread in threads):  # noqa: ASYNC110 - they need this loop to end
                    await anyio.sleep(0.001)

    assert errors == []
    heard: dict[int, list[int]] = {}
    for number, generation in Listening.heard:
        heard.setdefault(number, []).append(generation)
    assert set(heard) == set(emitted)
    wrong = {number: found for number, found in heard.items() if len(found) != 3 or len(set(found)) != 1}
    assert wrong == {}
    assert between > GENERATIONS // 2, "it was reloaded while events were heard"
    assert len({found[0] for found in heard.values()}) > GENERATIONS // 2
    assert Listening.made == GENERATIONS + 1


@pytest.mark.parametrize("way", ["class", "folder", "failing"])
@pytest.mark.may_block("the test writes small files")
async def test_rounds_of_reload_are_back_at_the_baseline(way: str, tmp_path: Path, full: bool) -> None:
    """Subscriptions, services, tasks, types, threads, modules and memory; also when each reload fails."""
    import sys

    number = 1_000 if full else GENERATIONS
    plugin = Everything
    if way == "failing":

        class Breaking(Everything, id="everything"):
            broken = False

            async def on_ready(self) -> None:
                if self.broken:
                    raise OSError("not ready")

        plugin = Breaking
    arguments: dict[str, object] = {"plugins": [plugin]}
    if way == "folder":
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / "plugin.py").write_text(FOLDER_PLUGIN)
        arguments = {"plugin_dirs": [tmp_path], "enabled": ["one"]}
    name = "one" if way == "folder" else "everything"

    with fail_after(300 if full else 100):
        async with Kernel(**arguments) as kernel:
            if way == "failing":
                plugin.broken = True

            async def rounds(count: int) -> None:
                for _ in range(count):
                    if way == "failing":
                        with pytest.raises(ReloadError):
                            await kernel.reload(name)
                        assert await kernel.bus.acall(Ask()) == 1
                    else:
                        await kernel.reload(name)
                        await kernel.bus.aemit(Tick())  # which a stream that stays would collect

            await rounds(50)  # caches of Python and pydantic fill up to their bounds
            ours, others, threads = await census()
            registered, owned = len(kernel.bus.subscriptions()), kernel.plugins[name].owns
            types, modules = len(kernel.bus.types()), set(sys.modules)
            await rounds(number)
            ours_after, others_after, threads_after = await census()

            assert ours_after - ours == Counter()
            assert {kind: count for kind, count in (others_after - others).items() if count >= number // 4} == {}
            assert threads_after <= threads
            assert len(kernel.bus.subscriptions()) == registered
            assert kernel.plugins[name].owns == owned
            assert len(kernel.bus.types()) == types
            assert set(sys.modules) == modules
            assert len([task for task in anyio.get_running_tasks() if task.name == "sleeper"]) == (way != "folder")


FOLDER_PLUGIN = """
from plugbus import Event, Plugin, observes, provides
from tests.test_ownership import Cache, Tick

class Mine(Event, name="mine.one"):
    number: int = 0

class One(Plugin, id="one"):
    @provides
    def cache(self) -> Cache:
        return Cache()

    @observes(Tick)
    async def see(self, event: Tick) -> None: ...

    @observes(Mine)
    def hear(self, event: Mine) -> None: ...
"""


class Phased(Plugin):
    """Hangs, or waits for a test, in one phase of a generation; a test makes a class of its own of it."""

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        cls.made, cls.heard, cls.hang, cls.steps = 0, [], {}, []

    def __init__(self) -> None:
        type(self).made += 1
        self.generation = type(self).made

    async def at(self, phase: str) -> None:
        self.steps.append(f"{phase} {self.generation}")
        waiting = self.hang.get((phase, self.generation))
        if waiting is not None:
            waiting.set()
            await anyio.sleep_forever()

    async def on_boot(self) -> None:
        await self.at("boot")

    async def on_ready(self) -> None:
        await self.at("ready")

    async def on_shutdown(self) -> None:
        await self.at("shutdown")

    @observes(Load)
    async def see(self, event: Load) -> None:
        self.heard.append((event.number, self.generation))


@virtual_time
@pytest.mark.parametrize("phase", ["boot", "ready"])
async def test_a_new_one_that_hangs_is_given_up_and_the_old_one_goes_on(phase: str) -> None:
    """The time limit of a boot holds for a reload."""

    class Shop(Phased, id="shop"): ...

    async with Kernel(plugins=[Shop], boot_timeout_seconds=7) as kernel:
        Shop.hang[phase, 2] = anyio.Event()
        started = anyio.current_time()
        with pytest.raises(ReloadError, match=f"on_{phase} was still running after 7 s"):
            await kernel.reload("shop")
        assert anyio.current_time() - started < 8
        await kernel.bus.aemit(Load(number=1))

        assert Shop.heard == [(1, 1)]
        assert kernel.plugins["shop"].state == "ready"
        await kernel.reload("shop")
        assert kernel.plugins["shop"].instance.generation == 3


@virtual_time
async def test_an_old_one_that_hangs_in_shutdown_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    """The new one is in place; the reload ends within the drain time, and the failure is logged."""

    class Shop(Phased, id="shop"): ...

    async with Kernel(plugins=[Shop], drain_seconds=5) as kernel:
        Shop.hang["shutdown", 1] = anyio.Event()
        started = anyio.current_time()
        await kernel.reload("shop")

        assert 5 <= anyio.current_time() - started < 11
        assert kernel.plugins["shop"].instance.generation == 2
        assert "on_shutdown was still running" in capsys.readouterr().out


@virtual_time
async def test_a_call_that_never_ends_delays_a_reload_no_longer_than_the_drain_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """How many are still under way is logged, and the old one shuts down."""
    entered = anyio.Event()

    class Shop(Phased, id="shop"):
        @answers(Question)
        async def answer(self, request: Question) -> int:
            entered.set()
            await anyio.sleep_forever()
            return 1

    async with Kernel(plugins=[Shop], drain_seconds=5) as kernel, anyio.create_task_group() as tasks:
        tasks.start_soon(kernel.bus.acall, Question(number=1))
        await entered.wait()
        started = anyio.current_time()
        await kernel.reload("shop")

        assert 5 <= anyio.current_time() - started < 6
        assert "calls of the old one are still under way" in capsys.readouterr().out
        assert "shutdown 1" in Shop.steps
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(("phase", "generation"), [("boot", 2), ("ready", 2)])
async def test_a_reload_that_is_cancelled_before_its_end_is_taken_back(phase: str, generation: int) -> None:
    """Wherever it was: the old one hears, nothing of the new one is left, and the next reload works."""

    class Shop(Phased, id="shop"): ...

    with fail_after(20):
        async with Kernel(plugins=[Shop]) as kernel:
            subscriptions = set(kernel.bus.subscriptions())
            waiting = Shop.hang[phase, generation] = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kernel.reload, "shop")
                await waiting.wait()
                tasks.cancel_scope.cancel()
            await kernel.bus.aemit(Load(number=1))

            assert Shop.heard == [(1, 1)]
            assert set(kernel.bus.subscriptions()) == subscriptions
            assert "shutdown 1" not in Shop.steps
            await kernel.reload("shop")
            assert kernel.plugins["shop"].instance.generation == 3


async def test_a_reload_that_is_cancelled_while_the_old_one_ends_is_done() -> None:
    """It has taken over already: the caller is told that it was cancelled once the old one has left."""
    done: list[str] = []

    class Shop(Phased, id="shop"):
        async def on_shutdown(self) -> None:
            if self.generation == 1:
                entered.set()
                await release.wait()
                done.append("old one")

    entered, release = anyio.Event(), anyio.Event()

    with fail_after(20):
        async with Kernel(plugins=[Shop]) as kernel:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(kernel.reload, "shop")
                await entered.wait()
                tasks.cancel_scope.cancel()
                release.set()
            assert done == ["old one"]
            assert kernel.plugins["shop"].instance.generation == 2


@virtual_time
@pytest.mark.parametrize(("phase", "generation", "stays"), [("boot", 2, 1), ("ready", 2, 1), ("shutdown", 1, 2)])
async def test_a_kernel_that_stops_during_a_reload_stops_in_time(phase: str, generation: int, stays: int) -> None:
    """A new one that is not in place yet is given up; whoever is in place shuts down, and nobody twice."""
    outcome: list[str] = []

    class Shop(Phased, id="shop"): ...

    async def reload(kernel: Kernel) -> None:
        try:
            await kernel.reload("shop")
            outcome.append("reloaded")
        except PluginError as error:
            outcome.append(error.reason)

    async with anyio.create_task_group() as tasks:
        async with Kernel(plugins=[Shop], drain_seconds=10, boot_timeout_seconds=100) as kernel:
            waiting = Shop.hang[phase, generation] = anyio.Event()
            tasks.start_soon(reload, kernel)
            await waiting.wait()
            started = anyio.current_time()
        assert anyio.current_time() - started <= 25

    assert kernel.plugins["shop"].state == "stopped"
    assert Shop.steps.count(f"shutdown {stays}") == 1
    assert outcome == (["reloaded"] if phase == "shutdown" else ["it was not reloaded: the kernel stops"])


async def test_a_dependent_that_cannot_shut_down_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Old ones leave one after another, whatever one of them fails with."""

    class Stock(Phased, id="stock"): ...

    class Shop(Phased):
        manifest = Manifest(id="shop", requires=["stock"])

        async def on_shutdown(self) -> None:
            await super().on_shutdown()
            raise OSError("cannot end")

    async with Kernel(plugins=[Stock, Shop]) as kernel:
        await kernel.reload("stock")

        assert Stock.steps[-1] == "shutdown 1"
        assert "cannot end" in capsys.readouterr().out
