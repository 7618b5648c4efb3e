"""What plugins and kernel promise to a type checker; run by mypy --strict and pyright, not by pytest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple, assert_type

import pluggy
from pydantic import BaseModel

from plugbus import (
    Bound,
    Close,
    EventBus,
    Health,
    Kernel,
    KernelHealth,
    KernelPlan,
    KernelPortal,
    Logger,
    Manifest,
    Marked,
    Owner,
    Plugin,
    PluginContext,
    PluginRecord,
    Plugins,
    PluginState,
    Problem,
    checks,
    hookimpl,
    mark,
    provides,
    reads,
)
from plugbus.services import Services


class Catalog:
    """A service."""


class Shop(Plugin, id="shop", version="1.0", requires=["catalog>=1"]):
    """A plugin with class keywords; its lifecycle methods take what they like, because the base class has none."""

    class Settings(BaseModel):
        """Its settings."""

        limit: int = 3

    def __init__(self, settings: Settings, bus: EventBus, log: Logger) -> None:
        self.limit = settings.limit
        log.bind(limit=self.limit).info("built", bus=bus)

    @provides
    def catalog(self) -> Catalog:
        """Stay what it is."""
        return Catalog()

    @provides(name="more", scope="plugin")
    async def more(self) -> AsyncIterator[Catalog]:
        """Stay what it is."""
        yield Catalog()

    async def on_boot(self, services: Services) -> None:
        """Take services."""

    def on_ready(self) -> None:
        """Take none."""

    def check_health(self) -> Health:
        """Answer."""
        return Health(status="degraded", checks={"database": "up"}, metrics={"items": 3})


class Native:
    """A plugin for those who know pluggy."""

    manifest = Manifest(id="native", publishes=["order.*"])

    @hookimpl
    def plugbus_boot(self, ctx: PluginContext) -> None:
        """Stay what it is."""
        assert_type(ctx.settings(Shop.Settings), Shop.Settings)
        assert_type(ctx.on_ready(self.ready), Callable[[], None])
        ctx.provide(Catalog, Catalog())

    def ready(self) -> None:
        """Announce."""


assert_type(Shop.manifest, Manifest)


def use_plugin(shop: Shop) -> None:
    """What a decorated function stays."""
    assert_type(shop.catalog(), Catalog)
    assert_type(shop.more(), AsyncIterator[Catalog])


async def use_kernel(shop: Shop) -> None:
    """What the kernel gives."""
    async with Kernel([shop, "pkg.mod:Plugin"], required=["shop"], config={"plugins": {}}) as kernel:
        assert_type(kernel, Kernel)
        assert_type(kernel.bus, EventBus)
        assert_type(kernel.plugins, Plugins)
        assert_type(kernel.plugins["shop"], PluginRecord)
        assert_type(kernel.plugins.get("shop"), PluginRecord | None)
        assert_type(kernel.plugins["shop"].state, PluginState)
        assert_type(await kernel.load(Shop), PluginRecord)
        assert_type(await kernel.unload("shop", cascade=True), tuple[str, ...])
        assert_type(await kernel.health(), KernelHealth)
        assert_type(kernel.check(), list[Problem])
        assert_type(kernel.explain(), KernelPlan)
        assert_type(kernel.pm, pluggy.PluginManager)


def use_portal(kernel: Kernel) -> None:
    """What it gives to sync code."""

    async def double(number: int) -> int:
        return number * 2

    with kernel.portal(lazy=True, backend="trio") as portal:
        assert_type(portal, KernelPortal)
        assert_type(portal.bus, EventBus)
        assert_type(portal.call(double, 2), int)
        assert_type(portal.call(len, "abc"), int)
        assert_type(portal.load(Shop), PluginRecord)
        assert_type(portal.health(), KernelHealth)


def use_plan(plan: KernelPlan) -> dict[str, Any]:
    """What a plan is."""
    return plan.model_dump()


def binds(owner: Owner) -> None:
    """What is bound returns what the function returns, awaited; the arguments are checked when it is called."""

    async def price(item: str) -> int:
        return len(item)

    def describe(item: str) -> str:
        return item

    assert_type(owner.bind(price, timeout_seconds=2.0), Bound[int])
    assert_type(owner.bind(describe, given=1, run_in="caller"), Bound[str])
    assert_type(owner.bind(describe).sync("tea"), str)


async def awaits(bound: Bound[int]) -> None:
    """Awaiting a call gives the result."""
    assert_type(await bound("tea"), int)


class JobMark(NamedTuple):
    """A mark."""

    name: str


class Jobs(Plugin):
    """Reads and checks marks; its functions stay what they are."""

    @reads(JobMark)
    async def attach(self, found: Marked[JobMark], log: Logger) -> Close | None:
        """Be told of one."""
        assert_type(found.mark, JobMark)
        assert_type(found.call, Bound[Any])
        assert_type(found.owner, Owner)
        return None

    @staticmethod
    @checks(JobMark)
    def check(found: Sequence[Marked[JobMark]]) -> list[Problem]:
        """Look at all."""
        return [Problem(each.owner.id, each.mark.name) for each in found]

    @mark(JobMark("tidy"))
    def tidy(self, limit: int) -> str:
        """Do something."""
        return str(limit)


def marked(jobs: Jobs) -> None:
    """What is marked is called as before."""
    assert_type(jobs.tidy(3), str)
