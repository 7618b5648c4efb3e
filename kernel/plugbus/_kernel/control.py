"""Changing a kernel that runs: load, unload, reload, enable, disable, configure, one at a time.

Owns who may be changed, by whom, and the records; the steps of a reload are in ``reloading.py``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import anyio

from plugbus._kernel.discovery import source_of
from plugbus._kernel.loading import load_all_in_threads
from plugbus._kernel.reconfiguring import reconfigure
from plugbus._kernel.reloading import Reload
from plugbus._kernel.resolve import block_by, dependents
from plugbus.errors import PluginError, PluginInUseError, PluginLoadError
from plugbus.lifecycle import PluginState, SettingsChanged
from plugbus.manifest import plugin_key

if TYPE_CHECKING:
    from plugbus._kernel.runtime import Runtime
    from plugbus._kernel.unit import Unit
    from plugbus.owner import Owner

_DISABLED: Final = "disabled while the kernel runs"


@final
class Control:
    """What operators do to the plugins of one kernel, as one of them sees it.

    Args:
        runtime: The kernel.
        asker: The plugin that asks, if it is one: it cannot wait for its own end.
    """

    def __init__(self, runtime: Runtime, asker: Owner | None = None) -> None:
        self._runtime, self._asker = runtime, asker

    def add(self, spec: object) -> None:
        """Have one more plugin boot with the others.

        Raises:
            PluginError: If the kernel has started.
        """
        if self._runtime.fleet is not None:
            raise PluginError(str(spec), "cannot be added to a kernel that has started; use `await kernel.load(...)`")
        self._runtime.options.add(spec)

    async def enable(self, plugin_id: str) -> Unit:
        """Load one that is known, and may have been disabled; it is what it was if that is cancelled."""
        runtime = self._runtime
        known = runtime.units.get(plugin_key(plugin_id))
        try:
            return await self.load(plugin_id, enable=True)
        except anyio.get_cancelled_exc_class():
            left = runtime.units.get(plugin_key(plugin_id))
            if known is not None and left is not known and left is not None and left.state is PluginState.STOPPED:
                runtime.units[known.key] = known
            raise

    async def load(self, spec: object, *, enable: bool = False) -> Unit:
        """Load one more plugin.

        Args:
            spec: What it is, or the id of one that is known.
            enable: Whether it is one that is known, and may have been disabled.

        Raises:
            PluginError: If it does not come to be ready.
        """
        runtime = self._runtime
        prepare, fleet = runtime.running()
        async with runtime.turns.wait():
            if enable:
                known = runtime.known(str(spec))
                if known.is_up:
                    return known
                prepare.permit(known.key)
            unit = self._again(spec, enable=enable) or prepare.unit(source_of(spec, "load()"))
            await load_all_in_threads([unit], runtime.options.boot_timeout_seconds)
            self._make_room(unit)
            await runtime.boot(prepare.enter([unit]))
        try:
            await fleet.announce_ready([unit])
        except BaseException:  # cancelled: nobody would ever be told that it is ready
            with anyio.CancelScope(shield=True):
                async with runtime.turns.wait():
                    await fleet.roll_back(unit, runtime.options.drain_seconds)
            raise
        if not unit.is_up:
            raise unit.error if isinstance(unit.error, PluginError) else PluginLoadError(unit.id, unit.reason)
        return unit

    def _again(self, spec: object, *, enable: bool) -> Unit | None:
        """Return a plugin that is known and not ready, to try it again."""
        known = self._runtime.units.get(plugin_key(spec)) if isinstance(spec, str) else None
        if known is None:
            return None
        if known.source.disabled and not enable:
            how = f"enable it first (await kernel.plugins.enable({known.id!r}), or PLUGBUS_ENABLED=+{known.id})"
            raise PluginLoadError(known.id, f"it is {known.source.disabled}; {how}")
        return self._runtime.running()[0].unit(replace(known.source, disabled=""))

    def _make_room(self, unit: Unit) -> None:
        units = self._runtime.units
        known = units.get(unit.key)
        if known is not None and known.is_up:
            unit.forget()
            hint = f"unload it first to load it anew: await kernel.unload({known.id!r})."
            raise PluginLoadError(unit.id, f"it is loaded already, from {known.source.label}", hint)
        units.pop(unit.key, None)

    async def unload(self, plugin_id: str, *, cascade: bool) -> tuple[str, ...]:
        """Unload a plugin, and those that need it if *cascade* is true; return who left; a failed one is forgotten."""
        async with self._turn(plugin_id) as unit:
            if unit.state is PluginState.FAILED:  # nothing of it runs; the record goes, and what was imported for it
                del self._runtime.units[plugin_key(plugin_id)]
                unit.forget()
                return (unit.id,)
            if not unit.is_up:
                raise PluginError(unit.id, f"it cannot be unloaded, it is {unit.state}")
            return tuple(other.id for other in await self._unload(unit, "unload", cascade=cascade))

    async def _unload(self, unit: Unit, what: str, *, cascade: bool) -> list[Unit]:
        fleet = self._runtime.running()[1]
        needing = dependents(unit, fleet.ready)
        if needing and not cascade:
            raise PluginInUseError(unit.id, tuple(other.id for other in reversed(needing)))
        leaving = [*needing, unit]
        self._refuse_own(unit, leaving, what)
        await fleet.unload(leaving, self._runtime.options.drain_seconds)
        return leaving

    async def reload(self, plugin_id: str) -> Unit:
        """Put a new one in the place of a plugin that is ready, and of those that need it; return it."""
        async with self._turn(plugin_id) as unit:
            return await self._reload(unit)

    async def _reload(self, unit: Unit) -> Unit:
        runtime = self._runtime
        if not unit.is_up:
            how = f"await kernel.load({unit.id!r}) tries it again"
            raise PluginError(unit.id, f"it cannot be reloaded, it is {unit.state}; {how}")
        change = Reload(runtime, runtime.running()[1], unit)
        self._refuse_own(unit, change.olds, "reload")
        runtime.reloading = change
        try:
            return await change.run()
        finally:
            runtime.reloading = None

    async def disable(self, plugin_id: str, *, cascade: bool) -> tuple[str, ...]:
        """Unload a plugin and have it stay out until it is enabled; return who left."""
        async with self._turn(plugin_id) as unit:
            left = await self._unload(unit, "disable", cascade=cascade) if unit.is_up else []
            if unit.state is PluginState.FAILED:
                unit.forget()
            unit.source = replace(unit.source, disabled=unit.source.disabled or _DISABLED)
            unit.state, unit.reason, unit.error = PluginState.DISABLED, unit.source.disabled, None
            for other in reversed(left[:-1]):
                block_by(other, next((needed for needed in other.needs if not needed.is_up), unit))
            return tuple(other.id for other in left)

    async def configure(self, plugin_id: str, changes: Mapping[str, Any]) -> tuple[str, ...]:
        """Change the settings of a plugin that is ready; return the keys that changed."""
        runtime = self._runtime
        fleet = runtime.running()[1]
        async with self._turn(plugin_id) as unit:
            if not unit.is_up:
                raise PluginError(unit.id, f"it cannot be configured, it is {unit.state}")
            seconds = runtime.options.boot_timeout_seconds
            keys = await reconfigure(unit, changes, runtime.settings_types.renew, seconds, partial(self._reload, unit))
        if keys:
            await fleet.announce(SettingsChanged(plugin=unit.id, keys=keys), within=runtime.options.drain_seconds)
        return keys

    @asynccontextmanager
    async def _turn(self, plugin_id: str) -> AsyncIterator[Unit]:
        """Have one's turn to change a plugin."""
        self._runtime.running()
        async with self._runtime.turns.wait():
            yield self._runtime.known(plugin_id)

    def _refuse_own(self, unit: Unit, leaving: Iterable[Unit], what: str) -> None:
        """Refuse a plugin that would wait for itself to finish."""
        own = next((other for other in leaving if other.owner is self._asker), None)
        if own is not None:
            why = "itself" if own is unit else f"{unit.id!r}, which it needs"
            raise PluginError(own.id, f"it cannot {what} {why}, because it would wait for its own end; ask the host to")
