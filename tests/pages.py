"""Run the Python blocks of a Markdown page as one module, so that a page that lies fails the tests."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ("Page", "python_of")


class Page(pytest.File):
    """A Markdown page with Python blocks."""

    def collect(self) -> Iterator[pytest.Item]:
        source = python_of(self.path.read_text())
        if source.strip():
            yield PageItem.from_parent(self, name="blocks", source=source)


class PageItem(pytest.Item):
    """All blocks of one page, in one run: a block may use what those above it made."""

    def __init__(self, *, source: str, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._source = source

    def runtest(self) -> None:
        # A real module, because pydantic and the container look names up in sys.modules.
        module = ModuleType(f"page_{self.path.stem}".replace("-", "_"))
        sys.modules[module.__name__] = module
        try:
            exec(compile(self._source, str(self.path), "exec"), module.__dict__)
        finally:
            del sys.modules[module.__name__]

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name}: Python blocks"


def python_of(text: str) -> str:
    """The Python blocks of a page, each on the lines where it stands, so that a traceback points into the page."""
    lines = [""] * (text.count("\n") + 1)
    for token in MarkdownIt().parse(text):
        if token.type == "fence" and token.info.split()[:1] == ["python"] and token.map:
            code = token.content.splitlines()
            lines[token.map[0] + 1 : token.map[0] + 1 + len(code)] = code
    return "\n".join(lines)
