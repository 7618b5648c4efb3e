"""The states of a plugin's life, and the events that tell of them.

Owns what is told; what happens is in ``_kernel/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, PrivateAttr

from plugbus.events import Event, Request

if TYPE_CHECKING:
    from plugbus._kernel.settings import Draft

__all__ = (
    "KernelReady",
    "KernelStopping",
    "PluginBooting",
    "PluginConfiguring",
    "PluginFailed",
    "PluginReady",
    "PluginState",
    "PluginUnloaded",
    "SettingsChanged",
)


class PluginState(StrEnum):
    """Where in its life a plugin is.

    A plugin goes from ``discovered`` to ``resolved``, ``booting``, ``ready``, ``stopping`` and ``stopped``; or it is
    ``disabled`` (not enabled, nothing of it was imported), ``failed`` (it raised, or took too long) or ``blocked``
    (something that it needs is not there).

    Example:
        >>> PluginState.READY == "ready"
        True
    """

    DISCOVERED = "discovered"
    RESOLVED = "resolved"
    BOOTING = "booting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DISABLED = "disabled"
    FAILED = "failed"
    BLOCKED = "blocked"


class KernelReady(Event, name="kernel.ready", sticky=True, defer_build=True):
    """Every plugin that can has booted; told to those who subscribe later, too.

    Attributes:
        plugins: Ids of the plugins that are ready, in the order in which they booted.

    Example:
        >>> KernelReady(plugins=("shop",)).plugins
        ('shop',)
    """

    plugins: tuple[str, ...]


class KernelStopping(Event, name="kernel.stopping", defer_build=True):
    """The kernel begins to shut down: take no new work.

    Attributes:
        reason: Why, such as ``"SIGTERM"``.

    Example:
        >>> KernelStopping(reason="SIGTERM").reason
        'SIGTERM'
    """

    reason: str = ""


class PluginConfiguring(Event, name="plugin.configuring", key="plugin", defer_build=True):
    """A plugin is about to get its settings: add some, check them, or refuse them with a reason.

    Emitted before the plugin boots and whenever it is configured, unless it has no settings. What comes out of the
    chain is what is validated. A refusal (``Veto`` and its family) fails the boot, or the change, with its reason.
    Values may be secret, so they are in no ``repr`` and travel nowhere: only a listener in this process sees them.

    Attributes:
        plugin: Its id.
        booting: True before a boot, false for a change to a plugin that runs.
        sources: Where each key comes from so far, such as ``{"max_items": "PLUGBUS_MAIL__MAX_ITEMS"}``; ``default``
            for those that nobody gives.

    Example:
        >>> from plugbus import EventBus
        >>> bus = EventBus()
        >>> def from_vault(event: PluginConfiguring, next_fn) -> PluginConfiguring:
        ...     return next_fn(event.with_settings({"api_key": "s3cret"}, source="vault"))
        >>> _ = bus.listen(PluginConfiguring, from_vault, key="shop")
        >>> bus.emit(PluginConfiguring(plugin="shop"))
        PluginConfiguring(plugin='shop', booting=True, sources={'api_key': 'vault'})
    """

    plugin: str
    booting: bool = True
    sources: Mapping[str, str] = {}
    _draft: Any = PrivateAttr(default=None)

    @classmethod
    def _of(cls, draft: Draft, *, booting: bool) -> PluginConfiguring:
        event = cls(plugin=draft.plugin_id, booting=booting, sources=draft.shown())
        event._draft = draft
        return event

    def _settings(self) -> Draft:
        from plugbus._kernel.settings import Draft

        return self._draft or Draft(self.plugin, None, ())

    @property
    def values(self) -> Mapping[str, Any]:
        """What all sources say together so far, nested like the settings and not validated; may hold secrets."""
        return self._settings().values()

    def with_settings(
        self,
        values: Mapping[str, Any],
        *,
        source: str,
        over: Literal["defaults", "file", "stored", "environment", "argument"] = "file",
    ) -> PluginConfiguring:
        """Return the same event with settings added, for ``next_fn``.

        Args:
            values: By key, nested like the settings.
            source: Where they come from, for messages.
            over: The strongest of the usual sources that they go over; what is stronger than that stays.

        Raises:
            ValueError: If there is no such source.
            TypeError: If *values* is no mapping.
        """
        from plugbus._kernel.sources import LEVELS, SettingsSource

        if over not in LEVELS:
            raise ValueError(f"with_settings(over={over!r}): must be one of {', '.join(map(repr, LEVELS))}")
        if not isinstance(values, Mapping):
            raise TypeError(f"with_settings({type(values).__name__}): takes a mapping of settings by key")
        added = SettingsSource(source, values, level=over)
        return self._of(self._settings().over(added), booting=self.booting)

    def validated(self) -> BaseModel | None:
        """Return the settings as the plugin would get them now; None for a plugin whose schema is not known yet.

        Raises:
            SettingsError: If they are not valid; each problem with its key and source, and without its value.
        """
        draft = self._settings()
        return None if draft.model is None else draft.validated(draft.model)


class PluginBooting(Request[None], name="plugin.booting", key="plugin", defer_build=True):
    """A plugin boots: the chain around it.

    What is before ``next_fn`` runs before anything of the plugin is built, with its settings valid: migrate a
    database, take a lock. Once ``next_fn`` has returned, the plugin is ready; it raises what the boot failed with.
    A refusal (``Veto`` and its family) fails the plugin with its reason, and so does not calling ``next_fn``.
    All of it counts against the time that the plugin has to boot.

    Attributes:
        plugin: Its id.
        version: Its version.
        package: The import name under which its code lives.

    Example:
        >>> from plugbus import EventBus, Veto
        >>> bus = EventBus()
        >>> def licensed(event: PluginBooting, next_fn) -> None:
        ...     raise Veto(f"there is no licence for {event.plugin}")
        >>> _ = bus.listen(PluginBooting, licensed)
        >>> bus.call(PluginBooting(plugin="shop", version="1.0", package="shop"))
        Traceback (most recent call last):
        plugbus.errors.Veto: there is no licence for shop
    """

    plugin: str
    version: str
    package: str


class PluginReady(Event, name="plugin.ready", key="plugin", defer_build=True):
    """A plugin has booted.

    Attributes:
        plugin: Its id.
        version: Its version.
        boot_seconds: How long it took, in seconds.

    Example:
        >>> PluginReady(plugin="shop", version="1.0", boot_seconds=0.1).plugin
        'shop'
    """

    plugin: str
    version: str
    boot_seconds: float


class PluginFailed(Event, name="plugin.failed", key="plugin", defer_build=True):
    """A plugin did not boot.

    Attributes:
        plugin: Its id.
        state: ``failed`` for one that raised or took too long, ``blocked`` for one that needs another.
        reason: Why, with the path to the plugin where it began.

    Example:
        >>> PluginFailed(plugin="shop", state=PluginState.FAILED, reason="no disk").reason
        'no disk'
    """

    plugin: str
    state: PluginState
    reason: str


class PluginUnloaded(Event, name="plugin.unloaded", key="plugin", defer_build=True):
    """A plugin left while the kernel goes on running; let go of what it gave you.

    Attributes:
        plugin: Its id.

    Example:
        >>> PluginUnloaded(plugin="shop").plugin
        'shop'
    """

    plugin: str


class SettingsChanged(Event, name="plugin.settings_changed", key="plugin", defer_build=True):
    """The settings of a plugin were changed while it runs, and are in force.

    Attributes:
        plugin: Its id.
        keys: The keys whose value is another one now, such as ``mail.port``; values are told to the plugin alone.

    Example:
        >>> SettingsChanged(plugin="shop", keys=("max_items",)).keys
        ('max_items',)
    """

    plugin: str
    keys: tuple[str, ...]
