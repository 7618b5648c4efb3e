"""The bar of a terminal; the one module here that needs rich."""

from __future__ import annotations

from typing import Self, TextIO

import rich.progress
from rich.console import Console

__all__ = ("BarProgress",)


class BarProgress:
    """A bar that moves by bytes and shows the number of deliveries.

    Args:
        total: How much there is to read, in bytes; None where nobody knows.
        out: The terminal.
    """

    def __init__(self, total: int | None, out: TextIO) -> None:
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("progress"),
            rich.progress.BarColumn(),
            rich.progress.TaskProgressColumn(),
            rich.progress.TextColumn("{task.fields[count]} deliveries"),
            rich.progress.TimeElapsedColumn(),
            console=Console(file=out),
        )
        self._task = self._bar.add_task("deliver", total=total, count=0)
        self._total, self._count = total, 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._total is not None:  # blank lines are no deliveries, so their bytes were not counted
            self._bar.update(self._task, completed=self._total)
        self._bar.stop()

    def advance(self, size: int) -> None:
        """Count one line."""
        self._count += 1
        self._bar.update(self._task, advance=size, count=self._count)
