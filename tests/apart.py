"""What the tests of subinterpreters run there: it imports neither plugbus nor pydantic, which load in none."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Note:
    """An event of plain Python."""

    path: str


def write_modules(note: Note) -> None:
    """Write whether plugbus is loaded where this runs."""
    Path(note.path).write_text(str("plugbus" in sys.modules))


def fail(note: Note) -> None:
    """Raise something."""
    raise LookupError(note.path)
