"""What operators ask for, cancelled at each of its awaits, and all of it at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, Final, TypeAlias

import anyio
import anyio.lowlevel
import pytest
from pydantic import BaseModel

from plugbus import (
    Event,
    EventBus,
    Kernel,
    Manifest,
    Plugin,
    PluginBooting,
    PluginConfiguring,
    PluginError,
    PluginReady,
    PluginUnloaded,
    Request,
    SettingsChanged,
    Tasks,
    answers,
    observes,
    provides,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

Ask: TypeAlias = Callable[[Kernel], Awaitable[object]]


class Tick(Event, name="tick"): ...


class Size(Request[int], name="size"): ...


class Base: ...


class Lasting(Plugin):
    """Suspends wherever it may, and says what is there of it."""

    there: set[object]

    def __init__(self, bus: EventBus) -> None:
        self.bus = bus

    async def on_boot(self, there: set[object]) -> None:
        await anyio.lowlevel.checkpoint()
        self.there = there
        there.add(self)

    async def on_ready(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def on_shutdown(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.there.remove(self)

    @observes(Tick)
    async def tick(self, event: Tick, heard: list[object]) -> None:
        await anyio.lowlevel.checkpoint()
        heard.append(self)

    @observes(Tick, background=True)
    async def later(self, event: Tick) -> None:
        await anyio.lowlevel.checkpoint()


class Ground(Lasting):
    manifest = Manifest(id="ground")

    class Settings(BaseModel):
        size: int = 1

    def __init__(self, bus: EventBus, settings: Settings, tasks: Tasks) -> None:
        super().__init__(bus)
        self.settings = settings
        tasks.start(anyio.sleep_forever, name="for ever")

    @provides
    async def base(self) -> Base:
        await anyio.lowlevel.checkpoint()
        return Base()

    @answers(Size)
    async def size(self, request: Size) -> int:
        return self.settings.size


class Top(Lasting):
    manifest = Manifest(id="top", requires=["ground"])

    class Settings(BaseModel):
        size: int = 1

    def __init__(self, bus: EventBus, base: Base) -> None:
        super().__init__(bus)

    async def on_settings(self, old: BaseModel, new: BaseModel) -> None:
        await anyio.lowlevel.checkpoint()


class CancelAt:
    """Cancels a scope when what it awaits suspends for the n-th time."""

    def __init__(self, awaitable: Awaitable[object], at: int, scope: anyio.CancelScope) -> None:
        self._awaitable, self._at, self._scope = awaitable, at, scope
        self.count = 0

    def __await__(self) -> Generator[Any, Any, object]:
        inner = self._awaitable.__await__()
        resume: Callable[[], Any] = lambda: next(inner)
        while True:
            try:
                awaited = resume()
            except StopIteration as stop:
                return stop.value
            self.count += 1
            if self.count == self._at:
                self._scope.cancel()
            try:
                value = yield awaited
            except BaseException as error:
                resume = lambda error=error: inner.throw(error)
            else:
                resume = lambda value=value: inner.send(value)  # type: ignore[attr-defined]


@pytest.fixture
async def kernel_with():
    """Makes kernels whose plugins' fates somebody slow is told of."""

    def make() -> tuple[Kernel, list[object], set[object]]:
        heard, there = list[object](), set[object]()
        kernel = Kernel(plugins=[Ground, Top])
        kernel.services.value(list[object], heard, names=("heard",))
        kernel.services.value(set[object], there, names=("there",))

        async def slow(event: object) -> None:
            await anyio.lowlevel.checkpoint()

        for told in (PluginBooting, PluginConfiguring, PluginReady, PluginUnloaded, SettingsChanged):
            kernel.bus.observe(told, slow)
        return kernel, heard, there

    return make


BEFORE: Final[dict[str, Ask]] = {
    "load": lambda kernel: kernel.plugins.unload("top"),
    "enable": lambda kernel: kernel.plugins.disable("top"),
}
ASKED: Final[dict[str, Ask]] = {
    "load": lambda kernel: kernel.plugins.load("top"),
    "enable": lambda kernel: kernel.plugins.enable("top"),
    "unload": lambda kernel: kernel.plugins.unload("ground", cascade=True),
    "disable": lambda kernel: kernel.plugins.disable("ground", cascade=True),
    "reload": lambda kernel: kernel.plugins.reload("ground"),
    "reload the dependent": lambda kernel: kernel.plugins.reload("top"),
    "configure live": lambda kernel: kernel.plugins.configure("top", {"size": 2}),
    "configure by a reload": lambda kernel: kernel.plugins.configure("ground", {"size": 2}),
}


def state(kernel: Kernel) -> dict[str, Any]:
    """Return all that a change may change."""
    return {
        "plugins": {name: (str(record.state), sorted(record.owns)) for name, record in kernel.plugins.items()},
        "subscriptions": sorted(map(repr, kernel.bus.subscriptions())),
        "sources": [record.setting_sources for record in kernel.plugins.values()],
    }


async def cancelled_at(kernel: Kernel, asked: Ask, at: int) -> tuple[bool, bool]:
    """Ask for a change and cancel it there; tell whether it was cancelled, and whether there was such an await."""
    with anyio.CancelScope() as scope:
        counting = CancelAt(asked(kernel), at, scope)
        await counting
    return scope.cancelled_caught, counting.count >= at


@pytest.mark.parametrize("what", ASKED)
async def test_a_change_that_is_cancelled_anywhere_is_made_or_not_made(what: str, kernel_with) -> None:
    """Never half of it: states, subscriptions, what is owned, settings; and the next change is made as ever."""
    at, more = 0, True
    while more:
        at += 1
        kernel, heard, there = kernel_with()
        async with kernel:
            await BEFORE.get(what, lambda _: anyio.lowlevel.checkpoint())(kernel)
            before = state(kernel)
            with anyio.fail_after(20):
                async with anyio.create_task_group() as others:
                    others.start_soon(kernel.bus.aemit, Tick())
                    caught, more = await cancelled_at(kernel, ASKED[what], at)
            after = state(kernel)
            heard.clear()
            await kernel.bus.aemit(Tick())

            up = {record.instance for record in kernel.plugins.values() if record.state == "ready"}
            assert not caught or after == before, at
            assert up == set(heard) == there, at
            assert len(heard) == len(up), at
            assert {name for name, _ in after["plugins"].values()} <= {"ready", "stopped", "disabled", "blocked"}, at
            if kernel.plugins["ground"].state == "ready":
                done = what == "configure by a reload" and not caught
                assert await kernel.bus.acall(Size()) == 1 + done, at
            for name in ("ground", "top"):
                await kernel.plugins.enable(name)
                await kernel.plugins.reload(name)
    assert at > 2


async def test_an_operator_who_was_cancelled_while_something_left_notices_afterwards(kernel_with) -> None:
    """A change that has begun to take something down is done; the cancellation comes at the next await."""
    kernel, _, there = kernel_with()
    began, went_on = anyio.Event(), list[str]()
    async with kernel:
        with anyio.CancelScope() as scope:

            async def stop(event: PluginUnloaded) -> None:
                began.set()
                scope.cancel()
                await anyio.lowlevel.checkpoint()
                went_on.append(event.plugin)

            kernel.bus.observe(PluginUnloaded, stop)
            assert await kernel.plugins.disable("ground", cascade=True) == ("top", "ground")
            await anyio.lowlevel.checkpoint()
            went_on.append("the operator")

        assert went_on == ["top", "ground"]
        assert there == set()
        assert [str(record.state) for record in kernel.plugins.values()] == ["disabled", "blocked"]


async def test_who_is_told_of_an_end_and_hangs_holds_up_no_operator() -> None:
    """As with a reload: told for as long as may be drained."""
    kernel = Kernel(plugins=[type("Lone", (Plugin,), {"manifest": Manifest(id="lone")})], drain_seconds=0.05)
    async with kernel:
        kernel.bus.observe(PluginUnloaded, lambda _: anyio.sleep_forever())
        with anyio.fail_after(10):
            await kernel.plugins.unload("lone")


async def test_whatever_is_asked_for_at_once_is_done_one_after_another(kernel_with) -> None:
    """Reloads, ends, settings of one plugin and of those that need it, under load: what is refused says why."""
    kernel, heard, there = kernel_with()
    stop, emitted, refused = anyio.Event(), list[Tick](), list[str]()

    async def load() -> None:
        while not stop.is_set():
            emitted.append(await kernel.bus.aemit(Tick()))
            await anyio.lowlevel.checkpoint()

    async def ask(asked: Ask, times: int) -> None:
        for _ in range(times):
            try:
                await asked(kernel)
            except PluginError as error:
                refused.append(str(error).splitlines()[0])

    async with kernel:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as emitting:
                emitting.start_soon(load)
                async with anyio.create_task_group() as operators:
                    for asked in ASKED.values():
                        operators.start_soon(ask, asked, 4)
                    for name in ("ground", "top"):
                        operators.start_soon(ask, lambda kernel, name=name: kernel.plugins.enable(name), 8)
                stop.set()
            for name in ("ground", "top"):
                await kernel.plugins.enable(name)
            heard.clear()
            await kernel.bus.aemit(Tick())

        assert all(told.startswith(("plugin 'ground'", "plugin 'top'")) for told in refused), refused
        assert emitted
        assert {record.instance for record in kernel.plugins.values()} == set(heard) == there
        assert len(heard) == 2
