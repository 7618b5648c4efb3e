"""The command line: ``plugbus run | check | plugins | explain | bisect | new``.

Owns the way in, which imports nothing heavy: the extra may be missing, and a plugin imports its marks from here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ("main",)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments after the name of the program; those of the process unless given.

    Returns:
        The exit code: 0 all is well, 1 the kernel or a plugin has problems, 2 it could not be used like this.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        plugbus ...
        0
    """
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"plugbus: error: the command line needs {error.name}, which is not installed\n"
            "Hint: pip install 'plugbus[cli]'\n"
        )
        return 2
    from plugbus_adapters.cli._app import run

    return run(argv)
