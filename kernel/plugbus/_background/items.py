"""What queues hold: events on their way to one observer, their lanes, and emitters that wait for room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, NamedTuple, final

from plugbus._context import carried

if TYPE_CHECKING:
    import anyio

    from plugbus._background.queue import Queue
    from plugbus.options import BackgroundOverflow
    from plugbus.retry import Retry


class Limits(NamedTuple):
    """How much may wait, how much may run, and what happens when there is no room or an attempt fails."""

    max_queue: int
    concurrency: int
    overflow: BackgroundOverflow
    retry: Retry | None = None


@final
class Item:
    """One event on its way to one background observer."""

    __slots__ = (
        "accepted", "attempt", "blocked_on", "carried", "context", "delays", "deliver", "event", "lane", "left",
        "queue", "scope",
    )  # fmt: skip

    def __init__(self, queue: Queue, event: Any, lane: object, deliver: Callable[[Any], Awaitable[object]]) -> None:
        self.queue, self.event, self.deliver = queue, event, deliver
        self.lane = Lane(lane) if lane is not None and _hashable(lane) else None
        self.carried, self.context = carried(), copy_context()
        self.delays: Iterator[float] | None = None
        self.attempt = 0
        self.accepted = False
        self.left = False
        """Whether it was given up from outside, and told of."""
        self.scope: anyio.CancelScope | None = None
        self.blocked_on: list[Queue] = []
        """Whose room it waits for, with what it emits itself."""

    def doom(self, error: Exception) -> None:
        """Have it fail with this error, and not be tried again."""

        async def fail(_: Any) -> None:
            raise error

        self.deliver, self.delays, self.lane = fail, iter(()), Lane(self)

    def next_delay(self) -> float | None:
        """Return how long to wait before the next attempt, None if there is none; not before the breaker lets it."""
        retry = self.queue.limits.retry
        if retry is None:
            return None
        if self.delays is None:
            self.delays = retry.delays()
        delay, breaker = next(self.delays, None), self.queue.breaker
        return delay if delay is None or breaker is None else max(delay, breaker.wait_seconds)


def _hashable(lane: object) -> bool:
    try:
        hash(lane)
    except TypeError:
        return False
    return True


@final
class Lane:
    """The value of a lane, which an event brings along: that comparing it fails is noted, and harms no queue."""

    __slots__ = ("_hash", "_value", "failure")

    def __init__(self, value: object) -> None:
        self._value, self._hash = value, hash(value)
        self.failure: Exception | None = None

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lane):
            return False
        try:
            return bool(self._value is other._value or self._value == other._value)
        except Exception as error:  # noqa: BLE001 - whoever enters is told
            self.failure = other.failure = error
            return False


class Waiter(NamedTuple):
    """An emitter that waits for room, with what it wants to hand in."""

    item: Item
    wake: Callable[[], object]
    delivery: Item | None
    """The delivery that goes on only when it has waited, if there is one."""
