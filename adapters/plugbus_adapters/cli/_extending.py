"""Commands that plugins and adapters add.

Owns when the hook is called: for entry points when a command is not ours, for plugins when a target is named, too.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, final

import typer
from typer.core import TyperGroup
from typer.main import get_group

from plugbus_adapters.cli._console import note

if TYPE_CHECKING:
    from plugbus import Kernel, KernelPortal

__all__ = ("COMMANDS_GROUP", "Commands", "Session", "know_commands_hook")

COMMANDS_GROUP: Final = "plugbus.commands"
_INSTALLED: Final = "installed"
_OF_PLUGINS: Final = "plugins"


@final
class Session:
    """What the options before the command said."""

    def __init__(self) -> None:
        self.traceback = False
        self.added: dict[str, dict[str, Any]] = {}
        self._target: str | None = None

    def remember(self, target: str | None) -> str | None:
        """Keep the target, early enough for commands that its plugins add."""
        self._target = target
        return target

    def show_traceback(self, wanted: bool) -> bool:  # noqa: FBT001 - as the callback of an option
        """Keep whether tracebacks are shown, early enough for a kernel that is booted for its commands."""
        self.traceback = wanted
        return wanted

    def target_or(self, given: str | None) -> str | None:
        """Return the target of a command: its own, or else the one before the command."""
        return given or self._target


class Commands(TyperGroup):
    """Our commands, and those that were added; ours come first, so nobody takes a name from us."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; a kernel is booted only for a name that is neither ours nor of an entry point."""
        own = super().get_command(ctx, cmd_name) or _added(ctx, _INSTALLED).get(cmd_name)
        return own or _added(ctx, _OF_PLUGINS).get(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all commands, for the help."""
        own = super().list_commands(ctx)
        added = {**_added(ctx, _OF_PLUGINS), **_added(ctx, _INSTALLED)}
        return [*own, *(name for name in sorted(added) if name not in own)]


def _added(ctx: Any, origin: str) -> dict[str, Any]:
    """Return the commands of one origin, which is asked once."""
    session: Session = ctx.obj
    if origin not in session.added:
        added = typer.Typer(rich_markup_mode=None)
        target = session.target_or(None)
        if origin == _INSTALLED:
            _add_installed(added)
        elif target is not None:
            _add_of_plugins(added, ctx, target)
        session.added[origin] = dict(get_group(added).commands)
    return session.added[origin]


def _add_installed(added: typer.Typer) -> None:
    """Ask each entry point; one that fails takes its own commands away and nothing else.

    The specification is not entered, because that imports the kernel, and the help does not need one.
    """
    for point in sorted(entry_points(group=COMMANDS_GROUP), key=lambda point: point.name):
        import pluggy

        registry = pluggy.PluginManager("plugbus")
        try:
            registry.register(point.load(), point.name)
            registry.hook.plugbus_commands(app=added, kernel=None)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it is told, and the other commands still work
            note(f"warning: no commands of {point.name} ({point.value}): {type(error).__name__}: {error}")


def _add_of_plugins(added: typer.Typer, ctx: Any, target: str) -> None:
    from plugbus_adapters.cli._commands import booted
    from plugbus_adapters.cli._target import load_kernel

    kernel = load_kernel(target)
    running: KernelPortal = ctx.with_resource(booted(kernel))
    kernel.pm.hook.plugbus_commands(app=added, kernel=running)


def know_commands_hook(kernel: Kernel) -> None:
    """Enter the hook's specification, so that ``check`` takes implementations of it for what they are."""
    from plugbus_adapters.cli import hooks

    known = getattr(kernel.pm.hook, "plugbus_commands", None)
    if known is None or not known.has_spec():
        kernel.pm.add_hookspecs(hooks)
