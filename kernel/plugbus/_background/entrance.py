"""Where emitters hand events in: at once, dropping one, or waiting for room.

Owns who may wait; why some are refused although they chose to, and some let in over the bound:
docs/adr/0014-background-work-is-bounded.md and docs/adr/0022-deliveries-go-first.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import anyio
import anyio.lowlevel

from plugbus._background.items import Item, Waiter
from plugbus._background.queue import DROPPED, Queue
from plugbus._background.runner import DELIVERING, Runner
from plugbus._context import wire_name
from plugbus._threads import back_to_loop, call_soon, in_worker_thread, loop_is_running
from plugbus.errors import BackgroundFullError

ENDED: Final = "nothing is run in the background any more"
_WAIT: Final = "wait"

Lost: TypeAlias = tuple[Item, str]


def check_room(runner: Runner, queue: Queue, event: Any, *, blocking: bool) -> None:
    """Refuse an event that a queue cannot take, before anything of it ran.

    Args:
        runner: Who runs the queue.
        queue: Which.
        event: The event.
        blocking: Whether the emitter would wait by blocking its thread.

    Raises:
        BackgroundFullError: If it is full, and its emitters choose not to wait, or cannot.
    """
    if queue.full:
        reason = _why_not_wait(runner, queue, blocking=blocking) if queue.limits.overflow == "wait" else ""
        if reason is not None:
            raise full_error(queue, event, reason)


def full_error(queue: Queue, event: Any, reason: str) -> BackgroundFullError:
    """Return the error that refuses an event."""
    return BackgroundFullError(wire_name(event), queue.name, queue.plugin, queue.limits.max_queue, reason)


def _why_not_wait(runner: Runner, queue: Queue, *, blocking: bool) -> str | None:
    """Say why an emitter must not wait for room, None if it may."""
    if not runner.started:
        return "nothing runs it before the kernel has started"
    if blocking and loop_is_running():
        return "a sync emit cannot wait for room on a thread whose loop is running; use aemit"
    with runner.lock:
        if queue.overfull and _closes_circle(queue):
            return "all that could make room wait for room themselves"
    return None


def _closes_circle(queue: Queue) -> bool:
    """Tell whether nothing could make room any more if the delivery that asks waited for it, too."""
    item = _delivery()
    if item is None:
        return False
    item.blocked_on.append(queue)
    moves = _can_move(queue)
    item.blocked_on.remove(queue)
    return not moves


def _delivery() -> Item | None:
    """Return the delivery that waits if this emitter does."""
    item = DELIVERING.get()
    return item if item is not None and item in item.queue.running else None


def _can_move(queue: Queue) -> bool:
    """Tell whether room may come about in a queue, by what runs or may begin, without the room that is waited for."""
    known, to_see = {queue}, [queue]
    while to_see:
        waited_for = {other for item in to_see.pop().under_way for other in item.blocked_on}
        to_see += waited_for - known
        known |= waited_for
    moving = {other for other in known if other.can_begin or other.will_resume}
    # Each round looks at each queue once: to follow every path from one to the next would take for ever.
    while more := {q for q in known - moving if any(moving.issuperset(item.blocked_on) for item in q.under_way)}:
        moving |= more
    return queue in moving


def _offer(runner: Runner, item: Item, *, blocking: bool) -> Lost | Literal["wait"] | None:
    queue = item.queue
    with runner.lock:
        if runner.ended or queue.ended:
            return item, ENDED
        lost: Lost | None = None
        overflow = queue.limits.overflow
        if not queue.full or overflow == "error":  # it was admitted before its chain ran
            queue.enter(item)
        elif overflow != "wait":
            lost = queue.crowd_out(item), DROPPED
        elif _why_not_wait(runner, queue, blocking=blocking) is None and not _closes_circle(queue):
            return _WAIT
        else:  # as above
            queue.enter(item)
        runner.call(queue)
        return lost


def put(runner: Runner, item: Item) -> Lost | None:
    """Hand an item in from a thread, which may block until there is room; return who is lost for it, and why."""
    outcome = _offer(runner, item, blocking=True)
    if outcome != _WAIT:
        return outcome
    if in_worker_thread():  # where the wait can be cancelled
        lost: Lost | None = back_to_loop(lambda _: _wait_for_room(runner, item), item.event)
        return lost
    opened = threading.Event()
    waiter = _line_up(runner, item, opened.set)
    try:
        if waiter is not None:
            opened.wait()
    finally:
        _step_out(runner, waiter)
    return None if item.accepted else (item, ENDED)


async def aput(runner: Runner, item: Item) -> Lost | None:
    """Do the same on a loop; this suspends if there is no room."""
    outcome = _offer(runner, item, blocking=False)
    return await _wait_for_room(runner, item) if outcome == _WAIT else outcome


async def _wait_for_room(runner: Runner, item: Item) -> Lost | None:
    opened = anyio.Event()
    waiter = _line_up(runner, item, partial(call_soon, anyio.lowlevel.current_token(), opened.set))
    try:
        if waiter is not None:
            await opened.wait()
    finally:
        _step_out(runner, waiter)
    return None if item.accepted else (item, ENDED)


def _line_up(runner: Runner, item: Item, wake: Callable[[], object]) -> Waiter | None:
    """Wait for room behind those who do already; there is none to wait for if some came about meanwhile."""
    queue = item.queue
    with runner.lock:
        if queue.ended:
            return None
        if not queue.full or _closes_circle(queue):  # another thread may have begun to wait meanwhile
            queue.enter(item)
            runner.call(queue)
            return None
        waiter = Waiter(item, wake, _delivery())
        queue.wait(waiter)
        return waiter


def _step_out(runner: Runner, waiter: Waiter | None) -> None:
    if waiter is not None:
        with runner.lock:
            waiter.item.queue.give_up_waiting(waiter)
