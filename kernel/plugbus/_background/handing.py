"""What a bus has of background work: opening it without a kernel, and handing events in, now or after a unit of work.

Owns the step in the chain, and posting, which is the same without a chain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, final

import anyio

from plugbus._background.entrance import Lost, aput, check_room, full_error, put
from plugbus._background.items import Item, Limits
from plugbus._background.queue import Queue
from plugbus._background.runner import Runner, not_delivered
from plugbus._chain.steps import Step, Surroundings, awaitable
from plugbus._context import resumed
from plugbus._services.units import After, Level, current
from plugbus.errors import SubscriptionError
from plugbus.event_types import event_type

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from plugbus._core import Core
    from plugbus.owner import Owner
    from plugbus.subscription import Subscription


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


def queue_of(runner: Runner | None, subscription: Subscription) -> tuple[Queue, Runner]:
    """Make the queue of a background observer.

    Raises:
        SubscriptionError: If nobody runs background work.
    """
    if runner is None or runner.ended:
        hint = "The bus of a kernel has somebody; a bus alone has within `async with bus.background():`."
        raise SubscriptionError(subscription.name, "nobody runs background observers of this bus", hint)
    options = subscription.options
    limits = Limits(
        1000 if options.max_queue is None else options.max_queue,
        8 if options.concurrency is None else options.concurrency,
        options.overflow or "wait",
        options.retry,
    )
    return runner.queue(subscription.name, subscription.owner, limits, subscription.breaker), runner


@final
class Handing:
    """Hands events in to one queue, each with what delivers it."""

    __slots__ = ("_deliver", "_lane_of", "_queue", "_runner")

    def __init__(
        self, runner: Runner, queue: Queue, lane: str | None, deliver: Callable[[Any], Awaitable[object]]
    ) -> None:
        self._runner, self._queue, self._deliver = runner, queue, deliver
        self._lane_of: Callable[[Any], object] | None = attrgetter(lane) if lane else None

    def call(self, event: Any) -> None:
        """Hand an event in from a thread, which may block until there is room."""
        item, level = self._item(event), current(None)
        if level is None:
            self._now(item)
        else:
            self._later(level, item)

    async def acall(self, event: Any) -> None:
        """Do the same on a loop; this suspends if there is no room."""
        item, level = self._item(event), current(None)
        if level is None:
            await self._anow(item)
        else:
            self._later(level, item)

    def _item(self, event: Any) -> Item:
        return Item(self._queue, event, self._lane_of and self._lane_of(event), self._deliver)

    def _later(self, level: Level, item: Item) -> None:
        level.after.append(After(partial(self._now, item), partial(self._anow, item)))

    def _now(self, item: Item) -> None:
        lost = put(self._runner, item)
        if lost is not None:
            with resumed(lost[0].carried):  # the one who is lost may be another's
                self._runner.failures.report(self._queue, *_told(lost))

    async def _anow(self, item: Item) -> None:
        lost = await aput(self._runner, item)
        if lost is not None:
            with resumed(lost[0].carried):
                await self._runner.failures.areport(self._queue, *_told(lost))


def _told(lost: Lost) -> tuple[Any, Exception, int]:
    return lost[0].event, not_delivered(*lost), lost[0].attempt


def queued(step: Step, queue: Queue, runner: Runner, around: Surroundings) -> Step:
    """Make the step of a background observer: it hands the event in, and what *step* does is done later."""
    handing = Handing(runner, queue, around.declared.lane, step.acall or _off_loop(step))
    admit = None
    if queue.limits.overflow in ("error", "wait"):
        admit = partial(_admit, runner, queue, step, blocking=not around.in_threads)
    return step._replace(call=handing.call, acall=handing.acall, admit=admit)


def _off_loop(step: Step) -> Callable[[Any], Awaitable[object]]:
    call = step.expect_call()
    return awaitable(call) if step.in_caller else partial(step.threads.run_until_cancelled, call)


def _admit(runner: Runner, queue: Queue, step: Step, event: Any, *, blocking: bool) -> None:
    if not queue.full:
        return
    try:
        wanted = step.wants(event)
    except Exception:  # noqa: BLE001 - it fails again when it is told, where it is reported
        return
    if wanted:
        check_room(runner, queue, event, blocking=blocking)


def post(core: Core, owner: Owner, event: object, emit: Callable[[Any], Awaitable[object]]) -> None:
    """Have an event emitted soon.

    Raises:
        BackgroundFullError: If too many wait already, or are to be posted when the unit of work has succeeded.
        RuntimeError: If nobody runs background work.
    """
    runner = core.background
    if runner is None or runner.ended:
        raise RuntimeError("bus.post() needs the bus of a running kernel, or `async with bus.background():`")
    queue = runner.posts(owner)
    check_room(runner, queue, event, blocking=False)
    level = current(None)
    if level is not None and len(level.after) >= queue.limits.max_queue:
        raise full_error(queue, event, "counting what is to be done after this unit of work")
    Handing(runner, queue, event_type(type(event)).lane, emit).call(event)
