"""From entering a kernel to leaving it: its task group, its portal, and what asks it to stop.

Owns these for one start; plugins are the runtime's business.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, final

import anyio
from anyio.from_thread import BlockingPortal

from plugbus._kernel.signals import receive_signals
from plugbus.errors import KernelStartError, Problem

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from plugbus._kernel.runtime import Runtime

__all__ = ("Life",)


@final
class Life:
    """The one life of a kernel.

    Attributes:
        reason: Why it was asked to stop; empty as long as it was not.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.reason = ""
        self._runtime = runtime
        self._stack = AsyncExitStack()
        self._tasks: TaskGroup | None = None
        self._portal: BlockingPortal | None = None
        self._stop: anyio.Event | None = None
        self._starting: anyio.CancelScope | None = None

    async def begin(self, *, signals: bool) -> None:
        """Start everything.

        Args:
            signals: Stop on SIGTERM and SIGINT, from this moment on: one that comes during the start cancels it.

        Raises:
            KernelStartError: If it cannot start, was asked to stop meanwhile, or was started before.
        """
        if self._stop is not None:
            raise KernelStartError([Problem("kernel", "has been started before", "make a new Kernel for each start")])
        self._stop = anyio.Event()
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._portal = await self._stack.enter_async_context(BlockingPortal())
        self._runtime.bus.attach_portal(self._portal)
        try:
            if signals:
                await self._tasks.start(receive_signals, self.stop)
            await self._start(self._tasks)
        except BaseException:
            await self.end()
            raise

    async def _start(self, tasks: TaskGroup) -> None:
        with anyio.CancelScope() as self._starting:
            await self._runtime.start(tasks)
        if self._starting.cancelled_caught:
            raise KernelStartError([Problem("kernel", f"was told to stop while it started: {self.reason}")])
        self._starting = None

    async def end(self) -> None:
        """Shut down; what the body raised is not shown to the task group, which would wrap it into a group."""
        await self._runtime.stop(self.reason)
        self._runtime.bus.attach_portal(None)
        if self._portal is not None and self._tasks is not None:
            with anyio.CancelScope(shield=True):
                await self._portal.stop(cancel_remaining=True)
            self._tasks.cancel_scope.cancel()
        await self._stack.__aexit__(None, None, None)

    @property
    def portal(self) -> BlockingPortal:
        """The way into the event loop from other threads."""
        if self._portal is None:
            raise _not_running("kernel.portal()")
        return self._portal

    def stop(self, reason: str) -> None:
        """Ask it to stop; the first reason counts."""
        self.reason = self.reason or reason
        if self._stop is not None:
            self._stop.set()
        if self._starting is not None:
            self._starting.cancel()

    async def wait_stop(self) -> None:
        """Wait until it is asked to stop."""
        if self._stop is None:
            raise _not_running("kernel.serve()")
        await self._stop.wait()

    async def serve(self) -> str:
        """Wait until it is asked to stop, by a signal or otherwise; return the reason."""
        if self._stop is None:
            raise _not_running("kernel.serve()")
        async with anyio.create_task_group() as tasks:
            await tasks.start(receive_signals, self.stop)
            await self._stop.wait()
            tasks.cancel_scope.cancel()
        return self.reason


def _not_running(what: str) -> KernelStartError:
    return KernelStartError([Problem(what, "the kernel is not running", "use `async with kernel`")])
