"""What the configuration says: the kernel's own table, a table for each plugin, and who is allowed.

Owns reading it, once per start; validating a plugin's table is ``settings.py``'s job.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, final

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError

from plugbus._errors.base import close_names, nearest_hint
from plugbus.errors import KernelStartError, Problem
from plugbus.manifest import Patterns, check_id, plugin_key

if TYPE_CHECKING:
    from plugbus._kernel.sources import SettingsSource

ConfigSource: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | None

ENABLED_VARIABLE: Final = "PLUGBUS_ENABLED"
PLUGINS_VARIABLE: Final = "PLUGBUS_PLUGINS"
_TABLES: Final = ("kernel", "plugins")


class Grant(BaseModel):
    """What the operator grants one plugin; a field that is not there stays as the manifest declares it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    publishes: Patterns | None = None
    subscribes: Patterns | None = None
    permissions: Patterns | None = None


def _by_key(grants: Mapping[str, Grant]) -> dict[str, Grant]:
    found = {plugin_key(check_id(name)): grant for name, grant in grants.items()}
    if len(found) != len(grants):
        raise ValueError("a plugin is there twice: '-' and '_' are the same in a plugin id")
    return found


Grants: TypeAlias = Annotated[Mapping[str, Grant], AfterValidator(_by_key)]


class KernelTable(BaseModel):
    """The table ``[kernel]``: what ``Kernel(...)`` takes and an operator may want to say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plugins: tuple[str, ...] = ()
    enabled: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    plugin_dirs: tuple[str, ...] = ()
    grants: Grants = {}
    strict: bool = False


@final
@dataclass(frozen=True, slots=True)
class Config:
    """A configuration that was read.

    Attributes:
        origin: Where it comes from, for messages: a path, or ``"argument"``.
        is_file: Whether it is a file, which the environment overrides, or an argument, which overrides it.
        kernel: Its kernel table.
        plugins: A table for each plugin, by the plugin's key.
        folder: What relative paths in it are relative to.
        over: What goes over everything, by the plugin's key.
    """

    origin: str = "argument"
    is_file: bool = False
    kernel: KernelTable = field(default_factory=KernelTable)
    plugins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)  # may hold secrets
    folder: Path = Path()
    over: Mapping[str, Sequence[SettingsSource]] = field(default_factory=dict, repr=False)


def read_config(given: ConfigSource) -> Config:
    """Read a configuration from a TOML file, or take it as a mapping.

    Raises:
        KernelStartError: If it cannot be read, or is not of this shape; it lists all problems.
    """
    if given is None:
        return Config()
    if isinstance(given, Mapping):
        return _checked(given, "argument", is_file=False, folder=Path())
    path = Path(given)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise KernelStartError([Problem(str(path), f"{type(error).__name__}: {error}")]) from error
    return _checked(data, str(path), is_file=True, folder=path.parent)


def read_grants(given: Mapping[str, Any]) -> Mapping[str, Grant]:
    """Read the grants that are given as an argument, by the plugins' keys.

    Raises:
        KernelStartError: If they are not of this shape; it lists all problems.
    """
    try:
        return TypeAdapter(Grants).validate_python(given)
    except ValidationError as error:
        hint = f"a grant is a table with {list(Grant.model_fields)}, each a list of names or patterns"
        told = [Problem(".".join(map(str, ("grants", *item["loc"]))), item["msg"], hint) for item in error.errors()]
        raise KernelStartError(told) from error


def _checked(data: Mapping[str, Any], origin: str, *, is_file: bool, folder: Path) -> Config:
    problems = list(_unknown_tables(data, origin))
    table = KernelTable()
    try:
        table = KernelTable.model_validate(data.get("kernel", {}))
    except ValidationError as error:
        for item in error.errors():
            where = ".".join(map(str, ("kernel", *item["loc"])))
            known = KernelTable.model_fields if len(item["loc"]) == 1 else Grant.model_fields
            near = close_names(str(item["loc"][-1]), known) if item["type"] == "extra_forbidden" else ()
            hint = nearest_hint(near, f"[kernel] knows {list(KernelTable.model_fields)}")
            problems.append(Problem(f"{where} in {origin}", item["msg"], hint))
    plugins = _plugin_tables(data.get("plugins", {}), origin, problems)
    if problems:
        raise KernelStartError(problems)
    return Config(origin, is_file, table, plugins, folder)


def _unknown_tables(data: Mapping[str, Any], origin: str) -> Iterator[Problem]:
    """Find what nobody would read; a typing mistake more often than not, whose settings would silently not hold."""
    for name in data:
        if name not in _TABLES:
            hint = nearest_hint(close_names(str(name), _TABLES), f"a configuration has {' and '.join(_TABLES)}")
            yield Problem(f"{name} in {origin}", "there is no such table", hint)


def _plugin_tables(tables: object, origin: str, problems: list[Problem]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    if not isinstance(tables, Mapping):
        problems.append(Problem(f"plugins in {origin}", "must be a table with a table for each plugin"))
        return found
    for name, table in tables.items():
        where = f"plugins.{name} in {origin}"
        try:
            key = plugin_key(check_id(str(name)))
        except ValueError as error:
            problems.append(Problem(where, str(error)))
            continue
        if not isinstance(table, Mapping):
            problems.append(Problem(where, "must be a table of the plugin's settings"))
        elif key in found:
            problems.append(Problem(where, "is there twice: '-' and '_' are the same in a plugin id"))
        else:
            found[key] = table
    return found


def split_names(text: str | None) -> tuple[str, ...]:
    """Return the names in an environment variable, separated by commas or spaces."""
    return tuple((text or "").replace(",", " ").split())


@final
@dataclass(frozen=True, slots=True)
class Allowed:
    """The allow list: which entry points and folders may be imported, and which plugins were taken out.

    Attributes:
        ids: Each enabled id as it was written, by its key.
        removed: Keys that were taken out with ``-id``; these do not even boot when given as an argument.
    """

    ids: Mapping[str, str]
    removed: frozenset[str]

    def __contains__(self, plugin_id: str) -> bool:
        return plugin_key(plugin_id) in self.ids


def allowed(layers: Iterable[tuple[str, Sequence[str]]]) -> Allowed:
    """Work out the allow list from its layers, the weakest first.

    In each layer plain ids replace what came before, ``+id`` adds one and ``-id`` takes one out.

    Args:
        layers: Where each comes from, and its ids.

    Raises:
        KernelStartError: If something in it is no plugin id.
    """
    ids: dict[str, str] = {}
    removed: set[str] = set()
    problems: list[Problem] = []
    for origin, items in layers:
        if any(item[:1] not in {"+", "-"} for item in items):
            ids.clear()
            removed.clear()
        for item in items:
            try:
                name = check_id(item.lstrip("+-") if item[:1] in {"+", "-"} else item)
            except ValueError as error:
                problems.append(Problem(f"enabled ({origin})", str(error)))
                continue
            if item.startswith("-"):
                removed.add(plugin_key(name))
                ids.pop(plugin_key(name), None)
            else:
                removed.discard(plugin_key(name))
                ids[plugin_key(name)] = name
    if problems:
        raise KernelStartError(problems)
    return Allowed(ids, frozenset(removed))
