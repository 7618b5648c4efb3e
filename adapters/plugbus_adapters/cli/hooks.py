"""The pluggy hook by which plugins and adapters add commands to ``plugbus``.

Owns the specification; when it is called is ``_extending.py``'s job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plugbus import hookspec

if TYPE_CHECKING:
    import typer

    from plugbus import KernelPortal

__all__ = ("plugbus_commands",)


@hookspec
def plugbus_commands(app: typer.Typer, kernel: KernelPortal | None) -> None:
    """Add commands to the command line.

    Asked are the entry points of the group ``plugbus.commands``, always, and the plugins of a kernel, once
    ``plugbus --target TARGET`` has booted it; it runs as long as the command does. A plugin marks its implementation
    ``@hookimpl(optionalhook=True)``, because a kernel that serves has no command line.

    Args:
        app: Where the commands are added.
        kernel: The kernel that was booted, for code without ``await``; None for an entry point.

    Example:
        >>> from plugbus import Plugin, hookimpl
        >>> class Shop(Plugin):
        ...     @hookimpl(optionalhook=True)
        ...     def plugbus_commands(self, app: typer.Typer, kernel: KernelPortal) -> None:
        ...         @app.command("restock")
        ...         def restock() -> None:
        ...             '''Order what is sold out.'''
        ...             kernel.bus.emit_named("shop.restock", {})
    """
