"""Settings that change while a plugin runs: valid as a whole, in force at once or not at all, one change at a time."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import anyio
import pytest
from pydantic import BaseModel, Field, SecretBytes, SecretStr, field_validator
from tests.support import virtual_time

from plugbus import (
    ABSENT,
    AsyncNextFn,
    ConfigureError,
    Event,
    Forbidden,
    Kernel,
    Live,
    Manifest,
    NamedEvent,
    Owner,
    Plugin,
    PluginConfiguring,
    PluginContext,
    PluginError,
    PluginGoneError,
    PluginNotFoundError,
    PluginTimeoutError,
    ReloadError,
    Services,
    SettingsChanged,
    SettingsError,
    SettingsStore,
    Tasks,
    Veto,
    hookimpl,
    observes,
    provides,
)
from plugbus._kernel.wiring import SettingsTypes

pytestmark = pytest.mark.anyio

CANARY = "canary-7f1d"


class Mail(BaseModel):
    host: str = "localhost"
    port: int = 25


class Settings(BaseModel):
    max_items: int = 100
    names: list[str] = []
    api_key: SecretStr | None = None
    mail: Mail = Mail()


class Aliased(BaseModel):
    mode: str = Field(default="fast", alias="Mode")


class Clock: ...


class Catalog:
    def __init__(self, live: Live[Settings]) -> None:
        self.live = live


class View:
    def __init__(self, owner: str, live: Live[Settings], settings: Settings) -> None:
        self.owner, self.live, self.settings = owner, live, settings


class Shop(Plugin, id="shop"):
    """Follows its settings."""

    Settings = Settings

    def __init__(self, settings: Settings, live: Live[Settings]) -> None:
        self.max_items = settings.max_items
        self.live = live
        self.told: list[tuple[int, int, int]] = []

    async def on_settings(self, old: Settings, new: Settings) -> None:
        self.told.append((old.max_items, new.max_items, self.live.current.max_items))
        self.max_items = new.max_items


class Viewing(Plugin, id="shop"):
    """Reads them each time."""

    Settings = Settings

    def __init__(self, live: Live[Settings]) -> None:
        self.live = live


class Store:
    """Keeps settings in memory."""

    def __init__(self, **kept: Mapping[str, Any]) -> None:
        self.kept = dict(kept)

    async def load(self, plugin: str) -> Mapping[str, Any]:
        return self.kept.get(plugin, {})

    async def save(self, plugin: str, values: Mapping[str, Any]) -> None:
        self.kept[plugin] = values


def module(name: str, register: Callable[..., object] | None, **namespace: object) -> ModuleType:
    made = ModuleType(f"live_settings_{name}")
    made.__dict__.update(manifest=Manifest(id="shop"), Settings=Settings, **namespace)
    if register is not None:
        made.__dict__["register"] = register
    for value in namespace.values():
        if callable(value):
            value.__module__ = made.__name__
    return made


# ------------------------------------------------------------------------------------------------------------ following


async def test_a_plugin_is_told_the_old_and_the_new_settings() -> None:
    async with Kernel(plugins=[Shop]) as kernel:
        shop = kernel.plugins["shop"].instance

        assert await kernel.plugins.configure("shop", {"max_items": 9}) == ("max_items",)
        assert await kernel.plugins.configure("shop", {"max_items": 10, "mail": {"port": 26}}) == (
            "max_items",
            "mail.port",
        )

        assert shop.told == [(100, 9, 9), (9, 10, 10)]
        assert shop.live.current == Settings(max_items=10, mail=Mail(port=26))
        assert kernel.plugins["shop"].setting_sources == {
            "api_key": "default",
            "mail.host": "default",
            "mail.port": "configure()",
            "max_items": "configure()",
            "names": "default",
        }


async def test_live_is_always_the_newest_and_needs_nobody_to_be_told() -> None:
    async with Kernel(plugins=[Viewing]) as kernel:
        live = kernel.plugins["shop"].instance.live
        assert live.current.max_items == 100

        await kernel.plugins.configure("shop", {"max_items": 9})

        assert live.current.max_items == 9


async def test_a_plugin_whose_providers_alone_read_live_settings_needs_no_hook_either() -> None:
    class Providing(Plugin, id="shop"):
        Settings = Settings

        @provides
        def catalog(self, live: Live[Settings]) -> Catalog:
            return Catalog(live)

    async with Kernel(plugins=[Providing]) as kernel:
        catalog = await kernel.services.aget(Catalog)
        await kernel.plugins.configure("shop", {"max_items": 9})

        assert catalog.live.current.max_items == 9


async def test_a_sync_hook_runs_in_a_worker_thread_and_is_handed_services() -> None:
    class Sync(Plugin, id="shop"):
        Settings = Settings

        def on_settings(self, old: Settings, new: Settings, clock: Clock, settings, live: Live[Settings]) -> None:
            anyio.from_thread.check_cancelled()
            seen.append((clock, settings, live.current))

    seen: list[Any] = []
    clock, new = Clock(), Settings(max_items=9)
    kernel = Kernel(plugins=[Sync])
    kernel.services.value(Clock, clock)
    async with kernel:
        await kernel.plugins.configure("shop", {"max_items": 9})
        await kernel.plugins.configure("shop", {"max_items": 8})

    assert seen == [(clock, new, new), (clock, Settings(max_items=8), Settings(max_items=8))]


async def test_a_module_follows_by_its_context_or_by_a_function_of_its_own() -> None:
    seen: list[tuple[str, int]] = []

    def register(ctx: PluginContext) -> None:
        @ctx.on_settings
        async def follow(old: Settings, new: Settings) -> None:
            seen.append(("context", new.max_items))

    def on_settings(old: Settings, new: Settings) -> None:
        seen.append(("function", new.max_items))

    async with Kernel(plugins=[module("a", register, on_settings=on_settings)]) as kernel:
        await kernel.plugins.configure("shop", {"max_items": 9})

    assert seen == [("function", 9), ("context", 9)]


async def test_a_module_may_say_in_register_which_settings_it_has() -> None:
    seen: list[Settings] = []

    def register(ctx: PluginContext) -> None:
        seen.append(ctx.settings(Settings))
        ctx.on_settings(lambda old, new: seen.extend([old, new, ctx.settings(Settings)]))

    made = module("b", register)
    del made.Settings
    async with Kernel(plugins=[made]) as kernel:
        await kernel.plugins.configure("shop", {"max_items": 9})

    assert [settings.max_items for settings in seen] == [100, 100, 9, 9]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_pluggy_hook_is_handed_what_it_asks_for(asynchronous: bool) -> None:
    class Native:
        manifest = Manifest(id="shop")
        Settings = Settings

        if asynchronous:

            @hookimpl
            async def plugbus_settings(self, new: Settings, ctx: PluginContext) -> None:
                seen.append((ctx.id, new.max_items))
        else:

            @hookimpl
            def plugbus_settings(self, old: Settings, new: Settings) -> None:
                seen.append((old.max_items, new.max_items))

    seen: list[tuple[object, int]] = []
    async with Kernel(plugins=[Native()]) as kernel:
        await kernel.plugins.configure("shop", {"max_items": 9})

    assert seen == [("shop" if asynchronous else 100, 9)]


@pytest.mark.parametrize("hook", [lambda self: None, lambda self, new: None], ids=["none", "one"])
async def test_a_hook_that_cannot_be_told_is_refused_at_boot(hook: Callable[..., None]) -> None:
    wrong = type("Wrong", (Plugin,), {"manifest": Manifest(id="shop"), "on_settings": hook})

    async with Kernel(plugins=[wrong]) as kernel:
        assert "on_settings takes the old and the new settings" in kernel.plugins["shop"].reason


async def test_settings_are_handed_out_anew_to_whoever_is_built_later() -> None:
    async with Kernel(plugins=[Shop]) as kernel:
        await kernel.plugins.configure("shop", {"max_items": 9})
        owner = kernel.plugins["shop"].instance

        def build(settings: Settings) -> int:
            return settings.max_items

        assert owner.live.current.max_items == 9
        assert kernel.services.get(Settings).max_items == 9
        assert kernel.services.inject(build)() == 9


async def test_live_works_in_providers_and_in_what_is_made_for_each_plugin_that_asks() -> None:
    """Always with the settings of the plugin that wrote the provider."""

    class Providing(Plugin, id="shop"):
        Settings = Settings

        def on_settings(self, old: Settings, new: Settings) -> None: ...

        @provides
        def catalog(self, live: Live[Settings]) -> Catalog:
            return Catalog(live)

        @provides(scope="plugin")
        def view(self, owner: Owner, live: Live[Settings], settings: Settings) -> View:
            return View(owner.id, live, settings)

    class Asking(Plugin, id="asking", requires=["shop"]):
        class Settings(BaseModel):
            max_items: int = 1

        def __init__(self, catalog: Catalog, view: View, live: Live[Settings]) -> None:
            self.catalog, self.view, self.live = catalog, view, live

    kernel = Kernel(plugins=[Providing, Asking])
    async with kernel:
        asking = kernel.plugins["asking"].instance
        await kernel.plugins.configure("shop", {"max_items": 9})
        await kernel.plugins.configure("asking", {"max_items": 2})

        found = [asking.catalog.live.current.max_items, asking.view.live.current.max_items]
        assert [*found, asking.live.current.max_items] == [9, 9, 2]
        assert (asking.view.owner, asking.view.settings) == ("asking", Settings())


async def test_plugins_that_share_a_schema_have_their_own_settings() -> None:
    class Other(Viewing, id="other"): ...

    class Nosy(Plugin, id="nosy"):
        async def on_ready(self, live: Live[Settings]) -> None: ...

    async with Kernel(plugins=[Viewing, Other, Nosy], config={"plugins": {"other": {"max_items": 2}}}) as kernel:
        await kernel.plugins.configure("shop", {"max_items": 9})

        found = [kernel.plugins[name].instance.live.current.max_items for name in ("shop", "other")]
        assert found == [9, 2]
        assert "several plugins have such settings" in kernel.plugins["nosy"].reason


async def test_a_plugin_and_the_one_that_takes_its_place_are_one_plugin() -> None:
    """While it is reloaded both are there; who asks from outside gets the settings of the newer one."""
    services = Services()
    types = SettingsTypes(services, lambda owner: None)

    class Generation:
        key, definition = "shop", SimpleNamespace(settings_model=Settings)

        def __init__(self, number: int) -> None:
            self.settings = Settings(max_items=number)

    old, new = Generation(1), Generation(2)
    types.enter(old)
    asking = services.view(Owner("asking"))
    assert asking.get(Settings).max_items == 1

    types.enter(new)
    types.renew(new)

    assert asking.get(Settings).max_items == 2


async def test_live_of_a_plugin_that_left_says_so() -> None:
    async with Kernel(plugins=[Viewing]) as kernel:
        live = kernel.plugins["shop"].instance.live
        await kernel.unload("shop")

        with pytest.raises(PluginGoneError, match="its settings was used after the plugin left"):
            _ = live.current


# ------------------------------------------------------------------------------------------------- what is refused, and


async def refused(kernel: Kernel, changes: Mapping[str, Any], error: type[Exception]) -> Any:
    """Fail to configure the shop, and find everything as it was."""
    shop = kernel.plugins["shop"]
    before = shop.instance.live.current, dict(shop.setting_sources)
    heard: list[object] = []
    with kernel.bus.observe(SettingsChanged, heard.append), pytest.raises(error) as caught:
        await kernel.plugins.configure("shop", changes)

    assert (shop.instance.live.current, dict(shop.setting_sources)) == before
    assert heard == []
    return caught.value


async def test_the_whole_is_validated_before_anybody_is_told() -> None:
    async with Kernel(plugins=[Shop]) as kernel:
        error = await refused(kernel, {"max_items": 9, "mail": {"prot": 1, "port": "high"}, "colour": 1}, SettingsError)

        told = {problem.where: problem.hint for problem in error.problems}
        assert told == dict.fromkeys(["colour", "mail.prot", "mail.port"], "from configure()")
        assert kernel.plugins["shop"].instance.told == []


@pytest.mark.parametrize("changes", [["max_items"], "max_items", None])
async def test_changes_are_a_mapping(changes: Any) -> None:
    """What cannot be read as keys and values is refused as settings are, and says what was wanted."""
    async with Kernel(plugins=[Shop]) as kernel:
        error = await refused(kernel, changes, SettingsError)

        assert [(problem.where, problem.hint) for problem in error.problems] == [("changes", "in configure()")]
        assert "a mapping of keys to values is wanted" in str(error)


async def test_a_change_that_a_stronger_source_would_hide_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGBUS_SHOP__MAIL__PORT", "26")
    async with Kernel(plugins=[Shop], config={"plugins": {"shop": {"max_items": 1}}}) as kernel:
        error = await refused(kernel, {"max_items": 9, "mail": {"port": 27, "host": "mx"}}, SettingsError)

        assert [str(problem) for problem in error.problems] == [
            "max_items: is given by argument, which goes over what is configured at run time (change it there)",
            "mail.port: is given by PLUGBUS_SHOP__MAIL__PORT, which goes over what is configured at run time (change it there)",  # noqa: E501
        ]
        assert await kernel.plugins.configure("shop", {"mail": {"host": "mx"}}) == ("mail.host",)


async def test_an_alias_is_its_field_also_where_it_is_hidden() -> None:
    class Shop(Plugin, id="shop"):
        Settings = Aliased

        def __init__(self, live: Live[Aliased]) -> None:
            self.live = live

    async with Kernel(plugins=[Shop]) as kernel:
        assert await kernel.plugins.configure("shop", {"Mode": "slow"}) == ("mode",)
        assert await kernel.plugins.configure("shop", {"mode": "sure"}) == ("mode",)
        assert kernel.plugins["shop"].instance.live.current.mode == "sure"


async def test_a_listener_may_refuse_or_add_to_a_change() -> None:
    async def guard(event: PluginConfiguring, next_fn: AsyncNextFn[PluginConfiguring]) -> PluginConfiguring:
        result = await next_fn(event.with_settings({"names": ["added"]}, source="guard"))
        settings = result.validated()
        assert isinstance(settings, Settings)
        if settings.max_items > 100:
            raise Veto(f"{event.plugin}: over the limit, booting={event.booting}")
        return result

    kernel = Kernel(plugins=[Shop])
    kernel.bus.listen(PluginConfiguring, guard)
    async with kernel:
        error = await refused(kernel, {"max_items": 101}, Veto)
        assert error.reason == "shop: over the limit, booting=False"
        await kernel.plugins.configure("shop", {"max_items": 99})
        assert kernel.plugins["shop"].instance.live.current == Settings(max_items=99, names=["added"])


async def test_what_changes_nothing_tells_nobody_and_is_kept_nevertheless() -> None:
    store, heard = Store(), []
    kernel = Kernel(plugins=[Shop])
    kernel.services.value(SettingsStore, store)
    kernel.bus.observe(SettingsChanged, heard.append)
    async with kernel:
        assert await kernel.plugins.configure("shop", {"max_items": 100}) == ()
        assert kernel.plugins["shop"].instance.told == []

    assert (heard, store.kept) == ([], {"shop": {"max_items": 100}})


async def test_absent_takes_a_change_back() -> None:
    async with Kernel(plugins=[Shop]) as kernel:
        await kernel.plugins.configure("shop", {"max_items": 9, "mail": {"port": 26, "host": "mx"}})
        await kernel.plugins.configure("shop", {"max_items": ABSENT, "mail": {"port": ABSENT}, "names": ABSENT})

        assert kernel.plugins["shop"].instance.live.current == Settings(mail=Mail(host="mx"))


async def test_a_plugin_that_cannot_follow_is_reloaded_and_if_that_fails_nothing_changes() -> None:
    class Fixed(Plugin, id="shop"):
        Settings = Settings

        def __init__(self, settings: Settings, live: Live[Settings]) -> None:
            self.settings, self.live = settings, live
            if settings.max_items == 13:
                raise OSError("no room for so many")

    store = Store()
    kernel = Kernel(plugins=[Fixed])
    kernel.services.value(SettingsStore, store)
    async with kernel:
        first = kernel.plugins["shop"].instance
        assert await kernel.plugins.configure("shop", {"max_items": 9}) == ("max_items",)
        second = kernel.plugins["shop"].instance
        error = await refused(kernel, {"max_items": 13}, ReloadError)

        assert second is not first
        assert second.settings.max_items == 9
        assert "no room for so many" in error.reason
        assert kernel.plugins["shop"].instance is second

    assert store.kept == {"shop": {"max_items": 9}}


async def test_who_cannot_be_configured_is_told_why() -> None:
    class Plain(Plugin, id="plain"): ...

    class Failing(Plugin, id="failing"):
        def __init__(self) -> None:
            raise OSError("no")

    async with Kernel(plugins=[Plain, Failing]) as kernel:
        with pytest.raises(PluginNotFoundError, match="did you mean 'plain'"):
            await kernel.plugins.configure("plaim", {})
        with pytest.raises(PluginError, match="it has no settings"):
            await kernel.plugins.configure("plain", {})
        with pytest.raises(PluginError, match="it cannot be configured, it is failed"):
            await kernel.plugins.configure("failing", {})


# --------------------------------------------------------------------------------------------------------- the way back


class Stubborn(Shop, id="shop"):
    """Follows twice, and the second time fails."""

    error: Exception = OSError("no route to host")

    async def on_settings(self, old: Settings, new: Settings) -> None:
        raise self.error

    @hookimpl
    async def plugbus_settings(self, old: Settings, new: Settings) -> None:
        self.told.append((old.max_items, new.max_items, self.live.current.max_items))


async def test_a_hook_that_fails_takes_the_change_back_and_says_so() -> None:
    store = Store()
    kernel = Kernel(plugins=[Stubborn])
    kernel.services.value(SettingsStore, store)
    async with kernel:
        error = await refused(kernel, {"max_items": 9}, ConfigureError)

        assert error.reason == "on_settings raised OSError: no route to host; its old settings are in force again"
        assert (error.plugin, error.left) == ("shop", ())
        assert "raise self.error" in error.__notes__[0]
        assert kernel.plugins["shop"].state == "ready"

    assert store.kept == {}


def following(ctx_hooks: list[Callable[..., object]]) -> ModuleType:
    def register(ctx: PluginContext, live: Live[Settings]) -> None:
        for hook in ctx_hooks:
            ctx.on_settings(hook)

    return module("following", register)


async def test_those_who_had_followed_are_told_the_way_back() -> None:
    told: list[tuple[int, int]] = []

    def follow(old: Settings, new: Settings) -> None:
        told.append((old.max_items, new.max_items))

    async def fail(old: Settings, new: Settings) -> None:
        raise OSError("no")

    async with Kernel(plugins=[following([follow, fail])]) as kernel:
        with pytest.raises(ConfigureError, match="in force again"):
            await kernel.plugins.configure("shop", {"max_items": 9})

        assert kernel.services.get(Settings).max_items == 100

    assert told == [(100, 9), (9, 100)]


async def test_a_way_back_that_fails_is_told_too() -> None:
    def follow(old: Settings, new: Settings) -> None:
        if new.max_items == 100:
            raise KeyError("lost")

    async def fail(old: Settings, new: Settings) -> None:
        raise Veto("no")

    async with Kernel(plugins=[following([follow, fail])]) as kernel:
        with pytest.raises(ConfigureError, match="may follow neither the old settings nor the new") as caught:
            await kernel.plugins.configure("shop", {"max_items": 9})

        assert caught.value.left == ("on_settings raised KeyError: 'lost'",)


async def test_a_refusal_of_the_plugin_reaches_the_caller_as_it_is() -> None:
    class Refusing(Stubborn, id="shop"):
        error = Forbidden("not while it prints")

    async with Kernel(plugins=[Refusing]) as kernel:
        error = await refused(kernel, {"max_items": 9}, Forbidden)

        assert error is Refusing.error


@virtual_time
async def test_a_hook_that_hangs_is_given_up_and_the_change_taken_back() -> None:
    class Hanging(Shop, id="shop"):
        async def on_settings(self, old: Settings, new: Settings) -> None:
            await anyio.sleep_forever()

    async with Kernel(plugins=[Hanging], boot_timeout_seconds=60) as kernel:
        error = await refused(kernel, {"max_items": 9}, ConfigureError)

        assert "on_settings was still running after 60 s" in error.reason


@virtual_time
async def test_a_listener_that_hangs_is_given_up_and_nobody_is_told() -> None:
    async def hang(event: PluginConfiguring, next_fn: AsyncNextFn[PluginConfiguring]) -> PluginConfiguring:
        if not event.booting:
            await anyio.sleep_forever()
        return await next_fn(event)

    kernel = Kernel(plugins=[Shop], boot_timeout_seconds=60)
    kernel.bus.listen(PluginConfiguring, hang)
    async with kernel:
        error = await refused(kernel, {"max_items": 9}, PluginTimeoutError)

        assert error.phase == "PluginConfiguring"
        assert kernel.plugins["shop"].instance.told == []


async def test_a_change_whose_caller_is_cancelled_is_taken_back() -> None:
    class Waiting(Shop, id="shop"):
        async def on_settings(self, old: Settings, new: Settings) -> None:
            started.set()
            await anyio.sleep_forever()

    started = anyio.Event()
    async with Kernel(plugins=[Waiting]) as kernel:
        shop = kernel.plugins["shop"].instance
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kernel.plugins.configure, "shop", {"max_items": 9})
            await started.wait()
            assert shop.live.current.max_items == 9
            tasks.cancel_scope.cancel()

        assert shop.live.current.max_items == 100


# ----------------------------------------------------------------------------------------------------------- keeping it


async def test_what_is_stored_is_there_at_the_next_start() -> None:
    store = Store(shop={"names": ["kept"]})

    for expected in (100, 9):
        kernel = Kernel(plugins=[Shop])
        kernel.services.value(SettingsStore, store)
        async with kernel:
            record = kernel.plugins["shop"]
            assert record.instance.live.current == Settings(max_items=expected, names=["kept"])
            assert record.setting_sources["names"] == "stored"
            await kernel.plugins.configure("shop", {"max_items": 9})

    assert store.kept == {"shop": {"names": ["kept"], "max_items": 9}}


async def test_without_a_store_a_change_lasts_as_long_as_the_kernel() -> None:
    kernel = Kernel(plugins=[Shop])
    async with kernel:
        await kernel.plugins.configure("shop", {"max_items": 9})
        await kernel.unload("shop")
        await kernel.load("shop")

        assert kernel.plugins["shop"].instance.max_items == 9
        assert kernel.plugins["shop"].setting_sources["max_items"] == "configure()"


async def test_a_store_that_cannot_keep_a_change_takes_it_back() -> None:
    class Full(Store):
        def save(self, plugin: str, values: Mapping[str, Any]) -> None:
            raise OSError("the disk is full")

    kernel = Kernel(plugins=[Shop])
    kernel.services.value(SettingsStore, Full())
    async with kernel:
        error = await refused(kernel, {"max_items": 9}, ConfigureError)

        assert "SettingsStore.save raised OSError: the disk is full; its old settings are in force" in error.reason
        assert kernel.plugins["shop"].instance.told == [(100, 9, 9), (9, 100, 100)]


class Fixed(Plugin, id="shop"):
    """Reads its settings once, so that it is reloaded for others."""

    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


class Stopped(Store):
    """Keeps what it is given, and is stopped before it says so."""

    def __init__(self) -> None:
        super().__init__()
        self.kept["shop"] = {"max_items": 7}
        self.saved = anyio.Event()

    async def save(self, plugin: str, values: Mapping[str, Any]) -> None:  # type: ignore[override]
        self.kept[plugin] = values
        if not self.saved.is_set():
            self.saved.set()
            await anyio.sleep_forever()


@virtual_time
@pytest.mark.parametrize("plugin", [Shop, Fixed])
async def test_a_store_that_overran_after_keeping_a_change_gets_the_earlier_one_again(plugin: type[Plugin]) -> None:
    """Or the change that failed would be in force with the next start."""
    store = Stopped()
    kernel = Kernel(plugins=[plugin], boot_timeout_seconds=5)
    kernel.services.value(SettingsStore, store)
    async with kernel:
        with pytest.raises(PluginError, match=r"SettingsStore\.save was still running after 5 s"):
            await kernel.plugins.configure("shop", {"max_items": 9})

    assert store.kept == {"shop": {"max_items": 7}}


@pytest.mark.parametrize("plugin", [Shop, Fixed])
async def test_a_change_that_is_cancelled_while_it_is_kept_is_taken_back(plugin: type[Plugin]) -> None:
    """From the store, too."""
    store = Stopped()
    kernel = Kernel(plugins=[plugin])
    kernel.services.value(SettingsStore, store)
    async with kernel:
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(kernel.plugins.configure, "shop", {"max_items": 9})
                await store.saved.wait()
                group.cancel_scope.cancel()

        assert store.kept == {"shop": {"max_items": 7}}


@virtual_time
async def test_a_store_that_fails_at_taking_back_is_told_of() -> None:
    """What stopped it comes first."""

    class Failing(Stopped):
        async def save(self, plugin: str, values: Mapping[str, Any]) -> None:  # type: ignore[override]
            if self.saved.is_set():
                raise OSError("the disk is full")
            await super().save(plugin, values)

    kernel = Kernel(plugins=[Fixed], boot_timeout_seconds=5)
    kernel.services.value(SettingsStore, Failing())
    async with kernel:
        with pytest.raises(PluginError, match="still running") as caught:
            await kernel.plugins.configure("shop", {"max_items": 9})

    assert caught.value.__notes__ == ["its store may have kept them: taking them back raised OSError"]


# ----------------------------------------------------------------------------------------------- telling, one at a time


async def test_others_are_told_which_keys_changed_and_not_their_values() -> None:
    class Watching(Plugin, id="watching"):
        @observes(SettingsChanged, key="shop")
        def typed(self, event: SettingsChanged) -> None:
            heard.append(event)

        @observes("plugin.settings_changed")
        def named(self, event: NamedEvent) -> None:
            heard.append(event)

    heard: list[Event] = []
    async with Kernel(plugins=[Shop, Watching]) as kernel:
        await kernel.plugins.configure("shop", {"api_key": CANARY, "mail": {"port": 26}})

    assert heard[0] == SettingsChanged(plugin="shop", keys=("api_key", "mail.port"))
    assert heard[1].data == {"plugin": "shop", "keys": ["api_key", "mail.port"]}


async def test_changes_at_once_happen_one_after_another() -> None:
    """Each is told the settings that the one before it left, and none is lost."""

    class Slow(Shop, id="shop"):
        async def on_settings(self, old: Settings, new: Settings) -> None:
            running.append(len(running) - len(ended))
            await anyio.lowlevel.checkpoint()
            await super().on_settings(old, new)
            ended.append(new)

    running: list[int] = []
    ended: list[Settings] = []
    async with Kernel(plugins=[Slow]) as kernel:
        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(kernel.plugins.configure, "shop", {"max_items": number, "names": [str(number)]})
        told = kernel.plugins["shop"].instance.told

    assert running == [0] * 10
    assert [old for old, _, _ in told] == [100, *[new for _, new, _ in told[:-1]]]
    assert {new for _, new, _ in told} == set(range(10))


async def test_a_listener_of_the_announcement_may_configure_another_plugin() -> None:
    class Other(Viewing, id="other"): ...

    async def mirror(event: SettingsChanged) -> None:
        await kernel.plugins.configure("other", {"max_items": 9})

    kernel = Kernel(plugins=[Shop, Other])
    kernel.bus.observe(SettingsChanged, mirror, key="shop")
    async with kernel:
        await kernel.plugins.configure("shop", {"max_items": 9})

        assert kernel.plugins["other"].instance.live.current.max_items == 9


async def test_a_plugin_cannot_configure_itself_while_it_is_configured() -> None:
    class Eager(Shop, id="shop"):
        async def on_settings(self, old: Settings, new: Settings) -> None:
            await kernel.plugins.configure("shop", {"max_items": 1})

    kernel = Kernel(plugins=[Eager])
    async with kernel:
        error = await refused(kernel, {"max_items": 9}, ConfigureError)

        assert "cannot load, unload, reload or configure others while one boots or is changed" in error.reason


async def test_background_work_that_was_started_while_a_plugin_booted_may_configure_it() -> None:
    """It inherits the context of the boot, which has ended long since."""

    class Watcher(Shop, id="shop"):
        async def on_boot(self, tasks: Tasks) -> None:
            tasks.start(self.watch)

        async def watch(self) -> None:
            await go.wait()
            await kernel.plugins.configure("shop", {"max_items": 9})
            done.set()

    go, done = anyio.Event(), anyio.Event()
    kernel = Kernel(plugins=[Watcher])
    async with kernel:
        go.set()
        with anyio.fail_after(5):
            await done.wait()
        assert kernel.plugins["shop"].instance.told == [(100, 9, 9)]


# -------------------------------------------------------------------------------------------------------------- secrets


class Leaky(BaseModel):
    api_key: SecretStr = SecretStr("")
    token: SecretBytes = SecretBytes(b"")
    password: str = ""
    count: int = 0

    @field_validator("api_key", mode="before")
    @classmethod
    def echo(cls, value: Any) -> Any:
        if value == CANARY + "!":
            raise ValueError(f"{value} is no key")
        return value


class Telling(Plugin, id="shop"):
    """Puts its secrets wherever it can."""

    Settings = Leaky

    def __init__(self, live: Live[Leaky]) -> None:
        self.live = live

    async def on_settings(self, old: Leaky, new: Leaky) -> None:
        if new.count:
            raise RuntimeError(f"{new.api_key.get_secret_value()} {new.password} {new.token.get_secret_value()!r}")


async def test_a_secret_is_in_no_log_error_record_event_or_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Wherever the plugin and its validators put it, and with the local variables of every frame printed."""
    told: list[object] = []
    config = {"plugins": {"shop": {"api_key": CANARY}}}
    secrets = {"token": CANARY, "password": CANARY}
    store = Store(shop=secrets)
    kernel = Kernel(plugins=[Telling], config=config)
    kernel.services.value(SettingsStore, store)
    kernel.bus.observe(SettingsChanged, told.append)
    kernel.bus.observe("plugin.**", lambda event: told.append(event))
    async with kernel:
        for changes in (
            {**secrets, "count": 1},
            {"api_key": CANARY + "!"},
            {"api_key": CANARY},
            {"token": CANARY + "2"},
            {"count": CANARY, CANARY[:0] + "unknown": CANARY},
        ):
            try:
                told.append(await kernel.plugins.configure("shop", changes))
            except PluginError as error:
                told += [error, str(error), error.args, vars(error), error.__context__, error.__cause__]
                told += traceback.format_exception(error)
                # The caller's own frame holds what the caller wrote; every frame below is ours.
                frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
                told += [(frame.name, frame.locals) for frame in frames if "/plugbus/_kernel/sett" in frame.filename]
        record = kernel.plugins["shop"]
        told += [record, record.owns, dict(record.setting_sources), record.instance.live]
        told += [kernel.explain(), kernel.explain().model_dump(), kernel.check(), await kernel.health()]
        told += [kernel.bus.explain(PluginConfiguring), kernel.bus.subscriptions()]

    assert "on_settings raised RuntimeError" in repr(told)
    assert "'token'" in repr(told)
    assert CANARY not in repr(told)
    assert CANARY not in "".join(capsys.readouterr())
