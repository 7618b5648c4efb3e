"""What the operator grants, and what plugins would be denied: found before anything starts.

Owns the findings; what a plugin may do is answered by ``plugbus._permits``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from plugbus._errors.base import did_you_mean
from plugbus._services.registration import refuse_kernels_own
from plugbus.errors import PermissionDeniedError, PlugbusError, Problem, ServiceError
from plugbus.manifest import Manifest, plugin_key
from plugbus.registry import Pattern
from plugbus.settings import SettingsStore
from plugbus.subscribers import declarations, label

if TYPE_CHECKING:
    from plugbus._kernel.config import Grant
    from plugbus._kernel.definition import Service
    from plugbus._kernel.unit import Unit

FIELDS: Final = ("publishes", "subscribes", "permissions")


class Permitting(NamedTuple):
    """What the operator says about permissions.

    Attributes:
        grants: By plugin key, from each place where grants are given; they narrow each other, too.
        strict: Whether every plugin must declare all that it does.
    """

    grants: tuple[Mapping[str, Grant], ...]
    strict: bool

    def for_plugin(self, plugin_id: str) -> tuple[Grant, ...]:
        """Return the grants of one plugin."""
        return tuple(each[plugin_key(plugin_id)] for each in self.grants if plugin_key(plugin_id) in each)


def permit_problems(unit: Unit) -> list[Problem]:
    """Return what a plugin does not declare and must, and which of its subscribers would be denied."""
    manifest = unit.definition.manifest
    silent = [field for field in FIELDS if getattr(manifest, field) is None]
    problems = [*_denied(unit)]
    if silent and unit.surroundings.permitting.strict:
        hint = f"write {', '.join(f'{field}=[]' for field in silent)}, with what it needs in them"
        problems.append(Problem("manifest", f"does not declare {', '.join(silent)}, and the kernel is strict", hint))
    return problems


def _denied(unit: Unit) -> Iterator[Problem]:
    permits = unit.owner.permits
    for holder in (unit.definition.target, *unit.definition.parts) if permits else ():
        for declared in declarations(holder):
            for target in declared.events:
                try:
                    permits.check_subscribe(target)  # type: ignore[union-attr]
                except PermissionDeniedError as error:
                    yield _problem(f"{declared.kind} {label(declared.call)}", error)
    yield from filter(None, (denied_service(unit, service) for service in unit.definition.services))


def denied_service(unit: Unit, service: Service) -> Problem | None:
    """Return why a plugin may not provide one of its services, if it may not."""
    name = service.provided.name
    try:
        refuse_kernels_own(unit.owner, service.type, None, (name,))
        if service.type is SettingsStore:
            unit.owner.check_acting_for(None)
    except (PermissionDeniedError, ServiceError) as error:
        return _problem(f"provider {name}", error)
    return None


def _problem(where: str, error: PlugbusError) -> Problem:
    what, _, hint = str(error).partition("\nHint: ")
    return Problem(where, what.rstrip("."), hint.rstrip("."))


def grant_problems(permitting: Permitting, units: Mapping[str, Unit]) -> Iterator[Problem]:
    """Find grants that have no effect: for nobody, or of what is not declared; a typing mistake more often than not."""
    for grants in permitting.grants:
        for key, grant in grants.items():
            unit = units.get(key)
            if unit is None:
                problem = "there is no such plugin, so this limits nobody"
                yield Problem(f"grants.{key}", problem, did_you_mean(key, units), fatal=False)
            elif unit.manifest is not None:
                yield from _wider(key, grant, unit.manifest)


def _wider(key: str, grant: Grant, manifest: Manifest) -> Iterator[Problem]:
    for field in FIELDS:
        declared, granted = getattr(manifest, field), getattr(grant, field) or ()
        for text in granted:
            if declared is not None and not any(
                Pattern(each).covers(text) or Pattern(text).covers(each) for each in declared
            ):
                message = f"grants {text!r}, which its manifest does not declare; a grant never widens"
                yield Problem(f"grants.{key}.{field}", message, fatal=False)
