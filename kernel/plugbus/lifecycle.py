"""The states of a plugin's life, and the events that tell of them.

Owns what is told; what happens is in ``_kernel/``.
"""

from __future__ import annotations

from enum import StrEnum

from plugbus.events import Event

__all__ = (
    "KernelReady",
    "KernelStopping",
    "PluginFailed",
    "PluginReady",
    "PluginState",
    "PluginUnloaded",
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
