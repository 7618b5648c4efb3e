"""Where plugins come from: arguments, environment, configuration, entry points and folders.

Owns what may be imported: the allow list is asked before anything is loaded.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, final

from plugbus._errors.base import did_you_mean
from plugbus._kernel.config import (
    ENABLED_VARIABLE,
    PLUGINS_VARIABLE,
    Allowed,
    Config,
    allowed,
    split_names,
)
from plugbus._kernel.definition import Definition, define, describe
from plugbus._kernel.folders import FolderPlugin, folder_plugins, import_plugin
from plugbus.errors import PluginLoadError
from plugbus.manifest import check_id

ENTRY_POINT_GROUP: Final = "plugbus.plugins"
_NOT_THERE: Final = (
    "correct the name, or install the package that has it; an id works only for a plugin that this kernel knows."
)
_DOTTED: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")


@final
@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin that was imported and read.

    Attributes:
        definition: What it declares.
        forget: Takes its modules out of ``sys.modules`` again, where that is the kernel's to do.
        folder: Where its files are, if it comes from a folder.
    """

    definition: Definition
    forget: Callable[[], None] | None = None
    folder: Path | None = None


@final
@dataclass(frozen=True, slots=True)
class Source:
    """One place that a plugin comes from.

    Attributes:
        label: Where it comes from, for people.
        spec: What names it there; the key of its record as long as its id is not known.
        load: Imports it, if need be, and reads what it declares; may take long.
        id: Its id, where that is known before anything is imported.
        imports: Whether ``load`` imports something.
        disabled: Why it may not be loaded; empty when it may.
        module: The module that is imported for it, where one is named.
    """

    label: str
    spec: str
    load: Callable[[], Loaded]
    id: str | None = None
    imports: bool = True
    disabled: str = ""
    module: str = ""


def discover(
    plugins: Iterable[object],
    enabled: Sequence[str],
    plugin_dirs: Sequence[Path],
    config: Config,
    environ: Mapping[str, str],
) -> tuple[list[Source], Allowed]:
    """List where plugins come from; nothing is imported yet.

    Args:
        plugins: What was given as an argument.
        enabled: The allow list as an argument.
        plugin_dirs: Folders with a folder for each plugin.
        config: The configuration that was read.
        environ: The environment.

    Raises:
        KernelStartError: If the allow list has something in it that is no plugin id.
    """
    allow = allowed(
        [
            ("argument", enabled),
            (config.origin, config.kernel.enabled),
            (ENABLED_VARIABLE, split_names(environ.get(ENABLED_VARIABLE))),
        ]
    )
    sources = [source_of(spec, "argument") for spec in plugins]
    sources += [source_of(name, config.origin) for name in config.kernel.plugins]
    sources += [source_of(name, PLUGINS_VARIABLE) for name in split_names(environ.get(PLUGINS_VARIABLE))]
    sources += _from_folders(plugin_dirs, allow)
    sources += _from_entry_points(allow)
    return sources, allow


def source_of(spec: object, origin: str) -> Source:
    """Return the source that a class, object, module or dotted name is.

    Args:
        spec: What was given.
        origin: Who gave it.
    """
    if not isinstance(spec, str):
        return Source(origin, describe(spec), partial(_loaded, spec), imports=False)
    return Source(origin, spec, partial(loaded_by_name, spec), module=spec.partition(":")[0])


def _loaded(target: object) -> Loaded:
    return Loaded(define(target))


def loaded_by_name(name: str) -> Loaded:
    """Import and read a plugin by its dotted name."""
    return Loaded(define(_imported(name)))


def _imported(name: str) -> object:
    """Import ``"package.module"`` or ``"package.module:Name"``.

    Raises:
        PluginLoadError: If that fails, whatever the reason.
    """
    if not _DOTTED.fullmatch(name):
        raise PluginLoadError(name, "is not 'package.module' or 'package.module:Name'", "correct the name.")
    module_name, _, attribute = name.partition(":")
    try:
        found: Any = import_plugin(name, lambda: importlib.import_module(module_name))
    except PluginLoadError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and f"{module_name}.".startswith(f"{cause.name}."):
            raise PluginLoadError(name, f"there is no module {cause.name!r}", _NOT_THERE) from cause
        raise
    for part in filter(None, attribute.split(".")):
        try:
            found = getattr(found, part)
        except AttributeError:
            told = f"module {module_name!r} has no {attribute!r}", did_you_mean(part, dir(found))
            problem = "; ".join(filter(None, told))
            raise PluginLoadError(name, problem, "correct the name after the colon.") from None
    return found


def refused(plugin_id: str, problem: str, hint: str) -> Source:
    """Return a source that cannot be loaded, and says why and what to do."""
    return Source("allow list", plugin_id, _refusing(plugin_id, problem, hint), plugin_id, imports=False)


def _from_entry_points(allow: Allowed) -> Iterator[Source]:
    """Entry points cost a look at every installed distribution, so there are none when nothing is enabled."""
    if not allow.ids:
        return
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        label = f"entry point {point.value}"
        try:
            check_id(point.name)
        except ValueError as error:
            yield Source(label, point.name, _refusing(point.name, str(error)))
            continue
        disabled = _disabled(point.name, allow)
        yield Source(label, point.name, _loading(point), point.name, disabled=disabled, module=point.module)


def _loading(point: EntryPoint) -> Callable[[], Loaded]:
    return lambda: Loaded(define(import_plugin(point.name, point.load)))


def _from_folders(plugin_dirs: Sequence[Path], allow: Allowed) -> Iterator[Source]:
    for found in (found for folder in plugin_dirs for found in folder_plugins(folder)):
        label, spec = f"folder {found.path}", str(found.path)
        if not found.id:
            yield Source(label, spec, _refusing(spec, found.problem), imports=False)
            continue
        load = _refusing(found.id, found.problem) if found.problem else _importing(found)
        yield Source(label, spec, load, found.id, disabled=_disabled(found.id, allow))


def _importing(found: FolderPlugin) -> Callable[[], Loaded]:
    def load() -> Loaded:
        target, written, forget = found.load()
        try:
            return Loaded(define(target, written), forget, found.path)
        except BaseException:
            forget()
            raise

    return load


def _refusing(plugin_id: str, problem: str, hint: str = "") -> Callable[[], Loaded]:
    def refuse() -> Loaded:
        raise PluginLoadError(plugin_id, problem, hint)

    return refuse


def _disabled(plugin_id: str, allow: Allowed) -> str:
    return "" if plugin_id in allow else "not enabled"
