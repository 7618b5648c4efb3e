"""The journal alone: a delivery is one transaction, whoever takes part in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest
from anyio import to_thread
from hub_events import AskJournal, Deliver, JournalReport, Message, Receipt, Render
from plugins.journal import Journal

from plugbus import Event, EventBus, NamedEvent, Plugin, Veto, acting_as, answers
from plugbus.testing import KernelFactory, PluginConformance, capture

pytestmark = pytest.mark.anyio


class Emitting(Plugin, id="emitting"):
    """Stands in for the intake."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    @answers(Deliver)
    async def deliver(self, request: Deliver) -> Receipt:
        await self._bus.aemit(NamedEvent(f"github.{request.event}", request.payload))
        return Receipt(name=request.event, typed=False)


def rows_in(folder: Path) -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(folder / "journal.db")) as db:
        rows = db.execute("select kind, correlation_id, name, repo from deliveries join events on id = delivery")
        return rows.fetchall()


async def test_a_delivery_and_its_event_are_committed_together(kernel_factory: KernelFactory, tmp_path: Path) -> None:
    """In the file that the operator named, with the id that the lines of the log carry."""
    config = {"plugins": {"journal": {"folder": str(tmp_path)}}}
    async with kernel_factory(Journal, Emitting, config=config) as kernel:
        with acting_as(None, correlation_id="sample.jsonl:7"):
            await kernel.bus.acall(Deliver(event="push", payload={"repository": {"full_name": "acme/rocket"}}))
        report = await kernel.bus.acall(AskJournal())

    assert report == JournalReport(deliveries=1, events=1, rolled_back=0)
    assert await to_thread.run_sync(rows_in, tmp_path) == [("push", "sample.jsonl:7", "github.push", "acme/rocket")]


async def test_a_refused_delivery_leaves_nothing(kernel_factory: KernelFactory) -> None:
    """Its row was written before anybody refused it; observers outside hear nothing of it."""

    async def forbid(event: Event, next_fn) -> Event:
        if getattr(event, "name", "") == "github.delete":
            raise Veto("nothing is deleted")
        return await next_fn(event)

    async with kernel_factory(Journal, Emitting) as kernel:
        kernel.bus.listen("github.**", forbid)
        with capture(kernel.bus, "github.**") as heard:
            await kernel.bus.acall(Deliver(event="push"))
            with pytest.raises(Veto):
                await kernel.bus.acall(Deliver(event="delete"))
        report = await kernel.bus.acall(AskJournal())

    assert report == JournalReport(deliveries=1, events=1, rolled_back=1)
    assert [event.name for event in heard] == ["github.push"]


async def test_observers_outside_hear_what_is_committed(kernel_factory: KernelFactory) -> None:
    """So that nobody is told of what may still be rolled back."""
    committed: list[int] = []
    async with kernel_factory(Journal, Emitting) as kernel:

        async def look(_: Event) -> None:
            committed.append((await kernel.bus.acall(AskJournal())).events)

        kernel.bus.observe("github.**", look)
        await kernel.bus.acall(Deliver(event="push"))

    assert committed == [1]


async def test_a_new_issue_is_told_with_its_number(kernel_factory: KernelFactory) -> None:
    """The delivery that it came of is found by the correlation id."""
    found = Message(name="issues.opened", repo="acme/rocket", action="opened", actor="mira", title="Valve leaks")
    words: list[str] = []
    async with kernel_factory(Journal, "plugins.templates:TemplateBook", Emitting) as kernel:

        async def tell(_: Event) -> None:
            words.append(await kernel.bus.acall(Render(message=found)))

        kernel.bus.observe("github.**", tell)
        for number in (1, 2):
            with acting_as(None, correlation_id=f"sample.jsonl:{number}"):
                await kernel.bus.acall(Deliver(event="issues"))

    assert words == [f"[acme/rocket] mira opened an issue: Valve leaks (no. {n} in the journal)" for n in (1, 2)]


def test_a_temporary_file_is_gone_at_the_end(kernel_factory: KernelFactory, monkeypatch, tmp_path: Path) -> None:
    """Where the operator did not say where it is to be."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with kernel_factory(Journal).portal():
        (folder,) = tmp_path.glob("hub-journal-*")
        assert (folder / "journal.db").exists()

    assert not list(tmp_path.iterdir())


class TestJournalConforms(PluginConformance):
    """It boots alone, leaves no trace, keeps to its manifest, and survives what it needs."""

    plugin = Journal
    needs: ClassVar = ["plugins.intake:Intake", "plugins.templates:TemplateBook"]
