"""Loading and unloading again and again: nothing stays."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import anyio
import pytest
from anyio import fail_after
from tests.test_ownership import FOLDER_PLUGIN, Cache, Everything, Tick, census

from plugbus import Kernel, Logger, Manifest, PluginContext

pytestmark = pytest.mark.anyio


def several(counts: Counter[str], least: int) -> Counter[str]:
    """Leave out what there are few of."""
    return Counter({kind: count for kind, count in counts.items() if count >= least})


@pytest.mark.parametrize("way", ["class", "module", "folder"])
async def test_rounds_of_load_and_unload_are_back_at_the_baseline(way: str, tmp_path: Path, full: bool) -> None:
    """Subscriptions, services, tasks, threads and memory."""
    number = 1_000 if full else 200
    spec: object = Everything
    if way == "module":
        module = type(sys)("ownership_module")
        module.manifest = Manifest(id="ownership")

        def register(ctx: PluginContext, log: Logger) -> None:
            ctx.bus.observe(Tick, lambda event: None)
            ctx.provide(Cache, Cache())
            ctx.tasks.start(anyio.sleep_forever)

        module.register = register
        spec = module
    if way == "folder":
        folder = anyio.Path(tmp_path / "one")
        await folder.mkdir()
        await (folder / "plugin.py").write_text(FOLDER_PLUGIN.format(name="one"))
    dirs = {"plugin_dirs": [tmp_path], "enabled": ["one"]} if way == "folder" else {}

    with fail_after(250 if full else 50):
        async with Kernel(**dirs) as kernel:
            if way == "folder":
                await kernel.unload("one")
                spec = "one"

            async def rounds(count: int) -> None:
                for _ in range(count):
                    record = await kernel.load(spec)
                    await kernel.bus.aemit(Tick())
                    await kernel.unload(record.id)

            await rounds(100)  # caches of Python and pydantic fill up to their bounds
            ours, others, threads = await census()
            await rounds(number)
            ours_after, others_after, threads_after = await census()

            assert ours_after - ours == Counter()
            grown = several(others_after - others, number // 4)
            if grown:  # a cache of some library that fills up stops growing, a leak goes on
                await rounds(number)
                _, others_again, _ = await census()
                grown = several(grown & (others_again - others_after), number // 4)
            assert grown == {}
            assert threads_after <= threads
            assert [item for item in kernel.bus.subscriptions() if item.plugin != "host"] == []
