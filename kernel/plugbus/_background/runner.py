"""Runs what waits in the queues of one bus: on a task group, each delivery a task in its emitter's context.

Owns the lock of all these queues; nothing polls. The emitters' side is in ``entrance.py``.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final
from weakref import WeakKeyDictionary, WeakSet

import anyio
import anyio.lowlevel

from plugbus._background.items import Item, Limits
from plugbus._background.queue import Queue
from plugbus._chain.policies import BreakerState, passes_policies
from plugbus._context import resumed, wire_name
from plugbus._failing import own_failure
from plugbus._route import NOT_CARRIED, ROUTE, Stage
from plugbus._threads import call_soon
from plugbus.clock import Clock, SystemClock
from plugbus.errors import NotDeliveredError, PluginError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from plugbus._chain.failures import Failures
    from plugbus._core import Core
    from plugbus.owner import Owner

POSTS: Final = "bus.post"
"""The name of the queue of what somebody posts."""
POST_LIMITS: Final = Limits(max_queue=10_000, concurrency=8, overflow="error")
GRACE_SECONDS: Final = 1.0
"""How long what was cancelled may take to end."""

DELIVERING: Final[ContextVar[Item | None]] = ContextVar("plugbus_delivering", default=None)
"""What is being delivered here."""
_no_library: Final[ContextVar[str | None]] = ContextVar("plugbus_no_library", default=None)


@final
class Runner:
    """Everything in the background of one bus.

    Args:
        clock: Waits between attempts.

    Attributes:
        lock: Guards all queues.
        failures: Where failures of the bus are reported to.
        started: Whether it runs.
        ended: Whether it has run, and takes nothing any more.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.failures: Failures
        self.lock = threading.RLock()
        self.started = self.ended = False
        self._clock = clock or SystemClock()
        self._queues: WeakSet[Queue] = WeakSet()
        self._posts: WeakKeyDictionary[Owner, Queue] = WeakKeyDictionary()
        self._busy: dict[Queue, None] = {}
        self._waiting_for_idle: list[anyio.Event] = []
        self._group: TaskGroup
        self._token: anyio.lowlevel.EventLoopToken
        self._library: str | None = None

    def attach(self, core: Core) -> None:
        """Run the background work of a bus: register and accept it, from now on."""
        self.failures, core.background = core.failures, self

    def start(self, group: TaskGroup, clock: Clock | None = None) -> None:
        """Run on a task group of the running loop, from now on; what was accepted before begins."""
        self._clock = clock or self._clock
        self._library = _library_var().get()
        with self.lock:
            self._group, self._token, self.started = group, anyio.lowlevel.current_token(), True
            for queue in self._busy:
                self.call(queue)

    def queue(self, name: str, owner: Owner, limits: Limits, breaker: BreakerState | None = None) -> Queue:
        """Make a queue."""
        with self.lock:
            queue = Queue(name, owner, limits, breaker)
            self._queues.add(queue)
            return queue

    def posts(self, owner: Owner) -> Queue:
        """Return the queue of what an owner posts."""
        with self.lock:
            queue = self._posts.get(owner)
            if queue is None:
                queue = self._posts[owner] = self.queue(POSTS, owner, POST_LIMITS)
            return queue

    def hand_over(self, leaving: Owner, coming: Owner) -> None:
        """Have the queues of one owner begin a lane once those of another, of the same names, are done with it."""
        with self.lock:
            names = {queue.name: queue for queue in self._of(leaving)}
            for queue in self._of(coming):
                if queue.name in names:
                    queue.follow(names[queue.name])

    def let_go(self, owner: Owner | None) -> None:
        """Have nobody wait any longer for lanes of the queues of an owner, or of anybody."""
        with self.lock:
            for queue in self._of(owner):
                after = queue.after
                queue.unlink()
                self._look_at(after)

    def _look_at(self, queue: Queue | None) -> None:
        if queue is not None and queue.can_begin:
            self.call(queue)

    def queues(self) -> list[Queue]:
        """Return all queues that there are, save those of plugins that have left, whose memory is not freed yet."""
        with self.lock:
            return [queue for queue in self._queues if not queue.owner.gone]

    def call(self, queue: Queue) -> None:
        """Have a queue looked at on the loop, soon, if something of it may begin; from any thread, under the lock."""
        self._busy[queue] = None
        if self.started and queue.can_begin and not queue.called:
            queue.called = True
            call_soon(self._token, partial(self._pump, queue))

    def _pump(self, queue: Queue) -> None:
        """Begin what may begin; on the loop."""
        begun: list[Item] = []
        with self.lock:
            queue.called = False
            while (item := queue.take()) is not None:
                begun.append(item)
        for item in begun:
            item.context.run(self._begin, item)

    def _begin(self, item: Item) -> None:
        """Start the task of a delivery, which copies the context that this runs in: that of the emitter."""
        _library_var().set(self._library)  # the emitter may have been on a loop of the other kind
        self._group.start_soon(self._deliver, item, name=f"{item.queue.name} of {item.queue.plugin}")

    async def _deliver(self, item: Item) -> None:
        for variable, value in NOT_CARRIED:
            variable.set(value)
        # As if it held a permit: it waits for none that an emitter holds, who may wait for room here.
        stage = Stage(item.queue.owner.threads, type(item.event), item.queue)
        ROUTE.set((stage,))
        DELIVERING.set(item)
        outcome: str | float = "left"
        try:
            with anyio.CancelScope(shield=True) as item.scope:
                if not item.left:
                    with resumed(item.carried, None if item.queue.name == POSTS else item.event):
                        outcome = await self._attempt(item)
        finally:
            stage.active = False
            again = self._close_attempt(item, outcome)
        if again is not None:
            with anyio.CancelScope(shield=True) as item.scope:
                await self._clock.sleep(again)
            self._settle(item, item.queue.resume)

    async def _attempt(self, item: Item) -> str | float:
        """Make one attempt; return how it ended, or the seconds after which to try again."""
        try:
            await item.deliver(item.event)
        except (Exception, anyio.get_cancelled_exc_class()) as raised:  # noqa: BLE001 - there is nobody to raise it to
            error = await _failure(raised, item.queue)
            delay = None if passes_policies(error) else item.next_delay()
            if delay is None:
                await self.failures.areport(item.queue, item.event, error, item.attempt)
                return "failed"
            self.failures.tell_of_retry(item.queue, item.event, error, item.attempt, delay)
            return float(delay)
        return "delivered"

    def _close_attempt(self, item: Item, outcome: str | float) -> float | None:
        """Settle a delivery, or set it aside; return for how long."""
        if isinstance(outcome, str) or item.left:
            how = outcome if isinstance(outcome, str) else "left"
            self._settle(item, partial(item.queue.settle, how=how))
            return None
        self._settle(item, item.queue.park)
        return outcome

    def _settle(self, item: Item, change: Callable[[Item], object]) -> None:
        queue = item.queue
        with self.lock:
            if item.left and change == queue.resume:
                queue.settle(item, "left")
            else:
                change(item)
            if not queue.others(None):
                self._busy.pop(queue, None)
            self._look_at(queue.after)
            for waiting in self._waiting_for_idle:
                waiting.set()
            self._waiting_for_idle.clear()
        self._pump(queue)

    @property
    def elsewhere(self) -> anyio.lowlevel.EventLoopToken | None:
        """The loop that it runs on, if it is another one than this."""
        running = self.started and not self.ended
        return self._token if running and self._token != anyio.lowlevel.current_token() else None

    async def wait_idle(
        self, owner: Owner | None, seconds: float, *, posts_only: bool = False, shield: bool = True
    ) -> None:
        """Wait until nothing of an owner, or of anybody, waits or is under way; no longer than *seconds*.

        Cancelled, it waits all the same, unless *shield* is false. A delivery that asks does not wait for itself.
        """
        own = DELIVERING.get()
        with anyio.move_on_after(seconds, shield=shield):
            while any(queue.others(own) for queue in self._of(owner) if not posts_only or queue.name == POSTS):
                changed = anyio.Event()
                self._waiting_for_idle.append(changed)
                await changed.wait()

    def _of(self, owner: Owner | None) -> list[Queue]:
        with self.lock:
            return [queue for queue in self._queues if owner is None or queue.owner is owner]

    async def drain(self, owner: Owner | None, seconds: float) -> int:
        """Finish what an owner, or anybody, has in the background; report what is left over, and take nothing more.

        Args:
            owner: Who leaves; None for everybody.
            seconds: How long it may take; what is cancelled then has a second more.

        Returns:
            How many events were left over.
        """
        await self.wait_idle(owner, seconds)
        left: list[tuple[Item, str]] = []
        with self.lock:
            self.ended = self.ended or owner is None
            if owner is not None:
                self._posts.pop(owner, None)
            for queue in self._of(owner):
                left += queue.leave(DELIVERING.get())
                if not queue.others(None):
                    self._busy.pop(queue, None)
        for item, _ in left:
            if item.scope is not None:
                item.scope.cancel()
        await self.wait_idle(owner, GRACE_SECONDS)
        self.let_go(owner)  # what does not end holds nobody up
        with anyio.CancelScope(shield=True):
            deadline = anyio.current_time() + max(seconds, GRACE_SECONDS)
            for item, why in left:
                with anyio.CancelScope(deadline=deadline), resumed(item.carried):
                    await self.failures.areport(item.queue, item.event, not_delivered(item, why), item.attempt)
        return len(left)


async def _failure(raised: BaseException, queue: Queue) -> Exception:
    """Return what a delivery failed with; a cancellation of its own, as of a task that it waited for, ends no other."""
    error = await own_failure(raised)
    if isinstance(error, Exception):
        return error
    failure = PluginError(queue.plugin, f"{error!r} came out of {queue.name!r}")
    failure.__cause__ = error
    return failure


def not_delivered(item: Item, why: str) -> NotDeliveredError:
    """Return the error that says what became of an event."""
    return NotDeliveredError(wire_name(item.event), item.queue.name, item.queue.plugin, why)


def _library_var() -> ContextVar[str | None]:
    """Return where sniffio, if it is there, notes which kind of loop runs; contexts travel from one to the other."""
    found: Any = getattr(sys.modules.get("sniffio"), "current_async_library_cvar", _no_library)
    variable: ContextVar[str | None] = found
    return variable
