"""What the demo prints: the plugin table, and the summary with its checks of one book against another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hub_events import (
    AskAudit,
    AskDigest,
    AskFeed,
    AskJournal,
    AskNotify,
    AskStats,
    AskTemplates,
    AuditBook,
    DigestReport,
    Feed,
    JournalReport,
    NotifyReport,
    StatsTable,
    TemplatesReport,
)

from hub_host.ledger import Ledger, percentile
from plugbus import EventBus, NoHandlerError, PluginRecord, Request

__all__ = ("Answers", "ask", "differences", "plugin_table", "summary")

R = TypeVar("R")

_SHOWN = 3  # of a list that may be long


@dataclass(frozen=True, slots=True)
class Answers:
    """What the plugins said about the run; None from those that are not there."""

    audit: AuditBook | None = None
    stats: StatsTable | None = None
    digest: DigestReport | None = None
    notify: NotifyReport | None = None
    templates: TemplatesReport | None = None
    journal: JournalReport | None = None
    feed: Feed | None = None


async def ask(bus: EventBus) -> Answers:
    """Ask every plugin for its report.

    Args:
        bus: Where they answer.
    """
    audit = await _answer(bus, AskAudit())
    stats = await _answer(bus, AskStats())
    digest = await _answer(bus, AskDigest())
    notify = await _answer(bus, AskNotify())
    templates = await _answer(bus, AskTemplates())
    journal = await _answer(bus, AskJournal())
    feed = await _answer(bus, AskFeed())
    return Answers(audit, stats, digest, notify, templates, journal, feed)


async def _answer(bus: EventBus, request: Request[R]) -> R | None:
    try:
        return await bus.acall(request)
    except NoHandlerError:
        return None


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; the last column is as wide as it likes.

    Args:
        head: The names of the columns.
        rows: The cells of each row.

    Example:
        >>> print(*table(("id", "state"), [("guard", "ready")]), sep="|")
        id     state|guard  ready
    """
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def plugin_table(records: Iterable[PluginRecord]) -> Iterator[str]:
    """Yield one line for each plugin, with the reason of those that do not run.

    Args:
        records: ``kernel.plugins.values()``.
    """
    rows = [
        (
            record.id,
            record.manifest.version if record.manifest else "?",
            str(record.state),
            f"{record.boot_seconds * 1000:.1f} ms",
            _first_line(record.reason) or (record.manifest.description if record.manifest else ""),
        )
        for record in records
    ]
    return table(("plugin", "version", "state", "boot", "what it does, or why it does not"), rows)


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def summary(ledger: Ledger, answers: Answers) -> Iterator[str]:
    """Yield the lines that tell how the run went.

    Args:
        ledger: The hub's own book.
        answers: What the plugins say.
    """
    yield from _events(answers.stats)
    yield ""
    yield (
        f"deliveries  {ledger.read} read = {ledger.typed} typed + {ledger.named} named + {ledger.vetoed} vetoed"
        f" + {ledger.refused} refused + {ledger.malformed} malformed + {ledger.failed} failed"
    )
    p50, p99 = (percentile(ledger.emit_seconds, share) * 1000 for share in (0.50, 0.99))
    yield f"emit        p50 {p50:.2f} ms, p99 {p99:.2f} ms"
    yield from _reports(answers)
    for difference in differences(ledger, answers):
        yield f"MISMATCH    {difference}"
    accounted = ledger.balanced and not differences(ledger, answers)
    yield f"accounted   {'every delivery' if accounted else 'NOT every delivery'}"


def _events(stats: StatsTable | None) -> Iterator[str]:
    if stats is None:
        yield "events per kind are not known: the plugin 'stats' is not there"
        return
    kinds: dict[str, dict[str, int]] = {}
    for name, count in stats.by_name.items():
        kind, _, action = name.removeprefix("github.").partition(".")
        kinds.setdefault(kind, {})[action] = count
    rows = [(kind, f"{sum(actions.values()):7}", _actions(actions)) for kind, actions in sorted(kinds.items())]
    yield from table((f"kind ({len(kinds)})", "emitted", "of which"), rows)
    watched = ", ".join(f"{repo} {count}" for repo, count in stats.watched.items())
    yield f"watched     {watched or 'nothing'}"


def _actions(actions: dict[str, int]) -> str:
    return ", ".join(f"{action} {count}" for action, count in sorted(actions.items()) if action)


def _reports(answers: Answers) -> Iterator[str]:
    if (audit := answers.audit) is not None:
        yield (
            f"audit       {audit.entered} entered, {audit.passed} passed,"
            f" {audit.refused} refused, {audit.failed} failed"
        )
    if (chat := answers.notify) is not None:
        yield (
            f"notify      {chat.asked} in the background = {chat.sent} delivered + {chat.failed} failed +"
            f" {chat.timed_out} timed out + {chat.skipped} held back by the breaker + {chat.left_over} left over;"
            f" {chat.retried} retried"
        )
    if (book := answers.templates) is not None:
        words = ", ".join(f"{name} by {owner}" for name, owner in book.owners.items())
        yield f"templates   {book.rendered} times a message was put into words; {words or 'no plugin has any'}"
    if (journal := answers.journal) is not None:
        yield (
            f"journal     {journal.deliveries} deliveries committed with {journal.events} events,"
            f" {journal.rolled_back} rolled back"
        )
    if (digest := answers.digest) is not None:
        yield f"digest      {digest.fingerprinted} fingerprinted, {len(digest.twins)} nearly the same as one before"
        for twins in digest.twins[:_SHOWN]:
            yield f"            {twins.second} is like {twins.first} ({twins.differing_bits} bits differ)"
    if (feed := answers.feed) is not None:
        yield f"legacy      {feed.written} lines, the last: {feed.lines[-1] if feed.lines else 'none'}"


def differences(ledger: Ledger, answers: Answers) -> list[str]:
    """Hold the plugins' books against the hub's own; each line is something that got lost or was told twice.

    Args:
        ledger: The hub's own book.
        answers: What the plugins say.
    """
    found: list[tuple[str, int, int]] = []
    if (audit := answers.audit) is not None:
        found.append(("passed the audit", audit.passed, ledger.emitted))
        found.append(("came back to the audit", audit.passed + audit.refused + audit.failed, audit.entered))
    if (stats := answers.stats) is not None:
        found.append(("were counted by stats", sum(stats.by_name.values()), ledger.emitted))
    if (digest := answers.digest) is not None:
        found.append(("were fingerprinted", digest.fingerprinted, ledger.emitted))
    if (feed := answers.feed) is not None:
        found.append(("are in the feed", feed.written, ledger.emitted))
    if (chat := answers.notify) is not None:
        ended = chat.sent + chat.failed + chat.timed_out + chat.skipped + chat.left_over
        found.append(("notifications ended", ended, chat.asked))
    if (journal := answers.journal) is not None:
        found.append(("deliveries are in the journal", journal.deliveries, ledger.emitted))
        found.append(("events are in the journal", journal.events, ledger.emitted))
        found.append(("were rolled back", journal.rolled_back, ledger.vetoed + ledger.refused + ledger.failed))
    return [f"{count} {what}, {expected} were to" for what, count, expected in found if count != expected]
