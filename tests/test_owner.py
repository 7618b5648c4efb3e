"""The owner that serves other plugins, and the views it is told about: ``scope="plugin"``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import anyio
import pytest
from anyio import fail_after
from pydantic import BaseModel
from structlog.testing import capture_logs
from tests.support import virtual_time

from plugbus import (
    Event,
    EventBus,
    Kernel,
    Logger,
    Manifest,
    Owner,
    Plugin,
    PluginContext,
    PluginError,
    PluginGoneError,
    PluginInUseError,
    PluginTimeoutError,
    Tasks,
    provides,
)

pytestmark = pytest.mark.anyio


class Tick(Event, name="owner.tick"): ...


class Menu:
    """A view: what one plugin puts on the menu of another."""

    def __init__(self, owner: Owner, entries: dict[str, str]) -> None:
        self.owner, self._entries = owner, entries

    def add(self, entry: str) -> Callable[[], None]:
        disown = self.owner.own(lambda: self._entries.pop(entry), what=f"menu entry {entry}")
        self._entries[entry] = self.owner.id
        return disown


class Serving(Plugin, id="serving"):
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.trace: list[str] = []

    @provides(scope="plugin")
    def menu(self, owner: Owner) -> Iterator[Menu]:
        self.trace.append(f"+{owner.id}")
        yield Menu(owner, self.entries)
        self.trace.append(f"-{owner.id}")


class Tea(Plugin, id="tea"):
    def __init__(self, menu: Menu) -> None:
        self.menu = menu
        menu.add("tea")


class Coffee(Plugin, id="coffee"):
    def __init__(self, menu: Menu) -> None:
        self.menu = menu
        menu.add("coffee")

    async def on_boot(self) -> None:
        raise OSError("no beans")


async def test_each_plugin_that_asks_has_its_own_view() -> None:
    """Its factory is told who asks."""
    async with Kernel(plugins=[Tea, Serving]) as kernel:
        serving, tea = (kernel.plugins[id].instance for id in ("serving", "tea"))

        assert serving.entries == {"tea": "tea"}
        assert (serving.trace, kernel.plugins["tea"].needs) == (["+tea"], ("serving",))
        assert kernel.services.get(Menu) is not tea.menu
        assert kernel.services.get(Menu).owner.id == "host"


async def test_what_is_owned_through_a_view_shows_in_the_record_of_who_asked() -> None:
    async with Kernel(plugins=[Serving, Tea]) as kernel:
        assert "menu entry tea" in kernel.plugins["tea"].owns
        assert "menu entry tea" not in kernel.plugins["serving"].owns


async def test_a_view_leaves_with_its_owner() -> None:
    """What it owns is undone, the newest first; its clean-up runs; using it is an error that says who left."""
    async with Kernel(plugins=[Serving, Tea]) as kernel:
        serving, tea = (kernel.plugins[id].instance for id in ("serving", "tea"))
        serving.trace.clear()
        tea.menu.owner.own(lambda: serving.trace.append(f"undone with {sorted(serving.entries)}"), what="last")

        await kernel.unload("tea")

        assert (serving.entries, serving.trace) == ({}, ["undone with ['tea']", "-tea"])
        with pytest.raises(PluginGoneError, match="'tea': menu entry milk was used after the plugin left") as caught:
            tea.menu.add("milk")
        assert (caught.value.plugin, caught.value.what) == ("tea", "menu entry milk")
        assert serving.entries == {}


async def test_a_view_leaves_with_a_boot_that_failed() -> None:
    async with Kernel(plugins=[Serving, Coffee]) as kernel:
        serving = kernel.plugins["serving"].instance

        assert (kernel.plugins["coffee"].state, kernel.plugins["coffee"].owns) == ("failed", ())
        assert (serving.entries, serving.trace) == ({}, ["+coffee", "-coffee"])


async def test_a_provider_is_not_unloaded_while_its_views_are_held() -> None:
    """Refused with the list of holders; ``cascade`` unloads them before it."""
    async with Kernel(plugins=[Serving, Tea]) as kernel:
        menu = kernel.plugins["tea"].instance.menu
        with pytest.raises(PluginInUseError) as caught:
            await kernel.unload("serving")
        assert caught.value.dependents == ("tea",)

        assert await kernel.unload("serving", cascade=True) == ("tea", "serving")
        with pytest.raises(PluginGoneError):
            menu.add("milk")


class Curious(Plugin, id="curious"):
    """Can do without a menu, and looks for one at run time."""

    def __init__(self, services, menu: Menu | None = None) -> None:
        self.services, self.menu = services, menu
        self.last: list[str] = []

    def look(self) -> None:
        self.menu = self.services.get(Menu)
        self.menu.add("water")

    async def on_shutdown(self) -> None:
        if self.menu is not None:
            self.menu.add("last orders")
            self.last.append("served")


async def test_whoever_holds_a_view_needs_its_provider_however_it_came_by_it() -> None:
    """Also one that booted before the provider and asked at run time."""
    async with Kernel(plugins=[Curious]) as kernel:
        await kernel.load(Serving)
        await kernel.unload("serving")  # nobody holds one yet
        await kernel.load(Serving)
        kernel.plugins["curious"].instance.look()

        with pytest.raises(PluginInUseError) as caught:
            await kernel.unload("serving")
        assert caught.value.dependents == ("curious",)
        assert await kernel.unload("serving", cascade=True) == ("curious", "serving")


async def test_at_shutdown_no_provider_leaves_before_who_holds_its_view() -> None:
    """So that a view works in ``on_shutdown``, whichever of the two booted first."""
    async with Kernel(plugins=[Curious]) as kernel:
        await kernel.load(Serving)
        curious, serving = (kernel.plugins[id].instance for id in ("curious", "serving"))
        curious.look()

    assert curious.last == ["served"]
    assert serving.trace == ["+curious", "-curious"]


async def test_a_provider_that_fails_in_on_ready_takes_the_holders_of_its_views_along() -> None:
    class Late(Serving, id="late"):
        async def on_ready(self) -> None:
            raise OSError("no kitchen")

    async with Kernel(plugins=[Late, Curious]) as kernel:
        assert kernel.plugins["late"].state == "failed"
        assert kernel.plugins["curious"].state == "blocked"
        assert "it needs late, which failed" in kernel.plugins["curious"].reason


class Facts(Plugin):
    manifest = Manifest(id="facts", version="1.2.0")

    class Settings(BaseModel):
        number: int = 1

    def __init__(self, owner: Owner) -> None:
        self.owner = owner


async def test_an_owner_tells_who_it_is() -> None:
    async with Kernel(plugins=[Facts]) as kernel:
        owner = kernel.plugins["facts"].instance.owner

        assert (owner.id, owner.manifest) == ("facts", Facts.manifest)
        assert (owner.package, owner.folder) == (__name__, Path(__file__).parent)
        assert owner.settings_model is Facts.Settings


async def test_the_folder_of_a_folder_plugin_is_its_own(tmp_path: Path) -> None:
    folder = anyio.Path(tmp_path / "one")
    await folder.mkdir()
    text = (
        "from plugbus import Plugin\nclass One(Plugin, id='one'):\n    def __init__(self, owner): self.owner = owner\n"
    )
    await (folder / "plugin.py").write_text(text)

    async with Kernel(plugin_dirs=[tmp_path], enabled=["one"]) as kernel:
        owner = kernel.plugins["one"].instance.owner
        assert (owner.folder, owner.package) == (tmp_path / "one", "plugbus_plugin_one")
        assert owner.settings_model is None


async def test_bus_tasks_and_log_of_an_owner_are_the_views_that_it_asks_for() -> None:
    """One piece makes both: these services are views like any other plugin's."""

    class Asking(Plugin, id="asking"):
        def __init__(self, owner: Owner, bus: EventBus, tasks: Tasks, log: Logger) -> None:
            self.owner, self.bus, self.tasks, self.log = owner, bus, tasks, log

    async with Kernel(plugins=[Asking]) as kernel:
        plugin = kernel.plugins["asking"].instance
        owner = plugin.owner

        assert owner.bus is plugin.bus
        assert owner.tasks is plugin.tasks
        assert owner.bus.observe(Tick, print).plugin == "asking"
        handle = owner.tasks.start(anyio.sleep_forever, name="nap")
        await kernel.unload("asking")
        with fail_after(5):
            await handle.wait()

        for use in (lambda: owner.bus, lambda: owner.tasks, lambda: plugin.bus.observe(Tick, print)):
            with pytest.raises(PluginGoneError, match="'asking'"):
                use()
        owner.log.info("a logger goes on: its last lines tell why the plugin left")


async def test_the_host_is_an_owner_too() -> None:
    kernel = Kernel()
    async with kernel:
        owner = kernel.services.get(Owner)

        assert (owner.id, owner.manifest, owner.package, owner.folder) == ("host", None, "", None)
        assert owner.bus is kernel.bus
        assert owner.tasks is kernel.services.get(Tasks)


def test_an_owner_without_a_kernel_says_so() -> None:
    owner = Owner("shop")

    for use in (lambda: owner.bus, lambda: owner.tasks):
        with pytest.raises(PluginError, match=r"'shop': its (bus|tasks) was asked for, and it belongs to no kernel"):
            use()


async def test_a_module_provides_views_through_its_context() -> None:
    module = ModuleType("serving_module")
    module.manifest = Manifest(id="serving")

    def register(ctx: PluginContext) -> None:
        ctx.provide(Menu, factory=lambda owner: Menu(owner, {}), scope="plugin")

    module.register = register
    async with Kernel(plugins=[module, Curious]) as kernel:
        assert kernel.services.get(Menu).owner.id == "host"


async def test_what_cannot_be_undone_in_time_is_named() -> None:
    """With the time that it had; the rest is undone."""
    undone = []
    owner = Owner("shop")
    owner.own(lambda: undone.append("first"), what="first")
    owner.own(anyio.sleep_forever, what="the long one")

    with fail_after(5):
        [failure] = await owner.aclose(timeout_seconds=0.01)

    assert isinstance(failure, PluginTimeoutError)
    assert "undoing 'the long one' was still running after 0.01 s" in str(failure)
    assert undone == ["first"]


async def test_the_services_of_an_owner_are_its_own_view() -> None:
    """What is made for each plugin is made for it, and not for the plugin that serves it."""

    class Label:
        def __init__(self, of: str) -> None:
            self.of = of

    class Asked(Plugin, id="asked"):
        def __init__(self, owner: Owner) -> None:
            self.owner = owner

    kernel = Kernel(plugins=[Asked])
    kernel.services.factory(Label, lambda owner: Label(owner.id), scope="plugin")
    async with kernel:
        asked = kernel.plugins["asked"].instance
        assert isinstance(asked, Asked)
        assert asked.owner.services.get(Label).of == "asked"
        await kernel.unload("asked")
        with pytest.raises(PluginGoneError, match="its services"):
            _ = asked.owner.services
    with pytest.raises(PluginError, match="its services was asked for, and it belongs to no kernel"):
        _ = Owner("alone").services


def test_an_owner_shows_what_others_may_use() -> None:
    """Everything that is shown is there and documented; what is the kernel's business is not shown."""
    owner = Owner("shop")

    assert "bind" in dir(owner)
    assert not {"flights", "hide", "lenders", "permits", "threads"} & set(dir(owner))
    assert not [name for name in dir(owner) if name.startswith("_") or not hasattr(Owner, name)]


@virtual_time
async def test_a_close_that_waits_for_its_owners_own_work_is_given_up_and_named() -> None:
    """The task ends with its owner, after what was owned later; so the close waits for itself, until its time is up."""

    class Waiting(Plugin, id="waiting"):
        def __init__(self, owner: Owner) -> None:
            done = anyio.Event()

            async def work() -> None:
                try:
                    await anyio.sleep_forever()
                finally:
                    done.set()

            owner.tasks.start(work)
            owner.own(done.wait, what="the waiting")

    async with Kernel(plugins=[Waiting]) as kernel:
        began = anyio.current_time()
        with capture_logs() as logs:
            await kernel.unload("waiting")

        assert anyio.current_time() - began == 10
        assert "undoing 'the waiting' was still running after 10 s" in str(logs)
