"""The host's small parts: the chat that fails on purpose, the ledger, the progress, the report."""

from __future__ import annotations

import io
import sys

import anyio
import pytest
from hub_events import AuditBook, ChatDownError, DigestReport, Feed, JournalReport, NotifyReport, StatsTable
from hub_host.chat import FakeChat
from hub_host.ledger import Ledger, percentile
from hub_host.progress import PlainProgress, progress_for
from hub_host.report import Answers, differences, summary
from hypothesis import given
from hypothesis import strategies as st
from tests.support import virtual_time

NOBODY = Answers()


async def outcomes(seed: int) -> list[str]:
    chat, found = FakeChat(seed), []
    for number in range(200):
        with anyio.move_on_after(60) as scope:
            try:
                await chat.send(f"message {number}")
                found.append("taken")
            except ChatDownError:
                found.append("failed")
        if scope.cancelled_caught:
            found.append("hung")
    return found


@virtual_time
@pytest.mark.anyio
async def test_the_chat_does_the_same_for_the_same_seed() -> None:
    """It takes most, and fails and hangs now and then; another seed does otherwise."""
    first, again, other = await outcomes(1), await outcomes(1), await outcomes(2)

    assert first == again != other
    assert {"taken", "failed", "hung"} == set(first)
    assert first.count("taken") > 120


@given(values=st.lists(st.floats(0, 10), min_size=1), share=st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], share: float) -> None:
    """And the smallest such value."""
    found = percentile(values, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_a_ledger_balances_when_each_delivery_ended() -> None:
    """One that is in no column shows."""
    ledger = Ledger(read=6, typed=1, named=1, vetoed=1, refused=1, malformed=1, failed=1)
    assert ledger.balanced

    ledger.read += 1

    assert not ledger.balanced
    assert list(summary(ledger, NOBODY))[-1] == "accounted   NOT every delivery"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"audit": AuditBook(entered=3, passed=1, refused=1, failed=0)}, ["1 passed", "2 came back"]),
        ({"stats": StatsTable(by_name={"github.push": 3}, watched={})}, ["3 were counted"]),
        ({"digest": DigestReport(fingerprinted=1, twins=())}, ["1 were fingerprinted"]),
        ({"feed": Feed(lines=(), written=0)}, ["0 are in the feed"]),
        (
            {"notify": NotifyReport(asked=2, sent=1, retried=0, failed=0, timed_out=0, skipped=0, left_over=0)},
            ["1 notifications"],
        ),
        (
            {"journal": JournalReport(deliveries=1, events=3, rolled_back=1)},
            ["1 deliveries", "3 events", "1 were rolled"],
        ),
    ],
)
def test_a_book_that_differs_from_the_ledger_shows(change, told) -> None:
    """The run is not accounted for, though the ledger itself balances."""
    ledger = Ledger(read=2, typed=2)
    answers = Answers(**change)

    found = differences(ledger, answers)

    assert [line.startswith(expected) for line, expected in zip(found, told, strict=True)] == [True] * len(told)
    assert list(summary(ledger, answers))[-1] == "accounted   NOT every delivery"


def test_plain_progress_tells_the_quarters() -> None:
    """Not every line, and the end once."""
    out = io.StringIO()
    with PlainProgress(1000, out) as progress:
        for _ in range(100):
            progress.advance(10)

    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert lines == [f"progress {share} % {share} deliveries" for share in (25, 50, 75, 100)]


def test_progress_without_a_known_end_counts() -> None:
    """A pipe does not say how much is to come."""
    out = io.StringIO()
    with PlainProgress(None, out) as progress:
        progress.advance(10)

    assert out.getvalue().split() == ["progress", "1", "deliveries"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_if_rich_is_there() -> None:
    """And it is closed again."""
    pytest.importorskip("rich")
    out = Terminal()
    with progress_for(10, out) as progress:
        progress.advance(10)

    assert not isinstance(progress, PlainProgress)
    assert "100%" in out.getvalue()
    assert "1 deliveries" in out.getvalue()


def test_without_rich_a_terminal_gets_plain_lines(monkeypatch) -> None:
    """The extra is an extra."""
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.delitem(sys.modules, "hub_host.bar", raising=False)

    assert isinstance(progress_for(10, Terminal()), PlainProgress)


def test_what_is_no_terminal_gets_plain_lines() -> None:
    """A log file is no place for a bar."""
    assert isinstance(progress_for(10, io.StringIO()), PlainProgress)
