"""A command that takes another command behind ``--``.

Owns where the one ends and the other begins: the library takes ``--`` for the end of options alone, so that an
argument that may be left out would be taken from behind it.
"""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

__all__ = ("TakesCommand", "words_behind")

_KEY = "plugbus.behind"


class TakesCommand(TyperCommand):
    """Keeps what stands behind the first ``--``, see :func:`words_behind`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse what stands before it."""
        before = args[: args.index("--")] if "--" in args else args
        ctx.meta[_KEY] = args[len(before) + 1 :]
        return super().parse_args(ctx, before)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Show it in the help."""
        return [*super().collect_usage_pieces(ctx), "--", "COMMAND..."]


def words_behind(ctx: Any) -> list[str]:
    """Return what stood behind it."""
    words: list[str] = ctx.meta[_KEY]
    return words
