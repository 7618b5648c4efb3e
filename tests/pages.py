"""Run the Python blocks of a Markdown page as one module, so that a page that lies fails the tests."""

from __future__ import annotations

import contextlib
import io
import sys
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ("Page", "output_of", "python_of")


class Page(pytest.File):
    """A Markdown page with Python blocks."""

    def collect(self) -> Iterator[pytest.Item]:
        text = self.path.read_text()
        if python_of(text).strip():
            yield PageItem.from_parent(self, name="blocks", text=text)


class PageItem(pytest.Item):
    """All blocks of one page, in one run: a block may use what those above it made.

    Where a page has ``text`` blocks, they are what its Python blocks print.
    """

    def __init__(self, *, text: str, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._text = text

    def runtest(self) -> None:
        # A real module, because pydantic and the container look names up in sys.modules.
        module = ModuleType(f"page_{self.path.stem}".replace("-", "_"))
        sys.modules[module.__name__] = module
        printed, expected = io.StringIO(), output_of(self._text)
        try:
            with contextlib.redirect_stdout(printed):
                exec(compile(python_of(self._text), str(self.path), "exec"), module.__dict__)
        finally:
            del sys.modules[module.__name__]
        assert not expected or printed.getvalue() == expected

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name}: Python blocks"


def python_of(text: str) -> str:
    """The Python blocks of a page, each on the lines where it stands, so that a traceback points into the page."""
    lines = [""] * (text.count("\n") + 1)
    for line, code in _blocks(text, "python"):
        lines[line : line + code.count("\n")] = code.splitlines()
    return "\n".join(lines)


def output_of(text: str) -> str:
    """What the Python blocks of a page print, as its ``text`` blocks say."""
    return "".join(block for _, block in _blocks(text, "text"))


def _blocks(text: str, language: str) -> Iterator[tuple[int, str]]:
    for token in MarkdownIt().parse(text):
        if token.type == "fence" and token.info.split()[:1] == [language] and token.map:
            yield token.map[0] + 1, token.content
