"""Whatever a plugin registered leaves with it: on failure and on unload."""

from __future__ import annotations

import gc
import inspect
import sys
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio import fail_after
from pydantic import BaseModel

from plugbus import (
    Event,
    EventBus,
    Kernel,
    Logger,
    Plugin,
    PluginError,
    PluginGoneError,
    Request,
    answers,
    hookimpl,
    hookspec,
    listens,
    observes,
    provides,
)
from plugbus.tasks import Tasks

pytestmark = pytest.mark.anyio


class Tick(Event, name="ownership.tick"): ...


class Own(Event, name="ownership.own"): ...


class Ask(Request[int], name="ownership.ask"): ...


class Database: ...


class Cache: ...


class Specs:
    @hookspec
    def ownership_hook(self) -> None: ...


class Everything(Plugin, id="everything"):
    """Registers one of each thing that can be registered."""

    hookspecs = Specs
    events = (Own,)

    class Settings(BaseModel):
        number: int = 1

    def __init__(self, settings: Settings, bus: EventBus, tasks: Tasks, services, owner) -> None:
        self.bus, self.tasks, self.services, self.owner = bus, tasks, services, owner
        self.closed: list[str] = []

    @provides
    async def database(self) -> AsyncIterator[Database]:
        yield Database()
        self.closed.append("database")

    @answers(Ask)
    async def answer(self, request: Ask) -> int:
        return 1

    @listens(Tick)
    async def wrap(self, event, next_fn):
        return await next_fn(event)

    @observes(Tick)
    def see(self, event: Tick) -> None: ...

    @hookimpl
    def ownership_hook(self) -> None: ...

    async def on_boot(self, owner) -> None:
        self.bus.observe("ownership.*", lambda event: None)
        self.services.value(Cache, Cache())
        self.tasks.start(anyio.sleep_forever, name="sleeper")
        self.stream = await self.bus.stream(Tick).__aenter__()
        owner.own(lambda: self.closed.append("own"), what="something of its own")


class Failing(Everything, id="everything"):
    async def on_boot(self, owner) -> None:
        await super().on_boot(owner)
        await self.services.aget(Database)
        raise OSError("after everything was registered")


def traces(kernel: Kernel) -> dict[str, object]:
    """All that a kernel knows of plugins."""
    return {
        "subscriptions": [item for item in kernel.bus.subscriptions() if item.plugin != "host"],
        "types": {item.name for item in kernel.bus.types() if item.name.startswith("ownership")},
        "services": [kernel.services.has(kind) for kind in (Database, Cache, Everything.Settings)],
        "hooks": sorted(name for name in vars(kernel.pm.hook) if name.startswith("ownership")),
        "plugins": kernel.pm.list_name_plugin(),
        "tasks": [task.name for task in anyio.get_running_tasks() if task.name == "sleeper"],
    }


NOTHING = {
    "subscriptions": [], "types": set(), "services": [False, False, False], "hooks": [], "plugins": [], "tasks": [],
}  # fmt: skip


async def test_after_unload_nothing_is_left() -> None:
    with fail_after(10):
        async with Kernel() as kernel:
            before = traces(kernel)
            record = await kernel.load(Everything)
            plugin = record.instance
            await kernel.services.aget(Database)
            loaded = traces(kernel)
            assert len(loaded["subscriptions"]) == 5  # a stream is one, too
            assert loaded["types"] == {"ownership.own", "ownership.tick", "ownership.ask"}
            assert loaded["services"] == [True, True, True]
            assert (loaded["hooks"], loaded["tasks"]) == (["ownership_hook"], ["sleeper"])
            assert "something of its own" in record.owns

            await kernel.unload("everything")

            assert traces(kernel) == before == NOTHING
            assert (record.owns, record.instance) == ((), None)
            assert plugin.closed == ["own", "database"]
            with pytest.raises(PluginGoneError):
                await plugin.bus.aemit(Tick())
            with pytest.raises(PluginGoneError):
                plugin.bus.observe(Tick, print)
            with pytest.raises(PluginGoneError):
                plugin.services.get(Logger)
            with pytest.raises(PluginGoneError):
                plugin.tasks.start(anyio.sleep_forever)
            with pytest.raises(PluginGoneError):
                plugin.owner.own(print, what="more")


async def test_after_a_failed_boot_nothing_is_left() -> None:
    with fail_after(10):
        async with Kernel() as kernel:
            with pytest.raises(PluginError, match="after everything was registered"):
                await kernel.load(Failing)

            assert traces(kernel) == NOTHING
            assert kernel.plugins["everything"].owns == ()


async def test_a_stream_of_a_plugin_ends_with_it() -> None:
    with fail_after(10):
        async with Kernel(plugins=[Everything]) as kernel:
            stream = kernel.plugins["everything"].instance.stream
            await kernel.bus.aemit(Tick())
            await kernel.unload("everything")
            with pytest.raises((StopAsyncIteration, PluginGoneError)):
                while True:
                    await anext(stream)


async def test_settings_of_a_shared_class_stay_until_the_last_who_shares_it_has_left() -> None:
    class Shared(BaseModel):
        number: int = 1

    def sharing(name: str) -> type[Plugin]:
        class Sharing(Plugin, id=name):
            Settings = Shared

            def __init__(self, settings) -> None:
                self.number = settings.number

        return Sharing

    config = {"plugins": {"a": {"number": 1}, "b": {"number": 2}}}
    async with Kernel(plugins=[sharing("a"), sharing("b")], config=config) as kernel:
        assert [record.instance.number for record in kernel.plugins.values()] == [1, 2]
        await kernel.unload("a")
        assert kernel.services.has(Shared)
        await kernel.unload("b")
        assert not kernel.services.has(Shared)


FOLDER_PLUGIN = """
from plugbus import Event, Plugin, observes
from pydantic import BaseModel

class Mine(Event, name="mine.{name}"):
    number: int

class Folder(Plugin, id={name!r}):
    class Settings(BaseModel):
        limit: int = 3

    def __init__(self, settings: Settings, bus, log, tasks) -> None:
        self.bus, self.live = bus, settings
        tasks.start(self.work)

    async def work(self):
        import anyio
        await anyio.sleep_forever()

    @observes(Mine)
    async def see(self, event: Mine) -> None: ...

    def on_boot(self) -> None: ...
"""


async def test_modules_of_a_folder_plugin_leave_sys_modules(tmp_path: Path) -> None:
    for name in ("one", "two"):
        folder = anyio.Path(tmp_path / name)
        await folder.mkdir()
        text = FOLDER_PLUGIN.format(name=name)
        await (folder / "plugin.py").write_text(text if name == "one" else text + "\nraise OSError('late')\n")

    async with Kernel(plugin_dirs=[tmp_path], enabled=["one", "two"]) as kernel:
        assert {name for name in sys.modules if name.startswith("plugbus_plugin_")} == {
            "plugbus_plugin_one", "plugbus_plugin_one.plugin",
        }  # fmt: skip
        assert kernel.plugins["two"].state == "failed"
        assert kernel.bus.type_named("mine.one") is not None
        await kernel.unload("one")
        assert not any(name.startswith("plugbus_plugin_") for name in sys.modules)
        assert kernel.bus.type_named("mine.one") is None
        assert (await kernel.load("one")).state == "ready"

    assert not any(name.startswith("plugbus_plugin_") for name in sys.modules)


async def test_the_settings_class_of_a_folder_plugin_is_freed(tmp_path: Path) -> None:
    """No cache of Python's keeps it, with all it refers to, for a plugin that asks for ``Live[Settings]`` either."""
    folder = anyio.Path(tmp_path / "one")
    await folder.mkdir()
    text = FOLDER_PLUGIN.format(name="one").replace("settings: Settings, bus", "settings: Live[Settings], bus")
    await (folder / "plugin.py").write_text("from plugbus import Live" + text)

    async with Kernel(plugin_dirs=[tmp_path], enabled=["one"]) as kernel:
        freed = weakref.ref(type(kernel.plugins["one"].instance.live.current))
        await kernel.unload("one")
        await kernel.load("one")  # its record goes by the newest
        await census()

        assert freed() is None


async def flush_timers() -> None:
    """Have the loops let go of past deadlines, with the context of whoever set them: they do so in bulk."""
    for _ in range(1500):
        with fail_after(1000):
            await anyio.lowlevel.checkpoint()


async def census() -> tuple[Counter[str], Counter[str], int]:
    """What is alive: objects of ours by type, all other objects by type, threads."""
    await flush_timers()
    if hasattr(inspect, "_shadowed_dict_from_mro_tuple"):  # 3.12 keeps the last 128 classes that it looked at
        inspect._shadowed_dict_from_mro_tuple.cache_clear()
    gc.collect()
    gc.collect()
    kinds = Counter(map(type, gc.get_objects()))  # of a class that C code made, the module may be a descriptor
    mine = ("plugbus", "tests.test_ownership")
    ours = Counter({kind.__name__: count for kind, count in kinds.items() if str(kind.__module__).startswith(mine)})
    # Deadlines that trio has not pruned yet are tuples and scopes, a thousand at most.
    loops = ("trio", "asyncio", "anyio")
    others = Counter(
        {
            kind.__name__: count
            for kind, count in kinds.items()
            if kind is not tuple and not str(kind.__module__).startswith((*mine, *loops))
        }
    )
    return ours, others, threading.active_count()


async def test_the_census_sees_what_is_left() -> None:
    """The control: a record that somebody keeps in each round shows, however much earlier tests have left."""
    kept = []
    gc.collect()
    gc.freeze()  # what there was before is out of the count: it might go in between, and make up for what stays
    try:
        async with Kernel() as kernel:
            ours, _, _ = await census()
            for _ in range(10):
                kept.append(await kernel.load(Everything))
                await kernel.unload("everything")
            ours_after, _, _ = await census()
    finally:
        gc.unfreeze()

    assert (ours_after - ours)["Unit"] >= 9
