"""Read our own sources, for the tests that hold the architecture: imports, ``__all__``, sizes."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("ROOT", "Function", "Source", "sources")

ROOT = Path(__file__).parent.parent
_NO_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
}  # fmt: skip


@dataclass(frozen=True)
class Function:
    """One function and how many lines of code are its own."""

    where: str
    lines: int


@dataclass(frozen=True)
class Source:
    """One module of ours."""

    path: Path
    module: str

    @property
    def public(self) -> bool:
        """No part of the module's name starts with an underscore."""
        return not any(part.startswith("_") for part in self.module.split("."))

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def exports(self) -> tuple[str, ...]:
        """What ``__all__`` names."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and any(
                isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
            ):
                return tuple(ast.literal_eval(node.value))
        return ()

    def imports(self) -> Iterator[tuple[str, int]]:
        """Every module imported anywhere in it, in functions and under TYPE_CHECKING too, with the line."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module, node.lineno

    @cached_property
    def code(self) -> set[int]:
        """The lines with code on them: no comments, no docstrings."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        lines = {
            line
            for token in tokens
            if token.type not in _NO_CODE
            for line in range(token.start[0], token.end[0] + 1)
        }  # fmt: skip
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        return lines.difference(*(_docstring(node) for node in ast.walk(self.tree) if isinstance(node, documented)))

    def functions(self) -> Iterator[Function]:
        """Every function, without its docstring, its comments and the functions inside it."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                own = _lines(node) & self.code
                own -= {
                    line
                    for inner in ast.walk(node)
                    if inner is not node and _is_function(inner)
                    for line in _lines(inner)
                }
                yield Function(f"{self.module}.{node.name}:{node.lineno}", len(own))


def sources(package: str) -> list[Source]:
    """All modules of one of the three packages."""
    top = {"plugbus": "kernel", "plugbus_adapters": "adapters", "plugbus_contrib": "contrib"}[package]
    base = ROOT / top
    return [Source(path, _module(path.relative_to(base))) for path in sorted((base / package).rglob("*.py"))]


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _lines(node: ast.AST) -> set[int]:
    return set(range(node.lineno, node.end_lineno + 1))


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return _lines(first)
    return set()
