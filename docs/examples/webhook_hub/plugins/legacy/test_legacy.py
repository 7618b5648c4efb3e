"""The old feed alone: a register(ctx) module is a plugin like any other."""

from __future__ import annotations

from typing import ClassVar

import plugins.legacy
import pytest
from hub_events import AskFeed, Push

from plugbus import NamedEvent, NoHandlerError
from plugbus.testing import KernelFactory, PluginConformance

pytestmark = pytest.mark.anyio

PUSH = Push(repo="acme/rocket", actor="mira-okon", ref="refs/heads/main", before="0", after="1")
RAW = NamedEvent("github.gollum", {"repository": {"full_name": "acme/website"}, "sender": None})


async def test_it_writes_a_line_for_each_event(kernel_factory: KernelFactory) -> None:
    """It asked for plain data, and gets it for typed events too."""
    async with kernel_factory(plugins.legacy) as kernel:
        await kernel.bus.aemit(PUSH)
        await kernel.bus.aemit(RAW)
        feed = await kernel.bus.acall(AskFeed())

    assert feed.lines == ("mira-okon @ acme/rocket: github.push", "somebody @ acme/website: github.gollum")
    assert feed.written == 2


async def test_only_the_newest_lines_are_kept(kernel_factory: KernelFactory) -> None:
    """Memory is bounded, the count is not."""
    async with kernel_factory(plugins.legacy) as kernel:
        for number in range(plugins.legacy.KEPT + 5):
            await kernel.bus.aemit(NamedEvent(f"github.n{number}"))
        feed = await kernel.bus.acall(AskFeed())

    assert (len(feed.lines), feed.written) == (plugins.legacy.KEPT, plugins.legacy.KEPT + 5)


async def test_what_it_registered_leaves_with_it(kernel_factory: KernelFactory) -> None:
    """Functions that were handed to ctx.bus belong to the plugin, though it has no class."""
    async with kernel_factory(plugins.legacy) as kernel:
        await kernel.unload("legacy")
        assert await kernel.bus.aemit(PUSH) == PUSH
        with pytest.raises(NoHandlerError):
            await kernel.bus.acall(AskFeed())


class TestLegacyConforms(PluginConformance):
    """It boots alone, leaves no trace, keeps to its manifest, and survives what it needs."""

    plugin = plugins.legacy
    needs: ClassVar = ["plugins.intake:Intake"]
