"""Errors of reading the log of events."""

from __future__ import annotations

from plugbus._errors.base import PlugbusError


class CursorError(PlugbusError, ValueError):
    """Something that is no cursor of a log of events was given as one.

    Args:
        cursor: What was given; cut short, because it came from outside.

    Example:
        >>> print(CursorError("yesterday"))
        'yesterday' is no cursor of an event log.
        Hint: give one back as it was received, or none to begin with what happens from now on.
    """

    def __init__(self, cursor: str) -> None:
        super().__init__(cursor[:80])
        self.cursor = cursor[:80]

    def _parts(self) -> tuple[str, str]:
        hint = "give one back as it was received, or none to begin with what happens from now on."
        return f"{self.cursor!r} is no cursor of an event log.", hint


class CursorExpiredError(PlugbusError):
    """A log of events does not reach back to a cursor, so that some events after it cannot be read any more.

    Args:
        cursor: Where somebody wanted to go on.
        reason: ``"retention"`` (events after it are gone), ``"another log"`` (this one was begun anew) or ``"ahead"``
            (this one does not reach as far, as after a backup was put back).
        newest: The cursor to go on with after what was missed.

    Example:
        >>> print(CursorExpiredError("00c0ffee-1", "retention", "00c0ffee-9"))
        the event log cannot go on after cursor '00c0ffee-1': retention.
        Hint: load the present state anew, then read on from '00c0ffee-9'.
    """

    def __init__(self, cursor: str, reason: str, newest: str) -> None:
        super().__init__(cursor, reason, newest)
        self.cursor, self.reason, self.newest = cursor, reason, newest

    def _parts(self) -> tuple[str, str]:
        what = f"the event log cannot go on after cursor {self.cursor!r}: {self.reason}."
        return what, f"load the present state anew, then read on from {self.newest!r}."
