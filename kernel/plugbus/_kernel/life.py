"""From entering a kernel to leaving it: its task group, its portal, and the signals that ask it to stop.

Owns these for one start; plugins are the runtime's business, and signals the host's outside of it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

import anyio
from anyio.abc import TaskGroup, TaskStatus
from anyio.from_thread import BlockingPortal

from plugbus.errors import KernelStartError, Problem

if TYPE_CHECKING:
    from plugbus._kernel.runtime import Runtime


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


@final
@dataclass(frozen=True, slots=True)
class _Now:
    """What there is from entering to leaving."""

    tasks: TaskGroup
    portal: BlockingPortal
    stop: anyio.Event


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
        self._now: _Now | None = None
        self._starting: anyio.CancelScope | None = None

    async def begin(self, *, signals: bool) -> None:
        """Start everything.

        Args:
            signals: Stop on SIGTERM and SIGINT, from this moment on: one that comes during the start cancels it.

        Raises:
            KernelStartError: If it cannot start, was asked to stop meanwhile, or was started before.
        """
        if self._now is not None:
            raise KernelStartError([Problem("kernel", "has been started before", "make a new Kernel for each start")])
        tasks = await self._stack.enter_async_context(anyio.create_task_group())
        portal = await self._stack.enter_async_context(BlockingPortal())
        self._now = _Now(tasks, portal, anyio.Event())
        self._runtime.bus.attach_portal(portal)
        try:
            if signals:
                await tasks.start(receive_signals, self.stop)
            await self._start(tasks)
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
        now = self._running("kernel")
        await self._runtime.stop(self.reason)
        self._runtime.bus.attach_portal(None)
        with anyio.CancelScope(shield=True):
            await now.portal.stop(cancel_remaining=True)
        now.tasks.cancel_scope.cancel()
        await self._stack.__aexit__(None, None, None)

    @property
    def portal(self) -> BlockingPortal:
        """The way into the event loop from other threads."""
        return self._running("kernel.portal()").portal

    def stop(self, reason: str) -> None:
        """Ask it to stop; the first reason counts. Before it was entered, this does nothing."""
        if self._now is None:
            return
        self.reason = self.reason or reason
        self._now.stop.set()
        if self._starting is not None:
            self._starting.cancel()

    async def run(self) -> None:
        """Start, wait until it is asked to stop, by a signal or otherwise, and shut down."""
        try:
            await self.begin(signals=True)
        except KernelStartError:
            if self.reason:  # it was told to stop, and it did
                return
            raise
        try:
            await self._running("kernel.run()").stop.wait()
        finally:
            await self.end()

    async def serve(self) -> str:
        """Wait until it is asked to stop, by a signal or otherwise; return the reason."""
        now = self._running("kernel.serve()")
        async with anyio.create_task_group() as tasks:
            await tasks.start(receive_signals, self.stop)
            await now.stop.wait()
            tasks.cancel_scope.cancel()
        return self.reason

    def _running(self, what: str) -> _Now:
        if self._now is None:
            raise KernelStartError([Problem(what, "the kernel is not running", "use `async with kernel`")])
        return self._now
