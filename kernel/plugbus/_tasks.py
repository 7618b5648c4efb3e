"""What tasks are made of: how they are counted, and the thread that runs a sync one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, final

TaskState: TypeAlias = Literal["running", "waiting", "finished", "crashed", "cancelled"]
"""``waiting`` is between a crash and the restart; the last three are final."""


@final
class TaskStatistics(NamedTuple):
    """One task at one moment.

    Attributes:
        name: What it is called.
        state: What it does, or how it ended.
        starts: How often it was started; more than once means that it crashed.
        error: The last crash, if there was one.

    Example:
        >>> TaskStatistics("nap", "running", starts=1, error=None).starts
        1
    """

    name: str
    state: TaskState
    starts: int
    error: BaseException | None


@final
class TasksStatistics(NamedTuple):
    """The tasks of one owner at one moment.

    Attributes:
        alive: Those that run or wait for their restart, the oldest first.
        crashed: The last of those that crashed for good, the oldest first.
        started: How many were ever started.
        crashes: How often one of them crashed, restarted or not.
        threads_abandoned: Threads of cancelled sync tasks that still run.

    Example:
        >>> import anyio
        >>> from plugbus import Tasks
        >>> async def main() -> None:
        ...     async with anyio.create_task_group() as group:
        ...         print(Tasks(group).statistics().started)
        >>> anyio.run(main)
        0
    """

    alive: tuple[TaskStatistics, ...]
    crashed: tuple[TaskStatistics, ...]
    started: int
    crashes: int
    threads_abandoned: int


@final
class TaskThread:
    """A call in a thread that may be left behind."""

    def __init__(self, call: Callable[[], object], count: Callable[[int], None]) -> None:
        self._call, self._count = call, count
        self.result: object = None  # not returned: trio takes a coroutine for a mistake
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._running = self._left = False

    def run(self) -> None:
        with self._lock:
            self._running = True
        try:
            self.result = self._call()
        except BaseException as error:  # noqa: BLE001 - not raised: asyncio would close coroutines by a GeneratorExit
            self.error = error
        finally:
            with self._lock:
                self._running = False
                if self._left:
                    self._count(-1)

    def leave(self) -> None:
        with self._lock:
            self._left = self._running
            if self._left:
                self._count(+1)
