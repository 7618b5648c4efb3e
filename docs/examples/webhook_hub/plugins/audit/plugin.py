"""The plugin: a listener around everything, so that nothing ends without an entry."""

from __future__ import annotations

from collections import Counter

from hub_events import AskAudit, AuditBook, wire_name

from plugbus import AsyncNextFn, Event, Logger, Plugin, Refused, answers, listens

__all__ = ("Audit",)


class Audit(Plugin):
    """Books each event on its way in and on its way out; ``AskAudit`` reads the book.

    Args:
        log: Gets one line for each event that did not pass.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._book: Counter[str] = Counter()

    @listens(Event, priority=0)
    async def book(self, event: Event, next_fn: AsyncNextFn[Event]) -> Event:
        """Enter the event, then how it ended; a cancelled one counts as failed."""
        if not wire_name(event).startswith("github."):
            return await next_fn(event)  # the kernel's own events are not deliveries
        self._book["entered"] += 1
        outcome = "failed"
        try:
            result = await next_fn(event)
            outcome = "passed"
        except Refused as refusal:
            outcome = "refused"
            self._log.info("event refused", event_name=wire_name(event), reason=refusal.reason)
            raise
        finally:
            self._book[outcome] += 1
        return result

    @answers(AskAudit)
    async def read(self, _: AskAudit) -> AuditBook:
        """Answer with the book as it is now."""
        return AuditBook(**{column: self._book[column] for column in AuditBook.model_fields})
