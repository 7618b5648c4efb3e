"""Plugins in folders: which there are, importing one under a name of its own, and forgetting it again.

Owns the modules of folder plugins in ``sys.modules``; a plugin's files stay inside the folder they are listed in.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, NamespaceLoader, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar, final

from plugbus._kernel.definition import plugin_in
from plugbus.errors import ManifestError, PlugbusError, PluginLoadError
from plugbus.log import text_of
from plugbus.manifest import ID_PATTERN, Manifest, plugin_key

T = TypeVar("T")

_PREFIX: Final = "plugbus_plugin_"
_naming: Final = threading.Lock()


def import_plugin(name: str, load: Callable[[], T]) -> T:
    """Run *load*, which imports; whatever it raises becomes one kind of error.

    Args:
        name: Id or dotted name, for the message.
        load: Imports and returns something.

    Raises:
        PluginLoadError: If it fails with whatever but an interrupt, because a plugin must not end the service.
    """
    try:
        return load()
    except PlugbusError:
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginLoadError(name, f"importing it raised {text_of(error)}") from error


@final
@dataclass(frozen=True, slots=True)
class FolderPlugin:
    """A plugin in a folder: ``<id>/__init__.py``, ``<id>/plugin.py``, ``<id>.py`` or, a project, ``<id>/src/<id>/``.

    Attributes:
        id: Its id, which is the folder's name; empty for the folder of all, when that is not there.
        path: The folder with its code, or the file.
        problem: Why it cannot be loaded; empty when it can.
    """

    id: str
    path: Path
    problem: str = ""

    def load(self) -> tuple[object, Manifest | None, Callable[[], None]]:
        """Import it.

        Returns:
            The plugin, the manifest in its folder, and what takes its modules out of ``sys.modules`` again.

        Raises:
            PluginLoadError: If importing it fails, or its code has been taken away.
            ManifestError: If its manifest cannot be used.
        """
        if not _has_code(self.path):
            raise PluginLoadError(self.id, f"no code of it is left in {str(self.path)!r}", "put it back, or unload it.")
        written = Manifest.beside(self.path) if self.path.is_dir() else None
        if written is not None and written.key != plugin_key(self.id):
            raise ManifestError(self.id, (f"id: {written.id!r} is not the name of its folder, {self.path.name!r}",))
        module = _reserve(self)

        def forget() -> None:
            name = module.__name__
            if sys.modules.get(name) is not module:  # a newer one has taken its place
                return
            for loaded in [each for each in tuple(sys.modules) if each == name or each.startswith(name + ".")]:
                sys.modules.pop(loaded, None)

        try:
            return import_plugin(self.id, lambda: _execute(module)), written, forget
        except BaseException:
            forget()
            raise


def folder_plugins(folder: Path) -> Iterator[FolderPlugin]:
    """List the plugins in a folder; nothing is imported, and nothing in them is opened.

    Args:
        folder: A folder with a folder or a file for each plugin; other names in it are passed over.
    """
    if not folder.is_dir():
        yield FolderPlugin("", folder, "there is no such folder; correct plugin_dirs")
        return
    root = folder.resolve()
    for path in sorted(folder.iterdir()):
        plugin_id = path.stem if path.suffix == ".py" else path.name
        project = path / "src" / plugin_key(plugin_id)  # what `plugbus new plugin` makes
        for code in (path, project):
            if ID_PATTERN.fullmatch(plugin_id) and _has_code(code):
                yield FolderPlugin(plugin_id, code, _link_problem(code, folder, root))
                break


def _link_problem(path: Path, folder: Path, root: Path) -> str:
    """Say where a link leads, if what would run is not the file that the allow list was asked for."""
    files = [path, *(path / name for name in ("__init__.py", "plugin.py"))] if path.is_dir() else [path]
    for file in files:
        try:
            target = file.resolve()
        except (OSError, RuntimeError):  # a link in a circle, before Python 3.13
            target = file
        if file.is_symlink() or target != root / file.relative_to(folder):
            return f"it leads out of its folder, to {target}"
    return ""


def _has_code(path: Path) -> bool:
    if path.is_symlink() and path.suffix == ".py":
        return True
    if path.is_dir():
        return (path / "__init__.py").is_file() or (path / "plugin.py").is_file()
    return path.suffix == ".py" and path.exists()


def _reserve(plugin: FolderPlugin) -> ModuleType:
    """Enter a module under a name that nobody has: several kernels may load the same folder, each its own copy."""
    with _naming:
        base = name = _PREFIX + plugin_key(plugin.id)
        number = 1
        while name in sys.modules:
            number += 1
            name = f"{base}_{number}"
        module = module_from_spec(spec_of(name, plugin.path))
        sys.modules[name] = module
        return module


def places() -> dict[str, str]:
    """Return the modules of folder plugins, each with its folder or file, so that another process finds them, too."""
    named = ((name, module) for name, module in tuple(sys.modules.items()) if name.startswith(_PREFIX))
    return {
        name: next(iter(getattr(module, "__path__", ())), str(getattr(module, "__file__", "")))
        for name, module in named
        if "." not in name
    }


def spec_of(name: str, path: Path) -> ModuleSpec:
    """Return what a folder or file of a plugin is imported with, under a name.

    Args:
        name: The name of the module.
        path: The folder, or the file.
    """
    is_package = path.is_dir()
    file = path / "__init__.py" if is_package else path
    # Without an __init__.py it is a namespace, whose loader executes nothing.
    namespace: Any = NamespaceLoader
    loader = SourceFileLoader(name, str(file)) if file.is_file() else namespace(name, [str(path)], lambda *_: None)
    spec = ModuleSpec(name, loader, origin=str(file), is_package=is_package)
    spec.has_location = file.is_file()
    if is_package:
        spec.submodule_search_locations = [str(path)]
    return spec


def _execute(module: ModuleType) -> object:
    loader: Any = module.__loader__
    loader.exec_module(module)
    importlib.invalidate_caches()  # the folder may have been written a moment ago
    inner = next((Path(place, "plugin.py") for place in getattr(module, "__path__", ())), None)
    if inner is not None and inner.is_file():
        return plugin_in(importlib.import_module(f"{module.__name__}.plugin"))
    return plugin_in(module)
