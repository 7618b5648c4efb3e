"""From sources to plugins that are known: importing them, also anew, and telling apart those that claim one id.

Importing anew keeps the old modules at hand, for as long as a reload may have to go back.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, final

import anyio
import anyio.to_thread

from plugbus._kernel.discovery import Loaded, Source, loaded_by_name
from plugbus.errors import PlugbusError, PluginError, PluginLoadError, PluginTimeoutError
from plugbus.event_types import event_type, origin_of
from plugbus.lifecycle import PluginState
from plugbus.log import text_of
from plugbus.manifest import plugin_key

if TYPE_CHECKING:
    from plugbus._kernel.config import Allowed
    from plugbus._kernel.unit import Unit


_EVENT_TYPE: Final = "__plugbus_event_type__"


def load_all(units: Iterable[Unit]) -> None:
    """Import plugins in this thread; one that fails is on record and stops no other."""
    for unit in units:
        if unit.state is PluginState.DISCOVERED:
            _load(unit)


async def load_all_in_threads(units: Iterable[Unit], seconds: float) -> None:
    """Do the same in worker threads, because importing blocks; one import that hangs is abandoned.

    Args:
        units: The plugins.
        seconds: Time for each import, in seconds.
    """
    pending = [unit for unit in units if unit.state is PluginState.DISCOVERED]
    at_hand = [unit for unit in pending if not unit.source.imports]
    await _in_thread(partial(load_all, at_hand))
    for unit in pending:
        if unit.source.imports:
            with anyio.move_on_after(seconds):
                await _in_thread(partial(_load, unit))
            if unit.state is PluginState.DISCOVERED and unit.loaded is None:
                _fail(unit, PluginTimeoutError(unit.id, "importing it", seconds))


async def _in_thread(call: Callable[[], None]) -> None:
    await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1))


def _load(unit: Unit) -> None:
    try:
        loaded = unit.source.load()
        _insist_on_id(unit.source, loaded)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - it is on record, and told as PluginFailed
        if unit.state is PluginState.DISCOVERED:
            _fail(unit, error)
        return
    if unit.state is PluginState.DISCOVERED:
        unit.identify(loaded)
    elif loaded.forget is not None:  # it took too long, and nobody waits any more
        loaded.forget()


def _insist_on_id(source: Source, loaded: Loaded) -> None:
    """Refuse a plugin that was let in under one id and calls itself by another, whose settings it would get."""
    declared = loaded.definition.manifest.id
    if source.id is not None and plugin_key(source.id) != plugin_key(declared):
        if loaded.forget is not None:
            loaded.forget()
        raise PluginLoadError(source.id, f"it declares the id {declared!r}; a plugin has the id it is found under")


def _fail(unit: Unit, error: BaseException) -> None:
    unit.state = PluginState.FAILED
    if isinstance(error, PluginError):
        unit.reason, unit.error = error.reason, error
        return
    unit.reason = str(error) if isinstance(error, PlugbusError) else text_of(error)
    unit.error = PluginLoadError(unit.id, unit.reason)
    unit.error.__cause__ = error


@final
class Roll:
    """The plugins of a kernel by their keys, and who may be on it.

    Args:
        units: The plugins by key; changed in place.
        allow: The allow list.
    """

    def __init__(self, units: dict[str, Unit], allow: Allowed) -> None:
        self._units = units
        self._allow = allow

    def call(self, units: Iterable[Unit]) -> list[Unit]:
        """Enter plugins that were loaded; return those that may boot.

        The same plugin given twice is one. Another plugin with a known id fails, and is entered beside the first.
        """
        entered: list[Unit] = []
        for unit in units:
            if unit.state is PluginState.DISCOVERED and unit.key in self._allow.removed:
                unit.state, unit.reason = PluginState.DISABLED, f"taken out of the allow list (-{unit.id})"
                unit.forget()
            key = self._free_key(unit)
            if key is None:
                continue
            self._units[key] = unit
            if unit.state is PluginState.DISCOVERED:
                entered.append(unit)
        return entered

    def _free_key(self, unit: Unit) -> str | None:
        first = self._units.get(unit.key)
        if first is None:
            return unit.key
        if unit.state is PluginState.DISABLED or _same(first, unit):
            return None
        if unit.state is PluginState.DISCOVERED:
            problem = f"its id is that of the plugin from {first.source.label}, {first.source.spec}"
            _fail(unit, PluginLoadError(unit.id, problem))
            unit.forget()
        number = 2
        while f"{unit.key}#{number}" in self._units:
            number += 1
        return f"{unit.key}#{number}"


def _same(first: Unit, second: Unit) -> bool:
    """Whether the same thing was given twice: one object, or one name that cannot be imported."""
    if first.loaded is None or second.loaded is None:
        return first.source.spec == second.source.spec
    return first.definition.target is second.definition.target


def find_events(units: Sequence[Unit], others: Iterable[Unit] = ()) -> None:
    """Find the event types that are defined in each plugin's package, in one pass over all modules.

    Types that are defined beside several plugins, *others* included, belong to none of them.
    """
    shared = {other.definition.package for other in others if other.loaded is not None and other not in units}
    owners: dict[str, Unit] = {}
    for unit in units:
        package = unit.definition.package
        if owners.setdefault(package, unit) is not unit:
            shared.add(package)
    for package in shared:
        owners.pop(package, None)
    found: dict[Unit, dict[type, None]] = {}
    for name, module in tuple(sys.modules.items()):
        owner = _owner_of(name, owners)
        if owner is not None and isinstance(module, ModuleType):
            found.setdefault(owner, {}).update(dict.fromkeys(_events_in(name, vars(module))))
    for unit, events in found.items():
        unit.events = tuple(events)


def _owner_of(name: str, owners: Mapping[str, Unit]) -> Unit | None:
    while name:
        if name in owners:
            return owners[name]
        name = name.rpartition(".")[0]
    return None


def _events_in(name: str, namespace: Mapping[str, object]) -> list[type]:
    return [
        value
        for value in tuple(namespace.values())
        if isinstance(value, type) and value.__module__ == name and _EVENT_TYPE in vars(value)
        and event_type(value).cls is value and origin_of(value) is None  # pydantic puts Page[int] beside Page
    ]  # fmt: skip


def missing_enabled(allow: Allowed, units: Mapping[str, Unit]) -> list[str]:
    """Return enabled ids that nobody has."""
    return [plugin_id for key, plugin_id in allow.ids.items() if key not in units]


@final
class Aside:
    """Modules that were taken out of ``sys.modules``.

    Args:
        packages: The modules, and those that are whose submodules are taken out as well.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self._packages = frozenset(packages)
        self._modules: dict[str, ModuleType] = {}
        self._parents: list[tuple[ModuleType, str, ModuleType]] = []

    def take_out(self) -> None:
        """Take them out, so that the next import executes them again, as they are on disk now."""
        importlib.invalidate_caches()
        for name in self._names():
            module = self._modules[name] = sys.modules.pop(name)
            parent, _, child = name.rpartition(".")
            if parent in sys.modules:
                self._parents.append((sys.modules[parent], child, module))
            cached = getattr(getattr(module, "__spec__", None), "cached", None)
            if cached:
                # A file that was changed within the same second, by as many letters, would be taken for the same.
                with suppress(OSError):
                    Path(cached).unlink(missing_ok=True)

    def put_back(self) -> None:
        """Put them back, in the place of what was imported since."""
        for name in self._names():
            del sys.modules[name]
        sys.modules.update(self._modules)
        for parent, child, module in self._parents:
            setattr(parent, child, module)

    def _names(self) -> list[str]:
        return [
            name for name in tuple(sys.modules) if any(f"{name}.".startswith(f"{each}.") for each in self._packages)
        ]


def source_anew(old: Unit, others: Iterable[Unit], *, reread: bool) -> tuple[Source, Aside | None]:
    """Return a source that gives another plugin of the same kind, and the modules that it takes out first.

    A class is built again. What was imported by its name or from its folder is imported again.

    Args:
        old: The plugin that is there.
        others: Plugins that stay as they are: modules that these come from too are left alone.
        reread: Whether to import it again even if there is a class to build again.

    Raises:
        PluginLoadError: If there can be no other one: somebody else built the object.
    """
    source, definition, target = old.source, old.definition, old.definition.target
    by_name = source.imports or (isinstance(target, ModuleType) and _is_importable(target))
    packages = _packages(old)
    shared = [other.id for other in others if packages & _packages(other)]
    is_class = definition.form == "class"
    if by_name and not shared and (reread or not is_class):
        aside = Aside(packages)
        load = source.load if source.imports else lambda: loaded_by_name(definition.package)
        return replace(source, id=old.id, load=_after(aside.take_out, load)), aside
    if is_class:
        loaded = Loaded(definition, folder=old.owner.folder)
        return replace(source, id=old.id, imports=False, load=lambda: loaded), None
    if by_name:
        problem = f"its module cannot be imported anew, because {', '.join(map(repr, shared))} come from it, too"
        raise PluginLoadError(old.id, problem, "give each plugin a module of its own.")
    problem = f"it cannot be built anew: {definition.form} {type(target).__qualname__!r} was made by somebody else"
    raise PluginLoadError(old.id, problem, "give the kernel a class, or a dotted name; or unload and load it.")


def _is_importable(module: ModuleType) -> bool:
    return module.__spec__ is not None and sys.modules.get(module.__name__) is module


def _packages(unit: Unit) -> set[str]:
    if unit.loaded is None:
        return set()
    package = unit.definition.package
    if unit.loaded.forget is not None:
        return {package.partition(".")[0]}
    return {package, unit.source.module} - {"", "__main__"}


def _after(first: Callable[[], None], load: Callable[[], Loaded]) -> Callable[[], Any]:
    def anew() -> Loaded:
        first()
        return load()

    return anew
