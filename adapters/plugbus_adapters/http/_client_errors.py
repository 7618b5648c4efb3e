"""What can go wrong between a client and its server, beside what the server itself refuses.

Owns the three faults; refusals cross as themselves. None of them tells a token.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from plugbus import PlugbusError, Problem

__all__ = ("NotConnectedError", "RemoteError", "RemoteTimeoutError")


@final
class NotConnectedError(PlugbusError):
    """A server could not be reached, or the connection broke before there was an answer.

    Args:
        url: The server.
        doing: What was being done.
        reason: What the network said.
        sent: Whether the server may have got it.

    Example:
        >>> print(NotConnectedError("http://shop", "call 'orders.place'", "connection refused", sent=False))
        call 'orders.place': no connection to http://shop: connection refused.
        Hint: see that the server runs, and that the URL is right; trying again is safe.
    """

    def __init__(self, url: str, doing: str, reason: str, *, sent: bool) -> None:
        super().__init__(url, doing, reason, sent)
        self.url, self.doing, self.reason, self.sent = url, doing, reason, sent

    def _parts(self) -> tuple[str, str]:
        nothing = "see that the server runs, and that the URL is right; trying again is safe."
        what = f"{self.doing}: no connection to {self.url}: {self.reason}."
        return what, _MAYBE if self.sent else nothing


_MAYBE = "it may have happened or not; find out before you send it again."


@final
class RemoteTimeoutError(PlugbusError):
    """A server did not answer in time.

    Args:
        url: The server.
        doing: What was being done.
        seconds: How long it had, in seconds.

    Attributes:
        sent: Whether the server may have got it, which after this long is to be assumed.

    Example:
        >>> print(RemoteTimeoutError("http://shop", "emit 'order.placed'", 30.0))
        emit 'order.placed': http://shop did not answer within 30 s.
        Hint: it may have happened or not; find out before you send it again.
    """

    sent = True

    def __init__(self, url: str, doing: str, seconds: float) -> None:
        super().__init__(url, doing, seconds)
        self.url, self.doing, self.seconds = url, doing, seconds

    def _parts(self) -> tuple[str, str]:
        return f"{self.doing}: {self.url} did not answer within {self.seconds:g} s.", _MAYBE


@final
class RemoteError(PlugbusError):
    """A server failed, or what it answered is no answer of a plugbus.

    Args:
        url: The server.
        doing: What was being done.
        status: The HTTP status of the answer.
        detail: What the server said, cut short.
        code: Its stable word for programs; ``"bad_answer"`` for what no plugbus answers.
        id: What the failure is called in the server's log, if it was told.
        problems: The single points.
        retry_after_seconds: When to try again, in seconds, if it was told.

    Example:
        >>> print(RemoteError("http://shop", "call 'orders.place'", 500, "it failed", id="7f-1"))
        call 'orders.place': http://shop answered 500: it failed
        Hint: look for '7f-1' in the server's log.
    """

    def __init__(
        self,
        url: str,
        doing: str,
        status: int,
        detail: str = "",
        *,
        code: str = "",
        id: str | None = None,
        problems: Iterable[Problem] = (),
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(url, doing, status, detail)
        self.url, self.doing, self.status, self.detail, self.code, self.id = url, doing, status, detail, code, id
        self.problems = tuple(problems)
        self.retry_after_seconds = retry_after_seconds

    def _parts(self) -> tuple[str, str]:
        code = f" ({self.code})" if self.code else ""
        what = f"{self.doing}: {self.url} answered {self.status}{code}: {self.detail or 'nothing more'}"
        listed = "".join(f"\n  - {problem}" for problem in self.problems)
        if self.id is not None:
            return f"{what}{listed}", f"look for {self.id!r} in the server's log."
        after = self.retry_after_seconds
        return f"{what}{listed}", "" if after is None else f"try again after {after:g} s."
