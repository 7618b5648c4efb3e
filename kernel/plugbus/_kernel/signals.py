"""Waiting for the signal that ends the process, so that the kernel drains instead of being cut off.

Owns the receiver while somebody waits; outside of that, signals are the host's business.
"""

from __future__ import annotations

import signal
from typing import Final

import anyio

__all__ = ("ENDING", "wait_for_signal")

ENDING: Final = (signal.SIGTERM, signal.SIGINT)


async def wait_for_signal(stop: anyio.Event) -> str:
    """Wait for SIGTERM, SIGINT or an event; only the main thread can receive signals.

    Args:
        stop: Ends the waiting, too.

    Returns:
        The name of the signal; empty if there was none.
    """
    names: list[str] = []
    async with anyio.create_task_group() as tasks:

        async def receive() -> None:
            with anyio.open_signal_receiver(*ENDING) as received:
                async for number in received:
                    names.append(signal.Signals(number).name)
                    tasks.cancel_scope.cancel()

        tasks.start_soon(receive)
        await stop.wait()
        tasks.cancel_scope.cancel()
    return next(iter(names), "")
