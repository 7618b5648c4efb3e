"""Every pluggy hook of the kernel, and the markers to write and implement hooks with.

pluggy is the registry: ``kernel.pm`` holds every plugin, and these hooks are how an object that knows pluggy
alone becomes a plugin. Adapters and plugins add their own specs (``hookspecs`` on a plugin, ``ctx.add_hookspecs``).

The hooks below are addressed: each plugin's own implementation is called when that plugin is at this point of its
life, under its time limit, with its context. ``def`` runs in a worker thread, ``async def`` on the event loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pluggy

if TYPE_CHECKING:
    from pydantic import BaseModel

    from plugbus.health import Health
    from plugbus.plugin import PluginContext

__all__ = (
    "PROJECT",
    "hookimpl",
    "hookspec",
    "plugbus_boot",
    "plugbus_health",
    "plugbus_ready",
    "plugbus_settings",
    "plugbus_shutdown",
)

PROJECT: Final = "plugbus"
"""The name under which pluggy knows these markers."""

hookspec: Final = pluggy.HookspecMarker(PROJECT)
"""Marks a function as the specification of a hook."""

hookimpl: Final = pluggy.HookimplMarker(PROJECT)
"""Marks a function as the implementation of a hook."""


@hookspec
def plugbus_boot(ctx: PluginContext) -> None:
    """Set the plugin up: subscribe, provide, open what it needs.

    Its subscriptions begin to hear after this has returned.

    Args:
        ctx: The plugin's own context.

    Example:
        >>> class Audit:
        ...     @hookimpl
        ...     def plugbus_boot(self, ctx: PluginContext) -> None:
        ...         ctx.bus.observe("order.*", print)
    """


@hookspec
def plugbus_ready(ctx: PluginContext) -> None:
    """Announce what there is to announce: every plugin has booted and hears.

    Args:
        ctx: The plugin's own context.

    Example:
        >>> class Greeter:
        ...     @hookimpl
        ...     async def plugbus_ready(self, ctx: PluginContext) -> None:
        ...         await ctx.bus.aemit_named("greeter.ready", {})
    """


@hookspec
def plugbus_settings(ctx: PluginContext, old: BaseModel, new: BaseModel) -> None:
    """Follow a change of the plugin's settings while it runs; what it raises takes the change back.

    Args:
        ctx: The plugin's own context.
        old: The settings that were in force.
        new: Those that are.

    Example:
        >>> class Audit:
        ...     @hookimpl
        ...     def plugbus_settings(self, ctx: PluginContext, new) -> None:
        ...         ctx.log.info("configured", max_items=new.max_items)
    """


@hookspec
def plugbus_shutdown(ctx: PluginContext) -> None:
    """Finish and close; what the context registered is undone afterwards, without help.

    Args:
        ctx: The plugin's own context.

    Example:
        >>> class Audit:
        ...     @hookimpl
        ...     def plugbus_shutdown(self, ctx: PluginContext) -> None:
        ...         ctx.log.info("audited")
    """


@hookspec
def plugbus_health(ctx: PluginContext) -> Health | None:
    """Tell how the plugin is.

    Args:
        ctx: The plugin's own context.

    Example:
        >>> from plugbus import Health
        >>> class Mail:
        ...     @hookimpl
        ...     def plugbus_health(self, ctx: PluginContext) -> Health:
        ...         return Health(checks={"smtp": "up"})
    """
