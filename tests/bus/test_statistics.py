"""statistics(): what operators see of a bus at one moment."""

from __future__ import annotations

import anyio
import anyio.to_thread
from tests.bus.tools import SECONDS, Gate, Ping, marks, opening, plugin

from plugbus import EventBus

pytestmark = marks


async def test_threads_in_use_are_told_with_how_many_there_may_be() -> None:
    """From any thread, also one that no event loop runs in."""
    bus, gate = EventBus(), Gate()
    _, shop = plugin(bus, "shop", thread_limit=3)
    shop.observe(Ping, lambda ping: gate.wait(), name="slow")

    with opening(gate), anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.aemit, Ping())
            group.start_soon(bus.aemit, Ping())
            await gate.wait_for_arrivals(2)
            here = bus.statistics().plugins["shop"]
            there = (await anyio.to_thread.run_sync(bus.statistics)).plugins["shop"]
            gate.open()

    assert (here.threads_busy, here.threads_limit) == (there.threads_busy, there.threads_limit) == (2, 3)
    assert bus.statistics().plugins["shop"].threads_busy == 0


async def test_a_plugin_without_subscriptions_is_told_of_until_it_leaves() -> None:
    """Its endpoints and jobs occupy threads, too."""
    bus = EventBus()
    owner, _ = plugin(bus, "edge", thread_limit=3)

    assert bus.statistics().plugins["edge"].threads_limit == 3
    await owner.aclose()
    assert "edge" not in bus.statistics().plugins
