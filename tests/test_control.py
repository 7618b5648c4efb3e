"""Controls of a running kernel: the service ``Plugins``, ``enable`` and ``disable``, one change at a time."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from anyio import fail_after

from plugbus import (
    Event,
    Kernel,
    Manifest,
    Plugin,
    PluginError,
    PluginInUseError,
    PluginLoadError,
    PluginNotFoundError,
    Plugins,
    ReloadError,
    observes,
)
from plugbus.tasks import Tasks

pytestmark = pytest.mark.anyio


class Tick(Event, name="control.tick"): ...


class Stock(Plugin, id="stock"):
    heard = 0

    @observes(Tick)
    async def see(self, event: Tick) -> None:
        type(self).heard += 1


class Shop(Plugin):
    manifest = Manifest(id="shop", requires=["stock"])


class Admin(Plugin):
    """Declares what it may, and holds the controls."""

    manifest = Manifest(id="admin", permissions=["kernel.manage"])

    def __init__(self, plugins: Plugins) -> None:
        self.plugins = plugins


async def test_a_plugin_with_the_permission_controls_the_others() -> None:
    """The service is the same mapping as ``kernel.plugins``, and does the same."""
    async with Kernel(plugins=[Admin, Stock]) as kernel:
        plugins = kernel.plugins["admin"].instance.plugins

        assert list(plugins) == ["admin", "stock"]
        first = plugins["stock"].instance
        assert (await plugins.reload("stock")).instance is not first
        assert await plugins.disable("stock") == ("stock",)
        assert plugins["stock"].state == "disabled"
        assert (await plugins.enable("stock")).state == "ready"
        assert await plugins.unload("stock") == ("stock",)
        assert (await plugins.load("stock")).state == "ready"
        assert (await kernel.services.aget(Plugins))["stock"].state == "ready"


@pytest.mark.parametrize("permissions", [[], ["database"]])
async def test_a_plugin_without_the_permission_is_refused_at_wiring(permissions: list[str]) -> None:
    """Once its manifest declares permissions, nothing of it is built."""

    class Curious(Plugin):
        manifest = Manifest(id="curious", permissions=permissions)

        def __init__(self, plugins: Plugins) -> None:
            raise AssertionError("it was built")

    async with Kernel(plugins=[Curious]) as kernel:
        assert kernel.plugins["curious"].state == "failed"
        assert "its wiring does not fit" in kernel.plugins["curious"].reason
        assert "kernel.manage" in kernel.plugins["curious"].reason


async def test_a_strict_kernel_lets_nobody_control_who_does_not_declare_it() -> None:
    """And a grant that leaves it out takes it away."""

    class Silent(Plugin, id="silent"):
        def __init__(self, plugins: Plugins) -> None:
            self.plugins = plugins

    class Strict(Plugin):
        manifest = Manifest(id="strict", publishes=[], subscribes=[], permissions=["kernel.manage"])

        def __init__(self, plugins: Plugins) -> None:
            self.plugins = plugins

    async with Kernel(plugins=[Silent, Strict], strict=True) as kernel:
        assert [kernel.plugins[name].state for name in ("silent", "strict")] == ["failed", "ready"]
    async with Kernel(plugins=[Admin], grants={"admin": {"permissions": []}}) as kernel:
        assert kernel.plugins["admin"].state == "failed"


@pytest.mark.parametrize("what", ["reload", "unload", "disable"])
async def test_a_plugin_cannot_wait_for_its_own_end(what: str) -> None:
    """Itself, or what it needs, from a handler or from a task of its own: a clear error, and nothing has changed."""
    outcome: list[str] = []

    class Own(Admin):
        manifest = Manifest(id="own", requires=["stock"])

        def __init__(self, plugins: Plugins, tasks: Tasks) -> None:
            super().__init__(plugins)
            self.tasks = tasks

        async def on_ready(self) -> None:
            await self.change("own")

        @observes(Tick)
        async def see(self, event: Tick) -> None:
            await self.change("own")
            await self.change("stock")
            self.tasks.start(self.change, "own")

        async def change(self, name: str) -> None:
            options = {} if what == "reload" else {"cascade": True}
            try:
                await getattr(self.plugins, what)(name, **options)
            except PluginError as error:
                outcome.append(error.reason)

    with fail_after(20):
        async with Kernel(plugins=[Own, Stock]) as kernel:
            await kernel.bus.aemit(Tick())
            while len(outcome) < 4:  # noqa: ASYNC110 - the last is a task's
                await anyio.sleep(0.001)
            assert [record.state for record in kernel.plugins.values()] == ["ready", "ready"]

    itself = f"it cannot {what} itself, because it would wait for its own end; ask the host to"
    assert outcome == [itself, itself, itself.replace("itself", "'stock', which it needs"), itself]


@pytest.mark.parametrize("phase", ["on_boot", "on_shutdown"])
async def test_nothing_is_changed_from_within_a_change(phase: str) -> None:
    """It would wait for itself: a clear error, whoever it is about."""
    outcome: list[str] = []

    class Eager(Plugin, id="eager"):
        async def on_boot(self) -> None:
            await self.at("on_boot")

        async def on_shutdown(self) -> None:
            await self.at("on_shutdown")

        async def at(self, here: str) -> None:
            if here == phase:
                try:
                    await kernel.reload("stock")
                except PluginError as error:
                    outcome.append(error.reason)

    kernel = Kernel(plugins=[Stock, Eager])
    with fail_after(20):
        async with kernel:
            await kernel.reload("eager")

    assert "a plugin cannot load, unload, reload or configure others while one boots or is changed" in outcome[0]


async def test_changes_are_made_one_after_another() -> None:
    """However many are asked for at once, and whichever of them is cancelled while it waits."""
    running = 0
    most = 0

    class Slow(Plugin, id="slow"):
        async def on_boot(self) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await anyio.lowlevel.checkpoint()
            running -= 1

    with fail_after(20):
        async with Kernel(plugins=[Slow, Stock]) as kernel:
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(kernel.reload, "slow")
                tasks.start_soon(kernel.reload, "stock")
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await kernel.reload("slow")
            assert most == 1
            assert {record.state for record in kernel.plugins.values()} == {"ready"}


FOLDER_PLUGIN = """
from plugbus import Plugin
imported = __name__
class One(Plugin, id="one"): ...
"""


@pytest.mark.may_block("the test writes small files")
async def test_what_was_found_and_not_enabled_is_imported_when_it_is_enabled(tmp_path: Path) -> None:
    """Nothing of it was imported before; ``load`` says to enable it first."""
    import sys

    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "plugin.py").write_text(FOLDER_PLUGIN)
    async with Kernel(plugin_dirs=[tmp_path]) as kernel:
        assert str(kernel.plugins["one"]) == "one: disabled (not enabled)"
        assert not any(name.startswith("plugbus_plugin_one") for name in sys.modules)
        with pytest.raises(PluginLoadError, match=r"enable it first \(await kernel.plugins.enable\('one'\)"):
            await kernel.load("one")
        assert (await kernel.plugins.enable("one")).state == "ready"
        assert any(name.startswith("plugbus_plugin_one") for name in sys.modules)
        assert (await kernel.plugins.enable("one")).state == "ready"

        await kernel.plugins.disable("one")
        assert str(kernel.plugins["one"]) == "one 0: disabled (disabled while the kernel runs)"
        assert not any(name.startswith("plugbus_plugin_one") for name in sys.modules)
        assert await kernel.plugins.disable("one") == ()
        with pytest.raises(PluginError, match="it is disabled"):
            await kernel.reload("one")
        assert (await kernel.plugins.enable("one")).state == "ready"


async def test_one_that_was_taken_out_of_the_allow_list_can_be_enabled() -> None:
    """``-id`` holds until an operator says otherwise, for this run."""
    async with Kernel(plugins=[Stock], enabled=["-stock"]) as kernel:
        assert kernel.plugins["stock"].state == "disabled"
        assert (await kernel.plugins.enable("stock")).state == "ready"


async def test_disabling_takes_dependents_along_only_if_asked() -> None:
    """They are blocked then, with the reason; what was unloaded hears nothing."""
    Stock.heard = 0
    async with Kernel(plugins=[Stock, Shop]) as kernel:
        with pytest.raises(PluginInUseError) as caught:
            await kernel.plugins.disable("stock")
        assert caught.value.dependents == ("shop",)
        assert await kernel.plugins.disable("stock", cascade=True) == ("shop", "stock")
        await kernel.bus.aemit(Tick())

        assert Stock.heard == 0
        assert kernel.plugins["shop"].state == "blocked"
        assert kernel.plugins["shop"].reason == "it needs stock, which is disabled: disabled while the kernel runs"
        await kernel.plugins.enable("stock")
        await kernel.load("shop")
        assert [step.id for step in kernel.explain().plugins] == ["stock", "shop"]


async def test_one_that_cannot_boot_when_it_is_enabled_says_why() -> None:
    """It is failed then, and can be disabled again."""

    class Broken(Plugin, id="broken"):
        async def on_boot(self) -> None:
            raise OSError("no disk")

    async with Kernel(plugins=[Broken], enabled=["-broken"]) as kernel:
        with pytest.raises(PluginError, match="no disk"):
            await kernel.plugins.enable("broken")
        assert kernel.plugins["broken"].state == "failed"
        assert await kernel.plugins.disable("broken") == ()
        assert kernel.plugins["broken"].state == "disabled"
        assert kernel.plugins["broken"].error is None


@pytest.mark.parametrize("what", ["reload", "enable", "disable"])
async def test_an_id_that_nobody_has_is_an_error_with_the_nearest(what: str) -> None:
    async with Kernel(plugins=[Stock]) as kernel:
        with pytest.raises(PluginNotFoundError) as caught:
            await getattr(kernel.plugins, what)("stick")
        assert caught.value.nearest == ("stock",)


@pytest.mark.parametrize("what", ["reload", "enable", "disable"])
async def test_a_kernel_that_does_not_run_has_nothing_to_control(what: str) -> None:
    kernel = Kernel(plugins=[Stock])
    with pytest.raises(PluginError, match="the kernel is not running"):
        await getattr(kernel.plugins, what)("stock")


def test_sync_code_reloads_through_the_portal() -> None:
    with Kernel(plugins=[Stock]).portal() as kernel:
        first = kernel.plugins["stock"].instance
        assert kernel.reload("stock").instance is not first


def test_the_error_of_a_reload_says_whose_new_version_failed() -> None:
    error = ReloadError("stock", "shop", "on_boot raised OSError: no disk")
    assert str(error) == (
        "plugin 'stock': it was not reloaded: 'shop', which needs it: on_boot raised OSError: no disk\n"
        "Hint: correct it and reload again; what ran before runs on, nothing was lost."
    )
