"""The links of a chain: each listener with what is below it, on the loop, in a worker thread or right here.

Plain closures that hand the coroutine on: one coroutine and one ``try`` per step would cost half again as much
(docs/adr/0006-compiled-chains.md). The recorded kind also notes which events reached the bottom and were not undone
by an error on the way back; only chains with both listeners and observers pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from anyio.from_thread import check_cancelled

from plugbus._threads import Threads, back_to_loop

if TYPE_CHECKING:
    from plugbus._chain.steps import Step

Call: TypeAlias = Callable[..., Any]
Record: TypeAlias = list[Any]
ThroughLoop: TypeAlias = Callable[[Call, Any], Any]


Entry: TypeAlias = tuple[Call, Any]
"""What an emit looks up: the first callable and its second argument. An exact tuple, which unpacks fastest."""


class Link(NamedTuple):
    """What is below a listener, in each of the ways in which it can be run.

    ``call`` runs in a thread, or is None if it needs the loop; ``acall`` runs on the loop;
    ``threads`` is whose worker thread ``call`` must be in, None if any will do.
    """

    call: Call | None
    acall: Call
    threads: Threads | None

    def joins(self, threads: Threads | None) -> bool:
        """Tell whether ``call`` may run in a hop that is under way."""
        return self.call is not None and (self.threads is None or self.threads is threads)


def chain(steps: Sequence[Step], bottom: Link) -> tuple[Link, Entry]:
    """Link async chains: neighbouring sync listeners of one plugin become one hop."""
    below = bottom
    entry: Entry = (_pass_on, bottom.acall)
    for step in reversed(steps):
        if step.acall is not None:
            entry = (step.acall, below.acall)
            below = Link(None, _linked(step.acall, below.acall), None)
        else:
            below = _hop(step, below)
            entry = (_pass_on, below.acall)
    return below, entry


def _pass_on(event: Any, below: Call) -> Any:
    return below(event)


def _linked(call: Call, below: Call) -> Call:
    def next_fn(event: Any) -> Any:
        return call(event, below)

    return next_fn


def _hop(step: Step, below: Link) -> Link:
    threads = step.threads
    joined = below.call if below.joins(threads) else None
    next_fn: Call = joined or partial(back_to_loop, below.acall)
    call = step.expect_call()

    def inside(event: Any) -> Any:
        check_cancelled()  # nothing new starts below a cancelled scope
        return call(event, next_fn)

    acall: Call = partial(threads.run, _linked(call, next_fn))
    where = step.subscription.options.where
    if where is not None and step.unfiltered is not None:
        acall = _asking_first(where, partial(threads.run, _linked(step.unfiltered, next_fn)), acall, below.acall)
    return Link(inside, _unless_stuck(step, acall, below.acall), threads)


def _unless_stuck(step: Step, acall: Call, below: Call) -> Call:
    """Do without a lenient listener whose plugin gets no threads any more."""
    if step.when_stuck is None:
        return acall
    threads, report = step.threads, step.when_stuck

    async def lenient(event: Any, *rest: Any, **record: Any) -> Any:
        if threads.is_stuck:
            await report(event, threads.stuck_error())
            return await below(event, *rest, **record)
        return await acall(event, *rest, **record)

    return lenient


def _asking_first(where: Callable[[Any], bool], wanted: Call, failed: Call, below: Call) -> Call:
    """Ask a filter before the hop, so that what a listener does not want waits for none of its threads."""

    def acall(event: Any, *rest: Any, **record: Any) -> Any:
        try:
            run = wanted if where(event) else below
        except Exception:  # noqa: BLE001 - it fails again in the hop, where the listener's error policy is around it
            run = failed
        return run(event, *rest, **record)

    return acall


def here(steps: Sequence[Step], bottom: Link, through_loop: ThroughLoop) -> Entry:
    """Link sync chains: in the calling thread, down to the first step that needs the loop."""
    split = _first_async(steps, bottom)
    if split is None and bottom.call is not None:
        below = bottom.call
    else:
        below = partial(through_loop, chain(steps[split:], bottom)[0].acall)
    entry: Entry = (_pass_on, below)
    for step in reversed(steps[:split]):
        entry = (step.expect_call(), below)
        below = _linked(*entry)
    return entry


def _first_async(steps: Sequence[Step], bottom: Link) -> int | None:
    """Return where the loop takes over; None if it never does."""
    for index, step in enumerate(steps):
        if step.call is None:
            return index
    return len(steps) if bottom.call is None else None


def recorded(bottom: Link) -> Link:
    """Have a bottom note each event that it let through."""

    def call(event: Any, record: Record) -> Any:
        result = bottom.call(event)  # type: ignore[misc]  # only where there is one
        record.append(event)
        return result

    async def acall(event: Any, record: Record) -> Any:
        result = await bottom.acall(event)
        record.append(event)
        return result

    return Link(None if bottom.call is None else call, acall, bottom.threads)


def recorded_chain(steps: Sequence[Step], bottom: Link) -> Link:
    """Link async chains whose callables take a record as well."""
    below = bottom
    for step in reversed(steps):
        below = _recorded_loop(step.acall, below) if step.acall is not None else _recorded_hop(step, below)
    return below


def _recorded_loop(call: Call, below: Link) -> Link:
    def acall(event: Any, record: Record) -> Any:
        async def next_fn(changed: Any) -> Any:
            inner: Record = []
            result = await below.acall(changed, inner)
            record.extend(inner)  # only now: a pass that failed is not told
            return result

        return call(event, next_fn)

    return Link(None, acall, None)


def _recorded_hop(step: Step, below: Link) -> Link:
    threads = step.threads
    joined = below.call if below.joins(threads) else None

    def entering(call: Call) -> Call:
        def inside(event: Any, record: Record) -> Any:
            def next_fn(changed: Any) -> Any:
                inner: Record = []
                if joined is not None:
                    result = joined(changed, inner)
                else:
                    result = back_to_loop(partial(below.acall, record=inner), changed)
                record.extend(inner)
                return result

            check_cancelled()
            return call(event, next_fn)

        return inside

    def hopping(inside: Call) -> Call:
        return lambda event, record: threads.run(partial(inside, record=record), event)

    inside = entering(step.expect_call())
    acall = hopping(inside)
    where = step.subscription.options.where
    if where is not None and step.unfiltered is not None:
        acall = _asking_first(where, hopping(entering(step.unfiltered)), acall, below.acall)
    return Link(inside, _unless_stuck(step, acall, below.acall), threads)


def recorded_here(steps: Sequence[Step], bottom: Link, through_loop: ThroughLoop) -> Call:
    """Link sync chains whose callables take a record as well."""
    split = _first_async(steps, bottom)
    if split is None and bottom.call is not None:
        below = bottom.call
    else:
        below = _recorded_through(through_loop, recorded_chain(steps[split:], bottom).acall)
    for step in reversed(steps[:split]):
        below = _recorded_call(step.expect_call(), below)
    return below


def _recorded_through(through_loop: ThroughLoop, acall: Call) -> Call:
    def call(event: Any, record: Record) -> Any:
        return through_loop(partial(acall, record=record), event)

    return call


def _recorded_call(call: Call, below: Call) -> Call:
    def link(event: Any, record: Record) -> Any:
        def next_fn(changed: Any) -> Any:
            inner: Record = []
            result = below(changed, inner)
            record.extend(inner)
            return result

        return call(event, next_fn)

    return link
