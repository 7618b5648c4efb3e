"""The queue of one background observer: bounded, in order per lane, parallel across lanes.

Owns what waits, what is under way and what is next; ``runner.py`` runs it. Everything here is done under the lock of
the runner. A lane is there only while something of it waits or is under way, so that idle ones cost nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, final

from plugbus._background.items import Item, Lane, Limits, Waiter
from plugbus.statistics import BackgroundStatistics

if TYPE_CHECKING:
    from plugbus._chain.policies import BreakerState
    from plugbus.owner import Owner

DROPPED: Final = "it was dropped, because the queue is full"


@final
class Queue:
    """What waits for one background observer, and what of it is under way.

    Attributes:
        name: Name of the observer, or ``"bus.post"``.
        owner: Whom it belongs to.
        running: Deliveries under way.
        before: The queue of the same observer of an old generation, while that is not done; ``after`` is the way back.
        called: Whether the runner has been asked to look at it, and has not yet.
        ended: Whether it takes nothing any more.
    """

    __slots__ = (
        "__weakref__", "_delivering", "_due", "_lanes", "_ready", "_waiters", "_waiting", "after", "before", "breaker",
        "called", "counts", "ended", "limits", "name", "owner", "parked", "running",
    )  # fmt: skip

    def __init__(self, name: str, owner: Owner, limits: Limits, breaker: BreakerState | None = None) -> None:
        self.name, self.owner, self.limits, self.breaker = name, owner, limits, breaker
        self.called = self.ended = False
        self.before: Queue | None = None
        self.after: Queue | None = None
        self.running: dict[Item, None] = {}
        self.parked: dict[Item, None] = {}
        self.counts = {"delivered": 0, "retried": 0, "dropped": 0, "failed": 0, "left": 0}
        self._waiting: OrderedDict[Item, None] = OrderedDict()
        self._lanes: dict[Lane | None, deque[Item]] = {}
        self._ready: OrderedDict[Lane | None, None] = OrderedDict()
        self._due: dict[Lane | None, Item] = {}
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()
        self._delivering: OrderedDict[Waiter, None] = OrderedDict()

    @property
    def plugin(self) -> str:
        """Id of its owner."""
        return self.owner.id

    @property
    def full(self) -> bool:
        """Whether as many wait as may, those between two attempts included."""
        return len(self._waiting) + len(self.parked) >= self.limits.max_queue

    @property
    def overfull(self) -> bool:
        """Whether it has no place left either for deliveries that would wait in a circle: as many as run at once."""
        return len(self._waiting) + len(self.parked) >= self.limits.max_queue + self.limits.concurrency

    @property
    def can_begin(self) -> bool:
        """Whether a delivery could begin now."""
        return len(self.running) < self.limits.concurrency and any(self._free_lanes())

    def _free_lanes(self) -> Iterator[tuple[Lane | None]]:
        """Yield the lanes of which one may begin; not those that the queue before it has not finished."""
        held = () if self.before is None else self.before._lanes  # noqa: SLF001 - of its own kind
        return ((lane,) for lane in self._ready if lane not in held)

    def follow(self, before: Queue) -> None:
        """Begin no lane from now on that another queue, whose place it takes, has not finished."""
        self.unlink()
        before.unlink()
        self.before, before.after = before, self

    def unlink(self) -> None:
        """Neither wait for another queue nor be waited for."""
        before, after = self.before, self.after
        self.before = self.after = None
        if before is not None:
            before.after = None
        if after is not None:
            after.before = None

    @property
    def under_way(self) -> Iterator[Item]:
        """All deliveries that it could have to wait for."""
        return chain(self.running, () if self.before is None else self.before.running)

    @property
    def will_resume(self) -> bool:
        """Whether a delivery begins again by itself, once the time for it has come."""
        return bool(self.parked) and len(self.running) < self.limits.concurrency

    def others(self, own: Item | None) -> bool:
        """Tell whether anything waits or is under way, besides one."""
        mine = own in self.running
        return bool(self._waiting or self.parked) or len(self.running) > mine

    def enter(self, item: Item) -> None:
        """Let an item in; one whose lane cannot be compared fails when its turn comes."""
        item.accepted = True
        self._waiting[item] = None
        if item.lane is not None:
            item.lane.failure = None
        lane = self._lanes.get(item.lane)
        if item.lane is not None and item.lane.failure is not None:
            item.doom(item.lane.failure)
            lane = None
        if lane is None:
            self._lanes[item.lane] = deque([item])
            self._ready[item.lane] = None
        else:
            lane.append(item)

    def crowd_out(self, item: Item) -> Item:
        """Choose who is dropped, because it is full: a new one, or the oldest that has not begun."""
        self.counts["dropped"] += 1
        if self.limits.overflow == "drop_newest" or not self._waiting:
            return item
        oldest, _ = self._waiting.popitem(last=False)
        self._lanes[oldest.lane].popleft()  # nothing of its lane is older
        if oldest.lane in self._ready and not self._lanes[oldest.lane]:
            del self._ready[oldest.lane], self._lanes[oldest.lane]
        self.enter(item)
        return oldest

    def wait(self, waiter: Waiter) -> None:
        """Note an emitter that waits for room; what is under way goes before what is new."""
        if waiter.delivery is None:
            self._waiters[waiter] = None
        else:
            self._delivering[waiter] = None
            waiter.delivery.blocked_on.append(self)

    def give_up_waiting(self, waiter: Waiter) -> None:
        """Forget an emitter that waits no longer."""
        self._waiters.pop(waiter, None)
        if waiter in self._delivering:
            self._wait_no_longer(self._delivering, waiter)

    def _first_waiter(self) -> Waiter | None:
        line = self._delivering or self._waiters
        return self._wait_no_longer(line, next(iter(line))) if line else None

    def _wait_no_longer(self, line: dict[Waiter, None], waiter: Waiter) -> Waiter:
        del line[waiter]
        if waiter.delivery is not None:
            waiter.delivery.blocked_on.remove(self)
        return waiter

    def take(self) -> Item | None:
        """Begin the next delivery, if one may begin."""
        if not self.can_begin or self.ended:
            return None
        (lane,) = next(self._free_lanes())
        del self._ready[lane]
        item = self._due.pop(lane, None)
        if item is None:
            item = self._lanes[lane].popleft()
            del self._waiting[item]
        else:
            del self.parked[item]
        self.running[item] = None
        item.attempt += 1
        self._hand_over_room()
        return item

    def _hand_over_room(self) -> None:
        while not self.full and (waiter := self._first_waiter()) is not None:
            self.enter(waiter.item)
            waiter.wake()

    def park(self, item: Item) -> None:
        """Set an item aside until its next attempt; its lane waits for it, and others may run."""
        del self.running[item]
        self.parked[item] = None
        self.counts["retried"] += 1

    def resume(self, item: Item) -> None:
        """Have an item that was set aside run before all that wait."""
        self._due[item.lane] = item
        self._ready[item.lane] = None
        self._ready.move_to_end(item.lane, last=False)

    def settle(self, item: Item, how: str) -> None:
        """Be done with an item; the next of its lane may begin."""
        self.running.pop(item, None)
        self.parked.pop(item, None)
        self.counts[how] += 1
        if self._lanes.get(item.lane):
            self._ready[item.lane] = None
        else:
            self._lanes.pop(item.lane, None)
        self._hand_over_room()

    def leave(self, own: Item | None) -> list[tuple[Item, str]]:
        """Give everything up but one; return what is left over, oldest first, and why."""
        self.ended = True
        running = [item for item in self.running if item is not own]
        left = [(item, "it was still running when the time to drain was up") for item in running]
        left += [(item, "it was to be tried again when the time to drain was up") for item in self.parked]
        left += [(item, "it had not begun when the time to drain was up") for item in self._waiting]
        for item, _ in left:
            item.left = True
        self.counts["left"] += len(self._waiting) + len(self._due)  # the others count when their tasks have ended
        for item in (*self._waiting, *self._due.values()):
            self.parked.pop(item, None)
            self._lanes.pop(item.lane, None)
        self._waiting.clear()
        self._ready.clear()
        self._due.clear()
        while (waiter := self._first_waiter()) is not None:
            waiter.wake()
        return left

    def statistics(self) -> BackgroundStatistics:
        """Return what waits, what runs and what has become of the rest."""
        return BackgroundStatistics(
            len(self._waiting) + len(self.parked), len(self.running), **self.counts, full=self.full
        )
