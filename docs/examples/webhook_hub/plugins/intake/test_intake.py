"""The intake alone: what becomes an event, under which name, and what is refused why."""

from __future__ import annotations

import pytest
from hub_events import Deliver, Issues
from plugins.intake import Intake
from plugins.intake.judging import event_name

from plugbus import Event, Invalid, NamedEvent, Veto
from plugbus.testing import KernelFactory, PluginConformance, capture

pytestmark = pytest.mark.anyio

REPO = {"repository": {"full_name": "acme/rocket"}, "sender": {"login": "mira-okon"}}
OPENED = {**REPO, "action": "opened", "issue": {"number": 1, "title": "Valve leaks"}}


async def test_a_delivery_becomes_the_typed_event_of_its_kind_and_action(kernel_factory: KernelFactory) -> None:
    """It is named github.<kind>.<action>, and its key is the repository."""
    async with kernel_factory(Intake) as kernel:
        with capture(kernel.bus, "github.**") as heard:
            receipt = await kernel.bus.acall(Deliver(event="issues", payload=OPENED))

    assert (receipt.name, receipt.typed) == ("github.issues.opened", True)
    (event,) = heard
    assert isinstance(event, Issues)
    assert (event.repo, event.actor, event.number, event.title) == ("acme/rocket", "mira-okon", 1, "Valve leaks")


@pytest.mark.parametrize(
    ("kind", "payload", "name"),
    [
        ("gollum", {**REPO, "pages": []}, "github.gollum"),
        ("moon_landing", {**REPO, "action": "aborted"}, "github.moon_landing.aborted"),
        ("issues", {**OPENED, "action": "celebrated"}, "github.issues.celebrated"),
        ("repository_dispatch", {"action": "run.all tests*"}, "github.repository_dispatch.run_all_tests_"),
        ("odd", {"action": {"not": "text"}}, "github.odd"),
    ],
)
async def test_an_unknown_kind_is_carried_whole(kernel_factory: KernelFactory, kind, payload, name) -> None:
    """A kind or action that has no type becomes a NamedEvent with all of its payload."""
    async with kernel_factory(Intake) as kernel:
        with capture(kernel.bus, "github.**") as heard:
            receipt = await kernel.bus.acall(Deliver(event=kind, payload=payload))

    assert (receipt.name, receipt.typed) == (name, False)
    assert heard == [NamedEvent(name, payload)]


@pytest.mark.parametrize(
    ("event", "payload", "problems"),
    [
        (None, OPENED, ["event"]),
        ("Issues!", OPENED, ["event"]),
        ("issues", ["opened"], ["payload"]),
        (7, None, ["event", "payload"]),
        ("issues", REPO, ["issue.number", "issue.title", "action"]),
        ("issues", {**OPENED, "issue": {"number": "one", "title": "x"}}, ["issue.number"]),
        ("push", {"ref": "refs/heads/main", "before": "0", "after": "1"}, ["repository.full_name"]),
    ],
)
async def test_a_malformed_delivery_is_refused_with_every_reason(
    kernel_factory: KernelFactory, event, payload, problems
) -> None:
    """The refusal names each point, and nothing is emitted."""
    async with kernel_factory(Intake) as kernel:
        with capture(kernel.bus, "github.**") as heard, pytest.raises(Invalid) as caught:
            await kernel.bus.acall(Deliver(event=event, payload=payload))

    assert sorted(problem.where for problem in caught.value.problems) == sorted(problems)
    assert heard == []


async def test_a_veto_on_the_event_reaches_who_delivered(kernel_factory: KernelFactory) -> None:
    """A refusal of a nested emit passes as itself."""

    async def forbid(_event: Event, _next_fn: object) -> Event:
        raise Veto("not today")

    async with kernel_factory(Intake) as kernel:
        with capture(kernel.bus, "github.**") as heard:
            kernel.bus.listen("github.**", forbid)
            with pytest.raises(Veto, match="not today"):
                await kernel.bus.acall(Deliver(event="issues", payload=OPENED))

    assert heard == []


def test_a_sender_cannot_choose_a_long_name() -> None:
    """The bus keeps names, so what comes from outside is cut."""
    assert len(event_name("odd", {"action": "x" * 1_000_000})) < 100


class TestIntakeConforms(PluginConformance):
    """It boots alone, leaves no trace, keeps to its manifest, and survives what it needs."""

    plugin = Intake
