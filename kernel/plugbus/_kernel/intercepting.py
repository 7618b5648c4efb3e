"""Whoever listens to a plugin's settings and to its boot: asking them, and who has to boot first for that.

Owns both chains; the boot itself is handed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from plugbus._kernel.settings import Draft
from plugbus._kernel.sources import CONFIGURED, STORED, SettingsSource, settings_sources
from plugbus._kernel.steps import call_step
from plugbus.errors import PluginBootError, PluginError
from plugbus.event_types import event_type
from plugbus.lifecycle import PluginBooting, PluginConfiguring
from plugbus.registry import Pattern
from plugbus.settings import SettingsStore
from plugbus.subscribers import declarations

if TYPE_CHECKING:
    from plugbus._kernel.unit import Unit
    from plugbus.bus import EventBus
    from plugbus.options import Target
    from plugbus.services import Services

INTERCEPTED: Final = (PluginConfiguring, PluginBooting)


def interception(unit: Unit) -> str:
    """Say why a plugin boots before those that it does not need; empty if it does not."""
    definition = unit.definition
    for holder in (definition.target, *definition.parts):
        for declared in declarations(holder):
            if declared.kind == "listener" and _means(declared.events):
                return "listens to boots"
    if any(service.type is SettingsStore for service in definition.services):
        return "keeps settings"
    if definition.dynamic and _means(definition.manifest.subscribes or ()):
        return "may listen to boots"
    return ""


def may_give_settings(units: Iterable[Unit], bus: EventBus, services: Services) -> bool:
    """Tell whether anybody may give settings that no source of the kernel's own has."""
    if services.has(SettingsStore) or bus.hears(PluginConfiguring):
        return True
    return any(interception(unit) for unit in units)


def _means(targets: Iterable[Target]) -> bool:
    return any(_is_one(target, cls) for target in targets for cls in INTERCEPTED)


def _is_one(target: Target, cls: type) -> bool:
    return issubclass(cls, target) if isinstance(target, type) else Pattern(target).matches(event_type(cls).name)


def is_intercepted(unit: Unit) -> bool:
    """Tell whether anybody has a say in a plugin's boot."""
    around = unit.surroundings
    if around.bus.hears(PluginBooting, key=unit.id):
        return True
    return _has_settings(unit) and (
        around.services.has(SettingsStore) or around.bus.hears(PluginConfiguring, key=unit.id)
    )


def _has_settings(unit: Unit) -> bool:
    return unit.settings_model is not None or unit.definition.dynamic


async def kept(unit: Unit, seconds: float) -> Mapping[str, Any]:
    """Return what was changed at run time, in this one or an earlier one.

    Args:
        unit: The plugin.
        seconds: The time that the store has, in seconds.

    Raises:
        PluginTimeoutError: If it took too long.
        Exception: What it raised.
    """
    around = unit.surroundings
    if not around.services.has(SettingsStore):
        return around.changed.get(unit.key, {})
    unit.phase = "SettingsStore.load"
    store = await around.services.aget(SettingsStore)
    found: object = await call_step(unit, unit.phase, partial(store.load, unit.id), seconds)
    if not isinstance(found, Mapping):
        raise PluginError(unit.id, f"SettingsStore.load returned {type(found).__name__}, and no mapping")
    return found


async def configured(unit: Unit, seconds: float, *changes: SettingsSource, booting: bool = True) -> Draft:
    """Return the settings of a plugin as everybody who has a say lets them be; not validated.

    Args:
        unit: The plugin.
        seconds: The time that the store has, in seconds.
        changes: What is kept for it; looked up unless given.
        booting: Whether it is about to boot.

    Raises:
        Refused: If a listener refuses.
        Exception: What a listener, or the store, raised.
    """
    around = unit.surroundings
    if not _has_settings(unit):
        return unit.drafted()
    origin = STORED if around.services.has(SettingsStore) else CONFIGURED
    stored = changes or (SettingsSource(origin, await kept(unit, seconds), level="stored"),)
    draft = Draft(unit.id, unit.settings_model, settings_sources(unit.id, around.config, around.environ, *stored))
    if not around.bus.hears(PluginConfiguring, key=unit.id):
        return draft
    unit.phase = PluginConfiguring.__name__
    result = await around.bus.aemit(PluginConfiguring._of(draft, booting=booting))  # noqa: SLF001 - two halves of one
    final_draft: Draft | None = getattr(result, "_draft", None)
    if final_draft is None or final_draft.plugin_id != unit.id:
        raise PluginError(unit.id, f"a listener of PluginConfiguring returned {type(result).__name__} without settings")
    return final_draft


async def boot_through(unit: Unit, boot: Callable[[], Awaitable[None]]) -> None:
    """Boot a plugin at the bottom of its chain.

    Raises:
        Exception: What the boot, or a listener, failed with.
    """
    bus = unit.surroundings.bus
    if not bus.hears(PluginBooting, key=unit.id):
        await boot()
        return
    once = _Once(unit, boot)
    manifest = unit.definition.manifest
    unit.phase = PluginBooting.__name__
    with bus.answer(PluginBooting, once.answer, key=unit.id):
        await bus.acall(PluginBooting(plugin=unit.id, version=manifest.version, package=unit.definition.package))
    once.insist()


@final
class _Once:
    """A boot that listeners may ask for more than once."""

    def __init__(self, unit: Unit, boot: Callable[[], Awaitable[None]]) -> None:
        self._unit, self._boot = unit, boot
        self._error: Exception | None = None

    async def answer(self, _: PluginBooting) -> None:
        """Boot; again changes nothing, because what failed to boot was undone for good."""
        if self._error is None and not self._unit.is_up:
            try:
                await self._boot()
            except Exception as error:
                self._error = error
                raise
            self._unit.phase = PluginBooting.__name__
        elif self._error is not None:
            raise self._error

    def insist(self) -> None:
        """Look whether it has booted, whatever the listeners made of it."""
        if self._error is not None:
            raise self._error
        if not self._unit.is_up:
            raise PluginBootError(self._unit.id, "a listener of PluginBooting neither called next_fn nor refused it")
