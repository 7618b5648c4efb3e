"""What is wrong with a kernel, all at once: before it has started, or while it runs.

Owns the list; each finding is made where the rule lives.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from plugbus._errors.base import did_you_mean
from plugbus._kernel.hooks import hookspec_problems
from plugbus._kernel.marking import unread
from plugbus._kernel.near_misses import misnamed_steps, misspelt
from plugbus._kernel.permitting import grant_problems
from plugbus._kernel.preparing import Preparation, Read, read
from plugbus._kernel.rehearsal import Rehearsal
from plugbus.errors import KernelStartError, Problem, WiringError
from plugbus.lifecycle import PluginState
from plugbus.manifest import plugin_key

if TYPE_CHECKING:
    from plugbus._kernel.config import Config
    from plugbus._kernel.runtime import Runtime
    from plugbus._kernel.unit import Unit


def check(runtime: Runtime) -> list[Problem]:
    """Return everything that is wrong, or odd."""
    if runtime.fleet is not None and runtime.preparation is not None:
        return list(dict.fromkeys(_live(runtime, runtime.preparation)))
    try:
        found = read(runtime.options)
    except KernelStartError as error:
        return list(error.problems)
    rehearsal = Rehearsal(runtime, found)
    try:
        problems = [*_records(rehearsal.units.values()), *rehearsal.problems(), *_missing(found, rehearsal.units)]
        problems += [*_unused_tables(found.config, rehearsal.units), *_forbidden_imports(rehearsal.units.values())]
        problems += grant_problems(found.permitting, rehearsal.units)
        problems += misnamed_steps(rehearsal.units.values())
    finally:
        rehearsal.close()
    return list(dict.fromkeys(problems))


def _live(runtime: Runtime, preparation: Preparation) -> Iterator[Problem]:
    yield from _records(runtime.units.values())
    yield from preparation.problems
    yield from _unused_tables(preparation.around.config, runtime.units)
    yield from grant_problems(preparation.around.permitting, runtime.units)
    yield from runtime.services.check()
    yield from runtime.bus.problems()
    yield from misspelt(runtime.bus.subscriptions(), runtime.bus.types(), runtime.units.values())
    yield from hookspec_problems(runtime.hooks)
    yield from unread(runtime.marking.marked(), runtime.marking.kinds())
    yield from _forbidden_imports(runtime.units.values())
    yield from misnamed_steps(runtime.units.values())


def _records(units: Iterable[Unit]) -> Iterator[Problem]:
    for unit in units:
        where = f"plugin {unit.id!r}"
        cause = unit.error.__cause__ if unit.error else None
        if unit.state is PluginState.FAILED and isinstance(cause, WiringError):
            for problem in cause.problems:
                yield Problem(f"{where}, {problem.where}", problem.message, problem.hint)
        elif unit.state in {PluginState.FAILED, PluginState.BLOCKED}:
            yield Problem(where, f"{unit.state}: {unit.reason}")


def _missing(found: Read, units: Mapping[str, Unit]) -> Iterator[Problem]:
    for plugin_id in found.required:
        unit = units.get(plugin_key(plugin_id))
        if unit is None or unit.state is PluginState.DISABLED:
            told = "nobody has this id" if unit is None else f"it is disabled: {unit.reason}"
            yield Problem(f"plugin {plugin_id!r}", f"is required, and {told}")


def _unused_tables(config: Config, units: Mapping[str, Unit]) -> Iterator[Problem]:
    """Find tables of settings that no plugin reads; a typing mistake more often than not."""
    over = ((key, source.origin) for key, sources in config.over.items() for source in sources)
    for key, origin in (*((key, config.origin) for key in config.plugins), *over):
        unit = units.get(key)
        where = f"plugins.{key} in {origin}"
        if unit is None:
            yield Problem(where, "there is no such plugin", did_you_mean(key, units), fatal=False)
        elif unit.loaded is not None and unit.definition.settings_model is None and unit.definition.register is None:
            yield Problem(where, "the plugin has no Settings, so nothing reads this", fatal=False)


def _forbidden_imports(units: Iterable[Unit]) -> Iterator[Problem]:
    """Find plugins that import another plugin's package; they talk through events and services alone."""
    packages: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.loaded is not None:
            packages.setdefault(unit.definition.package, []).append(unit)
    owners = {package: members[0] for package, members in packages.items() if len(members) == 1}
    for package, unit in owners.items():
        others = {other: owner for other, owner in owners.items() if not _is_within(package, other)}
        for file, line, name in _imports_below(package) if others else ():
            for other, owner in others.items():
                if _is_within(name, other) and not _is_within(name, package):
                    where = f"plugin {unit.id!r}, {file}:{line}"
                    hint = "let it ask for a service or an event by a type of the host's, or by name"
                    yield Problem(where, f"imports {name}, which belongs to plugin {owner.id!r}", hint)


def _is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def _imports_below(package: str) -> Iterator[tuple[str, int, str]]:
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if _is_within(name, package) and file and file.endswith(".py") and not _is_test(Path(file).stem):
            base = name if getattr(module, "__path__", None) is not None else name.rpartition(".")[0]
            for line, imported in _imports_in(Path(file), base):
                yield Path(file).name, line, imported


def _is_test(name: str) -> bool:
    """Tell a module of tests, which pytest imported and no plugin does; it may import what it likes."""
    return name == "conftest" or name.startswith("test_") or name.endswith("_test")


def _imports_in(file: Path, base: str) -> Iterator[tuple[int, str]]:
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError):  # it was imported somehow; what cannot be read cannot be judged
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = base.split(".")[: len(base.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
