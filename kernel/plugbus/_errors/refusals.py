"""Refusals: what business code says no with, and every edge translates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from plugbus._errors.base import PlugbusError, Problem, bullets


class Refused(PlugbusError):
    """Business code says no, with a reason that the caller may read.

    It passes every error policy, crosses every edge as itself, opens no breaker and is not retried.

    Args:
        reason: Why, in words for the caller.
        code: A stable word for programs; the class's own unless given.
        problems: The single points, when there are several.
        retry_after_seconds: When to try again, in seconds; None when trying again is of no use.

    Example:
        >>> refusal = Refused("the shop is closed", code="closed", retry_after_seconds=60)
        >>> print(refusal)
        the shop is closed
        Hint: try again after 60 s.
        >>> refusal.code
        'closed'
    """

    default_code: ClassVar[str] = "refused"

    def __init__(
        self,
        reason: str,
        *,
        code: str | None = None,
        problems: Iterable[Problem] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = self.default_code if code is None else code
        self.problems = tuple(problems)
        self.retry_after_seconds = retry_after_seconds

    def _parts(self) -> tuple[str, str]:
        hint = "" if self.retry_after_seconds is None else f"try again after {self.retry_after_seconds:g} s."
        return f"{self.reason}{bullets(self.problems)}", hint


class Veto(Refused):
    """A listener does not let the event happen.

    Args: those of `Refused`.

    Example:
        >>> Veto("over the credit limit").code
        'veto'
    """

    default_code = "veto"


class Forbidden(Refused):
    """The principal may not do this.

    Args: those of `Refused`.

    Example:
        >>> Forbidden("needs the scope orders.write").code
        'forbidden'
    """

    default_code = "forbidden"


class NotFound(Refused):
    """The thing that was asked for does not exist.

    Args: those of `Refused`.

    Example:
        >>> NotFound("there is no order 7").code
        'not_found'
    """

    default_code = "not_found"


class Conflict(Refused):
    """The thing has changed or exists already.

    Args: those of `Refused`.

    Example:
        >>> Conflict("order 7 was changed meanwhile").code
        'conflict'
    """

    default_code = "conflict"


class Invalid(Refused):
    """The data cannot be accepted; ``problems`` names each point.

    Args: those of `Refused`.

    Example:
        >>> print(Invalid("the order is not valid", problems=[Problem("lines.0.count", "must be above zero")]))
        the order is not valid
          - lines.0.count: must be above zero
    """

    default_code = "invalid"


class Unavailable(Refused):
    """Something that is needed is down or overloaded just now.

    Args: those of `Refused`.

    Example:
        >>> print(Unavailable("the warehouse does not answer", retry_after_seconds=1.5))
        the warehouse does not answer
        Hint: try again after 1.5 s.
    """

    default_code = "unavailable"
