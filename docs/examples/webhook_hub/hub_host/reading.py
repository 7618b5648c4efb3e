"""Reads deliveries from files of JSON lines, one line in memory at a time.

Owns what is wrong with a file or a line; what is wrong with a delivery is the intake's business.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

__all__ = ("MAX_LINE_BYTES", "InputError", "Line", "check_inputs", "read_lines", "total_bytes")

MAX_LINE_BYTES = 32 * 1024 * 1024  # GitHub sends no payload above 25 MB
_HEAD_BYTES = 8192
_PLACE = re.compile(r" at line \d+ column (\d+)$")


class InputError(Exception):
    """A file cannot be read as deliveries; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank.

    Attributes:
        path: The file it is in.
        number: Its number there, from 1, blank lines counted.
        size: Its length in bytes.
        delivery: The JSON object in it, or None where there is none.
        problem: Why there is none; empty where there is one.
    """

    path: Path
    number: int
    size: int
    delivery: dict[str, Any] | None = None
    problem: str = ""

    @property
    def where(self) -> str:
        """The place as editors and compilers write it."""
        return f"{self.path}:{self.number}"

    @property
    def label(self) -> str:
        """The place in short, as logs show it."""
        return f"{self.path.name}:{self.number}"


def check_inputs(paths: Iterable[Path]) -> None:
    """Look at every input before anything is started.

    Args:
        paths: Files of JSON lines; pipes and devices are taken as they are.

    Raises:
        InputError: If one of them cannot be read as text; it names all of them.
    """
    problems = [f"{path}: {problem}" for path in paths if (problem := _problem_of(path))]
    if problems:
        raise InputError("\n".join(problems))


def _problem_of(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return "is a directory; give a file of JSON lines"
        if not stat.S_ISREG(mode):
            return ""  # looking into a pipe would take its first bytes away
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return "there is no such file"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if not head:
        return "is empty; there is nothing to deliver"
    return "is binary data, not JSON lines" if b"\0" in head else ""


def total_bytes(paths: Iterable[Path]) -> int | None:
    """Return how much there is to read, in bytes, or None where a pipe does not say."""
    sizes = [path.stat() for path in paths]
    return sum(size.st_size for size in sizes) if all(stat.S_ISREG(size.st_mode) for size in sizes) else None


def read_lines(path: Path, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Line]:
    """Yield every line of a file that is not blank, whatever is in it.

    Args:
        path: A file of JSON lines.
        max_line_bytes: What is longer is passed over without being held in memory, in bytes.

    Raises:
        InputError: If reading fails, also half-way.
    """
    try:
        with path.open("rb") as file:
            for number, raw, size in _raw_lines(file, max_line_bytes):
                if raw is None:
                    yield Line(path, number, size, problem=f"longer than {max_line_bytes} bytes")
                elif raw.strip():
                    yield _parse(path, number, raw)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def _raw_lines(file: BinaryIO, limit: int) -> Iterator[tuple[int, bytes | None, int]]:
    """Yield number, bytes (None for one that is too long) and length of each line."""
    number = 0
    while raw := file.readline(limit + 1):
        number += 1
        size = len(raw)
        too_long = size > limit
        while too_long and not raw.endswith(b"\n") and (raw := file.readline(limit)):
            size += len(raw)
        yield number, None if too_long else raw, size


def _parse(path: Path, number: int, raw: bytes) -> Line:
    try:
        found = from_json(raw.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n"), allow_inf_nan=False)
    except ValueError as error:
        # The parser only saw this line, so its line number would mislead.
        what = _PLACE.sub(r" at column \1", str(error))
        return Line(path, number, len(raw), problem=f"not JSON: {what}")
    if not isinstance(found, dict):
        return Line(path, number, len(raw), problem=f"{type(found).__name__} instead of a JSON object")
    return Line(path, number, len(raw), found)
