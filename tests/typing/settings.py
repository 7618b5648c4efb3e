"""What settings promise to a type checker; run by mypy --strict and pyright, not by pytest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

from pydantic import BaseModel

from plugbus import (
    AsyncNextFn,
    EventBus,
    Kernel,
    Live,
    NextFn,
    Plugin,
    PluginBooting,
    PluginConfiguring,
    PluginContext,
    SettingsChanged,
    SettingsStore,
    listens,
    observes,
)


class Settings(BaseModel):
    """Some settings."""

    max_items: int = 1


class Shop(Plugin, id="shop"):
    """A plugin that has a say in settings and boots."""

    def __init__(self, live: Live[Settings]) -> None:
        assert_type(live.current, Settings)

    async def on_settings(self, old: Settings, new: Settings, bus: EventBus) -> None:
        """Take both, and services."""

    @listens(PluginConfiguring)
    async def configuring(self, event: PluginConfiguring, next_fn: AsyncNextFn[PluginConfiguring]) -> PluginConfiguring:
        """Add one."""
        assert_type(event.sources, Mapping[str, str])
        assert_type(event.validated(), BaseModel | None)
        return await next_fn(event.with_settings({"max_items": 2}, source="vault", over="stored"))

    @listens(PluginBooting)
    async def booting(self, event: PluginBooting, next_fn: AsyncNextFn[PluginBooting, None]) -> None:
        """Wrap it."""
        await next_fn(event)

    @listens(PluginBooting)
    def booting_in_a_thread(self, event: PluginBooting, next_fn: NextFn[PluginBooting, None]) -> None:
        """Wrap it."""
        next_fn(event)

    @observes(SettingsChanged)
    async def changed(self, event: SettingsChanged) -> None:
        """Be told."""
        assert_type(event.keys, tuple[str, ...])


class SyncStore:
    """A store that blocks."""

    def load(self, plugin: str) -> dict[str, int]:
        """Return nothing."""
        return {}

    def save(self, plugin: str, values: Mapping[str, Any]) -> None:
        """Keep nothing."""


class AsyncStore:
    """A store that does not."""

    async def load(self, plugin: str) -> Mapping[str, Any]:
        """Return nothing."""
        return {}

    async def save(self, plugin: str, values: Mapping[str, Any]) -> None:
        """Keep nothing."""


stores: list[SettingsStore] = [SyncStore(), AsyncStore()]


async def use_settings(kernel: Kernel, ctx: PluginContext) -> None:
    """What changing them gives."""

    def follow(old: Settings, new: Settings) -> None:
        del old, new

    ctx.on_settings(follow)
    kernel.services.value(SettingsStore, AsyncStore())
    assert_type(await kernel.plugins.configure("shop", {"max_items": 2}), tuple[str, ...])
    assert_type(kernel.plugins["shop"].setting_sources, Mapping[str, str])
    assert_type(Live(Settings).current, Settings)
