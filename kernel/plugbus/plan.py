"""Which plugins there are, in which order they boot, and why.

Owns the report; who boots when is decided in ``_kernel/resolve.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, final

from pydantic import BaseModel, ConfigDict

from plugbus._permits import spoken
from plugbus.lifecycle import PluginState
from plugbus.manifest import plugin_key

if TYPE_CHECKING:
    from plugbus._kernel.unit import Unit

__all__ = ("KernelPlan", "PluginStep", "plan_of")


@final
class PluginStep(BaseModel):
    """One plugin in a :class:`KernelPlan`.

    Attributes:
        position: Its place in the order of booting, from 1; zero for those that do not boot.
        id: Its id.
        version: Its version; empty as long as that is not known.
        state: Where in its life it is.
        source: Where it comes from.
        after: The plugins that boot before it, each with the reason.
        reason: Why it does not run; empty otherwise.
        boot_seconds: How long it took to boot, in seconds.
        setting_sources: Where each key of its settings comes from; ``default`` where nobody gives it.
        needs: Ids of the plugins that it cannot be without.
        required: Whether the kernel does not start without it.
        declares: What its manifest declares of ``publishes``, ``subscribes`` and ``permissions``; what is not there
            is not limited.
        granted: What the operator grants, likewise; one entry for each place where grants of it are given.

    Example:
        >>> from plugbus import Kernel, Plugin
        >>> class Shop(Plugin, id="shop"): ...
        >>> Kernel(plugins=[Shop]).explain().plugins[0].id
        'shop'
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    position: int
    id: str
    version: str
    state: PluginState
    source: str
    after: Mapping[str, str]
    reason: str = ""
    boot_seconds: float = 0.0
    setting_sources: Mapping[str, str] = {}
    needs: tuple[str, ...] = ()
    required: bool = False
    declares: Mapping[str, tuple[str, ...]] = {}
    granted: tuple[Mapping[str, tuple[str, ...]], ...] = ()


@final
class KernelPlan(BaseModel):
    """Which plugins there are, in which order they boot, and why; ``str()`` is a table, ``model_dump()`` is stable.

    Attributes:
        plugins: Those that boot, in this order, then those that do not.

    Example:
        >>> from plugbus import Kernel, Manifest, Plugin
        >>> class Catalog(Plugin): ...
        >>> class Shop(Plugin):
        ...     manifest = Manifest(id="shop", requires=["catalog"])
        >>> print(Kernel(plugins=[Shop, Catalog]).explain())
        #  plugin   version  state     why here
        1  catalog  0        resolved  nothing before it
        2  shop     0        resolved  after catalog (requires catalog)
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    plugins: tuple[PluginStep, ...]

    def __str__(self) -> str:
        rows = [("#", "plugin", "version", "state", "why here"), *map(_row, self.plugins)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)


def _row(step: PluginStep) -> tuple[str, ...]:
    after = ", ".join(f"{plugin_id} ({reason})" for plugin_id, reason in step.after.items())
    why = step.reason or (f"after {after}" if after else "nothing before it")
    return (str(step.position or "-"), step.id, step.version, step.state, why)


def plan_of(ordered: Iterable[Unit], others: Iterable[tuple[str, Unit]], required: Iterable[str]) -> KernelPlan:
    """Make the plan of a kernel: those that boot, in order, and all that there are with their names."""
    keys = frozenset(map(plugin_key, required))
    steps = {unit: _step(position, unit.id, unit, keys) for position, unit in enumerate(ordered, 1)}
    rest = [_step(0, name, unit, keys) for name, unit in others if unit not in steps]
    return KernelPlan(plugins=(*steps.values(), *rest))


def _step(position: int, name: str, unit: Unit, required: frozenset[str]) -> PluginStep:
    return PluginStep(
        position=position,
        id=name,
        version=unit.manifest.version if unit.manifest else "",
        state=unit.state,
        source=unit.source.label,
        after={other.id: reason for other, reason in (unit.follows | unit.needs).items()},
        reason=unit.reason,
        boot_seconds=unit.boot_seconds,
        setting_sources={} if unit.settings_model is None else unit.drafted().shown(),
        needs=tuple(other.id for other in unit.needs),
        required=plugin_key(name) in required,
        declares=spoken(unit.manifest) if unit.manifest else {},
        granted=tuple(map(spoken, unit.surroundings.permitting.for_plugin(unit.id))),
    )
