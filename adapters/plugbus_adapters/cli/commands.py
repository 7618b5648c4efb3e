"""What a command is made with that comes from outside, by the hook ``plugbus_commands``.

Owns the names that such a command may use. It imports no kernel before a command runs, since the help lists commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

from typer import Argument, Context, Option

from plugbus_adapters.cli._console import note, print_lines, stdout_for_data
from plugbus_adapters.cli._errors import CommandError

if TYPE_CHECKING:
    from plugbus import Kernel, KernelPortal

__all__ = (
    "Argument",
    "CommandError",
    "Context",
    "Json",
    "Option",
    "Settings",
    "Target",
    "note",
    "print_lines",
    "running_kernel",
    "stdout_for_data",
)

_TARGET_HELP: Final = "module:kernel, a function that returns one, or a plugbus.toml; ./plugbus.toml unless given."
Target = Annotated[str | None, Argument(help=_TARGET_HELP, metavar="TARGET", show_default=False)]
"""The argument that says which kernel; it may be left out."""
Json = Annotated[bool, Option("--json", help="Print JSON, for programs.")]
"""The option that asks for JSON."""
_SET_HELP: Final = (
    "A setting of a plugin, over every other source: plugins.ID.KEY=VALUE, the value as in TOML; repeat it."
)
Settings = Annotated[list[str] | None, Option("--set", metavar="KEY=VALUE", help=_SET_HELP, show_default=False)]
"""The option ``--set``, for settings of plugins; hand it to :func:`running_kernel`."""


@contextmanager
def running_kernel(
    context: Any,
    target: str | None,
    prepare: Callable[[Kernel], object] = lambda _: None,
    *,
    given: Sequence[str] | None = None,
) -> Iterator[KernelPortal]:
    """Boot the kernel that a target means for a block, and shut it down, as the commands of plugbus do.

    Args:
        context: That of the command, a parameter of the type :class:`Context`.
        target: What the command was given; else what stands before the command counts.
        prepare: Called with the kernel before it boots.
        given: Settings of plugins, as the option :data:`Settings` has them.

    Raises:
        CommandError: If the target means no kernel, or it does not start.
    """
    from plugbus_adapters.cli._commands import booted
    from plugbus_adapters.cli._target import load_kernel

    with stdout_for_data():
        kernel = load_kernel(context.obj.target_or(target), given)
        prepare(kernel)
    with booted(kernel) as running:
        yield running
