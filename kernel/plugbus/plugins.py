"""The plugins of a running kernel: a record of each, and loading and unloading them.

Owns what operators see and do; the work is done in ``_kernel/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, final

from plugbus.errors import PluginNotFoundError
from plugbus.lifecycle import PluginState
from plugbus.manifest import Manifest, plugin_key

if TYPE_CHECKING:
    from plugbus._kernel.control import Control
    from plugbus._kernel.runtime import Runtime
    from plugbus._kernel.unit import Unit
    from plugbus.health import KernelHealth
    from plugbus.owner import Owner

__all__ = ("PluginRecord", "Plugins")


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
    """All plugins that a kernel knows, by their ids: those that run, and those that do not and why; and the controls.

    ``kernel.plugins``, and a service for plugins whose permissions include ``kernel.manage``, or that declare none.
    Changes are made one after another, in the order in which they were asked for. One that is cancelled, or fails,
    leaves everything as it was; but what has begun to leave goes on to its end, and the caller is cancelled after it.
    A plugin cannot unload, disable or reload itself, nor what it needs; and none can
    change anything from within a boot, a shutdown, or ``on_settings``: that would be to wait for oneself.

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

    def __init__(self, runtime: Runtime, owner: Owner | None = None) -> None:
        self._runtime, self._owner = runtime, owner

    @property
    def _control(self) -> Control:
        from plugbus._kernel.control import Control

        return Control(self._runtime, self._owner)

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

    async def health(self, *, timeout_seconds: float = 5.0) -> KernelHealth:
        """Ask each plugin how it is, all at once, and add what the kernel has seen; as :meth:`Kernel.health`.

        Args:
            timeout_seconds: Time for each plugin to answer, in seconds; one that does not is down.
        """
        from plugbus._kernel.checkup import check_health

        return await check_health(self._runtime, timeout_seconds)

    def add(self, spec: object) -> None:
        """Have one more plugin boot with the others when the kernel starts: for edges that bring one along.

        The same one twice is one.

        Args:
            spec: What ``Kernel(plugins=[...])`` takes.

        Raises:
            PluginError: If the kernel has started; :meth:`load` it then.

        Example:
            >>> from plugbus import Kernel, Plugin
            >>> class Shop(Plugin): ...
            >>> kernel = Kernel()
            >>> kernel.plugins.add(Shop)
            >>> [plugin.id for plugin in kernel.explain().plugins]
            ['shop']
        """
        self._control.add(spec)

    async def load(self, spec: object) -> PluginRecord:
        """Load one more plugin while the kernel runs.

        Args:
            spec: What ``Kernel(plugins=[...])`` takes; or the id of a plugin that is known and not ready.

        Raises:
            PluginError: If it cannot be imported, wired or booted; nothing is left of it but its record.
        """
        return PluginRecord(await self._control.load(spec))

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
        return await self._control.unload(plugin_id, cascade=cascade)

    async def configure(self, plugin_id: str, changes: Mapping[str, Any]) -> tuple[str, ...]:
        """Change settings of a plugin while it runs; one change at a time.

        The whole is validated, through ``PluginConfiguring``. Then ``on_settings`` of the plugin is called with the
        old and the new settings; one that asks for ``Live[Settings]`` alone needs no such method, and any other one is
        reloaded. If it fails,
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
            PluginError: If it is not ready, has no settings, or is the one that asks and would be reloaded.
        """
        return await self._control.configure(plugin_id, changes)

    async def reload(self, plugin_id: str) -> PluginRecord:
        """Put a new one in the place of a plugin that runs, and of those that need it; no event is missed.

        What came from a folder or by a dotted name is imported anew, a class is built again. The new one boots while
        the old one goes on. Then all subscriptions change over at once: an emit that began before is heard by the old
        one to its end, one that begins after by the new one alone. When ``on_ready`` has returned, too, the old one
        finishes what it is doing, within ``drain_seconds``, and shuts down. If anything of the new ones fails before
        that, they are undone, and the old ones go on. What only one can hold, such as a port, belongs into
        ``on_ready``.

        Args:
            plugin_id: Which.

        Returns:
            Its new record; the old one's says that it has stopped.

        Raises:
            PluginNotFoundError: If there is none of this id.
            ReloadError: If the new one, or one that needs it, cannot be imported, wired, built or booted.
            PluginError: If it is not ready, or is the one that asks.
        """
        return PluginRecord(await self._control.reload(plugin_id))

    async def enable(self, plugin_id: str) -> PluginRecord:
        """Import and boot a plugin that is known and disabled; one that is ready is left as it is.

        This holds as long as the kernel runs; what holds from the next start is in the allow list.

        Args:
            plugin_id: Which.

        Raises:
            PluginNotFoundError: If there is none of this id.
            PluginError: As :meth:`load`.
        """
        return PluginRecord(await self._control.enable(plugin_id))

    async def disable(self, plugin_id: str, *, cascade: bool = False) -> tuple[str, ...]:
        """Unload a plugin and keep it out, until it is enabled; as long as the kernel runs.

        Args:
            plugin_id: Which.
            cascade: Unload those that need it, too, before it; they are blocked then.

        Returns:
            The ids of those that left, in that order.

        Raises:
            PluginNotFoundError: If there is none of this id.
            PluginInUseError: If others need it, and *cascade* is false.
            PluginError: If it is the one that asks.
        """
        return await self._control.disable(plugin_id, cascade=cascade)
