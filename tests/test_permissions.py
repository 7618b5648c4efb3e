"""Permissions of plugins in a kernel: what a manifest declares, services tied to a permission, grants, strict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import structlog.testing

from plugbus import (
    Event,
    EventBus,
    Kernel,
    KernelReady,
    KernelStartError,
    Manifest,
    Owner,
    PermissionDeniedError,
    Plugin,
    PluginContext,
    Request,
    Services,
    SettingsStore,
    answers,
    hookimpl,
    observes,
    provides,
)

pytestmark = pytest.mark.anyio


class Made(Event, name="product.made"): ...


class Sold(Event, name="product.sold"): ...


class Deleted(Event, name="user.deleted"): ...


class Erase(Request[int], name="user.erase"): ...


class Database: ...


class Vault: ...


class Stock(Plugin, id="stock"):
    """Provides what is tied to a permission; its own factories use it."""

    @provides(permission="database")
    def database(self) -> Database:
        return Database()

    @provides(permission="vault.read", scope="plugin")
    def vault(self, owner: Owner, database: Database) -> Vault:
        return Vault()


def plugin(id: str, base: type[Plugin] = Plugin, **fields: Any) -> type[Plugin]:
    return type(id.title(), (base,), {"manifest": Manifest(id=id, **fields)})


class Asking(Plugin):
    def __init__(self, database: Database) -> None:
        self.database = database


class AskingMore(Plugin):
    @observes(Made)
    def see(self, event: Made, vault: Vault) -> None: ...

    async def on_boot(self, database) -> None: ...


class Maybe(Plugin):
    def __init__(self, database: Database | None = None) -> None: ...


class Emitting(Plugin):
    def __init__(self, bus: EventBus, services: Services) -> None:
        self.bus, self.services = bus, services


def told(kernel: Kernel) -> list[str]:
    return [str(problem) for problem in kernel.check()]


# ------------------------------------------------------------------------------------------------ services


@pytest.mark.parametrize("fields", [{}, {"permissions": ["database"]}, {"permissions": ["**"]}, {"publishes": []}])
async def test_a_plugin_with_the_permission_gets_the_service(fields: dict[str, Any]) -> None:
    """So does one that declares no permissions, and is therefore not limited in them."""
    async with Kernel(plugins=[Stock, plugin("shop", Asking, **fields)]) as kernel:
        assert isinstance(kernel.plugins["shop"].instance, Asking)


async def test_a_plugin_without_the_permission_fails_at_wiring_with_all_problems_at_once() -> None:
    """Nothing of it is built; whoever does not need it runs."""
    shop, free = plugin("shop", AskingMore, permissions=["mail"]), plugin("free")
    async with Kernel(plugins=[Stock, shop, free]) as kernel:
        record = kernel.plugins["shop"]

        assert record.state == "failed"
        assert record.boot_seconds == 0
        assert "plugin 'shop' may not use 'vault.read', which Vault is tied to" in record.reason
        assert "plugin 'shop' may not use 'database', which Database is tied to" in record.reason
        assert kernel.plugins["free"].state == "ready"


async def test_a_permission_is_not_optional_where_the_service_is() -> None:
    """Silently going without would hide that a grant is missing."""
    async with Kernel(plugins=[Stock, plugin("shop", Maybe, permissions=[])]) as kernel:
        assert "may not use 'database'" in kernel.plugins["shop"].reason


async def test_a_plugin_that_asks_at_run_time_is_denied_there() -> None:
    """Through its own view of the services, in every way of asking; and it cannot ask as somebody else."""
    async with Kernel(plugins=[Stock, plugin("shop", Emitting, permissions=["vault.*"])]) as kernel:
        shop: Any = kernel.plugins["shop"].instance

        def wants(database: Database) -> None: ...

        for call in (
            lambda: shop.services.get(Database),
            lambda: shop.services.inject(wants),
            lambda: shop.services.view(Owner("other")),
            lambda: shop.services.inject(wants, owner=Owner("other")),
        ):
            with pytest.raises(PermissionDeniedError, match="may not use"):
                call()
        with pytest.raises(PermissionDeniedError) as caught:
            await shop.services.aget(Database)

        assert (caught.value.plugin, caught.value.action, caught.value.what) == ("shop", "use", "database")
        assert isinstance(shop.services.get(Vault), Vault)  # whose factory is allowed what shop is not
        assert isinstance(kernel.services.get(Database), Database)  # the host is not limited


async def test_who_is_limited_stands_in_for_nobody_else() -> None:
    """A stand-in reads for whom it stands in for, and is handed what was meant for that; for oneself it is allowed."""

    def steal(database: Database) -> Vault:
        return cast("Any", database)

    async with Kernel(plugins=[Stock, plugin("shop", Emitting, permissions=["vault.*"])]) as kernel:
        services: Services = kernel.plugins["shop"].instance.services  # type: ignore[union-attr]
        services.value(dict, {})

        for type_, replacement in ((Vault, steal), (Database, Database()), (Made, Made())):
            with pytest.raises(PermissionDeniedError, match=r"may not use 'kernel\.manage'"):
                services.override(type_, replacement)
        with services.override(dict, {"a": 1}):
            assert services.get(dict) == {"a": 1}


async def test_who_is_limited_does_not_close_the_services_of_all() -> None:
    """Its view is of the one container, which ends for everybody."""
    async with Kernel(plugins=[Stock, plugin("shop", Emitting, permissions=[])]) as kernel:
        services: Services = kernel.plugins["shop"].instance.services  # type: ignore[union-attr]

        for call in (services.close, lambda: services.overlap(None)):
            with pytest.raises(PermissionDeniedError, match=r"may not use 'kernel\.manage'"):
                call()
        with pytest.raises(PermissionDeniedError, match=r"may not use 'kernel\.manage'"):
            await services.aclose()

        assert isinstance(await kernel.services.aget(Database), Database)


class Store:
    """Sees the settings of every plugin."""

    async def load(self, plugin_id: str) -> Mapping[str, Any]:
        return {}

    async def save(self, plugin_id: str, values: Mapping[str, Any]) -> None: ...


class StoringLate(Plugin):
    async def on_boot(self, services: Services) -> None:
        services.value(SettingsStore, Store())


class Storing(Plugin):
    @provides
    def store(self) -> SettingsStore:
        return Store()


@pytest.mark.parametrize("base", [Storing, StoringLate])
@pytest.mark.parametrize("permissions", [[], ["kernel.manage"], None])
async def test_who_is_limited_keeps_the_settings_of_others_only_if_it_may_manage_them(
    base: type[Plugin], permissions: list[str] | None
) -> None:
    async with Kernel(plugins=[plugin("keeper", base, permissions=permissions)]) as kernel:
        record = kernel.plugins["keeper"]

        assert record.state == ("failed" if permissions == [] else "ready")
        assert permissions != [] or "may not use 'kernel.manage'" in record.reason
        assert kernel.services.has(SettingsStore) == (permissions != [])


async def test_a_plugin_that_is_known_at_run_time_only_fails_when_it_asks() -> None:
    """What ``register`` asks for cannot be known before it runs."""

    class Native:
        manifest = Manifest(id="native", permissions=[])

        @hookimpl
        def plugbus_boot(self, ctx: PluginContext) -> None:
            ctx.bus.observe(Made, self.see)

        def see(self, event: Made, database: Database) -> None: ...

    async with Kernel(plugins=[Stock, Native()]) as kernel:
        assert kernel.plugins["native"].state == "failed"
        assert "may not use 'database'" in kernel.plugins["native"].reason


async def test_services_of_the_host_and_of_a_context_are_tied_alike() -> None:
    """``services.value``, ``services.factory`` and ``ctx.provide`` take a permission, and an override keeps it."""

    class Providing:
        manifest = Manifest(id="providing")

        @hookimpl
        def plugbus_boot(self, ctx: PluginContext) -> None:
            ctx.provide(bytes, b"", permission="bytes")
            ctx.provide(bytearray, factory=bytearray, permission="bytes")

    kernel = Kernel(plugins=[Providing(), plugin("shop", Emitting, permissions=["open"])])
    kernel.services.value(int, 7, permission="number")
    kernel.services.factory(str, lambda: "text", permission="text")
    kernel.services.value(float, 1.5, permission="open")
    async with kernel:
        services: Services = kernel.plugins["shop"].instance.services  # type: ignore[union-attr]

        for type_ in (int, str, bytes, bytearray):
            with pytest.raises(PermissionDeniedError):
                services.get(type_)
        with kernel.services.override(int, 8), pytest.raises(PermissionDeniedError):
            services.get(int)
        assert services.get(float) == 1.5


@pytest.mark.parametrize("name", ["", " ", "a b", "data.*", "a..b", ".a"])
def test_a_permission_is_one_name(name: str) -> None:
    """A pattern would be a permission that no manifest could name on its own."""
    for tie in (
        lambda: provides(permission=name),
        lambda: Services().value(int, 7, permission=name),
        lambda: Services().factory(int, int, permission=name),
    ):
        with pytest.raises(ValueError, match="must be the name of one permission"):
            tie()


# ------------------------------------------------------------------------------------------------ events


class Hearing(Plugin):
    @observes(Made)
    def made(self, event: Made) -> None: ...

    @observes([Sold, Deleted], name="second")
    def others(self, event: Event) -> None: ...

    @answers(Erase)
    def erase(self, request: Erase) -> int:
        return 0

    @observes(KernelReady)
    def ready(self, event: KernelReady) -> None: ...


async def test_subscribers_that_are_not_allowed_fail_their_plugin_before_anything_starts() -> None:
    """All at once, with what to do; check says the same without a start."""
    kernel = Kernel(plugins=[plugin("shop", Hearing, subscribes=["product.*"])])
    expected = [
        "plugin 'shop', observer Hearing.others: plugin 'shop' may not subscribe 'user.deleted'",
        "plugin 'shop', handler Hearing.erase: plugin 'shop' may not subscribe 'user.erase'",
    ]

    assert [text.partition(" (")[0] for text in sorted(told(kernel), reverse=True)] == expected
    async with kernel:
        record = kernel.plugins["shop"]
        assert (record.state, record.boot_seconds) == ("failed", 0)
        assert all(text.partition(", ")[2] in record.reason for text in expected)
        assert kernel.bus.subscriptions() == ()
        assert [text.partition(" (")[0] for text in sorted(told(kernel), reverse=True)] == expected


async def test_a_plugin_emits_what_it_declares_and_the_host_what_it_likes() -> None:
    async with Kernel(plugins=[plugin("shop", Emitting, publishes=["product.*"])]) as kernel:
        bus: EventBus = kernel.plugins["shop"].instance.bus  # type: ignore[union-attr]

        await bus.aemit(Made())
        with pytest.raises(PermissionDeniedError, match=r"may not publish 'user.deleted'"):
            await bus.aemit(Deleted())
        await kernel.bus.aemit(Deleted())


# ------------------------------------------------------------------------------------------------ grants

GRANTS = {"shop": {"publishes": ["product.made", "user.*"], "permissions": []}}


@pytest.mark.parametrize(
    "given", [{"grants": GRANTS}, {"config": {"kernel": {"grants": GRANTS}}}], ids=["argument", "config"]
)
async def test_a_grant_narrows_what_a_manifest_declares(given: dict[str, Any]) -> None:
    """It does not widen: what the manifest does not declare stays denied."""
    shop = plugin("shop", Emitting, publishes=["product.*"], permissions=["database"])
    async with Kernel(plugins=[Stock, shop], **given) as kernel:
        body: Any = kernel.plugins["shop"].instance

        body.bus.emit(Made())
        for denied in (Sold(), Deleted()):
            with pytest.raises(PermissionDeniedError):
                body.bus.emit(denied)
        with pytest.raises(PermissionDeniedError):
            body.services.get(Database)


async def test_a_grant_limits_a_plugin_that_declares_nothing() -> None:
    async with Kernel(plugins=[plugin("my-shop", Emitting)], grants={"my_shop": {"publishes": []}}) as kernel:
        body: Any = kernel.plugins["my-shop"].instance

        with pytest.raises(PermissionDeniedError):
            body.bus.emit(Made())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A plugbus.toml with a grant."""
    file = tmp_path / "plugbus.toml"
    file.write_text('[kernel.grants.shop]\npublishes = ["product.made", "product.sold"]\n')
    return file


async def test_grants_from_code_and_file_narrow_each_other(file: Path) -> None:
    grants = {"shop": {"publishes": ["product.sold", "user.deleted"]}}
    async with Kernel(plugins=[plugin("shop", Emitting)], config=file, grants=grants) as kernel:
        body: Any = kernel.plugins["shop"].instance

        body.bus.emit(Sold())
        for denied in (Made(), Deleted()):
            with pytest.raises(PermissionDeniedError):
                body.bus.emit(denied)


async def test_a_grant_that_limits_nobody_is_told_of() -> None:
    """A typing mistake there would leave a plugin wider than meant."""
    shop = plugin("shop", publishes=["product.*"], permissions=["a"])
    kernel = Kernel(
        plugins=[shop],
        grants={"shpo": {}, "shop": {"publishes": ["product.made", "user.*", "**"], "subscribes": ["x"]}},
    )
    expected = [
        "grants.shpo: there is no such plugin, so this limits nobody (did you mean shop?)",
        "grants.shop.publishes: grants 'user.*', which its manifest does not declare; a grant never widens",
    ]

    assert told(kernel) == expected
    assert not any(problem.fatal for problem in kernel.check())
    with structlog.testing.capture_logs() as lines:
        async with kernel:
            assert told(kernel) == expected
    assert [line["problem"] for line in lines if line["event"] == "a grant has no effect"] == expected


@pytest.mark.parametrize(
    ("grants", "problem"),
    [
        ({"shop": {"publish": []}}, "Extra inputs are not permitted"),
        ({"shop": {"publishes": ["product*"]}}, "'product*' is no wire name or pattern"),
        ({"shop": {"publishes": "product.*"}}, "grants.shop.publishes"),
        ({"shop": ["database"]}, "grants.shop"),
        ({"a-b": {}, "a_b": {}}, "a plugin is there twice"),
        ({"No": {}}, "is not a plugin id"),
    ],
)
async def test_grants_that_cannot_be_read_stop_the_start(grants: Any, problem: str) -> None:
    """One that is passed over would let more through than the operator said."""
    for kernel in (Kernel(grants=grants), Kernel(config={"kernel": {"grants": grants}})):
        assert any(problem in text for text in told(kernel))
        with pytest.raises(KernelStartError) as caught:
            async with kernel:
                pytest.fail("it started")
        assert problem in str(caught.value)


# ------------------------------------------------------------------------------------------------ strict


@pytest.mark.parametrize("given", [{"strict": True}, {"config": {"kernel": {"strict": True}}}], ids=["code", "config"])
async def test_a_strict_kernel_demands_that_every_plugin_declares(given: dict[str, Any]) -> None:
    """All three fields, empty ones included."""
    full = {"publishes": [], "subscribes": [], "permissions": []}
    kernel = Kernel(plugins=[plugin("whole", **full), plugin("half", publishes=[]), plugin("none")], **given)
    expected = [
        f"plugin {id!r}, manifest: does not declare {', '.join(fields)}, and the kernel is strict "
        f"(write {', '.join(f'{field}=[]' for field in fields)}, with what it needs in them)"
        for id, fields in {"half": list(full)[1:], "none": list(full)}.items()
    ]

    assert told(kernel) == expected
    async with kernel:
        states = {id: record.state.value for id, record in kernel.plugins.items()}
        assert states == {"whole": "ready", "half": "failed", "none": "failed"}


async def test_a_strict_kernel_lets_no_plugin_in_later_either() -> None:
    async with Kernel(strict=True) as kernel:
        with pytest.raises(Exception, match="does not declare publishes, subscribes, permissions"):
            await kernel.load(plugin("late"))


def test_a_kernel_that_is_started_again_after_a_fork_is_as_strict() -> None:
    """The portal's second kernel is made of the arguments of the first."""
    kernel = Kernel(grants={"shop": {"publishes": []}}, strict=True)

    assert kernel._again()._options == kernel._options
