"""The statistics alone: counts by name, and by key for watched repositories."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hub_events import EVENT_TYPES, AskStats, Push
from plugins.stats import Stats

from plugbus import Kernel, NamedEvent, Veto
from plugbus.testing import PluginConformance

pytestmark = pytest.mark.anyio

PUSH = Push(repo="acme/rocket", ref="refs/heads/main", before="0", after="1")
STAR = EVENT_TYPES["github.star.created"](repo="acme/website")


def counting(*watch: str) -> Kernel:
    return Kernel(plugins=[Stats], config={"plugins": {"stats": {"watch": list(watch)}}})


async def test_every_event_is_counted_under_its_name() -> None:
    """Whatever its type is."""
    async with counting() as kernel:
        for event in (PUSH, STAR, PUSH, NamedEvent("github.gollum", {})):
            await kernel.bus.aemit(event)
        table = await kernel.bus.acall(AskStats())

    assert table.by_name == {"github.gollum": 1, "github.push": 2, "github.star.created": 1}


async def test_a_watched_repository_has_a_count_of_its_own() -> None:
    """Over all kinds of typed event; one that nothing happens in counts zero."""
    async with counting("acme/rocket", "acme/empty") as kernel:
        for event in (PUSH, STAR, PUSH):
            await kernel.bus.aemit(event)
        table = await kernel.bus.acall(AskStats())

    assert table.watched == {"acme/rocket": 2, "acme/empty": 0}


async def test_what_is_vetoed_is_not_counted() -> None:
    """Observers hear what happened, and a vetoed event did not."""

    async def forbid(_event: Push, _next_fn: object) -> Push:
        raise Veto("no")

    async with counting("acme/rocket") as kernel:
        kernel.bus.listen(Push, forbid)
        with pytest.raises(Veto):
            await kernel.bus.aemit(PUSH)
        table = await kernel.bus.acall(AskStats())

    assert (table.by_name, table.watched) == ({}, {"acme/rocket": 0})


class TestStatsConforms(PluginConformance):
    """It boots alone, leaves no trace, keeps to its manifest, and survives what it needs."""

    plugin = Stats
    needs: ClassVar = ["plugins.intake:Intake", "plugins.templates:TemplateBook"]
    config: ClassVar = {"watch": ["acme/rocket"]}
