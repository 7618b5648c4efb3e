"""What is wrong with a kernel, all at once: before it has started, or while it runs.

Before, a rehearsal goes through a start on a scratch bus and registry: plugins that are enabled are imported, and
nothing of them is built or called. Owns the list; each finding is made where the rule lives.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, final

from plugbus._background.runner import Runner
from plugbus._errors.base import did_you_mean
from plugbus._kernel.hooks import Registry, hookspec_problems
from plugbus._kernel.intercepting import may_give_settings
from plugbus._kernel.loading import load_all
from plugbus._kernel.marking import Marking, marked_of, readers_of, unread
from plugbus._kernel.near_misses import misnamed_steps, misspelt
from plugbus._kernel.permitting import grant_problems
from plugbus._kernel.preparing import Preparation, Read, read
from plugbus._kernel.settings import REQUIRED
from plugbus._kernel.steps import takes_self
from plugbus._kernel.unit import Unit
from plugbus.bus import EventBus
from plugbus.errors import KernelStartError, PlugbusError, PluginError, Problem, SettingsError, WiringError
from plugbus.event_types import EventType, event_type
from plugbus.explain import dangling
from plugbus.lifecycle import PluginState
from plugbus.manifest import plugin_key
from plugbus.marks import noted
from plugbus.subscribers import Declaration, named_declarations

if TYPE_CHECKING:
    from plugbus._kernel.config import Config
    from plugbus._kernel.runtime import Runtime
    from plugbus.owner import Owner
    from plugbus.services import Services


@final
class Rehearsal:
    """A start without boots.

    Args:
        runtime: The kernel, which does not run.
        found: What was read from outside.

    Attributes:
        units: The plugins by key.
        ordered: Those that would boot, in this order.
    """

    def __init__(self, runtime: Runtime, found: Read) -> None:
        self._runtime = runtime
        self._bus = EventBus()
        self._bus.attach_background(Runner())
        self._hooks = Registry()
        self._hooks.adopt_specs(runtime.hooks)
        around = replace(runtime.surroundings(found), bus=self._bus, hooks=self._hooks, marking=Marking())
        self.units: dict[str, Unit] = {}
        self._preparation = Preparation(around, self.units, runtime.settings_types, found.allow)
        self._preparation.called_later = True
        units = [self._preparation.unit(source) for source in found.sources]
        load_all(units)
        entered = self._preparation.enter(units)
        absent = self._preparation.absent()
        load_all(absent)
        self._preparation.enter(absent)
        self.ordered = self._preparation.resolve(entered)

    def close(self) -> None:
        """Forget what was imported for this alone."""
        for unit in self.units.values():
            if unit.loaded is not None:
                self._runtime.settings_types.leave(unit)
                unit.forget()

    def problems(self) -> Iterator[Problem]:
        """Find what would go wrong, or is odd."""
        for unit in self.ordered:
            if unit.state is PluginState.RESOLVED:
                yield from self._settings(unit)
                yield from self._hook_implementations(unit)
                yield from self._subscribers(unit)
                yield from _silenced(unit)
        yield from self._preparation.problems
        ours = self._bus.subscriptions()
        yield from dangling(ours, (*ours, *self._runtime.bus.subscriptions()))
        types = [*self._bus.types(), *self._runtime.bus.types(), *self._declared()]
        yield from misspelt(ours, types, self.units.values())
        yield from hookspec_problems(self._hooks)
        kinds = tuple(kind for unit in self.ordered for kind in readers_of(unit))
        yield from unread((found for unit in self.ordered for found in marked_of(unit)), kinds)

    def _declared(self) -> Iterator[EventType]:
        for unit in self.ordered:
            yield from map(event_type, (*unit.definition.events, *unit.events))

    @cached_property
    def _given_later(self) -> bool:
        """Whether what is required may come from a store or a listener, which only a start asks."""
        return may_give_settings(self.ordered, self._runtime.bus, self._runtime.services)

    def _settings(self, unit: Unit) -> Iterator[Problem]:
        if unit.definition.settings_model is None:
            return
        try:
            unit.settings_as(unit.definition.settings_model)
        except SettingsError as error:
            for problem in error.problems:
                fatal = problem.message != REQUIRED or not self._given_later
                yield Problem(f"plugin {unit.id!r}, {problem.where}", problem.message, problem.hint, fatal=fatal)

    def _hook_implementations(self, unit: Unit) -> Iterator[Problem]:
        try:
            if unit.definition.hookspecs is not None:
                self._hooks.add_specs(unit.definition.hookspecs, unit.id)
            self._hooks.enter(unit.definition.target, unit.id)
        except PluginError as error:
            yield Problem(f"plugin {unit.id!r}", error.reason)

    def _subscribers(self, unit: Unit) -> Iterator[Problem]:
        bus = self._bus.view(unit.owner, cast("Services", _Pretending()))
        for holder in (unit.definition.target, *unit.definition.parts):
            for attribute, declared in named_declarations(holder):
                try:
                    bus.subscribe(_without_self(declared) if takes_self(holder, attribute) else declared)
                except PlugbusError as error:
                    yield Problem(f"plugin {unit.id!r}", str(error).partition("\nHint: ")[0], _hint(error))


def _silenced(unit: Unit) -> Iterator[Problem]:
    """Find methods that lost what a base class has noted on them, because a subclass wrote them anew without it."""
    for holder in (unit.definition.target, *unit.definition.parts):
        cls = holder if isinstance(holder, type) else type(holder)
        now = {found.attribute for found in noted(cls)}
        for base in cls.__mro__[1:-1]:
            for name in dict.fromkeys(found.attribute for found in noted(base)):
                if name not in now and callable(getattr(cls, name, None)):
                    now.add(name)
                    message = f"is written anew without the decorator that {base.__qualname__}.{name} has"
                    hint = "decorate it as well; as it is, nobody calls it"
                    yield Problem(f"plugin {unit.id!r}, {cls.__qualname__}.{name}", message, hint, fatal=False)


def _hint(error: PlugbusError) -> str:
    return str(error).partition("\nHint: ")[2]


def _without_self(declared: Declaration) -> Declaration:
    """Make a method of a class that is not built look like a bound one."""
    call: Any = declared.call
    return Declaration(declared.kind, declared.events, partial(call, None), declared.options)


class _Pretending:
    """Services that build nothing, for subscribers that are never called."""

    def inject(self, call: Callable[..., Any], *, given: int = 0, owner: Owner | None = None) -> Callable[..., Any]:
        """Return something that looks like the callable with its services bound."""
        del given, owner
        return (lambda: object.__new__(call)) if isinstance(call, type) else call


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
