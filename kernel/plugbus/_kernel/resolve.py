"""Who needs whom, in which order plugins boot, and who cannot boot because of whom.

Owns the graph of plugins: by what they require, and by the services that they ask for.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from plugbus._errors.base import close_names
from plugbus._kernel.intercepting import interception
from plugbus._kernel.permitting import denied_service
from plugbus._kernel.steps import called_by_others, provider_of
from plugbus._services.keys import BY_NAME, label
from plugbus.lifecycle import PluginState
from plugbus.manifest import Requirement, plugin_key
from plugbus.marks import Reads

if TYPE_CHECKING:
    from plugbus._kernel.unit import Unit
    from plugbus.services import Parameter, Services

_DOWN = frozenset({PluginState.FAILED, PluginState.BLOCKED, PluginState.DISABLED, PluginState.STOPPED})


@final
class Index:
    """Who provides what: plugins by id and by the names of what they provide, services by type and name."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self.by_key: dict[str, Unit] = {}
        self._provided: dict[str, Unit] = {}
        self._services: dict[tuple[Any, str | None], Unit] = {}
        self._names: dict[str, Unit] = {}
        self.readers: list[tuple[type, Unit]] = []
        for unit in units:
            self.by_key[unit.key] = unit
            if unit.loaded is not None:
                self._take_in(unit)

    def _take_in(self, unit: Unit) -> None:
        for name in unit.definition.manifest.provides:
            self._provided.setdefault(plugin_key(name), unit)
        self.readers += [(found.mark.kind, unit) for _, found in unit.definition.marks if isinstance(found.mark, Reads)]
        for service in unit.definition.services:
            if denied_service(unit, service) is not None:
                continue  # or those who mean somebody else's would wait for what never comes
            name = service.provided.name
            self._provided.setdefault(plugin_key(name), unit)
            self._names.setdefault(name, unit)
            for key in ((service.type, None), (service.type, name)):
                self._services.setdefault(key, unit)

    @property
    def has_services(self) -> bool:
        """Whether any plugin provides a service, so that it is worth asking who wants it."""
        return bool(self._services)

    def required(self, needed: Requirement) -> Unit | None:
        """Return the plugin that a requirement means: by its id, else by what it provides."""
        return self.by_key.get(needed.key) or self._provided.get(needed.key)

    def service(self, parameter: Parameter) -> Unit | None:
        """Return the plugin whose service a parameter means."""
        return self._services.get((parameter.type, parameter.named)) or self._names.get(parameter.name)

    def nearest(self, needed: Requirement) -> str:
        """Return names that come close, for a message."""
        close = close_names(needed.key, [*self.by_key, *self._provided])
        return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def resolve(new: Sequence[Unit], known: Mapping[str, Unit], services: Services, version: str) -> list[Unit]:
    """Find out who needs whom, and put new plugins into the order in which they boot.

    Args:
        new: The plugins that are to boot; those that cannot are blocked here.
        known: All plugins by key, the new ones included.
        services: Knows what parameters ask for.
        version: The version of plugbus.

    Returns:
        Those that can boot, each after those it needs and follows.
    """
    index = Index(known.values())
    for unit in new:
        _connect(unit, index, version)
        if index.has_services:
            _connect_services(unit, index, services)
        if unit.definition.marks:
            _connect_marks(unit, index)
    _put_first([unit for unit in new if unit.state is PluginState.DISCOVERED])
    ordered = _ordered([unit for unit in new if unit.state is PluginState.DISCOVERED])
    for unit in ordered:
        if unit.state is PluginState.BLOCKED:
            continue
        unit.state = PluginState.RESOLVED
        down = down_below(unit)
        if down is not None:
            block_by(unit, down)
    return [unit for unit in ordered if unit.state is PluginState.RESOLVED]


def _connect(unit: Unit, index: Index, version: str) -> None:
    manifest = unit.definition.manifest
    if manifest.plugbus and not Requirement("plugbus", manifest.supported).met_by(version):
        return block(unit, f"it works with plugbus {manifest.plugbus}, and this is {version}")
    for needed in manifest.needs:
        found = index.required(needed)
        if found is None:
            return block(unit, f"it requires {needed}, which is not there{index.nearest(needed)}")
        if found.manifest is not None and not needed.met_by(found.manifest.version):
            return block(unit, f"it requires {needed}, and {found.id} is {found.manifest.version}")
        if found is not unit:
            unit.needs.setdefault(found, f"requires {needed}")
    for wish in manifest.wishes:
        found = index.required(wish)
        if found is not None and found is not unit and found.manifest and wish.met_by(found.manifest.version):
            unit.follows.setdefault(found, f"likes {wish}")
    return None


def _connect_services(unit: Unit, index: Index, services: Services) -> None:
    for parameter in _wanted(unit, services):
        provider = index.service(parameter)
        if provider is None or provider is unit:
            continue
        edges = unit.follows if parameter.has_default or parameter.optional else unit.needs
        edges.setdefault(provider, f"uses its service {parameter.name or label(parameter.type)}")
        unit.uses.add(provider)


def _connect_marks(unit: Unit, index: Index) -> None:
    """Have whoever reads a plugin's marks boot before it, if that can be."""
    for kind, reader in index.readers:
        for _, found in unit.definition.marks:
            if reader is not unit and isinstance(found.mark, kind):
                unit.follows.setdefault(reader, f"is read by it: {type(found.mark).__qualname__}")


def _wanted(unit: Unit, services: Services) -> Iterator[Parameter]:
    for target in unit.targets:
        yield from services.parameters(target.call, target.given)
    for service in unit.definition.services:
        yield from services.parameters(provider_of(service), 0)
    for target in called_by_others(unit.definition):
        for parameter in services.parameters(target.call, target.given):
            # An argument that is called as a service is, is none.
            yield parameter if parameter.type is BY_NAME else parameter._replace(name="")


def _put_first(units: Sequence[Unit]) -> None:
    """Have those that listen to boots boot before all that they do not need themselves, which makes no circle."""
    for first in units:
        reason = interception(first)
        if not reason:
            continue
        needed, pending = {first}, [first]
        while pending:
            found = pending.pop()
            pending += [other for other in (*found.needs, *found.follows) if other not in needed]
            needed.update(pending)
        for unit in units:
            if unit not in needed:
                unit.follows.setdefault(first, reason)


def _ordered(units: Sequence[Unit]) -> list[Unit]:
    """Sort topologically, the earliest listed first; break circles of wishes, block circles of needs."""
    place = {unit: number for number, unit in enumerate(units)}
    before = {unit: {other for other in (*unit.needs, *unit.follows) if other in place} for unit in units}
    after: dict[Unit, list[Unit]] = {unit: [] for unit in units}
    for unit, others in before.items():
        for other in others:
            after[other].append(unit)
    ordered: dict[Unit, None] = {}
    ready = [unit for unit in units if not before[unit]]
    while len(ordered) < len(units):
        waiting = [place[unit] for unit in ready or _loosen([unit for unit in units if unit not in ordered], before)]
        ready = []
        heapq.heapify(waiting)
        while waiting:
            unit = units[heapq.heappop(waiting)]
            ordered[unit] = None
            for follower in after[unit]:
                if unit in before[follower]:
                    before[follower].discard(unit)
                    if not before[follower]:
                        heapq.heappush(waiting, place[follower])
    return list(ordered)


def _loosen(stuck: Sequence[Unit], before: dict[Unit, set[Unit]]) -> list[Unit]:
    """Give up what is a mere wish; if it is needs alone, block those in the circle."""
    for unit in stuck:
        before[unit] &= set(unit.needs)
    freed = [unit for unit in stuck if not before[unit]]
    if freed:
        return freed
    circle = _circle(stuck[0], before)
    for number, unit in enumerate(circle):
        turned = [*circle[number:], *circle[: number + 1]]
        block(unit, f"they need each other in a circle: {' -> '.join(other.id for other in turned)}")
        before[unit].clear()
    return circle


def _circle(start: Unit, before: Mapping[Unit, set[Unit]]) -> list[Unit]:
    """Follow the needs until somebody comes up again."""
    path: dict[Unit, None] = {}
    unit = start
    while unit not in path:
        path[unit] = None
        unit = min(before[unit], key=lambda other: other.id)
    walked = list(path)
    return walked[walked.index(unit) :]


def exchange(unit: Unit, instead: Mapping[Unit, Unit]) -> None:
    """Have a plugin lean on others instead of those that have left."""
    for edges in (unit.needs, unit.follows):
        if not instead.keys().isdisjoint(edges):
            kept = [(instead.get(other, other), why) for other, why in edges.items()]
            edges.clear()
            edges.update(kept)
    unit.uses = {instead.get(other, other) for other in unit.uses}


def block(unit: Unit, reason: str) -> None:
    """Note that a plugin cannot boot."""
    unit.state = PluginState.BLOCKED
    unit.reason = reason


def block_by(unit: Unit, needed: Unit) -> None:
    """Note that a plugin cannot boot because of another one, with the path to where the trouble began."""
    way, root = needed.root if needed.root is not None else ((), needed)
    path = (needed.id, *way)
    unit.root = (path, root)
    block(unit, f"it needs {' -> '.join(path)}, which {why_down(root)}")


def down_below(unit: Unit) -> Unit | None:
    """Return a plugin that this one needs and that is not there, or not any more."""
    return next((needed for needed in unit.needs if needed.state in _DOWN), None)


def why_down(unit: Unit) -> str:
    """Say what is the matter with a plugin, in the middle of a sentence."""
    verb = "is" if unit.state in {PluginState.BLOCKED, PluginState.DISABLED, PluginState.STOPPED} else ""
    told = f"{verb} {unit.state}".strip()
    return f"{told}: {unit.reason}" if unit.reason else told


def dependents(unit: Unit, units: Iterable[Unit], *, holders: bool = False) -> list[Unit]:
    """Return who cannot be without a plugin, directly or not, each before those that it needs itself.

    Whoever holds a view that a plugin made for it needs that plugin, however it came by the view.

    Args:
        unit: The plugin.
        units: All that are ready, in the order of their boots.
        holders: Those as well who hold a service of it that they could be without.
    """
    everyone = list(units)
    everyone.reverse()
    found: dict[Unit, None] = {}
    seen, path = {unit}, [unit]
    while path:
        below = next(
            (other for other in everyone if other not in seen and _leans_on(other, path[-1], holders=holders)), None
        )
        if below is None:
            found[path.pop()] = None
        else:
            seen.add(below)
            path.append(below)
    del found[unit]
    return list(found)


def _leans_on(unit: Unit, other: Unit, *, holders: bool) -> bool:
    return other in unit.needs or other.owner in unit.owner.lenders or (holders and other in unit.uses)


def leaving(ready: Sequence[Unit]) -> list[Unit]:
    """Return all in the order in which they leave: last booted first, but none before a holder of its views."""
    place = {unit.owner: number for number, unit in enumerate(ready)}
    if all(place.get(lender, -1) < place[unit.owner] for unit in ready for lender in unit.owner.lenders):
        return list(reversed(ready))
    return list(dict.fromkeys(one for unit in reversed(ready) for one in (*dependents(unit, ready), unit)))
