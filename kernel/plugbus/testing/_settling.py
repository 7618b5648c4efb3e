"""Wait for everything that an emit caused."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.to_thread

from plugbus.errors import NotSettledError

if TYPE_CHECKING:
    from plugbus.kernel import Kernel
    from plugbus.portal import KernelPortal


async def settle(kernel: Kernel | KernelPortal, *, timeout_seconds: float = 5.0) -> None:
    """Wait until nothing is left of what emits caused: background observers, their retries, and posted events.

    What they cause in turn is waited for too. Tasks that plugins started themselves are not: they may run for ever;
    nor are readers of streams, nor threads that overran their time. From sync code, with a kernel in a thread of its
    own: ``portal.call(settle, portal)``.

    Args:
        kernel: The kernel, started, on this event loop or another; or its portal.
        timeout_seconds: How long to wait at most, in seconds of the event loop.

    Raises:
        NotSettledError: If something was still waiting or running then.

    Example:
        >>> import anyio
        >>> from plugbus import Event, Kernel, Plugin, observes
        >>> class Tick(Event): ...
        >>> class Shop(Plugin):
        ...     @observes(Tick, background=True)
        ...     async def note(self, tick: Tick) -> None:
        ...         await anyio.lowlevel.checkpoint()
        ...         print("noted")
        >>> async def main() -> None:
        ...     async with Kernel(plugins=[Shop]) as kernel:
        ...         await kernel.bus.aemit(Tick())
        ...         await settle(kernel)
        ...         print("settled")
        >>> anyio.run(main)
        noted
        settled
    """
    runner = kernel.bus._core.background  # noqa: SLF001 - the test kit belongs to the kernel
    if runner is not None:
        wait = partial(runner.wait_idle, None, timeout_seconds, shield=False)
        elsewhere = runner.elsewhere
        if elsewhere is None:
            await wait()
        else:
            there = partial(anyio.from_thread.run, wait, token=elsewhere)
            await anyio.to_thread.run_sync(there, abandon_on_cancel=True)
    left = tuple(unsettled(kernel))
    if left:
        raise NotSettledError(timeout_seconds, left)


def unsettled(kernel: Kernel | KernelPortal) -> list[str]:
    """Say what waits or runs in the background."""
    return [
        f"{name} of {plugin}: {work.depth} waiting, {work.running} running"
        for plugin, statistics in kernel.bus.statistics().plugins.items()
        for name, work in statistics.background.items()
        if work.depth or work.running
    ]
