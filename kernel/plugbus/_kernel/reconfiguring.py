"""Changing the settings of a plugin that runs: valid as a whole, and in force or as they were.

Owns one change; that there is one at a time is the runtime's business.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, final

import anyio

from plugbus._failing import own_failure
from plugbus._kernel.hiding import Hiding
from plugbus._kernel.intercepting import configured, kept
from plugbus._kernel.settings import Draft, changed_keys, field_names, leaves, merged_tables
from plugbus._kernel.sources import CONFIGURED, SettingsSource
from plugbus._kernel.steps import call_step, provider_of, reason_of
from plugbus._services.keys import BY_NAME
from plugbus.errors import (
    ConfigureError,
    PluginError,
    PluginGoneError,
    PluginTimeoutError,
    Problem,
    Refused,
    SettingsError,
)
from plugbus.lifecycle import PluginConfiguring
from plugbus.log import text_of
from plugbus.options import ABSENT
from plugbus.settings import Live, SettingsStore

if TYPE_CHECKING:
    from pydantic import BaseModel

    from plugbus._kernel.unit import Unit


@final
class _State(NamedTuple):
    """What a plugin has to go by."""

    settings: BaseModel
    sources: Draft


async def reconfigure(
    unit: Unit,
    changes: Mapping[str, Any],
    renew: Callable[[Unit], None],
    seconds: float,
    reload: Callable[[], Awaitable[object]],
) -> tuple[str, ...]:
    """Change settings of a plugin that is ready.

    Args:
        unit: The plugin.
        changes: New values by key, nested like the settings; ``ABSENT`` takes a change back.
        renew: Called when what was handed out as settings is not the newest any more.
        seconds: The time for the plugin's own part, and for the store's, in seconds.
        reload: Puts a new one in the plugin's place, for one that does not follow its settings.

    Returns:
        The keys whose value is another one now.

    Raises:
        SettingsError: If the whole is not valid, or a stronger source gives a key.
        Refused: If a listener of PluginConfiguring, or the plugin, refuses.
        ConfigureError: If they could not be put in force, or not be kept.
        ReloadError: If the plugin was to be reloaded for them, and could not.
        PluginError: If the plugin has no settings.
    """
    model, old = unit.settings_model, unit.settings
    if model is None or old is None:
        raise PluginError(unit.id, "it has no settings; a plugin with a class Settings, or ctx.settings(Model), has")
    if not isinstance(changes, Mapping):
        what = (
            f"a mapping of keys to values is wanted, such as {{'max_items': 9}}, and not {type(changes).__qualname__!r}"
        )
        raise SettingsError(unit.id, [Problem("changes", what, "in configure()")])
    names = field_names(model)
    named = {names.get(key, key): value for key, value in changes.items()}
    earlier = await kept(unit, seconds)
    after = merged_tables(earlier, named, model, ABSENT)
    source = SettingsSource(CONFIGURED, after, level="stored")
    draft = await _configured(unit, source, seconds)
    new = draft.validated(model)
    _refuse_hidden(draft, named)
    keys = tuple(changed_keys(old, new))
    before = _State(old, unit.drafted())
    if keys and not is_live(unit):
        await _keep_or_take_back(unit, after, earlier, seconds)  # before the reload, which reads what is kept
        try:
            await reload()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await _keep(unit, earlier, seconds)
            raise
        return keys
    change = _Change(unit, before, _State(new, draft), renew, seconds)
    keep = partial(_keep_or_take_back, unit, after, earlier, seconds)
    await change.put_in_force(unit.steps.get("on_settings", ()) if keys else (), keep)
    return keys


async def _configured(unit: Unit, source: SettingsSource, seconds: float) -> Draft:
    with anyio.move_on_after(seconds):
        return await configured(unit, seconds, source, booting=False)
    raise PluginTimeoutError(unit.id, PluginConfiguring.__name__, seconds)


def is_live(unit: Unit) -> bool:
    """Tell whether a plugin follows its settings while it runs; one that does not needs a reload."""
    if unit.steps.get("on_settings"):
        return True
    wanted = [parameter for target in unit.targets for parameter in unit.services.parameters(target.call, target.given)]
    for service in unit.definition.services:
        wanted += unit.services.parameters(provider_of(service))
    model: Any = unit.definition.settings_model
    live: Any = Live[model] if model else None
    read_once = any(
        parameter.type is model or (parameter.type is BY_NAME and parameter.name == "settings") for parameter in wanted
    )
    return not read_once and model is not None and any(parameter.type == live for parameter in wanted)


def _refuse_hidden(draft: Draft, changes: Mapping[str, Any]) -> None:
    """Refuse a change that nobody would see, because a stronger source gives the same key."""
    origins = draft.origins()
    problems: list[Problem] = []
    for path, value in leaves(changes):
        origin = next((origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins), CONFIGURED)
        if value is not ABSENT and origin != CONFIGURED:
            problem = f"is given by {origin}, which goes over what is configured at run time"
            problems.append(Problem(".".join(map(str, path)), problem, "change it there"))
    if problems:
        raise SettingsError(draft.plugin_id, problems)


async def _keep(unit: Unit, values: Mapping[str, Any], seconds: float) -> None:
    around = unit.surroundings
    if not around.services.has(SettingsStore):
        around.changed[unit.key] = values
        return
    unit.phase = "SettingsStore.save"
    store = await around.services.aget(SettingsStore)
    await call_step(unit, unit.phase, partial(store.save, unit.id, values), seconds)


async def _keep_or_take_back(unit: Unit, values: Mapping[str, Any], earlier: Mapping[str, Any], seconds: float) -> None:
    """Keep new values; a store that was stopped in the middle, and may have them, is given the earlier ones again."""
    try:
        await _keep(unit, values, seconds)
    except BaseException as error:
        if not isinstance(error, Exception) or isinstance(error, PluginTimeoutError):
            with anyio.CancelScope(shield=True):
                try:
                    await _keep(unit, earlier, seconds)
                except Exception as failure:  # noqa: BLE001 - what stopped it counts more, and says this
                    error.add_note(f"its store may have kept them: taking them back raised {type(failure).__name__}")
        raise


@final
class _Change:
    """One change on its way, and the way back."""

    def __init__(self, unit: Unit, old: _State, new: _State, renew: Callable[[Unit], None], seconds: float) -> None:
        self._unit, self._old, self._new, self._renew, self._seconds = unit, old, new, renew, seconds

    async def put_in_force(self, hooks: Sequence[Callable[..., Any]], keep: Callable[[], Awaitable[None]]) -> None:
        """Tell the plugin, then have the change kept; if either fails, go back."""
        told: list[Callable[..., Any]] = []
        self._set(self._new)
        failed: BaseException | None = None
        try:
            for hook in hooks:
                await self._tell(hook, self._old, self._new)
                told.append(hook)
            await keep()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the plugin goes back
            failed = error
        phase, self._unit.phase = self._unit.phase, ""
        if failed is not None:
            left = await self._go_back(told)
            # Here, and not below except: a failure of the plugin's must not be the context, with a secret in its text.
            raise await self._told(failed, phase, left)

    def _set(self, state: _State) -> None:
        if self._unit.settings is None:
            raise PluginGoneError(self._unit.id, "its settings")
        self._unit.settings, self._unit.sources = state
        self._renew(self._unit)

    async def _tell(self, hook: Callable[..., Any], old: _State, new: _State) -> None:
        self._unit.phase = "on_settings"
        await call_step(self._unit, "on_settings", partial(hook, old.settings, new.settings), self._seconds)

    async def _go_back(self, told: list[Callable[..., Any]]) -> list[str]:
        """Put the old settings in force again and tell those who followed the new ones; return what fails."""
        left: list[str] = []
        with anyio.CancelScope(shield=True):
            self._set(self._old)
            for hook in reversed(told):
                try:
                    await self._tell(hook, self._new, self._old)
                except Exception as failure:  # noqa: BLE001 - it is told with what made us go back
                    left.append(self._shown(failure, "on_settings"))
        self._unit.phase = ""
        return left

    async def _told(self, error: BaseException, phase: str, left: list[str]) -> Exception:
        """Return what the caller is to get; a cancellation of the caller's own is raised again."""
        if isinstance(error, Refused) and not left:
            return error
        raised = ConfigureError(self._unit.id, self._shown(await own_failure(error), phase), left)
        raised.add_note("".join(["it was raised here:\n", *traceback.format_tb(error.__traceback__)]))
        return raised

    def _shown(self, error: BaseException, phase: str) -> str:
        if isinstance(error, PluginError):
            return reason_of(self._unit, error, phase)
        kind = type(error).__name__
        message = text_of(error).removeprefix(f"{kind}: ")
        for state in (self._old, self._new):
            message = Hiding(type(state.settings), state.sources.values()).masked(message)
        return f"{phase} raised {kind}: {message}"
