"""Importing a plugin's modules anew, with the old ones kept at hand for as long as it may have to go back.

Owns what is taken out of ``sys.modules`` for that; the old modules live on in whoever has something of them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, final

from plugbus._kernel.discovery import Loaded, Source, loaded_by_name
from plugbus.errors import PluginLoadError

if TYPE_CHECKING:
    from plugbus._kernel.unit import Unit


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
