"""What commands print: tables that can be read without colour, in a pipe, and on a narrow screen.

Owns width and colour; ``NO_COLOR``, ``FORCE_COLOR`` and ``COLUMNS`` are heard.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ("note", "print_lines", "print_table", "stdout_for_data")

_ENDLESS: Final = 10_000
_STYLES: Final = {
    "ready": "green",
    "failed": "bold red",
    "blocked": "red",
    "disabled": "dim",
    "problem": "bold red",
    "warning": "yellow",
}


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below heads; in a pipe each row is one line however long it is.

    Words that mean a state are coloured, too; no colour carries a meaning of its own.

    Args:
        heads: A name for each column.
        rows: The cells.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row))
    console = _console()
    with console.capture() as captured:
        console.print(table)
    print_lines(*(line.rstrip() for line in captured.get().splitlines()))


def print_lines(*lines: str) -> None:
    """Print lines to standard output as they are."""
    for line in lines:
        sys.stdout.write(f"{line}\n")


def note(*lines: str) -> None:
    """Tell the user something that is not the result: to standard error, each line named as ours."""
    for line in lines:
        sys.stderr.write(f"plugbus: {line}\n")
    sys.stderr.flush()


def _console() -> Console:
    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_ENDLESS if wide else None, highlight=False)


def _cell(text: str) -> Text:
    """Return a cell on one line, without control characters and markup: reasons hold other people's text."""
    flat = " ".join(text.split())
    return Text("".join(char if char.isprintable() else "?" for char in flat), style=_STYLES.get(flat, ""))


@contextlib.contextmanager
def stdout_for_data() -> Iterator[None]:
    """Send what plugins print while they boot to standard error, so that standard output has the result alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
