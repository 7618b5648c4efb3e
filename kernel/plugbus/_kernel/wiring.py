"""Services of plugins: providing them, and checking the whole graph before anything is built.

Owns the registration of ``@provides`` and of settings; the container itself is ``plugbus.services``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from plugbus._kernel.permitting import denied_service
from plugbus._kernel.steps import called_by_others, provider_of
from plugbus._services.keys import place
from plugbus.errors import PermissionDeniedError, Problem, ServiceError, WiringError
from plugbus.services import Registration, Services
from plugbus.settings import Live

if TYPE_CHECKING:
    from plugbus._generations import Generations
    from plugbus._kernel.definition import Service
    from plugbus._kernel.unit import Unit
    from plugbus.owner import Owner

SEPARATOR: Final = ": "


@final
class SettingsTypes:
    """The settings of each plugin as services: by their class, by ``Live`` of it, and by the name ``settings``.

    Two plugins may share one class; each gets its own. What a plugin provides for each plugin that asks, and what asks
    for settings itself, gets those of the plugin that has such settings.
    """

    def __init__(self, services: Services, unit_of: Callable[[Owner], Unit | None]) -> None:
        self._services = services
        self._unit_of = unit_of
        self.generations: Generations | None = None
        self._known: dict[type, tuple[tuple[Registration, ...], dict[Unit, None]]] = {}
        self._by_name = services.factory(SettingsTypes, self._own_settings, names=("settings",), scope="plugin")

    def _own_settings(self, owner: Owner) -> Any:
        unit = self._unit_of(owner)
        if unit is None or unit.settings is None:
            raise ServiceError("settings", f"{owner.id!r} has no settings", "give the plugin a nested class Settings")
        return unit.settings

    def _settings_of(self, model: type, owner: Owner) -> Any:
        return self._unit_with(model, owner).settings

    def _live_of(self, model: type, owner: Owner) -> Live[Any]:
        unit = self._unit_with(model, owner)
        return Live(unit.current_settings)

    def _unit_with(self, model: type, owner: Owner) -> Unit:
        unit, (_, having) = self._unit_of(owner), self._known[model]
        if unit in having:
            return unit
        seen = [other for other in having if self.generations is None or not self.generations.hides(other.owner, owner)]
        if len({each.key for each in seen}) == 1:
            return seen[-1]
        problem = f"several plugins have such settings, and {owner.id!r} is none of them"
        raise ServiceError(model.__qualname__, problem, "ask for something that one of those plugins provides")

    def enter(self, unit: Unit) -> bool:
        """Have a plugin's settings known by their class, if it has any; until the last that shares it has left."""
        model = unit.definition.settings_model
        if model is None:
            return False
        known = self._known.get(model)
        if known is None:
            settings = self._services.factory(model, partial(self._settings_of, model), scope="plugin")
            live: Any = Live[model]  # type: ignore[valid-type]
            known = (settings, self._services.factory(live, partial(self._live_of, model), scope="plugin")), {}
            self._known[model] = known
        known[1][unit] = None
        return True

    def renew(self, unit: Unit) -> None:
        """Hand out a plugin's newest settings from now on."""
        known = self._known.get(unit.definition.settings_model or object)
        for registration in (self._by_name, *(known[0] if known else ())):
            registration.renew()

    def leave(self, unit: Unit) -> None:
        """Take them out again."""
        model = unit.definition.settings_model
        known = self._known.get(model) if model is not None else None
        if model is None or known is None:
            return
        known[1].pop(unit, None)
        if not known[1]:
            del self._known[model]
            for registration in known[0]:
                registration.close()


def provide(unit: Unit, service: Service, call: Callable[..., Any]) -> Registration:
    """Register what a plugin provides, as the plugin's own."""
    provided = service.provided
    return unit.services.factory(
        service.type, call, names=(provided.name,), scope=provided.scope, permission=provided.permission
    )


def wiring_problems(
    units: Sequence[Unit], services: Services, *, called_later: bool = False
) -> dict[str, list[Problem]]:
    """Check the whole graph of services, as it will be when all these plugins have booted; nothing is built.

    Args:
        units: The plugins that are to boot, each after those that it needs.
        services: The container.
        called_later: Look at marked functions too, which others call; for plugins that are not to boot.

    Returns:
        Problems by plugin id; those that no single plugin has, by the empty string.
    """
    planned = [
        provide(unit, service, provider_of(service))
        for unit in units
        for service in unit.definition.services
        if denied_service(unit, service) is None
    ]
    try:
        problems = services.check(_checked(units))
        problems += [problem for unit in units if called_later for problem in _called_later(unit)]
    finally:
        for registration in reversed(planned):
            registration.close()
    found: dict[str, list[Problem]] = {}
    known = {unit.id for unit in units}
    for problem in problems:
        plugin_id, _, where = problem.where.partition(SEPARATOR)
        if plugin_id in known:
            found.setdefault(plugin_id, []).append(Problem(where, problem.message, problem.hint, problem.fatal))
        else:
            found.setdefault("", []).append(problem)
    return found


def _called_later(unit: Unit) -> Iterator[Problem]:
    """Find what marked functions ask for and nobody provides; whoever calls them may pass it, so it is a remark."""
    for _, call, given, _ in called_by_others(unit.definition):
        try:
            unit.services.divide(call, given=given)
        except WiringError as error:
            for problem in error.problems:
                yield Problem(f"plugin {unit.id!r}, {problem.where}", problem.message, problem.hint, fatal=False)
        except PermissionDeniedError as error:
            what, _, hint = str(error).partition("\nHint: ")
            yield Problem(f"plugin {unit.id!r}, {place(call)}", what, hint)


def _checked(units: Iterable[Unit]) -> Iterator[tuple[str, Callable[..., Any], int, Owner, bool]]:
    """List the targets of those whose services can be known beforehand: no one they wait for provides at run time."""
    vague: dict[Unit, bool] = {}
    for unit in units:
        vague[unit] = any(_is_vague(other, vague) for other in (*unit.needs, *unit.follows))
        if not vague[unit]:
            for name, call, given, in_unit in unit.targets:
                yield f"{unit.id}{SEPARATOR}{name}", call, given, unit.owner, in_unit


def _is_vague(unit: Unit, vague: Mapping[Unit, bool]) -> bool:
    return vague.get(unit, False) or (unit.loaded is not None and unit.definition.dynamic)
