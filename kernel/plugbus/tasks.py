"""Background work that belongs to somebody: cancelled when its owner leaves, restarted and counted when it crashes.

Owns the tasks of one owner, inside a task group that the kernel hands in; waiting is the ``Clock``'s job.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple, final

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

from plugbus._context import carried, resumed
from plugbus._failing import own_failure
from plugbus._route import NOT_CARRIED
from plugbus._services.keys import place, underlying
from plugbus._services.units import UNIT
from plugbus._tasks import TasksStatistics, TaskState, TaskStatistics, TaskThread
from plugbus.clock import Clock, SystemClock
from plugbus.errors import PluginGoneError, PluginTimeoutError
from plugbus.retry import Retry

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ("TaskHandle", "TaskState", "TaskStatistics", "Tasks", "TasksStatistics")

Ts = TypeVarTuple("Ts")

_KEPT_CRASHES: Final = 20
_inside: ContextVar[tuple[TaskHandle, ...]] = ContextVar("plugbus_tasks", default=())
NOT_CARRIED.append((_inside, ()))


@final
class TaskHandle:
    """One piece of background work, as ``Tasks.start`` returns it.

    Attributes:
        name: What it is called.
        state: What it does, or how it ended.
        starts: How often it was started.
        error: The last crash, if there was one.

    Example:
        >>> import anyio
        >>> from plugbus import Tasks
        >>> async def main() -> None:
        ...     async with anyio.create_task_group() as group:
        ...         handle = Tasks(group).start(anyio.sleep, 0, name="nap")
        ...         await handle.wait()
        ...         print(handle.name, handle.starts)
        >>> anyio.run(main)
        nap 1
    """

    __slots__ = ("_call", "_ended", "_restart", "_scope", "_tasks", "error", "name", "starts", "state")

    def __init__(self, tasks: Tasks, name: str, call: Callable[[], Any], restart: Retry | None) -> None:
        self.name = name
        self.state: TaskState = "running"
        self.starts = 0
        self.error: BaseException | None = None
        self._tasks, self._call, self._restart = tasks, call, restart
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    def cancel(self) -> None:
        """Ask it to stop, from any thread; ``wait`` tells when it has. Once it has ended, this does nothing."""
        if not self._ended.is_set():
            self._tasks._on_loop(self._scope.cancel)  # noqa: SLF001 -- two halves of one thing

    async def wait(self) -> None:
        """Wait until it has ended, however it did; this suspends, and can be cancelled. Its error is not raised."""
        await self._ended.wait()

    def statistics(self) -> TaskStatistics:
        """Return what it does and how it did so far."""
        return TaskStatistics(self.name, self.state, self.starts, self.error)

    def __repr__(self) -> str:
        return f"<TaskHandle {self.name!r}: {self.state}>"


@final
class Tasks:
    """The background work of one owner.

    A crash never reaches the task group: it is kept, counted and told, and the work restarted if it asked for it.
    Whatever work raises is its crash, ``SystemExit`` too; only ``KeyboardInterrupt`` is the process's, and passes.

    Args:
        task_group: Where the work runs; the kernel's.
        owner: Id of the owner, for names and errors.
        clock: What measures and waits between restarts.
        on_crash: Called on the loop with the handle and the error, at each crash.
        token: The loop of the task group; needed only when the tasks are made outside of it.

    Example:
        >>> import anyio
        >>> async def count(seen: list[str]) -> None:
        ...     seen.append("once")
        >>> async def main() -> list[str]:
        ...     seen: list[str] = []
        ...     async with anyio.create_task_group() as group:
        ...         tasks = Tasks(group)
        ...         handle = tasks.start(count, seen)
        ...         await handle.wait()
        ...         await tasks.aclose()
        ...     return [*seen, handle.state]
        >>> anyio.run(main)
        ['once', 'finished']
    """

    def __init__(
        self,
        task_group: TaskGroup,
        *,
        owner: str = "host",
        clock: Clock | None = None,
        on_crash: Callable[[TaskHandle, BaseException], object] | None = None,
        token: anyio.lowlevel.EventLoopToken | None = None,
    ) -> None:
        self._task_group, self._owner, self._on_crash = task_group, owner, on_crash
        self._clock = clock or SystemClock()
        self._token = token or anyio.lowlevel.current_token()
        self._alive: dict[TaskHandle, None] = {}
        self._crashed: deque[TaskStatistics] = deque(maxlen=_KEPT_CRASHES)
        self._started = self._crashes = self._threads_abandoned = 0
        self._closed = False
        self._lock = threading.Lock()

    def start(
        self,
        fn: Callable[[*Ts], object],
        *args: *Ts,
        name: str | None = None,
        restart: Retry | None = None,
    ) -> TaskHandle:
        """Start work in the background, from any thread, and return without waiting for it.

        Args:
            fn: What to run. A ``def`` runs in a thread of its own, which a cancel can only abandon: let it look at
                ``anyio.from_thread.check_cancelled()`` now and then.
            args: What to call it with.
            name: What it is called in health and errors; where it was written, unless given.
            restart: Run it again after a crash, after these delays. A run that lasted longer than
                ``max_delay_seconds`` counts as recovered, and the delays begin anew.

        Raises:
            PluginGoneError: If the owner has left, or its task group has ended.
        """
        call = (
            functools.partial(fn, *args)
            if inspect.iscoroutinefunction(underlying(fn))
            else functools.partial(self._in_thread, fn, *args)
        )
        handle: TaskHandle = self._on_loop(self._start, name or place(fn), call, restart)
        return handle

    def _start(self, name: str, call: Callable[[], Any], restart: Retry | None) -> TaskHandle:
        if self._closed:
            raise PluginGoneError(self._owner, f"its task {name!r}")
        handle = TaskHandle(self, name, call, restart)
        try:
            self._task_group.start_soon(self._run, handle, name=name)
        except RuntimeError as error:  # the group has ended
            raise PluginGoneError(self._owner, f"its task {name!r}") from error
        self._alive[handle] = None
        self._started += 1
        return handle

    def _on_loop(self, call: Callable[[*Ts], Any], *args: *Ts) -> Any:
        try:
            here = anyio.lowlevel.current_token()
        except RuntimeError:  # anyio.NoEventLoopError: a thread
            here = None
        if here == self._token:
            return call(*args)
        return anyio.from_thread.run_sync(call, *args, token=self._token)

    async def _run(self, handle: TaskHandle) -> None:
        _inside.set((*_inside.get(), handle))
        UNIT.set(None)  # it outlives whatever unit of work it was started in
        facts = carried()
        try:  # who started it acts, and its emit is the cause; but the task is no part of that
            with resumed(facts and facts._replace(emit=None)), handle._scope:  # noqa: SLF001 -- two halves of one thing
                await self._supervise(handle)
        finally:
            if handle.state in {"running", "waiting"}:
                handle.state = "cancelled"
            if handle.state == "crashed":
                self._crashed.append(handle.statistics())
            self._alive.pop(handle, None)
            handle._ended.set()  # noqa: SLF001

    async def _supervise(self, handle: TaskHandle) -> None:
        restart = handle._restart  # noqa: SLF001
        delays = iter(()) if restart is None else restart.delays()
        while True:
            began = self._clock.monotonic()
            if await self._attempt(handle):
                handle.state = "finished"
                return
            if isinstance(handle.error, GeneratorExit):  # it may be closed from outside, and must not wait again
                handle.state = "crashed"
                return
            if restart is not None and self._clock.monotonic() - began > restart.max_delay_seconds:
                delays = restart.delays()
            delay = next(delays, None)
            if delay is None:
                handle.state = "crashed"
                return
            handle.state = "waiting"
            await self._clock.sleep(delay)

    async def _attempt(self, handle: TaskHandle) -> bool:
        handle.state = "running"
        handle.starts += 1
        try:
            await handle._call()  # noqa: SLF001
        except BaseException as raised:  # noqa: BLE001 -- kept, counted and told; the group and its other tasks go on
            handle.error = error = await own_failure(raised)
            self._crashes += 1
            self._tell(handle, error)
            return False
        return True

    def _tell(self, handle: TaskHandle, error: BaseException) -> None:
        if self._on_crash is None:
            return
        try:
            self._on_crash(handle, error)
        except Exception as own:  # noqa: BLE001 -- whoever reads of the crash reads of this
            error.add_note(f"and telling of it failed: {own!r}")

    async def _in_thread(self, fn: Callable[[*Ts], object], *args: *Ts) -> None:
        thread = TaskThread(functools.partial(fn, *args), self._count_abandoned)
        one = anyio.CapacityLimiter(1)  # its own: work that lasts must not use up what others share
        try:
            await anyio.to_thread.run_sync(thread.run, abandon_on_cancel=True, limiter=one)
        finally:
            thread.leave()
        if thread.error is not None:
            raise thread.error
        if inspect.iscoroutine(thread.result):  # of a lambda around an async function
            await thread.result

    def _count_abandoned(self, change: int) -> None:
        with self._lock:
            self._threads_abandoned += change

    def statistics(self) -> TasksStatistics:
        """Return what runs, what crashed, and how often."""
        alive = tuple(handle.statistics() for handle in tuple(self._alive))
        return TasksStatistics(alive, tuple(self._crashed), self._started, self._crashes, self._threads_abandoned)

    async def aclose(self, timeout_seconds: float = 10.0) -> None:
        """Cancel everything and wait for it to end, whether the caller is cancelled or not; nothing starts any more.

        A task that calls this is cancelled too, and not waited for.

        Args:
            timeout_seconds: How long to wait, in seconds.

        Raises:
            PluginTimeoutError: If something did not stop in time; it is named, and left to itself.
        """
        self._closed = True
        own = _inside.get()
        others = [handle for handle in self._alive if handle not in own]
        for handle in self._alive:
            handle.cancel()
        with anyio.move_on_after(timeout_seconds, shield=True):
            for handle in others:
                await handle.wait()
        left = [handle.name for handle in others if handle in self._alive]
        if left:
            raise PluginTimeoutError(self._owner, f"its task {', '.join(map(repr, left))}", timeout_seconds)
