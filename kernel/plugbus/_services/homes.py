"""The one thread that the sync services of a unit of work live on.

SQLite, and much else that is sync, refuses another thread than the one that opened it. Sync code that opens a unit
of work is its home itself. A unit that is opened on the loop gets a thread of its own, once something sync is asked
for; a worker thread hands its call over to it and waits, and does meanwhile whatever leads back to the loop.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Protocol, final

import anyio
import anyio.to_thread

from plugbus._threads import loop_is_running
from plugbus.errors import ServiceError

Call = Callable[..., Any]

OPEN_ON_LOOP: Final = "open the unit of work on the loop: `async with services.scope()`, `bus.aemit()` or `bus.acall()`"


class Home(Protocol):
    """Where sync services of one unit of work are built, used and closed."""

    is_async: bool

    @property
    def here(self) -> bool:
        """Whether this is the thread."""
        ...

    def run(self, call: Call, *args: Any) -> Any:
        """Run something there, from any thread, and wait for it."""

    def arun(self, call: Call, *args: Any, abandon: bool = False) -> Awaitable[Any]:
        """Do the same from the loop; a cancelled caller waits, or leaves it behind."""
        ...

    def soon(self, call: Call) -> None:
        """Run something there that raises nothing, and wait for it only where this is the thread."""

    def leave(self) -> None:
        """End it, once nothing is there any more."""


@final
class CallersThread:
    """The thread of the sync code that opened the unit of work."""

    __slots__ = ("_thread",)

    is_async = False

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    @property
    def here(self) -> bool:
        """Whether this is the thread."""
        return threading.get_ident() == self._thread

    def run(self, call: Call, *args: Any) -> Any:
        """Run it here, if this is the thread."""
        if not self.here:
            raise ServiceError(
                "of a unit of work",
                "sync code opened the unit of work on another thread, which now waits for this one",
                OPEN_ON_LOOP,
            )
        return call(*args)

    async def arun(self, call: Call, *args: Any, abandon: bool = False) -> Any:
        """Do the same."""
        del abandon
        return self.run(call, *args)

    def soon(self, call: Call) -> None:
        """Run it here."""
        call()

    def leave(self) -> None:
        """Nothing is to be done."""


class _Answer:
    """What came of a call that another thread makes."""

    __slots__ = ("done", "error", "value")

    def __init__(self) -> None:
        self.done, self.value = False, None
        self.error: BaseException | None = None

    def make(self, context: Context, call: Call, args: tuple[Any, ...]) -> None:
        try:
            self.value = context.run(call, *args)
        except BaseException as error:  # noqa: BLE001 -- raised again by whoever waits
            self.error = error
        self.done = True

    def take(self) -> Any:
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            self.error = None  # or the traceback would hold on to itself


Message = Callable[[], None]
Talk = SimpleQueue[Message]

_serving = threading.local()


def away(call: Call, *args: Any) -> Any:
    """Run what may lead back to the loop: from a unit's own thread, in the worker thread that waits for it.

    The thread goes on serving meanwhile: what runs below may need it.
    """
    home: OwnThread | None = getattr(_serving, "home", None)
    return call(*args) if home is None else home.ask_caller(call, args)


@final
class OwnThread:
    """A thread for one unit of work, started by the first call."""

    __slots__ = ("_callers", "_jobs", "_lock", "_thread")

    is_async = True

    def __init__(self) -> None:
        self._jobs: Talk | None = None
        self._thread: int | None = None
        self._callers: list[Talk] = []
        self._lock = threading.Lock()

    @property
    def here(self) -> bool:
        """Whether this is the thread."""
        return threading.get_ident() == self._thread

    def run(self, call: Call, *args: Any) -> Any:
        """Run it there, and do here what it asks its caller for."""
        if self.here:
            return call(*args)
        if loop_is_running():
            raise ServiceError(
                "of a unit of work",
                "it is built by sync code, for which this event loop would have to wait",
                "use `await scope.aget(...)` or `await services.aget(...)`",
            )
        answer, here = _Answer(), Talk()
        context = copy_context()

        def job() -> None:
            self._callers.append(here)
            answer.make(context, call, args)
            self._callers.pop()
            here.put(_nothing)

        self._started().put(job)
        while not answer.done:
            here.get()()
        return answer.take()

    async def arun(self, call: Call, *args: Any, abandon: bool = False) -> Any:
        """Do the same from the loop, by a worker thread of its own."""
        one = anyio.CapacityLimiter(1)  # its own: it must not wait for those who wait for it
        return await anyio.to_thread.run_sync(self.run, call, *args, abandon_on_cancel=abandon, limiter=one)

    def ask_caller(self, call: Call, args: tuple[Any, ...]) -> Any:
        """Have the worker thread that waits for the running job make a call, and serve others until it has."""
        answer, context, jobs = _Answer(), copy_context(), self._started()

        def request() -> None:
            answer.make(context, call, args)
            jobs.put(_nothing)

        self._callers[-1].put(request)
        self._serve(lambda: answer.done)
        return answer.take()

    def soon(self, call: Call) -> None:
        """Have it run there after what was asked for before."""
        self._started().put(partial(copy_context().run, call))

    def leave(self) -> None:
        """Have the thread end after its last job."""
        with self._lock:
            jobs, self._jobs = self._jobs, None
        if jobs is not None:
            jobs.put(self._end)

    def _started(self) -> Talk:
        with self._lock:
            if self._jobs is None:
                self._jobs = Talk()
                args = (self._jobs,)
                threading.Thread(target=self._main, args=args, name="plugbus unit of work", daemon=True).start()
            return self._jobs

    def _main(self, jobs: Talk) -> None:
        self._thread, _serving.home, _serving.jobs = threading.get_ident(), self, jobs
        self._serve(lambda: _serving.home is None)

    def _serve(self, until: Callable[[], bool]) -> None:
        jobs: Talk = _serving.jobs
        while not until():
            jobs.get()()

    @staticmethod
    def _end() -> None:
        _serving.home = None


def _nothing() -> None:
    """Wake whoever waits for a message, to look again."""
