"""Reloading a plugin: the new one boots beside the old one, takes over, or goes again; no event is missed."""

from __future__ import annotations

import contextlib
import gc
import sys
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio import fail_after
from pydantic import BaseModel

from plugbus import (
    Event,
    EventBus,
    Kernel,
    Live,
    Manifest,
    Named,
    NextFn,
    Owner,
    Plugin,
    PluginContext,
    PluginError,
    PluginReady,
    PluginUnloaded,
    ReloadError,
    Request,
    answers,
    hookimpl,
    hookspec,
    listens,
    mark,
    observes,
    provides,
    reads,
)

pytestmark = pytest.mark.anyio


class Tick(Event, name="reload.tick"):
    number: int = 0


class Ask(Request[int], name="reload.ask"): ...


class Catalog:
    def __init__(self, number: int) -> None:
        self.number = number


class Size(BaseModel):
    size: int = 1


class Base(Plugin):
    """Counts its generations, and notes what each of them hears; a test makes a class of its own of it."""

    made: int
    heard: list[tuple[int, int]]
    steps: list[str]
    fail_at = ""

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        cls.made, cls.heard, cls.steps = 0, [], []

    def __init__(self) -> None:
        type(self).made += 1
        self.generation = type(self).made
        self.note("built")

    def note(self, step: str) -> None:
        self.steps.append(f"{step} {self.generation}")
        if self.generation > 1 and self.fail_at == step:
            raise OSError(f"cannot be {step}")

    async def on_boot(self) -> None:
        self.note("booted")

    async def on_ready(self) -> None:
        self.note("ready")

    async def on_shutdown(self) -> None:
        self.note("shut down")

    @observes(Tick)
    async def see(self, event: Tick) -> None:
        self.heard.append((self.generation, event.number))

    @answers(Ask)
    async def answer(self, request: Ask) -> int:
        return self.generation


async def test_a_new_instance_takes_over_and_the_old_one_shuts_down() -> None:
    """The new one is built and booted before the old one ends; handler and observers change over."""

    class Shop(Base, id="shop"): ...

    async with Kernel(plugins=[Shop]) as kernel:
        old = kernel.plugins["shop"]
        await kernel.bus.aemit(Tick(number=1))
        new = await kernel.reload("shop")
        await kernel.bus.aemit(Tick(number=2))

        assert Shop.heard == [(1, 1), (2, 2)]
        assert await kernel.bus.acall(Ask()) == 2
        assert Shop.steps == ["built 1", "booted 1", "ready 1", "built 2", "booted 2", "ready 2", "shut down 1"]
        assert (old.state, new.state, new.source) == ("stopped", "ready", "argument")
        assert new.instance is kernel.plugins["shop"].instance
        assert kernel.pm.get_plugin("shop") is new.instance


@pytest.mark.parametrize("step", ["built", "booted", "ready"])
async def test_a_reload_that_fails_leaves_the_old_one_hearing(step: str) -> None:
    """Wherever the new one fails: nothing of it is left, and the old one hears every event."""

    class Shop(Base, id="shop"): ...

    class Other(Base, id="other"):
        @observes(Tick)
        async def answer(self, request: Tick) -> None: ...

    async with Kernel(plugins=[Shop, Other]) as kernel:
        before = kernel.plugins["shop"]
        subscriptions = set(kernel.bus.subscriptions())
        owned = before.owns
        Shop.fail_at = step
        with pytest.raises(ReloadError, match=f"cannot be {step}") as caught:
            await kernel.reload("shop")
        await kernel.bus.aemit(Tick(number=1))

        assert isinstance(caught.value.__cause__, Exception)
        assert (caught.value.plugin, caught.value.culprit) == ("shop", "shop")
        assert Shop.heard == [(1, 1)]
        assert await kernel.bus.acall(Ask()) == 1
        assert set(kernel.bus.subscriptions()) == subscriptions
        assert "shut down 1" not in Shop.steps
        assert kernel.plugins["shop"].state == "ready"
        assert kernel.plugins["shop"].instance is before.instance
        assert kernel.plugins["shop"].owns == owned
        assert [unit.id for unit in kernel.explain().plugins] == ["shop", "other"]

        Shop.fail_at = ""
        await kernel.reload("shop")
        assert await kernel.bus.acall(Ask()) > 1


async def test_dependents_boot_again_in_order_with_what_the_new_one_provides() -> None:
    """Who needs it, at whatever distance, and who holds a service of it that it could be without."""
    steps: list[str] = []

    class Stock(Base, id="stock"):
        @provides
        def catalog(self) -> Catalog:
            return Catalog(self.generation)

    class Prices(Plugin):
        manifest = Manifest(id="prices", requires=["stock"])

        async def on_boot(self) -> None:
            steps.append("prices boots")

        async def on_shutdown(self) -> None:
            steps.append("prices shuts down")

    class Shop(Plugin):
        manifest = Manifest(id="shop", requires=["prices"])

        def __init__(self, catalog: Catalog) -> None:
            self.catalog = catalog
            steps.append(f"shop with {catalog.number}")

        async def on_shutdown(self) -> None:
            steps.append("shop shuts down")

    class Friend(Plugin, id="friend"):
        def __init__(self, catalog: Catalog | None = None) -> None:
            self.catalog = catalog

    class Stranger(Base, id="stranger"):
        @observes(Tick)
        async def answer(self, request: Tick) -> None: ...

    async with Kernel(plugins=[Shop, Prices, Friend, Stock, Stranger]) as kernel:
        steps.clear()
        await kernel.reload("stock")

        assert steps == ["prices boots", "shop with 2", "shop shuts down", "prices shuts down"]
        assert kernel.plugins["friend"].instance.catalog.number == 2
        assert (await kernel.services.aget(Catalog)).number == 2
        assert Stranger.made == 1
        assert {record.state for record in kernel.plugins.values()} == {"ready"}
        assert kernel.plugins["shop"].needs == ("prices", "stock")
        assert await kernel.unload("stock", cascade=True) == ("shop", "prices", "stock")


async def test_a_dependent_that_fails_puts_all_back() -> None:
    """The error says whose new version failed."""

    class Stock(Base, id="stock"):
        @provides
        def catalog(self) -> Catalog:
            return Catalog(self.generation)

    class Shop(Base, id="shop"):
        def __init__(self, catalog: Catalog) -> None:
            super().__init__()
            self.catalog = catalog

        @observes(Tick)
        async def answer(self, request: Tick) -> None: ...

    async with Kernel(plugins=[Stock, Shop]) as kernel:
        catalog = await kernel.services.aget(Catalog)
        Shop.fail_at = "booted"
        with pytest.raises(ReloadError, match="'shop', which needs it: on_boot raised OSError") as caught:
            await kernel.reload("stock")
        await kernel.bus.aemit(Tick(number=1))

        assert caught.value.culprit == "shop"
        assert (Stock.heard, Shop.heard) == ([(1, 1)], [(1, 1)])
        assert await kernel.services.aget(Catalog) is catalog
        assert [kernel.plugins[name].instance.generation for name in ("stock", "shop")] == [1, 1]


async def test_what_is_reloaded_keeps_its_place_in_the_order() -> None:
    """Where priority and edges are equal, a new one is where the old one was."""
    trace: list[str] = []

    def plugin(name: str) -> type[Plugin]:
        class Named(Plugin, id=name):
            @listens(Tick)
            async def wrap(self, event: Tick, next_fn: Callable[..., object]) -> Tick:
                trace.append(name)
                return await next_fn(event)

        return Named

    async with Kernel(plugins=[plugin("one"), plugin("two"), plugin("three")]) as kernel:
        await kernel.bus.aemit(Tick())
        before = list(trace)
        trace.clear()
        await kernel.reload("two")
        await kernel.reload("one")
        await kernel.bus.aemit(Tick())

        assert trace == before == ["one", "two", "three"]


async def test_an_emit_in_flight_ends_with_the_chain_it_began_with() -> None:
    """The old one shuts down when what it was doing is done, and new emits go to the new one meanwhile."""
    entered, release = anyio.Event(), anyio.Event()

    class Shop(Base, id="shop"):
        @answers(Ask)
        async def answer(self, request: Ask) -> int:
            if self.generation == 1:
                entered.set()
                await release.wait()
                self.note("answered")
            return self.generation

    answered: list[int] = []

    async def ask(kernel: Kernel) -> None:
        answered.append(await kernel.bus.acall(Ask()))

    with fail_after(20):
        async with Kernel(plugins=[Shop]) as kernel, anyio.create_task_group() as tasks:
            tasks.start_soon(ask, kernel)
            await entered.wait()
            tasks.start_soon(kernel.reload, "shop")
            while kernel.plugins["shop"].instance.generation == 1:
                await anyio.lowlevel.checkpoint()
            await ask(kernel)
            assert answered == [2]
            assert "shut down 1" not in Shop.steps
            release.set()

    assert answered == [2, 1]
    assert Shop.steps.index("answered 1") < Shop.steps.index("shut down 1") < Shop.steps.index("shut down 2")


@pytest.mark.parametrize("keyed", [False, True])
async def test_every_kind_of_call_in_flight_is_waited_for(keyed: bool) -> None:
    """Listeners, sync subscribers in threads, injected ones, and callable objects, whatever chose the chain."""
    import threading

    class Keyed(Event, name="reload.keyed", key="shop"):
        shop: str

    kinds = ("listener", "observer", "thread", "injected", "object")
    started = {kind: threading.Event() for kind in kinds}
    release, thread_release = anyio.Event(), threading.Event()
    done: list[str] = []

    class Call:
        async def __call__(self, event: Keyed) -> None:
            started["object"].set()
            await release.wait()
            done.append("object")

    class Shop(Base, id="shop"):
        def __init__(self, bus: EventBus) -> None:
            super().__init__()
            if self.generation == 1:
                options = {"key": "berlin"} if keyed else {}
                for kind in kinds:
                    if kind == "listener":
                        bus.listen(
                            Keyed, self.listener, where=lambda event: event.shop == "listener" or keyed, **options
                        )
                    else:
                        call = Call() if kind == "object" else getattr(self, kind)
                        bus.observe(
                            Keyed, call, where=lambda event, kind=kind: event.shop in (kind, "berlin"), **options
                        )

        async def listener(self, event: Keyed, next_fn: NextFn[Keyed]) -> Keyed:
            started["listener"].set()
            await release.wait()
            done.append("listener")
            return await next_fn(event)

        async def observer(self, event: Keyed) -> None:
            started["observer"].set()
            if not keyed:
                await release.wait()
            done.append("observer")

        def thread(self, event: Keyed) -> None:
            started["thread"].set()
            if not keyed:
                assert thread_release.wait(20)
            done.append("thread")

        async def injected(self, event: Keyed, bus: EventBus) -> None:
            started["injected"].set()
            if not keyed:
                await release.wait()
            done.append("injected")

        async def on_shutdown(self) -> None:
            done.append(f"shut down {self.generation}")

    with fail_after(30):
        async with Kernel(plugins=[Shop]) as kernel, anyio.create_task_group() as tasks:
            for shop in ("berlin",) if keyed else kinds:
                tasks.start_soon(kernel.bus.aemit, Keyed(shop=shop))
            waited = ("listener",) if keyed else kinds
            for kind in waited:
                while not started[kind].is_set():  # noqa: ASYNC110 - set from threads as well
                    await anyio.sleep(0.001)
            tasks.start_soon(kernel.reload, "shop")
            while kernel.plugins["shop"].instance.generation == 1:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            assert "shut down 1" not in done
            thread_release.set()
            release.set()

    assert sorted(done[:5]) == sorted(kinds)
    assert done[5:] == ["shut down 1", "shut down 2"]


PLUGIN = """
from pydantic import BaseModel
from plugbus import Event, Plugin, Manifest, answers, hookimpl, observes, Request
from tests.test_reload import Ask, Tick

class Mine(Event, name="reload.mine"):
    number: int

class Shop(Plugin):
    manifest = Manifest({manifest})

    class Settings(BaseModel):
        {settings}

    heard = []

    def __init__(self, settings):
        self.settings = settings

    @observes(Mine)
    async def see(self, event: Mine) -> None:
        self.heard.append(event.number)

    @answers(Ask)
    async def answer(self, request: Ask) -> int:
        return {answer}
"""


def text(answer: object, manifest: str = 'id="shop"', settings: str = "size: int = 1") -> str:
    return PLUGIN.format(answer=answer, manifest=manifest, settings=settings)


def make(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, object]]:
    if way == "folder":
        (tmp_path / "shop").mkdir()
        return tmp_path / "shop" / "plugin.py", {"plugin_dirs": [tmp_path], "enabled": ["shop"]}
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / f"reloading_{tmp_path.name.replace('-', '_')}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    return package / "plugin.py", {"plugins": [f"{package.name}.plugin:Shop"]}


@pytest.mark.parametrize("way", ["folder", "name"])
@pytest.mark.may_block("the test writes small files")
async def test_fresh_code_is_read_from_disk(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event type of the same module and qualified name replaces the old one."""
    file, arguments = make(tmp_path, way, monkeypatch)
    file.write_text(text(1))
    async with Kernel(**arguments) as kernel:
        old = kernel.bus.type_named("reload.mine")
        names = {name for name in sys.modules if kernel.plugins["shop"].instance.__module__.startswith(name)}
        file.write_text(text(2))  # as long as before, and within the same second
        await kernel.reload("shop")
        new = kernel.bus.type_named("reload.mine")

        assert await kernel.bus.acall(Ask()) == 2
        assert old is not new
        assert new is not None
        assert new.cls.__module__ == old.cls.__module__
        await kernel.bus.aemit_named("reload.mine", {"number": 7})
        await kernel.bus.aemit(old.cls(number=8))  # nobody has such a subscriber any more, and it takes no name back
        await kernel.bus.aemit_named("reload.mine", {"number": 9})
        assert kernel.plugins["shop"].instance.heard == [7, 9]
        assert {name for name in sys.modules if new.cls.__module__.startswith(name)} == names
        assert sys.modules[new.cls.__module__].Mine is new.cls

        await kernel.unload("shop")
        assert kernel.bus.type_named("reload.mine") is None
        assert await kernel.load("shop" if way == "folder" else arguments["plugins"][0])


BROKEN = {
    "import": ("raise OSError('no import')", "importing it raised OSError: no import"),
    "syntax": ("class", "SyntaxError"),
    "id": (text(2, 'id="other"'), "it declares the id 'other'"),
    "requires": (text(2, 'id="shop", requires=["nobody"]'), "it requires nobody, which is not there"),
    "version": (text(2, 'id="shop", version="2.0"'), "requires shop<2, and shop is 2.0"),
    "settings": (text(2, settings="size: int"), "size"),
    "wiring": (text(2).replace("def __init__(self, settings)", "def __init__(self, settings, nobody)"), "nobody"),
    "hook": (text(2) + "\n    @hookimpl\n    def plugbus_shutdown(self, nonsense): ...\n", "pluggy refuses it"),
    "subscription": (text(2).replace("request: Ask", "request: Tick"), "Tick"),
}


@pytest.mark.parametrize("way", ["folder", "name"])
@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.may_block("the test writes small files")
async def test_a_new_version_that_does_not_fit_is_refused(
    kind: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its manifest, its settings, its wiring: whatever is wrong is told, and modules and types are the old ones."""

    class User(Plugin):
        manifest = Manifest(id="user", requires=["shop<2"])

    file, arguments = make(tmp_path, way, monkeypatch)
    file.write_text(text(1, 'id="shop", version="1.0"'))
    arguments["plugins"] = [*arguments.get("plugins", []), User]
    broken, message = BROKEN[kind]
    async with Kernel(**arguments) as kernel:
        old = kernel.bus.type_named("reload.mine")
        modules = {name: module for name, module in sys.modules.items() if old.cls.__module__.startswith(name)}
        file.write_text(broken)
        with pytest.raises(ReloadError, match=message):
            await kernel.reload("shop")

        assert await kernel.bus.acall(Ask()) == 1
        assert kernel.bus.type_named("reload.mine").cls is old.cls
        await kernel.bus.aemit_named("reload.mine", {"number": 7})
        assert kernel.plugins["shop"].instance.heard == [7]
        assert {name: sys.modules.get(name) for name in modules} == modules
        assert kernel.plugins["shop"].manifest.version == "1.0"

        file.write_text(text(3, 'id="shop", version="1.1"'))
        await kernel.reload("shop")
        assert await kernel.bus.acall(Ask()) == 3
        assert str(kernel.plugins["shop"]) == "shop 1.1: ready"


@pytest.mark.parametrize("form", ["folder", "file"])
@pytest.mark.may_block("the test writes small files")
async def test_a_plugin_whose_code_was_taken_away_is_not_reloaded(form: str, tmp_path: Path) -> None:
    """The error says that it is gone, and from where; what ran before runs on."""
    code = tmp_path / "shop.py" if form == "file" else tmp_path / "shop"
    file = code if form == "file" else code / "__init__.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text(1))
    async with Kernel(plugin_dirs=[tmp_path], enabled=["shop"]) as kernel:
        file.unlink()
        with pytest.raises(ReloadError, match="no code of it is left in ") as caught:
            await kernel.reload("shop")

        assert str(code) in caught.value.reason
        assert await kernel.bus.acall(Ask()) == 1


@pytest.mark.may_block("the test writes small files")
async def test_a_renamed_class_takes_over_its_wire_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name goes to the new one's type; when the new one fails, it stays where it was."""
    file, arguments = make(tmp_path, "folder", monkeypatch)
    file.write_text(text(1))
    renamed = text(2).replace("Mine", "Ours")
    async with Kernel(**arguments) as kernel:
        old = kernel.bus.type_named("reload.mine")
        file.write_text(renamed + "    async def on_ready(self): raise OSError('late')\n")
        with pytest.raises(ReloadError, match="late"):
            await kernel.reload("shop")
        assert kernel.bus.type_named("reload.mine").cls is old.cls
        await kernel.bus.aemit_named("reload.mine", {"number": 1})
        assert kernel.plugins["shop"].instance.heard == [1]
        file.write_text(renamed)
        await kernel.reload("shop")

        assert kernel.bus.type_named("reload.mine").cls.__name__ == "Ours"
        await kernel.bus.aemit_named("reload.mine", {"number": 2})
        assert kernel.plugins["shop"].instance.heard == [2]


async def test_what_somebody_else_built_cannot_be_built_anew() -> None:
    """The error says what to give instead; a dependent of this kind stops the reload as well."""

    class Stock(Base, id="stock"): ...

    class Shop(Plugin):
        manifest = Manifest(id="shop", requires=["stock"])

    async with Kernel(plugins=[Stock, Shop()]) as kernel:
        with pytest.raises(ReloadError, match="was made by somebody else"):
            await kernel.reload("shop")
        with pytest.raises(ReloadError, match="'shop', which needs it: it cannot be built anew"):
            await kernel.reload("stock")
        assert Stock.made == 1


async def test_plugins_that_share_a_module_are_built_again_from_the_class_they_have() -> None:
    """Importing the module again for one of them would give the other's event types a second time."""
    name = f"{__name__}:Shared"
    async with Kernel(plugins=[name, f"{__name__}:Sharing"]) as kernel:
        first = kernel.plugins["shared"].instance
        await kernel.reload("shared")

        assert type(kernel.plugins["shared"].instance) is type(first)
        assert kernel.plugins["shared"].instance is not first


class Shared(Plugin, id="shared"): ...


class Sharing(Plugin, id="sharing"): ...


MODULE = """
from plugbus import Manifest
manifest = Manifest(id="module")
def register(ctx):
    @ctx.on_ready
    def ready(): ctx.log.info("ready")
"""


@pytest.mark.may_block("the test writes small files")
async def test_a_module_is_imported_anew_and_hooks_change_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given by name, or as the module itself; a module that somebody made cannot be."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"module_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    given = __import__(name)
    made = type(sys)("made_up_module")
    made.manifest = Manifest(id="made")
    made.register = lambda ctx: None
    async with Kernel(plugins=[given, made]) as kernel:
        await kernel.reload("module")
        assert kernel.pm.get_plugin("module") is sys.modules[name]
        assert kernel.plugins["module"].instance is not given
        with pytest.raises(ReloadError, match="was made by somebody else"):
            await kernel.reload("made")


async def test_hook_specifications_change_over() -> None:
    """Those of a plugin leave with the old one and come with the new one, and back if that fails."""

    class Specs:
        @hookspec
        def reload_hook(self) -> int: ...

    class Shop(Base, id="shop"):
        hookspecs = Specs

        @hookimpl
        def reload_hook(self) -> int:
            return self.generation

    async with Kernel(plugins=[Shop]) as kernel:
        await kernel.reload("shop")
        assert kernel.pm.hook.reload_hook() == [2]
        Shop.fail_at = "ready"
        with pytest.raises(ReloadError):
            await kernel.reload("shop")
        assert kernel.pm.hook.reload_hook() == [2]
        assert kernel.pm.hook.reload_hook.has_spec()


class JobMark(BaseModel, frozen=True):
    name: str


async def test_marks_are_read_again() -> None:
    """Readers let go of the old one's functions, and are told of the new one's; a reload of the reader is the same."""
    jobs: dict[str, int] = {}

    class Jobs(Base, id="jobs"):
        @reads(JobMark)
        async def attach(self, found) -> Callable[[], object]:
            if found.mark.name in jobs:
                raise ValueError(f"there is a job {found.mark.name!r} already")
            jobs[found.mark.name] = await found.call()
            return lambda: jobs.pop(found.mark.name)

        @observes(Tick)
        async def answer(self, request: Tick) -> None: ...

    class Shop(Base, id="shop"):
        @mark(JobMark(name="sweep"))
        async def sweep(self) -> int:
            return self.generation

    async with Kernel(plugins=[Jobs, Shop]) as kernel:
        assert jobs == {"sweep": 1}
        await kernel.reload("shop")
        assert jobs == {"sweep": 2}
        await kernel.reload("jobs")
        assert jobs == {"sweep": 2}
        Shop.fail_at = "ready"
        with pytest.raises(ReloadError):
            await kernel.reload("shop")
        assert jobs == {"sweep": 2}
        await kernel.unload("shop")
        assert jobs == {}


async def test_settings_of_a_shared_class_stay_each_ones_own() -> None:
    """While two generations have the same settings class, each gets its own."""

    class Shop(Base, id="shop"):
        Settings = Size

        def __init__(self, settings, live: Live[Size]) -> None:
            super().__init__()
            self.settings, self.live = settings, live

    async with Kernel(plugins=[Shop], config={"plugins": {"shop": {"size": 3}}}) as kernel:
        await kernel.reload("shop")

        found = kernel.plugins["shop"].instance
        assert (found.settings.size, found.live.current.size) == (3, 3)
        assert kernel.plugins["shop"].setting_sources["size"] != "default"


async def test_a_plugin_that_does_not_follow_its_settings_is_reloaded_for_them() -> None:
    """``configure`` keeps what was changed, and takes it back when the new one fails."""

    class Shop(Base, id="shop"):
        class Settings(BaseModel):
            size: int = 1

        def __init__(self, settings: Settings) -> None:
            super().__init__()
            self.size = settings.size
            if self.size == 13:
                raise ValueError("unlucky")

    async with Kernel(plugins=[Shop]) as kernel:
        assert await kernel.plugins.configure("shop", {"size": 2}) == ("size",)
        assert kernel.plugins["shop"].instance.size == 2
        with pytest.raises(ReloadError, match="unlucky"):
            await kernel.plugins.configure("shop", {"size": 13})
        assert kernel.plugins["shop"].instance.size == 2
        await kernel.reload("shop")
        assert kernel.plugins["shop"].instance.size == 2


async def test_a_reload_is_told_of() -> None:
    """``PluginUnloaded`` of the old one, then ``PluginReady`` of the new one, each after the change."""
    told: list[str] = []

    class Shop(Base, id="shop"): ...

    async with Kernel(plugins=[Shop]) as kernel:
        kernel.bus.observe([PluginUnloaded, PluginReady], lambda event: told.append(type(event).__name__))
        await kernel.reload("shop")
        assert told == ["PluginUnloaded", "PluginReady"]


async def test_the_old_one_emits_to_the_end() -> None:
    """What it is still doing may use its bus and its services until it shuts down."""
    entered, release = anyio.Event(), anyio.Event()
    result: list[object] = []

    class Shop(Base, id="shop"):
        def __init__(self, bus: EventBus, services) -> None:
            super().__init__()
            self.bus, self.services = bus, services

        @provides(name="thing")
        def thing(self) -> Catalog:
            return Catalog(self.generation)

        @observes(Tick)
        async def see(self, event: Tick) -> None:
            if event.number == 1:
                entered.set()
                await release.wait()
                result.append(await self.bus.acall(Ask()))
                result.append((await self.services.aget(Catalog)).number)

    with fail_after(20):
        async with Kernel(plugins=[Shop]) as kernel, anyio.create_task_group() as tasks:
            tasks.start_soon(kernel.bus.aemit, Tick(number=1))
            await entered.wait()
            tasks.start_soon(kernel.reload, "shop")
            while kernel.plugins["shop"].instance.generation == 1:
                await anyio.lowlevel.checkpoint()
            release.set()

    assert result == [2, 1]  # its emits go where all emits go, its services are its own generation's


async def test_only_one_who_is_ready_is_reloaded() -> None:
    """The error says its state and what to do."""

    class Shop(Base, id="shop"): ...

    async with Kernel(plugins=[Shop]) as kernel:
        await kernel.unload("shop")
        with pytest.raises(PluginError, match="it cannot be reloaded, it is stopped"):
            await kernel.reload("shop")


async def test_a_module_registers_again(tmp_path: Path) -> None:
    """What ``register(ctx)`` provides and subscribes changes over as well."""
    del tmp_path
    seen: list[str] = []

    class Registered(Base, id="registered"):
        @hookimpl
        def plugbus_boot(self, ctx: PluginContext) -> None:
            ctx.provide(Annotated[int, Named("generation")], self.generation)
            ctx.bus.observe(Tick, lambda event: seen.append(f"{self.generation}"))

    async with Kernel(plugins=[Registered]) as kernel:
        await kernel.bus.aemit(Tick())
        await kernel.reload("registered")
        await kernel.bus.aemit(Tick())

        assert seen == ["1", "2"]
        assert kernel.services.get(int, "generation") == 2


@pytest.mark.may_block("the test writes small files")
async def test_a_new_version_may_require_what_booted_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is last in the order of boots then, and so the first to leave."""

    class Late(Plugin, id="late"): ...

    file, arguments = make(tmp_path, "name", monkeypatch)
    file.write_text(text(1))
    arguments["plugins"] = [*arguments["plugins"], Late]
    async with Kernel(**arguments) as kernel:
        assert [step.id for step in kernel.explain().plugins] == ["shop", "late"]
        file.write_text(text(2, 'id="shop", requires=["late"]'))
        await kernel.reload("shop")

        assert [step.id for step in kernel.explain().plugins] == ["late", "shop"]
        assert await kernel.unload("late", cascade=True) == ("shop", "late")


async def test_what_came_onto_the_bus_meanwhile_may_stop_it() -> None:
    """A handler of somebody else's for what the new one was to answer: the new one goes, both others stay."""

    class Second(Request[str], name="reload.second"): ...

    class Shop(Base, id="shop"):
        async def on_boot(self, bus: EventBus) -> None:
            if self.generation == 2:
                bus.answer(Second, lambda request: "the plugin's")
                kernel.bus.answer(Second, lambda request: "the host's", run_in="caller")

    kernel = Kernel(plugins=[Shop])
    async with kernel:
        with pytest.raises(ReloadError, match=r"reload\.second"):
            await kernel.reload("shop")

        assert await kernel.bus.acall(Second()) == "the host's"
        assert await kernel.bus.acall(Ask()) == 1
        assert kernel.pm.get_plugin("shop") is kernel.plugins["shop"].instance


async def test_marks_that_cannot_be_read_again_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """The reload has failed by then; the old one runs on without them, and nobody else is harmed."""

    class Jobs(Plugin, id="jobs"):
        full = False

        @reads(JobMark)
        async def attach(self, found) -> Callable[[], object]:
            if self.full:
                raise OSError("no room")

            def close() -> None:
                type(self).full = True
                raise OSError("cannot close")

            return close

    class Shop(Base, id="shop"):
        @mark(JobMark(name="sweep"))
        async def sweep(self) -> int:
            return self.generation

    async with Kernel(plugins=[Jobs, Shop]) as kernel:
        with pytest.raises(ReloadError, match="no room"):
            await kernel.reload("shop")
        await kernel.bus.aemit(Tick(number=1))

        assert Shop.heard == [(1, 1)]
        told = capsys.readouterr().out
        assert "undoing what a reader made of a mark failed" in told
        assert "its marks could not be read again" in told


async def test_whatever_can_be_called_changes_over() -> None:
    """Built-in functions, partials, and those whose services are of a unit of work."""
    heard: list[Tick] = []

    class Shop(Base, id="shop"):
        @provides(scope="call")
        def catalog(self) -> Catalog:
            return Catalog(self.generation)

        async def on_boot(self, bus: EventBus) -> None:
            bus.observe(Tick, heard.append, run_in="caller")
            bus.observe(Tick, partial(self.told, "x"))

        async def told(self, prefix: str, event: Tick) -> None:
            self.note(prefix)

        @listens(Tick)
        async def wrap(self, event: Tick, next_fn: NextFn[Tick], catalog: Catalog) -> Tick:
            self.note(f"unit of {catalog.number}")
            return await next_fn(event)

    with fail_after(5):
        async with Kernel(plugins=[Shop]) as kernel:
            await kernel.bus.aemit(Tick(number=1))
            await kernel.reload("shop")
            Shop.steps.clear()
            await kernel.bus.aemit(Tick(number=2))

    assert [event.number for event in heard] == [1, 2]
    assert Shop.steps[:2] == ["unit of 2 2", "x 2"]


async def test_who_keeps_a_record_keeps_no_plugin_alive() -> None:
    """Neither of the one that was reloaded, nor of one that was unloaded."""

    class Shop(Base, id="shop"):
        @mark(JobMark(name="sweep"))
        async def sweep(self) -> None: ...

    async with Kernel(plugins=[Shop]) as kernel:
        record = kernel.plugins["shop"]
        alive = [weakref.ref(record.instance)]
        alive.append(weakref.ref((await kernel.reload("shop")).instance))
        await kernel.unload("shop")
        gc.collect()

        assert [found() for found in alive] == [None, None]
        assert record.state == kernel.plugins["shop"].state == "stopped"


class Bound(Plugin, id="bound"):
    """It has others call it."""

    stopped: ClassVar[list[object]] = []

    def __init__(self, owner: Owner) -> None:
        self.call = owner.bind(self.wait)
        self.work = owner.bind(self.block)
        self.began, self.go_on = anyio.Event(), anyio.Event()

    async def wait(self) -> bool:
        self.began.set()
        await self.go_on.wait()
        return self in self.stopped

    def block(self) -> bool:
        anyio.from_thread.run_sync(self.began.set)
        anyio.from_thread.run(self.go_on.wait)
        return self in self.stopped

    async def on_shutdown(self) -> None:
        self.stopped.append(self)


@pytest.mark.parametrize("way", ["async", "in a thread", "sync"])
async def test_a_bound_call_in_flight_is_waited_for(way: str) -> None:
    """As an emit is: whoever got hold of it before the swap, an endpoint, a job, may finish on the old one."""
    Bound.stopped.clear()
    results: list[bool] = []

    async def call(plugin: Bound) -> None:
        if way == "sync":
            results.append(await anyio.to_thread.run_sync(plugin.work.sync))
        else:
            results.append(await (plugin.call if way == "async" else plugin.work)())

    with fail_after(20):
        async with Kernel(plugins=[Bound]) as kernel, anyio.create_task_group() as group:
            old = kernel.plugins["bound"].instance
            group.start_soon(call, old)
            await old.began.wait()
            group.start_soon(kernel.reload, "bound")
            while kernel.plugins["bound"].instance is old:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            assert old not in Bound.stopped
            old.go_on.set()

    assert results == [False]
    assert old in Bound.stopped


class Step(Event, name="reload.step", lane="lane"):
    """Work in a lane."""

    lane: str
    number: int


@pytest.mark.parametrize("fails", [False, True])
async def test_a_lane_goes_over_to_the_new_one_when_the_old_one_is_done_with_it(fails: bool) -> None:
    """Order within a lane is kept, and other lanes do not wait; on the way back all is delivered, in whatever order."""
    began: list[tuple[int, str, int]] = []
    go_on = anyio.Event()
    made: list[object] = []

    class Shop(Plugin, id="shop"):
        def __init__(self) -> None:
            made.append(self)
            self.generation = len(made)

        @observes(Step, background=True)
        async def step(self, step: Step) -> None:
            began.append((self.generation, step.lane, step.number))
            if step.number == 1:
                await go_on.wait()

        async def on_ready(self, bus: EventBus) -> None:
            if self.generation == 2:
                await bus.aemit(Step(lane="a", number=3))
                await bus.aemit(Step(lane="b", number=4))
                await anyio.wait_all_tasks_blocked()
                if fails:
                    raise OSError("not ready")

    async def reload(kernel: Kernel) -> None:
        with contextlib.suppress(ReloadError):
            await kernel.reload("shop")

    with fail_after(20):
        async with Kernel(plugins=[Shop]) as kernel, anyio.create_task_group() as group:
            await kernel.bus.aemit(Step(lane="a", number=1))
            await kernel.bus.aemit(Step(lane="a", number=2))
            group.start_soon(reload, kernel)
            while len(began) < 2:
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            if not fails:
                assert began == [(1, "a", 1), (2, "b", 4)]
            go_on.set()
            while len(began) < 4:
                await anyio.lowlevel.checkpoint()
            await kernel.bus.aemit(Step(lane="a", number=5))

    in_lane = [number for _, lane, number in began if lane == "a"]
    assert sorted(in_lane) == [1, 2, 3, 5]
    assert fails or in_lane == [1, 2, 3, 5]
