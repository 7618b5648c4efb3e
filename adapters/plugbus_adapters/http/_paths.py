"""Path templates: ``/products/{id}`` and ``/files/{name:path}``.

Owns how one is written; finding the one that fits is ``_matching.py``'s job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, final

__all__ = ("PathError", "Template", "join", "route_path", "template")

_PARAMETER: Final = re.compile(r"\{([^\W\d]\w*)(:path)?\}")


class PathError(ValueError):
    """A path template that cannot be used."""


@final
class Template(NamedTuple):
    """A path, taken apart.

    Attributes:
        path: As it was written.
        segments: Its segments; None is a parameter.
        names: Names of its parameters.
        takes_rest: Whether the last parameter takes the rest of the path, slashes included.
    """

    path: str
    segments: tuple[str | None, ...]
    names: tuple[str, ...]
    takes_rest: bool

    @property
    def shape(self) -> tuple[str | None, ...]:
        """What makes two of them the same: names of parameters do not."""
        return (*self.segments, "**") if self.takes_rest else self.segments


@lru_cache(maxsize=4096)
def template(path: str) -> Template:
    """Take a path apart.

    Raises:
        PathError: If it does not begin with a slash, or a segment is neither text nor one parameter.
    """
    if not path.startswith("/"):
        raise PathError(f"path {path!r} does not begin with a slash")
    if any(ord(sign) <= 32 or sign in "?#\x7f" for sign in path):  # noqa: PLR2004 - the blank and what is below it
        raise PathError(f"path {path!r} has a blank, a control character, '?' or '#' in it")
    segments: list[str | None] = []
    names: list[str] = []
    rest = False
    for segment in path[1:].split("/"):
        found = _PARAMETER.fullmatch(segment)
        if rest:
            raise PathError(f"path {path!r} goes on behind {{{names[-1]}:path}}, which takes all the rest")
        if found is None:
            if "{" in segment or "}" in segment:
                raise PathError(
                    f"path {path!r}: {segment!r} is no segment; write {{name}}, or {{name:path}} at its end"
                )
            segments.append(segment)
        elif found[1] in names:
            raise PathError(f"path {path!r} has two parameters {found[1]!r}")
        else:
            segments.append(None)
            names.append(found[1])
            rest = found[2] is not None
    return Template(path, tuple(segments), tuple(names), rest)


def join(*parts: str) -> str:
    """Put paths behind one another, with one slash between them."""
    joined = "/".join(part.strip("/") for part in parts[:-1] if part.strip("/"))
    return f"/{joined}{parts[-1]}" if joined else parts[-1]


def route_path(scope: Mapping[str, Any]) -> str:
    """Return the path below where an app is mounted (ASGI: ``path`` begins with ``root_path``)."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if not root or not path.startswith(root):
        return path
    below = path[len(root) :]
    return below if below.startswith("/") or not below else path
