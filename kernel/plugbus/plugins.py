"""The plugins of a running kernel: a record of each, and loading and unloading them.

Owns what operators see and do; the work is done in ``_kernel/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, final

from pydantic import BaseModel, ConfigDict

from plugbus.errors import PluginNotFoundError
from plugbus.lifecycle import PluginState
from plugbus.manifest import plugin_key

if TYPE_CHECKING:
    from plugbus._kernel.runtime import Runtime
    from plugbus._kernel.unit import Unit
    from plugbus.manifest import Manifest

__all__ = ("KernelPlan", "PluginRecord", "PluginStep", "Plugins")


@final
class PluginRecord:
    """What the kernel knows about one plugin, at this moment.

    Example:
        >>> import anyio
        >>> from plugbus import Kernel, Plugin
        >>> class Shop(Plugin): ...
        >>> async def main() -> None:
        ...     async with Kernel(plugins=[Shop]) as kernel:
        ...         print(kernel.plugins["shop"])
        >>> anyio.run(main)
        shop 0: ready
    """

    __slots__ = ("_unit",)

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    @property
    def id(self) -> str:
        """The plugin's id, or where it was to come from as long as its id is not known."""
        return self._unit.id

    @property
    def source(self) -> str:
        """Where it comes from, such as ``"argument"`` or the path of its folder."""
        return self._unit.source.label

    @property
    def state(self) -> PluginState:
        """Where in its life it is."""
        return self._unit.state

    @property
    def manifest(self) -> Manifest | None:
        """What it says about itself; ``None`` as long as that is not known."""
        return self._unit.manifest

    @property
    def instance(self) -> object | None:
        """The plugin object, while it is booting or ready: an instance of its class, or the module."""
        body: object | None = self._unit.body
        return body

    @property
    def reason(self) -> str:
        """Why it is disabled, failed or blocked; empty otherwise."""
        return self._unit.reason

    @property
    def error(self) -> BaseException | None:
        """What it raised, with its traceback."""
        return self._unit.error

    @property
    def boot_seconds(self) -> float:
        """How long it took to boot, in seconds; zero as long as it has not."""
        return self._unit.boot_seconds

    @property
    def setting_sources(self) -> Mapping[str, str]:
        """Where each key of its settings comes from, by ``mail.port``; ``default`` where nobody gives it."""
        return self._unit.drafted().shown()

    @property
    def owns(self) -> tuple[str, ...]:
        """What it registered and not undone yet, oldest first."""
        return self._unit.owner.owns

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the plugins that it cannot be without."""
        return tuple(needed.id for needed in self._unit.needs)

    def __str__(self) -> str:
        version = f" {self.manifest.version}" if self.manifest else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.id}{version}: {self.state}{reason}"

    def __repr__(self) -> str:
        return f"<PluginRecord {self}>"


@final
class Plugins(Mapping[str, PluginRecord]):
    """All plugins that a kernel knows, by their ids: those that run, and those that do not and why.

    ``-`` and ``_`` are the same in an id. A second plugin with the id of another has ``#2`` behind it.

    Example:
        >>> import anyio
        >>> from plugbus import Kernel, Plugin
        >>> class Shop(Plugin): ...
        >>> async def main() -> list[str]:
        ...     async with Kernel() as kernel:
        ...         await kernel.plugins.load(Shop)
        ...         return [str(record) for record in kernel.plugins.values()]
        >>> anyio.run(main)
        ['shop 0: ready']
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getitem__(self, plugin_id: str) -> PluginRecord:
        found = self._runtime.units.get(plugin_key(plugin_id))
        if found is None:
            raise PluginNotFoundError(plugin_id, self._runtime.nearest(plugin_id))
        return PluginRecord(found)

    def __contains__(self, plugin_id: object) -> bool:
        return isinstance(plugin_id, str) and plugin_key(plugin_id) in self._runtime.units

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._runtime.named_units()])

    def __len__(self) -> int:
        return len(self._runtime.units)

    async def load(self, spec: object) -> PluginRecord:
        """Load one more plugin while the kernel runs.

        Args:
            spec: What ``Kernel(plugins=[...])`` takes; or the id of a plugin that is known and not ready.

        Raises:
            PluginError: If it cannot be imported, wired or booted; nothing is left of it but its record.
        """
        return PluginRecord(await self._runtime.load(spec))

    async def unload(self, plugin_id: str, *, cascade: bool = False) -> tuple[str, ...]:
        """Unload a plugin while the kernel runs; nothing is left of it but its record.

        The record of one that failed, or was never found, goes too.

        Args:
            plugin_id: Which.
            cascade: Unload those that need it, too, before it.

        Returns:
            The ids of those that left, in that order.

        Raises:
            PluginNotFoundError: If there is none of this id.
            PluginInUseError: If others need it, and *cascade* is false.
            PluginError: If it is neither ready nor failed.
        """
        return await self._runtime.unload(plugin_id, cascade=cascade)

    async def configure(self, plugin_id: str, changes: Mapping[str, Any]) -> tuple[str, ...]:
        """Change settings of a plugin while it runs; one change at a time.

        The whole is validated, through ``PluginConfiguring``. Then ``on_settings`` of the plugin is called with the
        old and the new settings; a plugin that asks for ``Live[Settings]`` alone needs no such method. If it fails,
        or the ``SettingsStore`` does, the old settings are put in force again. ``SettingsChanged`` tells the others.
        Without a store the change lasts as long as the kernel.

        Args:
            plugin_id: Which.
            changes: New values by key, nested like the settings; ``ABSENT`` takes an earlier change back.

        Returns:
            The keys whose value is another one now, such as ``mail.port``.

        Raises:
            PluginNotFoundError: If there is none of this id.
            SettingsError: If the whole is not valid, or the environment or an argument gives one of the keys.
            Refused: If a listener of ``PluginConfiguring``, or the plugin, refuses.
            ConfigureError: If the plugin could not follow, or the change could not be kept.
            PluginError: If it is not ready, has no settings, or needs a reload for them.
        """
        return await self._runtime.configure(plugin_id, changes)


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
    )
