"""Where a parameter of an endpoint comes from, said by ``Annotated`` where its name and type leave it open.

Owns the annotations; who reads them is ``_binding.py``. It imports no web framework, so that plugins can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

__all__ = ("Body", "Cookie", "Form", "From", "Header", "Path", "Query", "Source")

Source: TypeAlias = Literal["path", "query", "header", "cookie", "body", "form"]
"""A part of a request."""


@dataclass(frozen=True, slots=True)
class From:
    """What all of these have in common.

    Args:
        name: What it is called there; the parameter's own name unless given.
    """

    name: str | None = None

    @property
    def source(self) -> Source:
        """The part of the request."""
        found: Source = type(self).__name__.lower()  # type: ignore[assignment]  # each subclass is named after it
        return found


@final
class Path(From):
    """A segment of the path: ``Annotated[str, Path("id")]``.

    Example:
        >>> Path("id").source
        'path'
    """


@final
class Query(From):
    """A parameter of the query: ``Annotated[list[int], Query()]``.

    Example:
        >>> Query().source
        'query'
    """


@final
class Header(From):
    """A header, whose name is the parameter's with ``-`` for ``_``: ``Annotated[str, Header("X-Hub-Signature-256")]``.

    Example:
        >>> Header().source
        'header'
    """


@final
class Cookie(From):
    """A cookie: ``Annotated[str | None, Cookie()]``.

    Example:
        >>> Cookie().source
        'cookie'
    """


@final
class Body(From):
    """The whole body: ``Annotated[list[int], Body()]``; as ``bytes`` it is taken as it came.

    Example:
        >>> Body().source
        'body'
    """


@final
class Form(From):
    """A field of a form: ``Annotated[str, Form()]``.

    Example:
        >>> Form().source
        'form'
    """
