"""Finding what serves a path: a tree of segments, where text goes before a parameter and that before a rest.

Owns the tree. It is replaced as a whole when something is added or taken away, so whoever looks needs no lock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar, final

from plugbus_adapters.http._paths import Template

__all__ = ("Tree",)

T = TypeVar("T")


@final
class _Node(Generic[T]):
    __slots__ = ("found", "parameter", "rest", "text")

    def __init__(self) -> None:
        self.text: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.rest: _Node[T] | None = None
        self.found: dict[str, T] = {}


@final
class Tree(Generic[T]):
    """What serves which method of which path.

    Args:
        entries: Path templates, methods and what serves them; the last of the same shape and method counts.
    """

    __slots__ = ("_root", "_static")

    def __init__(self, entries: Iterable[tuple[Template, str, T]] = ()) -> None:
        self._root: _Node[T] = _Node()
        self._static: dict[str, dict[str, T]] = {}
        for template, method, served in entries:
            node = self._root
            for segment in template.segments[:-1] if template.takes_rest else template.segments:
                if segment is None:
                    node.parameter = node.parameter or _Node()
                    node = node.parameter
                else:
                    node = node.text.setdefault(segment, _Node())
            if template.takes_rest:
                node.rest = node.rest or _Node()
                node = node.rest
            node.found[method] = served
            if None not in template.segments:
                self._static[template.path] = node.found

    def find(self, path: str, method: str) -> tuple[T | None, tuple[str, ...], set[str]]:
        """Find what serves a method of a path.

        Returns:
            It, or None; the values of the path's parameters; and if it is None, the methods that are served there.
        """
        found = self._static.get(path)
        if found is not None and (served := found.get(method)) is not None:
            return served, (), set()
        values: list[str] = []
        others: set[str] = set()
        if path.startswith("/"):
            served = _walk(self._root, path[1:].split("/"), 0, method, values, others)
            return served, tuple(values), others
        return None, (), others


def _walk(  # noqa: PLR0917 - it calls itself for each segment
    node: _Node[T], segments: list[str], index: int, method: str, values: list[str], others: set[str]
) -> T | None:
    if index == len(segments):
        if method not in node.found:
            others.update(node.found)
        return node.found.get(method)
    segment = segments[index]
    below = node.text.get(segment)
    if below is not None and (found := _walk(below, segments, index + 1, method, values, others)) is not None:
        return found
    if node.parameter is not None and segment:
        values.append(segment)
        if (found := _walk(node.parameter, segments, index + 1, method, values, others)) is not None:
            return found
        values.pop()
    if node.rest is not None:
        values.append("/".join(segments[index:]))
        if (found := _walk(node.rest, [], 0, method, values, others)) is not None:
            return found
        values.pop()
    return None
