"""The plugin that fails at boot: the failure stays where it is."""

from __future__ import annotations

import pytest
from plugins.mirror import Mirror

from plugbus import Kernel, KernelStartError, NamedEvent, Plugin, PluginState, observes

pytestmark = pytest.mark.anyio


class Neighbour(Plugin, id="neighbour"):
    """A plugin that boots."""

    def __init__(self) -> None:
        self.heard: list[NamedEvent] = []

    @observes("github.**", run_in="caller")
    def hear(self, event: NamedEvent) -> None:
        self.heard.append(event)


async def test_the_others_run_and_it_is_never_heard_of() -> None:
    """Its reason is on record, nothing of it is left, and its observer is never called."""
    neighbour = Neighbour()
    async with Kernel(plugins=[Mirror, neighbour]) as kernel:
        await kernel.bus.aemit(NamedEvent("github.ping"))
        record = kernel.plugins["mirror"]

        assert (record.state, record.owns) == (PluginState.FAILED, ())
        assert "mirror.invalid:443 does not answer" in record.reason
        assert kernel.plugins["neighbour"].state == PluginState.READY
        assert [event.name for event in neighbour.heard] == ["github.ping"]


async def test_an_operator_who_cannot_do_without_it_is_told_at_start() -> None:
    """required= makes the same failure fatal."""
    with pytest.raises(KernelStartError, match="does not answer"):
        async with Kernel(plugins=[Mirror], required=["mirror"]):
            pass
