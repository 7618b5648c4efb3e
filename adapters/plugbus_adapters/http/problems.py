"""Failures as problem documents (RFC 9457): which status, and what of it a caller may read.

Owns the translation; nothing internal is in a document. What nobody raised on purpose is 500, with an id that
stands in the log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, final

from pydantic import ValidationError
from pydantic_core import to_json

from plugbus import (
    BackgroundFullError,
    BreakerOpenError,
    Conflict,
    Forbidden,
    Invalid,
    ListenerTimeoutError,
    NoHandlerError,
    NoPrincipalError,
    NotFound,
    PluginGoneError,
    PluginStuckError,
    PluginTimeoutError,
    Problem,
    Refused,
    Unavailable,
    Veto,
)
from plugbus_adapters.http.security import Unauthenticated

__all__ = ("ProblemDocument", "ProblemError", "problem_of", "problems_of")

MEDIA_TYPE: Final = b"application/problem+json"


@final
@dataclass(frozen=True, slots=True)
class ProblemDocument:
    """A failure as a caller reads it.

    Attributes:
        status: The HTTP status.
        detail: What happened this time.
        code: A stable word for programs.
        problems: The single points, when there are several.
        headers: Headers that go along.
        facts: Further members.

    Example:
        >>> ProblemDocument(404, "there is no order 7", "not_found").to_dict()["title"]
        'Not Found'
    """

    status: int
    detail: str = ""
    code: str = ""
    problems: tuple[Problem, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name of the status."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return "Error"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        told: dict[str, Any] = {"type": "about:blank", "title": self.title, "status": self.status}
        if self.detail:
            told["detail"] = self.detail
        if self.code:
            told["code"] = self.code
        if self.problems:
            told["problems"] = [{"where": each.where, "message": each.message} for each in self.problems]
        return {**told, **self.facts}

    def to_json(self) -> bytes:
        """Return it as JSON."""
        return to_json(self.to_dict())


class ProblemError(Exception):
    """Fails a request with a status of its own.

    Args:
        status: The HTTP status, from 400 on.
        detail: What happened, for the caller.
        code: A stable word for programs.
        problems: The single points, when there are several.
        headers: Headers that go along.

    Raises:
        ValueError: If the status is no failure.

    Example:
        >>> error = ProblemError(410, "the offer has ended", code="ended")
        >>> error.document.status, str(error)
        (410, '410: the offer has ended')
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        code: str = "",
        problems: Iterable[Problem] = (),
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        if not 400 <= status <= 599:  # noqa: PLR2004 - RFC 9110, section 15
            raise ValueError(f"ProblemError({status!r}): must be between 400 and 599")
        super().__init__(status, detail)
        self.document = ProblemDocument(status, detail, code, tuple(problems), tuple(headers))

    def __str__(self) -> str:
        return f"{self.document.status}: {self.document.detail}"

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self.args, self.document)


def _restore(kind: type[ProblemError], args: tuple[Any, ...], document: ProblemDocument) -> ProblemError:
    error = kind.__new__(kind, *args)
    error.document = document
    return error


def problems_of(error: ValidationError, source: str = "") -> tuple[Problem, ...]:
    """Return each point of a validation error, without the values, which may be secret.

    Args:
        error: What pydantic raised.
        source: The part of the request that it was about.
    """
    return tuple(
        Problem(".".join(filter(None, (source, *map(str, each["loc"])))) or "body", each["msg"])
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    )


_REFUSALS: Final[tuple[tuple[type[Refused], int], ...]] = (
    (Veto, 403),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Invalid, 422),
    (Unavailable, 503),
    (Unauthenticated, 401),
    (Refused, 400),
)
_FAULTS: Final[dict[type[Exception], tuple[int, str, str]]] = {
    NoHandlerError: (501, "nobody answers this request", "no_handler"),
    NoPrincipalError: (401, "who asks is not known", "unauthenticated"),
    ListenerTimeoutError: (504, "it took too long", "timeout"),
    PluginTimeoutError: (504, "it took too long", "timeout"),
    PluginStuckError: (503, "it is overloaded", "stuck"),
    PluginGoneError: (503, "it is being changed", "gone"),
    BackgroundFullError: (503, "it is overloaded", "full"),
}


def problem_of(error: Exception, errors: Callable[[type], int | None] = lambda _: None) -> ProblemDocument | None:
    """Return the document of a failure; None for one that nobody raised on purpose.

    Args:
        error: What was raised.
        errors: Returns the status that a type of exception was given, if it was.
    """
    if isinstance(error, ProblemError):
        return error.document
    given = next((status for cls in type(error).__mro__ if (status := errors(cls)) is not None), None)
    if isinstance(error, Refused):
        return _refusal(error, given)
    if given is not None:
        return ProblemDocument(given, str(error))
    if isinstance(error, BreakerOpenError):
        return ProblemDocument(503, "it failed too often", "breaker_open", (), _retry_after(error.retry_after_seconds))
    for cls in type(error).__mro__:
        if cls in _FAULTS:
            return ProblemDocument(*_FAULTS[cls])
    return None


def _refusal(error: Refused, given: int | None) -> ProblemDocument:
    kind, usual = next((cls, status) for cls, status in _REFUSALS if isinstance(error, cls))
    headers = _retry_after(error.retry_after_seconds)
    if isinstance(error, Unauthenticated):
        headers = (*headers, ("www-authenticate", error.challenge))
    # Status and code are the service's to choose, so a client that raises it again is told what it was.
    facts: dict[str, Any] = {"refusal": kind.default_code}
    if error.retry_after_seconds is not None:
        facts["retry_after_seconds"] = error.retry_after_seconds
    return ProblemDocument(given or usual, error.reason, error.code, error.problems, headers, facts)


def _retry_after(seconds: float | None) -> tuple[tuple[str, str], ...]:
    return () if seconds is None else (("retry-after", str(max(0, math.ceil(seconds)))),)
