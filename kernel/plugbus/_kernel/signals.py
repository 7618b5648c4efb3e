"""The signals that end a process, so that the kernel drains instead of being cut off.

Owns the receiver while somebody waits; outside of that, signals are the host's business.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final

import anyio
from anyio.abc import TaskStatus

ENDING: Final = (signal.SIGTERM, signal.SIGINT)


async def receive_signals(
    told: Callable[[str], object], *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Tell the name of each signal that asks the process to end, until cancelled; from the main thread alone.

    Args:
        told: Called on the event loop.
        task_status: Told when the receiver is in place.
    """
    with anyio.open_signal_receiver(*ENDING) as received:
        task_status.started()
        async for number in received:
            told(signal.Signals(number).name)
