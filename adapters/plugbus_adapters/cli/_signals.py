"""Signals that arrive before the kernel waits for them: a process that is told to end while it boots drains, too.

Owns the time from the start of the process to ``Kernel.serve``, which takes over from there.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from plugbus import Kernel, KernelReady

__all__ = ("signals_kept_while_booting",)


@contextlib.contextmanager
def signals_kept_while_booting(kernel: Kernel) -> Iterator[None]:
    """Have a kernel stop as soon as it has booted if a signal came before; a second one ends the process.

    Args:
        kernel: A kernel that is about to run in this, the main thread.
    """
    asked: list[str] = []

    def keep(number: int, _: FrameType | None) -> None:
        if asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        asked.append(signal.Signals(number).name)
        kernel.stop(asked[0])

    async def catch_up(_: KernelReady) -> None:
        if asked:  # it may have come before there was anything to stop
            kernel.stop(asked[0])

    kernel.bus.observe(KernelReady, catch_up)
    before = {number: signal.signal(number, keep) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
