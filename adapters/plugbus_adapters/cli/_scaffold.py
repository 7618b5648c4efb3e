"""``plugbus new plugin``: a package from the template, complete or not at all.

Owns names and files; what the package looks like stands in ``templates/``.
"""

from __future__ import annotations

import keyword
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template
from typing import Final

from plugbus_adapters.cli._console import print_lines
from plugbus_adapters.cli._errors import CommandError

__all__ = ("make_plugin",)

_SUFFIX: Final = ".tmpl"
_NOT_OURS: Final = frozenset({"plugbus", "plugbus_adapters", "plugbus_contrib", "tests", "test", "plugin"})

_TAKEN_CLASSES: Final = frozenset({"BaseModel", "Event", "Greet", "Greeted", "Kernel", "Manifest", "Request"})


def make_plugin(plugin_id: str, into: Path) -> None:
    """Make the package and tell what is there.

    Args:
        plugin_id: The plugin's id, which becomes the names of folder, package and class.
        into: The folder that the new one is made in.

    Raises:
        CommandError: If the id cannot be used, the folder is there already, or it cannot be written.
    """
    names = _names(plugin_id)
    folder = into / plugin_id
    if folder.exists():
        raise CommandError(f"{folder} is there already", "nothing was changed; choose another name or another --into")
    made = {folder / path: text for path, text in _rendered(names)}
    try:
        for file, text in made.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
    except OSError as error:
        raise CommandError(f"{folder} cannot be written: {error}") from error
    print_lines(
        *map(str, sorted(made)),
        "",
        f"Next: cd {folder} && python -m pytest",
        f"Use it: pip install {folder}, or plugin_dirs = ['{into}'], and enabled = ['{plugin_id}'] in plugbus.toml",
    )


def _names(plugin_id: str) -> dict[str, str]:
    from plugbus import Manifest, ManifestError

    try:
        Manifest(id=plugin_id)
    except ManifestError as error:
        raise CommandError("; ".join(error.problems).removeprefix("id: ")) from error
    package = plugin_id.replace("-", "_")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or package in _NOT_OURS:
        raise CommandError(f"{plugin_id!r} cannot be a package: Python or plugbus has that name", "choose another")
    name = "".join(part.capitalize() for part in package.split("_"))
    if name in _TAKEN_CLASSES:
        name += "Plugin"
    exported = sorted([name, "Greet", "Greeted"])
    return {
        "id": plugin_id,
        "package": package,
        "name": name,
        "imports": ", ".join(exported),
        "exports": ", ".join(f'"{each}"' for each in exported),
        "version": version("plugbus"),
    }


def _rendered(names: dict[str, str]) -> Iterator[tuple[Path, str]]:
    top = files("plugbus_adapters.cli") / "templates" / "plugin"
    for path, template in _templates(top, PurePosixPath()):
        parts = (names["package"] if part == "package" else part for part in path.parts)
        text = Template(template.read_text("utf-8")).substitute(names)
        yield Path(*parts).with_name(path.name.removesuffix(_SUFFIX)), text


def _templates(folder: Traversable, path: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _templates(entry, path / entry.name)
        elif entry.name.endswith(_SUFFIX):
            yield path / entry.name, entry
