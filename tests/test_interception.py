"""Who listens to a plugin's settings and to its boot may add, check, wait, refuse; and boots before the others."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from tests.support import virtual_time

from plugbus import (
    AsyncNextFn,
    Event,
    Forbidden,
    Kernel,
    Manifest,
    NamedEvent,
    NextFn,
    NoHandlerError,
    Plugin,
    PluginBooting,
    PluginConfiguring,
    PluginContext,
    PluginReady,
    PluginTimeoutError,
    Problem,
    SettingsError,
    SettingsStore,
    Tasks,
    Veto,
    listens,
    observes,
    provides,
    replace,
)

pytestmark = pytest.mark.anyio

CANARY = "canary-7f1d"


class Settings(BaseModel):
    class Mail(BaseModel):
        host: str = "localhost"
        port: int = 25

    max_items: int = 100
    api_key: SecretStr | None = None
    mail: Mail = Mail()


class Shop(Plugin, id="shop"):
    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        self.settings = settings


class Disk: ...


class Store:
    """Keeps settings in memory."""

    def __init__(self, **kept: Mapping[str, Any]) -> None:
        self.kept = dict(kept)

    async def load(self, plugin: str) -> Mapping[str, Any]:
        return self.kept.get(plugin, {})

    async def save(self, plugin: str, values: Mapping[str, Any]) -> None:
        self.kept[plugin] = values


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration file."""
    written = tmp_path / "plugbus.toml"
    written.write_text("[plugins.shop]\nmax_items = 1\n[plugins.shop.mail]\nport = 26\n")
    return written


def reason(kernel: Kernel, plugin: str = "shop") -> str:
    record = kernel.plugins[plugin]
    assert record.state == "failed"
    return record.reason


# ---------------------------------------------------------------------------------------------------- the source chain


async def test_arguments_go_over_environment_over_stored_over_file_over_defaults(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is taken away in turn, and what it hid comes to light; the record names the source of each key."""
    monkeypatch.setenv("PLUGBUS_SHOP__MAX_ITEMS", "3")
    monkeypatch.setenv("PLUGBUS_SHOP__MAIL__HOST", "mx")

    async def started(config: Any) -> tuple[int, str]:
        kernel = Kernel(plugins=[Shop], config=config)
        kernel.services.value(SettingsStore, Store(shop={"max_items": 2}))
        async with kernel:
            found = kernel.plugins["shop"]
            return found.instance.settings.max_items, found.setting_sources["max_items"]

    assert await started({"plugins": {"shop": {"max_items": 4}}}) == (4, "argument")
    assert await started(file) == (3, "PLUGBUS_SHOP__MAX_ITEMS")
    monkeypatch.delenv("PLUGBUS_SHOP__MAX_ITEMS")
    assert await started(file) == (2, "stored")
    async with Kernel(plugins=[Shop], config=file) as kernel:
        record = kernel.plugins["shop"]
        assert record.instance.settings == Settings(max_items=1, mail=Settings.Mail(host="mx", port=26))
        assert record.setting_sources == {
            "api_key": "default",
            "mail.host": "PLUGBUS_SHOP__MAIL__HOST",
            "mail.port": str(file),
            "max_items": str(file),
        }
    assert await started(None) == (2, "stored")


async def test_a_wrong_value_that_was_stored_is_told_with_its_source() -> None:
    kernel = Kernel(plugins=[Shop])
    kernel.services.value(SettingsStore, Store(shop={"max_items": "many", "colour": "red"}))

    async with kernel:
        assert "max_items: Input should be a valid integer" in reason(kernel)
        assert "(from stored)" in reason(kernel)
        assert "colour: there is no such setting" in reason(kernel)


async def test_a_store_that_fails_fails_the_plugins_that_have_settings_and_no_other() -> None:
    class Broken(Store):
        async def load(self, plugin: str) -> Mapping[str, Any]:
            raise OSError("the disk is gone")

    class Plain(Plugin, id="plain"): ...

    kernel = Kernel(plugins=[Shop, Plain])
    kernel.services.value(SettingsStore, Broken())

    async with kernel:
        assert reason(kernel) == "SettingsStore.load raised OSError: the disk is gone"
        assert kernel.plugins["plain"].state == "ready"


async def test_a_store_that_returns_no_mapping_is_told_so() -> None:
    class Odd(Store):
        async def load(self, plugin: str) -> Any:
            return [1]

    kernel = Kernel(plugins=[Shop])
    kernel.services.value(SettingsStore, Odd())

    async with kernel:
        assert reason(kernel) == "SettingsStore.load returned list, and no mapping"


async def test_keys_that_are_no_text_are_unknown_and_nothing_breaks() -> None:
    async with Kernel(plugins=[Shop], config={"plugins": {"shop": {1: {2: 3}}}}) as kernel:
        assert "1: there is no such setting" in reason(kernel)
        assert kernel.plugins["shop"].setting_sources["1"] == "argument"


async def test_a_store_may_be_sync_and_then_runs_in_a_thread() -> None:
    class Sync:
        def load(self, plugin: str) -> Mapping[str, Any]:
            anyio.from_thread.check_cancelled()  # fails anywhere but in a worker thread
            return {"max_items": 7}

        def save(self, plugin: str, values: Mapping[str, Any]) -> None: ...

    kernel = Kernel(plugins=[Shop])
    kernel.services.value(SettingsStore, Sync())

    async with kernel:
        assert kernel.plugins["shop"].instance.settings.max_items == 7


@virtual_time
async def test_a_store_that_hangs_costs_the_plugin_its_boot_time_and_no_more() -> None:
    class Hanging(Store):
        async def load(self, plugin: str) -> Mapping[str, Any]:
            await anyio.sleep_forever()
            return {}

    kernel = Kernel(plugins=[Shop], boot_timeout_seconds=60)
    kernel.services.value(SettingsStore, Hanging())

    async with kernel:
        assert reason(kernel) == "SettingsStore.load was still running after 60 s"
        assert isinstance(kernel.plugins["shop"].error, PluginTimeoutError)


async def test_a_plugin_that_provides_the_store_boots_before_those_it_does_not_need() -> None:
    class Disks(Plugin, id="disks"):
        class Settings(BaseModel):
            path: str = "default"

        def __init__(self, settings: Settings) -> None:
            self.path = settings.path

        @provides
        def disk(self) -> Disk:
            return Disk()

    class Keeper(Plugin, id="keeper"):
        def __init__(self, disk: Disk) -> None: ...

        @provides
        def store(self) -> SettingsStore:
            return Store(shop={"max_items": 5}, disks={"path": "stored"})

    async with Kernel(plugins=[Shop, Disks, Keeper]) as kernel:
        assert [step.id for step in kernel.explain().plugins] == ["disks", "keeper", "shop"]
        assert kernel.explain().plugins[2].after == {"keeper": "keeps settings"}
        assert kernel.plugins["shop"].instance.settings.max_items == 5
        assert kernel.plugins["disks"].instance.path == "default"


# --------------------------------------------------------------------------------------------------- PluginConfiguring


async def test_a_listener_adds_settings_and_sees_the_source_of_each_key() -> None:
    class Vault(Plugin, id="vault"):
        @listens(PluginConfiguring)
        async def fill(self, event: PluginConfiguring, next_fn: AsyncNextFn[PluginConfiguring]) -> PluginConfiguring:
            seen.append(dict(event.sources))
            return await next_fn(event.with_settings({"api_key": CANARY, "max_items": 3}, source="vault"))

    seen: list[dict[str, str]] = []
    config = {"plugins": {"shop": {"max_items": 1}}}
    async with Kernel(plugins=[Shop, Vault], config=config) as kernel:
        settings = kernel.plugins["shop"].instance.settings
        assert (settings.api_key.get_secret_value(), settings.max_items) == (CANARY, 1)
        assert kernel.plugins["shop"].setting_sources["api_key"] == "vault"

    assert seen == [{"api_key": "default", "mail": "default", "max_items": "argument"}]


@pytest.mark.parametrize(
    ("over", "expected"), [("defaults", 1), ("file", 7), ("stored", 7), ("environment", 7), ("argument", 7)]
)
async def test_a_listener_says_what_its_settings_go_over(file: Path, over: Any, expected: int) -> None:
    kernel = Kernel(plugins=[Shop], config=file)
    kernel.bus.listen(
        PluginConfiguring, lambda event, next_fn: next_fn(event.with_settings({"max_items": 7}, source="x", over=over))
    )

    async with kernel:
        assert kernel.plugins["shop"].instance.settings.max_items == expected


def test_a_listener_cannot_go_over_what_does_not_exist() -> None:
    with pytest.raises(ValueError, match="must be one of 'defaults', 'file'"):
        PluginConfiguring(plugin="shop").with_settings({}, source="x", over="heaven")
    with pytest.raises(TypeError, match="takes a mapping"):
        PluginConfiguring(plugin="shop").with_settings([], source="x")


async def test_a_listener_checks_what_the_plugin_would_get() -> None:
    """Validated, and with what those below it have added."""
    seen: list[Any] = []

    async def check(event: PluginConfiguring, next_fn: AsyncNextFn[PluginConfiguring]) -> PluginConfiguring:
        result = await next_fn(event)
        seen.append((event.values, result.values, result.validated()))
        return result

    def add(event: PluginConfiguring, next_fn: NextFn[PluginConfiguring]) -> PluginConfiguring:
        return next_fn(event.with_settings({"mail": {"port": 26}}, source="x"))

    kernel = Kernel(plugins=[Shop])
    kernel.bus.listen(PluginConfiguring, check, key="shop", priority=1)
    kernel.bus.listen(PluginConfiguring, add)
    async with kernel:
        pass

    assert seen == [({}, {"mail": {"port": 26}}, Settings(mail=Settings.Mail(port=26)))]


async def test_a_listener_that_looks_at_wrong_settings_gets_the_error_that_the_plugin_would_fail_with() -> None:
    def check(event: PluginConfiguring, next_fn: NextFn[PluginConfiguring]) -> PluginConfiguring:
        with pytest.raises(SettingsError) as caught:
            event.validated()
        seen.append(caught.value.problems[0].where)
        return next_fn(event)

    seen: list[str] = []
    kernel = Kernel(plugins=[Shop], config={"plugins": {"shop": {"mail": {"port": "high"}}}})
    kernel.bus.listen(PluginConfiguring, check)

    async with kernel:
        assert "mail.port" in reason(kernel)

    assert seen == ["mail.port"]


@pytest.mark.parametrize("event", [PluginConfiguring, PluginBooting])
async def test_a_refusal_fails_the_plugin_with_its_reason_and_nobody_else(event: type) -> None:
    class Guard(Plugin, id="guard"):
        @listens(event, key="shop")
        async def refuse(self, event: Any, next_fn: Any) -> Any:
            raise Veto("there is no licence", problems=[Problem("max_items", "is above 9")])

    class Other(Plugin, id="other"):
        Settings = Settings

    async with Kernel(plugins=[Shop, Other, Guard]) as kernel:
        assert reason(kernel) == "there is no licence\n  - max_items: is above 9"
        assert kernel.plugins["other"].state == "ready"
        assert isinstance(kernel.plugins["shop"].error.__cause__, Veto)


async def test_an_error_of_a_listener_fails_the_plugin_too() -> None:
    kernel = Kernel(plugins=[Shop])
    kernel.bus.listen(PluginConfiguring, lambda event, next_fn: 1 / 0)

    async with kernel:
        assert "PluginConfiguring raised ZeroDivisionError: division by zero" in reason(kernel)
        assert "in listener '<lambda>' of plugin 'host'" in reason(kernel)


@pytest.mark.parametrize("other", [None, "text", PluginConfiguring(plugin="shop"), PluginConfiguring(plugin="x")])
async def test_a_listener_that_returns_something_else_is_told_so(other: object) -> None:
    kernel = Kernel(plugins=[Shop])
    kernel.bus.listen(PluginConfiguring, lambda event, next_fn: other)

    async with kernel:
        assert "without settings" in reason(kernel)


async def test_replace_keeps_no_settings_and_says_so() -> None:
    kernel = Kernel(plugins=[Shop])
    kernel.bus.listen(PluginConfiguring, lambda event, next_fn: next_fn(replace(event, booting=False)))

    async with kernel:
        assert "returned PluginConfiguring without settings" in reason(kernel)


async def test_a_plugin_without_settings_is_not_configured() -> None:
    class Plain(Plugin, id="plain"): ...

    seen: list[str] = []
    kernel = Kernel(plugins=[Plain, Shop])
    kernel.bus.observe(PluginConfiguring, lambda event: seen.append(event.plugin))

    async with kernel:
        assert seen == ["shop"]


async def test_a_module_gets_what_listeners_added_from_its_context() -> None:
    """It says only in ``register`` which schema it has."""
    module = ModuleType("interception_module")
    found: list[Settings] = []
    module.manifest = Manifest(id="shop")  # type: ignore[attr-defined]
    module.register = lambda ctx: found.append(ctx.settings(Settings))  # type: ignore[attr-defined]
    kernel = Kernel(plugins=[module])
    seen: list[Any] = []

    def add(event: PluginConfiguring, next_fn: NextFn[PluginConfiguring]) -> PluginConfiguring:
        seen.append(event.validated())
        return next_fn(event.with_settings({"max_items": 4}, source="x"))

    kernel.bus.listen(PluginConfiguring, add)
    async with kernel:
        assert kernel.plugins["shop"].setting_sources["max_items"] == "x"

    assert (found, seen) == ([Settings(max_items=4)], [None])


async def test_the_environment_names_keys_of_a_plugin_that_has_said_no_schema_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLUGBUS_SHOP__MAIL__HOST", "mx")
    module = ModuleType("interception_module_2")
    module.manifest = Manifest(id="shop")  # type: ignore[attr-defined]
    module.register = lambda ctx: None  # type: ignore[attr-defined]

    async with Kernel(plugins=[module]) as kernel:
        assert kernel.plugins["shop"].setting_sources == {"mail.host": "PLUGBUS_SHOP__MAIL__HOST"}


# ------------------------------------------------------------------------------------------------------- PluginBooting


async def test_a_listener_wraps_the_boot() -> None:
    trace: list[str] = []

    class Database(Plugin, id="database", version="2.1"):
        def __init__(self) -> None:
            trace.append("built")

        async def on_boot(self) -> None:
            trace.append("on_boot")

    class Migrations(Plugin, id="migrations"):
        @listens(PluginBooting)
        async def migrate(self, event: PluginBooting, next_fn: AsyncNextFn[PluginBooting, None]) -> None:
            trace.append(f"migrate {event.plugin} {event.version} in {event.package}")
            await next_fn(event)
            trace.append(f"{event.plugin} is {kernel.plugins[event.plugin].state}")

    kernel = Kernel(plugins=[Database, Migrations])
    async with kernel:
        package = __name__
        assert trace == [f"migrate database 2.1 in {package}", "built", "on_boot", "database is ready"]


async def test_settings_are_valid_before_the_boot_is_announced() -> None:
    trace: list[str] = []
    kernel = Kernel(plugins=[Shop], config={"plugins": {"shop": {"max_items": "many"}}})
    kernel.bus.listen(PluginConfiguring, lambda event, next_fn: trace.append("configuring") or next_fn(event))
    kernel.bus.listen(PluginBooting, lambda event, next_fn: trace.append("booting") or next_fn(event))

    async with kernel:
        assert "max_items" in reason(kernel)

    assert trace == ["configuring"]


async def test_a_sync_listener_wraps_the_boot_from_a_thread() -> None:
    def around(event: PluginBooting, next_fn: NextFn[PluginBooting, None]) -> None:
        anyio.from_thread.check_cancelled()
        next_fn(event)
        trace.append(str(kernel.plugins["shop"].state))

    trace: list[str] = []
    kernel = Kernel(plugins=[Shop])
    kernel.bus.listen(PluginBooting, around)

    async with kernel:
        assert trace == ["ready"]


async def test_a_listener_that_does_not_call_next_fn_fails_the_plugin() -> None:
    kernel = Kernel(plugins=[Shop])
    kernel.bus.listen(PluginBooting, lambda event, next_fn: None)

    async with kernel:
        assert reason(kernel) == "a listener of PluginBooting neither called next_fn nor refused it"
        assert kernel.plugins["shop"].instance is None


async def test_a_listener_sees_what_the_boot_failed_with_and_cannot_make_it_good() -> None:
    class Failing(Plugin, id="shop"):
        async def on_boot(self) -> None:
            raise OSError("no route to host")

    async def again(event: PluginBooting, next_fn: AsyncNextFn[PluginBooting, None]) -> None:
        for _ in range(2):
            with pytest.raises(OSError, match="no route"):
                await next_fn(event)

    kernel = Kernel(plugins=[Failing])
    kernel.bus.listen(PluginBooting, again)

    async with kernel:
        assert reason(kernel) == "on_boot raised OSError: no route to host"


async def test_a_listener_that_boots_twice_boots_once() -> None:
    class Counting(Plugin, id="shop"):
        async def on_boot(self) -> None:
            trace.append("boots")

    async def twice(event: PluginBooting, next_fn: AsyncNextFn[PluginBooting, None]) -> None:
        await next_fn(event)
        await next_fn(event)

    trace: list[str] = []
    kernel = Kernel(plugins=[Counting])
    kernel.bus.listen(PluginBooting, twice)

    async with kernel:
        assert trace == ["boots"]
        assert kernel.plugins["shop"].state == "ready"


async def test_a_refusal_after_the_boot_shuts_the_plugin_down_again() -> None:
    trace: list[str] = []

    class Booted(Plugin, id="shop"):
        async def on_shutdown(self) -> None:
            trace.append("on_shutdown")

        @observes("anything")
        def hear(self, event: object) -> None: ...

    class Below(Plugin, id="below", requires=["shop"]): ...

    async def smoke_test(event: PluginBooting, next_fn: AsyncNextFn[PluginBooting, None]) -> None:
        await next_fn(event)
        raise Forbidden("it smokes")

    kernel = Kernel(plugins=[Booted, Below])
    kernel.bus.listen(PluginBooting, smoke_test, key="shop")
    kernel.bus.observe(PluginReady, lambda event: trace.append(f"{event.plugin} is ready"))

    async with kernel:
        assert reason(kernel) == "it smokes"
        assert kernel.plugins["below"].state == "blocked"
        assert [found.plugin for found in kernel.bus.subscriptions()] == ["host", "host"]
        assert trace == ["on_shutdown"]


@virtual_time
async def test_a_listener_that_hangs_costs_the_plugin_its_boot_time_and_no_more() -> None:
    async def hang(event: PluginBooting, next_fn: AsyncNextFn[PluginBooting, None]) -> None:
        await anyio.sleep_forever()

    class Other(Plugin, id="other"): ...

    kernel = Kernel(plugins=[Shop, Other], boot_timeout_seconds=60)
    kernel.bus.listen(PluginBooting, hang, key="shop")

    async with kernel:
        assert reason(kernel) == "PluginBooting was still running after 60 s"
        assert kernel.plugins["other"].state == "ready"


async def test_nobody_else_can_boot_a_plugin() -> None:
    """The request is answered as long as the kernel itself asks it."""
    kernel = Kernel(plugins=[Shop])
    kernel.bus.listen(PluginBooting, lambda event, next_fn: next_fn(event))

    async with kernel:
        with pytest.raises(NoHandlerError):
            await kernel.bus.acall(PluginBooting(plugin="shop", version="0", package="x"))


async def test_a_plugin_that_is_loaded_later_is_intercepted_too() -> None:
    seen: list[str] = []

    class Watcher(Plugin, id="watcher"):
        @listens(PluginConfiguring)
        def configuring(self, event: PluginConfiguring, next_fn: NextFn[PluginConfiguring]) -> PluginConfiguring:
            seen.append(f"configuring {event.plugin}")
            return next_fn(event)

        @listens(PluginBooting)
        def booting(self, event: PluginBooting, next_fn: NextFn[PluginBooting, None]) -> None:
            seen.append(f"booting {event.plugin}")
            next_fn(event)

    async with Kernel(plugins=[Watcher], checked=True) as kernel:
        await kernel.load(Shop)

    assert seen == ["configuring shop", "booting shop"]


# ------------------------------------------------------------------------------------------------------ who boots first


def listening(name: str, *requires: str, to: Any = PluginBooting) -> type[Plugin]:
    def around(self: object, event: Any, next_fn: Any) -> Any:
        return next_fn(event)

    namespace = {"manifest": Manifest(id=name, requires=requires), "around": listens(to)(around)}
    return type(name, (Plugin,), namespace)


def plain(name: str, *requires: str) -> type[Plugin]:
    return type(name, (Plugin,), {"manifest": Manifest(id=name, requires=requires)})


def order(*plugins: object) -> list[str]:
    return [step.id for step in Kernel(plugins=plugins).explain().plugins]


@pytest.mark.parametrize(
    "to", [PluginBooting, PluginConfiguring, "plugin.booting", "plugin.*", "plugin.**", Event, object]
)
async def test_a_plugin_that_listens_to_boots_boots_before_those_it_does_not_need(to: Any) -> None:
    plugins = [plain("a"), plain("b"), listening("first", "b", to=to), plain("c")]

    assert order(*plugins) == ["b", "first", "a", "c"]


async def test_observers_and_listeners_of_other_events_have_no_such_need() -> None:
    class Watching(Plugin, id="watching"):
        @observes(PluginBooting)
        def booted(self, event: PluginBooting) -> None: ...

        @listens("plugin.ready")
        def ready(self, event: PluginReady, next_fn: NextFn[PluginReady]) -> PluginReady:
            return next_fn(event)

    assert order(plain("a"), Watching) == ["a", "watching"]


async def test_a_module_that_listens_at_run_time_says_so_in_its_manifest() -> None:
    def register(ctx: PluginContext) -> None:
        ctx.bus.listen(PluginBooting, lambda event, next_fn: seen.append(event.plugin) or next_fn(event))

    seen: list[str] = []
    module = ModuleType("interception_module_3")
    module.manifest = Manifest(id="first", subscribes=["plugin.booting"])  # type: ignore[attr-defined]
    module.register = register  # type: ignore[attr-defined]

    async with Kernel(plugins=[plain("a"), module]):
        assert seen == ["a"]


async def test_two_that_listen_to_boots_stand_in_no_circle() -> None:
    """Each is before all that it does not need; between them the one that was listed first is."""
    plugins = [plain("c"), plain("d"), listening("a", "c"), listening("b", "d"), plain("e")]

    assert order(*plugins) == ["c", "a", "d", "b", "e"]


@given(data=st.data())
def test_interceptors_are_before_whatever_no_interceptor_needs(data: st.DataObject) -> None:
    """Whoever needs whom, and wherever they are listed: no circle, no need broken, every bystander last."""
    names = [f"p{number}" for number in range(6)]
    needs = {
        name: data.draw(st.lists(st.sampled_from(names[:number]), unique=True)) if number else []
        for number, name in enumerate(names)
    }
    first = set(data.draw(st.lists(st.sampled_from(names), unique=True)))
    shuffled = data.draw(st.permutations(names))

    found = order(*[(listening if name in first else plain)(name, *needs[name]) for name in shuffled])

    def everything(name: str) -> set[str]:
        return set(needs[name]).union(*map(everything, needs[name]))

    assert sorted(found) == names
    for name in names:
        assert all(found.index(needed) < found.index(name) for needed in needs[name])
    bystanders = [name for name in names if name not in first and not any(name in everything(one) for one in first)]
    assert all(found.index(one) < found.index(name) for one in first for name in bystanders)


# ------------------------------------------------------------------------------------------------------------- secrets


async def test_a_secret_is_in_no_form_of_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Not in its repr, its plain data, a view, a refusal with the event in it, or a traceback with local variables."""
    told: list[object] = []

    class Watcher(Plugin, id="watcher"):
        @observes("plugin.*")
        def named(self, event: NamedEvent) -> None:
            told.append(event)

    def look(event: PluginConfiguring, next_fn: NextFn[PluginConfiguring]) -> PluginConfiguring:
        below = next_fn(event.with_settings({"mail": {"port": CANARY}}, source="x"))
        told.extend([event, below, str(below), below.model_dump(), below.model_dump_json(), below._draft])
        told.extend(below._draft.sources)
        raise Veto(f"I will not have {below!r}")

    kernel = Kernel(plugins=[Shop, Watcher], config={"plugins": {"shop": {"api_key": CANARY}}})
    kernel.bus.listen(PluginConfiguring, look)
    async with kernel:
        record = kernel.plugins["shop"]
        told += [record, record.reason, kernel.explain(), kernel.explain().model_dump(), kernel.check()]
        told += traceback.TracebackException.from_exception(record.error, capture_locals=True).format()

    assert "I will not have" in repr(told)
    assert CANARY not in repr(told)
    assert CANARY not in "".join(capsys.readouterr())


async def test_a_secret_is_in_no_traceback_with_local_variables() -> None:
    """Tools that report crashes print the locals of every frame; ours hold no bare value."""
    config = {"plugins": {"shop": {"api_key": CANARY, "mail": {"port": CANARY}, "max_items": CANARY}}}

    async with Kernel(plugins=[Shop], config=config) as kernel:
        error = kernel.plugins["shop"].error
        told = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())

    assert "merged" in told
    assert CANARY not in told


class Needy(Plugin, id="needy"):
    class Settings(BaseModel):
        url: str

    def __init__(self, settings: Settings) -> None: ...


def test_check_knows_that_a_store_or_a_listener_may_give_what_is_required() -> None:
    def fatal(*plugins: object, prepare: Any = None) -> list[bool]:
        kernel = Kernel(plugins=[Needy, *plugins])
        if prepare is not None:
            prepare(kernel)
        return [problem.fatal for problem in kernel.check() if "is required and nobody" in problem.message]

    assert fatal() == [True]
    assert fatal(listening("vault", to=PluginConfiguring)) == [False]
    assert fatal(prepare=lambda kernel: kernel.services.value(SettingsStore, Store())) == [False]
    assert fatal(prepare=lambda kernel: kernel.bus.listen(PluginConfiguring, lambda event, next_fn: event)) == [False]


@pytest.mark.parametrize(
    "phase", ["__init__", "on_boot", "on_ready", "on_shutdown", "check_health", "task", "observer", "sync observer"]
)
async def test_a_secret_that_a_plugin_raises_is_crossed_out(phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a driver does that puts the whole address into its errors; whatever else is said stays."""

    def fail(*_: object) -> None:
        raise ConnectionError(f"no route to postgres://user:{CANARY}@example, max_items=100")

    class Connecting(Plugin, id="shop"):
        Settings = Settings

        async def on_boot(self, tasks: Tasks) -> None:
            if phase == "task":
                await tasks.start(fail).wait()

        @observes("interception.asynchronous")
        async def hear(self, event: NamedEvent) -> None:
            fail()

        @observes("interception.sync")
        def hear_in_a_thread(self, event: NamedEvent) -> None:
            fail()

    if phase not in {"task", "observer", "sync observer"}:
        setattr(Connecting, phase, fail)
    told: list[object] = []
    kernel = Kernel(plugins=[Connecting], config={"plugins": {"shop": {"api_key": CANARY}}})
    kernel.bus.observe("plugin.*", lambda event: told.append(event))
    async with kernel:
        if "observer" in phase:
            name = "sync" if phase == "sync observer" else "asynchronous"
            await kernel.bus.aemit_named(f"interception.{name}", None)
        told += [kernel.plugins["shop"], await kernel.health(), kernel.explain(), kernel.check()]
    told += [kernel.plugins["shop"], kernel.plugins["shop"].error, *capsys.readouterr()]

    assert "no route to postgres://user:***@example, max_items=100" in repr(told)
    assert CANARY not in repr(told)
