"""Doing something with each plugin as soon as those before it are done; in parallel, where there is a need to wait.

Owns the counting alone; what is done is handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, final

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from plugbus._kernel.unit import Unit


async def in_order(
    units: Sequence[Unit], at_once: Callable[[Unit], bool], in_a_task: Callable[[Unit], Awaitable[None]]
) -> None:
    """Do something with each plugin, after those that it needs and follows.

    Args:
        units: Each after those it needs and follows.
        at_once: Does it without waiting, and tells whether it could.
        in_a_task: Does it otherwise, in a task of its own; must not raise.
    """
    async with anyio.create_task_group() as tasks:
        _Schedule(units, at_once, in_a_task, tasks).go_on(units)


@final
class _Schedule:
    def __init__(
        self,
        units: Sequence[Unit],
        at_once: Callable[[Unit], bool],
        in_a_task: Callable[[Unit], Awaitable[None]],
        tasks: TaskGroup,
    ) -> None:
        self._at_once, self._in_a_task, self._tasks = at_once, in_a_task, tasks
        self._waits: dict[Unit, int] = {}
        self._after: dict[Unit, list[Unit]] = {}
        for unit in units:
            # Those that come later in the order were wishes in a circle, which nobody waits for.
            earlier = [other for other in {*unit.needs, *unit.follows} if other in self._after]
            self._waits[unit] = len(earlier)
            self._after[unit] = []
            for other in earlier:
                self._after[other].append(unit)

    def go_on(self, units: Iterable[Unit]) -> None:
        """Take on those of the given plugins that wait for nobody, and whoever can follow at once."""
        queue = deque(unit for unit in units if not self._waits[unit])
        while queue:
            unit = queue.popleft()
            if self._at_once(unit):
                queue.extend(self._released(unit))
            else:
                self._tasks.start_soon(self._run, unit, name=f"plugin {unit.id}")

    async def _run(self, unit: Unit) -> None:
        await self._in_a_task(unit)
        self.go_on(self._released(unit))

    def _released(self, unit: Unit) -> list[Unit]:
        released = []
        for follower in self._after[unit]:
            self._waits[follower] -= 1
            if not self._waits[follower]:
                released.append(follower)
        return released
