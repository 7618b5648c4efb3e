"""What an operator can do while the hub runs: change a setting, and put a new plugin in the place of the old one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from hub_events import Delete

from plugbus import ABSENT, Kernel, SettingsError, Veto

__all__ = ("at_run_time",)

_PROBE = Delete(repo="acme/website", ref="main", ref_type="branch")
_RULE = {"event": "github.delete", "repo": "acme/website", "reason": "the website is frozen today"}


async def at_run_time(kernel: Kernel) -> AsyncIterator[str]:
    """Change the hub while it runs, and yield a line for each thing that was done.

    It leaves all as it was, but for the events that it emits to show the effect.

    Args:
        kernel: The hub, with the plugins ``guard`` and ``digest``.
    """
    yield f"settings    {await _judged(kernel)}"
    await kernel.plugins.configure("guard", {"rules": [_RULE]})
    source = kernel.plugins["guard"].setting_sources["rules"]
    yield f"            guard has another rule now, by {source}: {await _judged(kernel)}"
    try:
        await kernel.plugins.configure("guard", {"rules": [{"rpeo": "acme/*", "reason": "?"}]})
    except SettingsError as error:
        yield f"            a misspelt one is refused: {'; '.join(map(str, error.problems))}"
    await kernel.plugins.configure("guard", {"rules": ABSENT})
    yield f"            and back: {await _judged(kernel)}"
    old = kernel.plugins["digest"].instance
    emits = await _emit_while_reloading(kernel, "digest")
    record = kernel.plugins["digest"]
    what = "another object" if record.instance is not old else "the same object"
    yield f"reload      {record.id} is {record.state} as {what}; {emits} events went through meanwhile"


async def _emit_while_reloading(kernel: Kernel, plugin_id: str) -> int:
    done, count = anyio.Event(), 0

    async def reload() -> None:
        await kernel.plugins.reload(plugin_id)
        done.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reload)
        while not done.is_set():
            await kernel.bus.aemit(_PROBE)
            count += 1
    return count


async def _judged(kernel: Kernel) -> str:
    try:
        await kernel.bus.aemit(_PROBE)
    except Veto as veto:
        return f"deleting a branch is vetoed, {veto.reason}"
    return "deleting a branch passes"
