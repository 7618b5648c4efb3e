"""Background work of a bus without a kernel: somebody opens it, and at its end waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import anyio

from plugbus._background.runner import Runner

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from plugbus._core import Core


@final
class BackgroundOpen:
    """What ``EventBus.background`` returns: runs background work from ``async with`` to its end."""

    __slots__ = ("_core", "_drain_seconds", "_group", "_runner")

    def __init__(self, core: Core, drain_seconds: float) -> None:
        if not drain_seconds >= 0:  # this way round, NaN fails too
            raise ValueError(f"background(drain_seconds={drain_seconds!r}): must not be below zero")
        self._core, self._drain_seconds = core, drain_seconds
        self._runner = Runner(core.clock)
        self._group: TaskGroup

    async def __aenter__(self) -> None:
        with self._core.lock:
            now = self._core.background
            if now is not None and not now.ended:
                raise RuntimeError("this bus has somebody already who runs its background work")
            self._group = anyio.create_task_group()
            self._runner.attach(self._core)
        await self._group.__aenter__()
        self._runner.start(self._group)

    async def __aexit__(self, *_: object) -> None:
        await self._runner.drain(None, self._drain_seconds)
        # What the body raised is not shown to the task group, which would wrap it into a group.
        await self._group.__aexit__(None, None, None)
