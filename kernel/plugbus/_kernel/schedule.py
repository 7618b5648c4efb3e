"""Whose turn it is: one start, load, unload or change of settings at a time, and within it plugins in their order.

Who runs within a change may not wait for another one: it would wait for itself.
In a change, each plugin goes on as soon as those before it are done; in parallel, where there is a need to wait.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, final

import anyio
import anyio.lowlevel

from plugbus._route import NOT_CARRIED
from plugbus.errors import PluginError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from plugbus._kernel.unit import Unit


@final
class _Turn:
    """A change under way; background work that was started in it carries it on, long after it has ended."""

    __slots__ = ("of",)

    def __init__(self, of: Turns) -> None:
        self.of: Turns | None = of


_turns: ContextVar[tuple[_Turn, ...]] = ContextVar("plugbus_turns", default=())
NOT_CARRIED.append((_turns, ()))


@final
class Turns:
    """The queue of one kernel, in the event loop that runs."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()

    @contextlib.asynccontextmanager
    async def wait(self) -> AsyncIterator[None]:
        """Wait for one's turn, and have it.

        Raises:
            PluginError: From within another turn of this kernel.
        """
        if any(turn.of is self for turn in _turns.get()):
            what = "a plugin cannot load, unload, reload or configure others while one boots or is changed"
            raise PluginError("host", f"{what}; do it in on_ready, or in a background task")
        async with self._lock:
            await anyio.lowlevel.checkpoint_if_cancelled()  # a lock that is free was taken regardless
            turn = _Turn(self)
            mark = _turns.set((*_turns.get(), turn))
            try:
                yield
            finally:
                _turns.reset(mark)
                turn.of = None


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
