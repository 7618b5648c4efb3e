"""Ends the work at the first signal, so that the kernel drains instead of being cut off."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from plugbus import Kernel

__all__ = ("InterruptedRunError", "until_signal")


class InterruptedRunError(Exception):
    """A signal ended the work.

    Args:
        name: The name of the signal, such as ``"SIGINT"``.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    @property
    def exit_code(self) -> int:
        """What a shell expects of a program that a signal ended."""
        return 128 + signal.Signals[self.name]


@asynccontextmanager
async def until_signal(kernel: Kernel) -> AsyncIterator[None]:
    """Cancel the block at the first SIGINT or SIGTERM; only the main thread can receive signals.

    Args:
        kernel: A running kernel; it receives the signal.

    Raises:
        InterruptedRunError: After the block, if a signal came.
    """
    names: list[str] = []
    try:
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                if name := await kernel.serve():
                    names.append(name)
                    tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            yield
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:  # the block's own error, which nobody expects in a group
        raise group.exceptions[0] from None
    if names:
        raise InterruptedRunError(names[0])
