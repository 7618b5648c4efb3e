"""How a command fails: with a message for people, a hint, and an exit code."""

from __future__ import annotations

from typing import Final, final

__all__ = ("PROBLEMS", "USAGE", "CommandError")

PROBLEMS: Final = 1
"""The exit code when the kernel or a plugin has problems."""

USAGE: Final = 2
"""The exit code when a command cannot be used as it was called."""


@final
class CommandError(Exception):
    """A command cannot go on; not under ``PlugbusError``, whose import takes longer than a help text should.

    Args:
        message: What happened and where.
        hint: What to do about it.
        code: The exit code.

    Example:
        >>> print(CommandError("there is no module 'shop'", "is the folder right?"))
        there is no module 'shop'
        Hint: is the folder right?
    """

    def __init__(self, message: str, hint: str = "", code: int = USAGE) -> None:
        super().__init__(message, hint, code)
        self.message, self.hint, self.code = message, hint, code

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message
