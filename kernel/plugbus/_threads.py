"""Worker threads: one allowance per plugin, and what happens to a thread that overruns.

Owns permits and the count of abandoned threads; what runs in a thread is the chain's business.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from typing import Any, Final, TypeAlias, TypeVar, final
from weakref import WeakKeyDictionary, WeakSet

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

from plugbus._route import ROUTE, Stage, most_visited
from plugbus.errors import EmitCancelled, EmitLoopError, PluginStuckError
from plugbus.event_types import event_type

T = TypeVar("T")

MAX_NESTED_HOPS: Final = 16
"""Hops of one place in a chain, each within the one before. On trio they stand on one stack, which must not be full."""

_Limiters: TypeAlias = anyio.lowlevel.RunVar["WeakKeyDictionary[Threads, anyio.CapacityLimiter]"]

_limiters: _Limiters = anyio.lowlevel.RunVar("plugbus_limiters")
_unlimited: _Limiters = anyio.lowlevel.RunVar("plugbus_unlimited")


class Overrun(Exception):
    """A call in a thread was still running when its time was up."""


@final
class Threads:
    """The worker threads that one plugin may occupy.

    Args:
        plugin: Id for errors.
        limit: Permits per event loop; also how many abandoned threads are put up with.
    """

    __slots__ = ("__weakref__", "_limiters", "_lock", "abandoned", "limit", "plugin")

    def __init__(self, plugin: str, limit: int) -> None:
        self.plugin = plugin
        self.limit = limit
        self.abandoned = 0
        self._limiters: WeakSet[anyio.CapacityLimiter] = WeakSet()
        self._lock = threading.Lock()

    async def run(self, call: Callable[[Any], T], event: object, *, place: object = None) -> T:
        """Run ``call(event)`` in a worker thread; a cancelled caller waits for it.

        *place* says where in which chain that is, if *call* is not the same each time.

        An emit that holds a permit of this plugin takes no second one, and one that holds any never waits
        for another: two plugins that call each other would wait for ever.

        Raises:
            PluginStuckError: If too many threads of the plugin were abandoned and still run.
            EmitLoopError: If emits have led from thread to thread too many times.
        """
        route, limiter = self._admit(ROUTE.get())
        stage = Stage(self, type(event), place or call)
        mark = ROUTE.set((*route, stage))
        try:
            return await anyio.to_thread.run_sync(call, event, limiter=limiter)
        finally:
            stage.active = False
            ROUTE.reset(mark)

    async def run_until_cancelled(self, call: Callable[[Any], T], event: object) -> T:
        """Do the same; if the caller is cancelled, the thread is abandoned at once, and counted."""
        return await self.run_bounded(call, event, math.inf, patient=False)

    async def run_bounded(
        self, call: Callable[[Any], T], event: object, seconds: float, *, place: object = None, patient: bool = True
    ) -> T:
        """Do the same within *seconds*; a thread that overruns is abandoned and counted.

        A caller that is cancelled waits for what is left of the time, if it is *patient*.

        Raises:
            Overrun: If the call was still running, or still waiting for a permit, when its time was up.
        """
        route, limiter = self._admit(ROUTE.get())
        stage = Stage(self, type(event), place or call)
        job = _Job(self, call, anyio.lowlevel.current_token(), stage)
        deadline = anyio.current_time() + seconds
        mark = ROUTE.set((*route, stage))
        try:
            with anyio.CancelScope(deadline=deadline):
                return await anyio.to_thread.run_sync(job.run, event, limiter=limiter, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True, deadline=deadline if patient else -math.inf):
                await job.wait_finished()
            job.abandon()
            raise
        finally:
            stage.active = False
            ROUTE.reset(mark)
        job.abandon()
        raise Overrun

    @property
    def is_stuck(self) -> bool:
        """Whether so many threads were abandoned that there is no new work."""
        return self.abandoned >= self.limit

    def stuck_error(self) -> PluginStuckError:
        """Return what says so."""
        return PluginStuckError(self.plugin, self.abandoned, self.limit)

    def _admit(self, route: tuple[Stage, ...]) -> tuple[tuple[Stage, ...], anyio.CapacityLimiter]:
        """Return the way here, as far as it is still under way, and whose permit the next hop needs."""
        if self.abandoned >= self.limit:
            raise self.stuck_error()
        if not route:
            return route, self.limiter()
        held = [stage.threads for stage in route if stage.active and stage.threads is not None]
        if not held:
            return (), self.limiter()
        if len(held) >= MAX_NESTED_HOPS and most_visited(route) >= MAX_NESTED_HOPS:
            raise EmitLoopError(tuple(dict.fromkeys(event_type(stage.event).name for stage in route)))
        return route, self._limiter(held)

    def _limiter(self, held: list[Threads]) -> anyio.CapacityLimiter:
        """Return the limiter of an emit that holds permits: it takes no second one here, and waits for none."""
        if self not in held:
            own = self.limiter()
            if own.available_tokens >= 1:
                return own
        return self._here(_unlimited, math.inf)

    def limiter(self) -> anyio.CapacityLimiter:
        """Return the permits of this plugin, for the event loop that runs here."""
        return self._here(_limiters, self.limit)

    def _here(self, of_loop: _Limiters, permits: float) -> anyio.CapacityLimiter:
        limiters = of_loop.get(None)
        if limiters is None:
            limiters = WeakKeyDictionary()
            of_loop.set(limiters)
        limiter = limiters.get(self)
        if limiter is None:
            limiter = limiters[self] = anyio.CapacityLimiter(permits)
            with self._lock:
                self._limiters.add(limiter)
        return limiter

    @property
    def busy(self) -> int:
        """How many threads run, in all event loops, with a permit or beyond; from any thread."""
        with self._lock:
            return sum(limiter.borrowed_tokens for limiter in self._limiters)

    def count(self, change: int) -> None:
        """Note an abandoned thread (+1), or that one came to its end after all (-1)."""
        with self._lock:
            self.abandoned += change


@final
class _Job:
    """One bounded call: whether it started, finished, was given up."""

    __slots__ = ("_abandoned", "_call", "_finished", "_lock", "_stage", "_state", "_threads", "_token")

    def __init__(
        self, threads: Threads, call: Callable[[Any], Any], token: anyio.lowlevel.EventLoopToken, stage: Stage
    ) -> None:
        self._threads, self._call, self._token, self._stage = threads, call, token, stage
        self._state = "waiting"
        self._abandoned = False
        self._lock = threading.Lock()
        self._finished: anyio.Event | None = None

    def run(self, event: object) -> Any:
        with self._lock:
            if self._state == "given up":  # its time was up before a thread was free
                return None
            self._state = "running"
            self._stage.worker = threading.get_ident()
        try:
            return self._call(event)
        finally:
            with self._lock:
                self._state = "finished"
                if self._abandoned:
                    self._threads.count(-1)
                finished = self._finished
            if finished is not None:
                call_soon(self._token, finished.set)

    async def wait_finished(self) -> None:
        with self._lock:
            if self._state != "running":
                return
            finished = self._finished = anyio.Event()
        await finished.wait()

    def abandon(self) -> None:
        with self._lock:
            if self._state == "running":
                self._abandoned = True
                self._threads.count(+1)
            elif self._state == "waiting":
                self._state = "given up"


def back_to_loop(call: Callable[[Any], Any], event: object) -> Any:
    """Run an async call on the loop that this worker thread works for, and wait for it.

    Nothing new starts below a cancelled scope, on trio and on asyncio alike.
    """
    anyio.from_thread.check_cancelled()
    route = ROUTE.get()
    hop = route[-1] if route and route[-1].worker == threading.get_ident() else None
    bridge = Stage(None, type(event), call)
    mark = ROUTE.set((*route, bridge))
    try:
        done, value = anyio.from_thread.run(outcome, call, event, bridge, hop)
    except FutureCancelledError:
        anyio.from_thread.check_cancelled()
        # The future's cancellation is an Exception: error policies would swallow it.
        raise (bridge.cancelled_class or EmitCancelled) from None
    finally:
        ROUTE.reset(mark)
    if done:
        return value
    raise value


async def outcome(
    call: Callable[[Any], Any], event: object, bridge: Stage | None = None, hop: Stage | None = None
) -> tuple[bool, Any]:
    """Carry an error back as a value; start nothing for a thread that was given up meanwhile.

    Raised in a task of its own, an interrupt would end the loop before anyone saw it, and asyncio would make a new
    ``TimeoutError`` of one, without its traceback and notes. Trio runs what an abandoned thread asks for outside
    the scope that was cancelled.
    """
    if hop is not None and not hop.active:
        return False, EmitCancelled(event_type(type(event)).name)
    with anyio.CancelScope():  # noqa: ASYNC100 - its end is what counts:
        pass  # on asyncio a cancel after the thread's check and before this task began reaches it only so
    try:
        await anyio.lowlevel.checkpoint_if_cancelled()
        return True, await call(event)
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - it is raised again by whoever waits
        return False, error
    except BaseException as cancelled:
        if bridge is not None:
            bridge.cancelled_class = type(cancelled)
        raise


def call_soon(token: anyio.lowlevel.EventLoopToken, call: Callable[[], object]) -> None:
    """Have *call* run on a loop soon, from any thread, without waiting; nothing happens if the loop has ended."""
    native: Any = token.native_token
    soon = getattr(native, "call_soon_threadsafe", None) or native.run_sync_soon
    try:
        soon(call)
    except RuntimeError:  # the loop has ended: nobody waits any more
        return


def in_worker_thread() -> bool:
    """Tell whether this thread works for an event loop."""
    try:
        anyio.from_thread.check_cancelled()
    except RuntimeError:  # anyio.NoEventLoopError
        return False
    return True


def loop_is_running() -> bool:
    """Tell whether an event loop runs in this very thread."""
    try:
        anyio.lowlevel.current_token()
    except RuntimeError:  # anyio.NoEventLoopError
        return False
    return True
