"""The audit alone: every event has an entry for how it ended."""

from __future__ import annotations

import anyio
import pytest
from hub_events import AskAudit, AuditBook
from plugins.audit import Audit

from plugbus import Event, NamedEvent, Veto
from plugbus.testing import KernelFactory, PluginConformance

pytestmark = pytest.mark.anyio


class Tick(Event, name="host.tick"):
    """An event that is no delivery."""


async def test_each_way_to_end_has_a_column(kernel_factory: KernelFactory) -> None:
    """Passed, refused, and failed by an error or a cancellation; together they are what entered."""
    hanging = anyio.Event()

    async def end_badly(event: NamedEvent, _next_fn: object) -> None:
        if event.name == "github.veto":
            raise Veto("no")
        if event.name == "github.crash":
            raise OSError("disk full")
        hanging.set()
        await anyio.sleep_forever()

    async with kernel_factory(Audit) as kernel:
        kernel.bus.listen(["github.veto", "github.crash", "github.hang"], end_badly)
        await kernel.bus.aemit(NamedEvent("github.ping"))
        with pytest.raises(Veto):
            await kernel.bus.aemit(NamedEvent("github.veto"))
        with pytest.raises(OSError, match="disk full"):
            await kernel.bus.aemit(NamedEvent("github.crash"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kernel.bus.aemit, NamedEvent("github.hang"))
            await hanging.wait()
            tasks.cancel_scope.cancel()
        book = await kernel.bus.acall(AskAudit())

    assert book == AuditBook(entered=4, passed=1, refused=1, failed=2)


async def test_what_is_no_delivery_passes_without_an_entry(kernel_factory: KernelFactory) -> None:
    """The kernel's own events, and the host's, are none of its business."""
    async with kernel_factory(Audit) as kernel:
        await kernel.bus.aemit(Tick())
        book = await kernel.bus.acall(AskAudit())

    assert book == AuditBook(entered=0, passed=0, refused=0, failed=0)


class TestAuditConforms(PluginConformance):
    """It boots alone, leaves no trace, keeps to its manifest, and survives what it needs."""

    plugin = Audit
