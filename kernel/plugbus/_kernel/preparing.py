"""From the arguments of a kernel to plugins that may boot: read, discover, load, resolve, check the wiring.

Owns the order of these steps; a start takes them in worker threads, ``check`` in the caller's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeVar, final

from plugbus._errors.base import close_names
from plugbus._kernel.config import Allowed, Config, ConfigSource, read_config, read_grants
from plugbus._kernel.discovery import Source, discover, refused
from plugbus._kernel.loading import Roll, find_events, missing_enabled
from plugbus._kernel.marking import check_marks
from plugbus._kernel.permitting import Permitting, permit_problems
from plugbus._kernel.resolve import resolve
from plugbus._kernel.sources import SettingsSource, nest
from plugbus._kernel.unit import Surroundings, Unit
from plugbus._kernel.wiring import SettingsTypes, wiring_problems
from plugbus.errors import KernelStartError, Problem, WiringError
from plugbus.lifecycle import PluginState
from plugbus.log import plugin_logger
from plugbus.manifest import check_id, plugin_key

T = TypeVar("T")

_NOBODY: Final = "list it in plugins=, install the package with its entry point, or name its folder in plugin_dirs."


@final
@dataclass(frozen=True, slots=True)
class KernelOptions:
    """What ``Kernel(...)`` was given."""

    plugins: tuple[object, ...]
    enabled: tuple[str, ...]
    required: tuple[str, ...]
    plugin_dirs: tuple[Path, ...]
    config: ConfigSource = field(repr=False)  # may hold secrets
    grants: Mapping[str, Any]
    strict: bool
    checked: bool
    boot_timeout_seconds: float
    drain_seconds: float
    over: dict[str, list[SettingsSource]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("boot_timeout_seconds", "drain_seconds"):
            if not getattr(self, name) > 0:  # this way round, NaN fails too
                raise ValueError(
                    f"Kernel({name}={getattr(self, name)!r}): must be above zero; use math.inf for no limit"
                )

    def given(self) -> dict[str, Any]:
        """Return them as keyword arguments of ``Kernel``."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def add(self, spec: object) -> None:
        """Note one more plugin; the same one twice is one."""
        if not any(spec is known for known in self.plugins):
            object.__setattr__(self, "plugins", (*self.plugins, spec))  # frozen for everybody else

    def override(self, plugin_id: str, keys: Sequence[str], value: Any, origin: str) -> None:
        """Note a setting of a plugin that goes over every other source."""
        source = SettingsSource(origin, nest(keys, value), level="argument", through=len(keys) - 1)
        self.over.setdefault(plugin_key(check_id(plugin_id)), []).append(source)


@final
@dataclass(frozen=True, slots=True)
class Read:
    """What was read from outside: configuration, environment, and where plugins come from."""

    config: Config
    environ: Mapping[str, str] = field(repr=False)  # may hold secrets
    sources: Sequence[Source]
    allow: Allowed
    required: tuple[str, ...]
    permitting: Permitting


def several(name: str, given: Iterable[T]) -> tuple[T, ...]:
    """Return what an argument lists; one text would otherwise be taken for a list of its letters.

    Raises:
        TypeError: If it is one thing instead of a list.
    """
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise TypeError(f"Kernel({name}={given!r}): takes a list; write {name}=[...] around it, also for one")
    return tuple(given)


def read(options: KernelOptions) -> Read:
    """Read everything; this opens files, and imports nothing.

    Raises:
        KernelStartError: If the configuration cannot be used.
    """
    config = replace(read_config(options.config), over=options.over)
    environ = dict(os.environ)
    folders = [*options.plugin_dirs, *(config.folder / folder for folder in config.kernel.plugin_dirs)]
    sources, allow = discover(options.plugins, options.enabled, folders, config, environ)
    plugbus_version()
    given = Permitting((read_grants(options.grants), config.kernel.grants), options.strict or config.kernel.strict)
    return Read(config, environ, sources, allow, (*options.required, *config.kernel.required), given)


@lru_cache(maxsize=1)
def plugbus_version() -> str:
    """The version of plugbus that is installed."""
    return version("plugbus")


@final
class Preparation:
    """Makes plugins ready to boot.

    Args:
        around: What the plugins share.
        units: The plugins by key; new ones are entered here.
        settings_types: Where settings become services.
        allow: The allow list.

    Attributes:
        problems: What is wrong with the services as a whole, and with no single plugin.
        called_later: Whether marked functions are looked at, too; only where nothing is to boot.
    """

    def __init__(
        self, around: Surroundings, units: dict[str, Unit], settings_types: SettingsTypes, allow: Allowed
    ) -> None:
        self.around, self._units, self._settings_types, self._allow = around, units, settings_types, allow
        self.problems: list[Problem] = []
        self.called_later = False
        self._marks: list[Problem] = []

    def permit(self, key: str) -> None:
        """Let a plugin in that was taken out of the allow list."""
        self._allow = replace(self._allow, removed=self._allow.removed - {key})

    def unit(self, source: Source) -> Unit:
        """Return the plugin at a source, before it is imported."""
        unit = Unit(source, self.around)
        if source.disabled:
            unit.state, unit.reason = PluginState.DISABLED, source.disabled
        return unit

    def enter(self, units: Sequence[Unit]) -> list[Unit]:
        """Enter plugins that were loaded.

        Returns:
            Those that may boot, as far as can be known by looking at each alone.
        """
        return Roll(self._units, self._allow).call(units)

    def absent(self) -> list[Unit]:
        """Enter a record for each enabled id that nobody has."""
        listed = [unit.id for unit in self._units.values()]
        found: list[Unit] = []
        for plugin_id in missing_enabled(self._allow, self._units):
            close = close_names(plugin_id, listed)
            nearest = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
            problem = f"it is enabled, and no plugin that was found has this id{nearest}"
            found.append(self.unit(refused(plugin_id, problem, _NOBODY)))
        return found

    def resolve(self, entered: Sequence[Unit], units: Mapping[str, Unit] | None = None) -> list[Unit]:
        """Find out who can boot, and in which order; check the services of all before anything is built.

        Args:
            entered: Those that are to boot.
            units: All by key as it will be then, if they come in the place of others.

        Returns:
            Those that were resolved, each after those it needs; among them may be some that failed the check.
        """
        find_events(entered, () if units is None else units.values())
        ordered = resolve(entered, self._units if units is None else units, self.around.services, plugbus_version())
        for unit in ordered:
            if self._settings_types.enter(unit):
                unit.owner.own(partial(self._settings_types.leave, unit), what="settings")
        problems = wiring_problems(ordered, self.around.services, called_later=self.called_later)
        self.problems = problems.pop("", [])
        for unit in ordered:
            if denied := permit_problems(unit):
                problems.setdefault(unit.id, []).extend(denied)
        for unit in ordered:
            if unit.id in problems:
                _refuse(unit, "its wiring does not fit", problems[unit.id])
        self._marks = check_marks([unit for unit in ordered if unit.state is PluginState.RESOLVED], self.around.marking)
        self.problems += self._marks
        return ordered

    def insist(self, units: Sequence[Unit], *, starting: bool) -> None:
        """Stop where a check of marks says so: the whole start, or else the plugins that were to boot now.

        Raises:
            KernelStartError: If it was a start; with all that is wrong.
        """
        for problem in self._marks:
            if not problem.fatal:
                plugin_logger("host").warning("a check of marks found something", problem=str(problem))
        broken = [problem for problem in self._marks if problem.fatal]
        if broken and starting:
            raise KernelStartError(broken)
        for unit in units if broken else ():
            _refuse(unit, "marks were found wrong", broken)


def _refuse(unit: Unit, what: str, problems: Sequence[Problem]) -> None:
    unit.refuse(f"{what}: {'; '.join(map(str, problems))}", WiringError(problems))


def required_problems(required: Sequence[str], units: Mapping[str, Unit]) -> list[Problem]:
    """Return what is the matter with required plugins that are not ready."""
    found: list[Problem] = []
    for plugin_id in required:
        unit = units.get(plugin_id.replace("-", "_"))
        where = f"plugin {plugin_id!r}"
        if unit is None:
            lost = [f"{other.id}: {other.reason}" for other in units.values() if other.reason and not other.loaded]
            hint = f"not loaded were {'; '.join(lost)}" if lost else "list it in plugins=, or enable it"
            found.append(Problem(where, "is required, and nobody has this id", hint))
        elif not unit.is_up:
            found.append(Problem(where, f"is required, and {unit.state}: {unit.reason}"))
    return found
