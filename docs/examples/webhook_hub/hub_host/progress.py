"""How far it is: a bar on a terminal that has rich, plain lines everywhere else."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self, TextIO

__all__ = ("PlainProgress", "Progress", "progress_for")

_STEPS = 4  # plain lines per run
_EVERY = 10_000  # deliveries per plain line, where the end is not known


class Progress(Protocol):
    """A context manager that is told about each line."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def advance(self, size: int) -> None:
        """Count one line.

        Args:
            size: Its length, in bytes.
        """
        ...


class PlainProgress:
    """Prints a line now and then; readable in a log file.

    Args:
        total: How much there is to read, in bytes; None where nobody knows.
        out: Where the lines go.

    Example:
        >>> with PlainProgress(20, sys.stdout) as progress:
        ...     progress.advance(10)
        ...     progress.advance(10)
        progress  50 %  1 deliveries
        progress 100 %  2 deliveries
    """

    def __init__(self, total: int | None, out: TextIO) -> None:
        self._total, self._out = total, out
        self._count = self._done = self._told = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._total:
            self._tell("     ")
        elif kind is None and self._told < _STEPS:  # blank lines are no deliveries, so their bytes were not counted
            self._tell("100 %")

    def advance(self, size: int) -> None:
        """Count one line, and print when another quarter is done."""
        self._count += 1
        self._done += size
        if not self._total:
            if self._count % _EVERY == 0:
                self._tell("     ")
        elif (step := min(self._done * _STEPS // self._total, _STEPS)) > self._told:
            self._told = step
            self._tell(f"{step * 100 // _STEPS:3} %")

    def _tell(self, share: str) -> None:
        print(f"progress {share}  {self._count} deliveries", file=self._out)


def progress_for(total: int | None, out: TextIO | None = None) -> Progress:
    """Return the progress that suits where the output goes.

    Args:
        total: How much there is to read, in bytes; None where nobody knows.
        out: Where the output goes; standard output unless given.
    """
    target = sys.stdout if out is None else out
    if target.isatty():
        try:
            from hub_host.bar import BarProgress
        except ImportError:  # rich comes with the extra "cli"; without it the demo runs all the same
            return PlainProgress(total, target)
        return BarProgress(total, target)
    return PlainProgress(total, target)
