"""From subscriptions to what an emit runs: one entry per event type and way of emitting.

Read downhill: ``compile_sync`` and ``compile_async`` choose the shape, ``_bottom`` makes what is below the listeners,
``links.py`` the chain, ``observers.py`` what is told afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from plugbus._chain.links import Call, Entry, Link, ThroughLoop, chain, here, recorded, recorded_chain, recorded_here
from plugbus._chain.observers import Telling, tell_each, telling_here
from plugbus._chain.steps import Step, Surroundings, awaitable, link_of
from plugbus._chain.units import aopened, deferring, joining, opened, opened_on_loop
from plugbus._threads import Threads, loop_is_running
from plugbus.errors import NoHandlerError, SyncEmitError

if TYPE_CHECKING:
    from plugbus._services.container import Container


_ELSEWHERE = Threads("", 1)
"""Whose thread a bottom needs that must not join a hop: nobody's."""


class Cast(NamedTuple):
    """The subscribers of one event type (and key), ready and in order."""

    listeners: tuple[Step, ...]
    handler: Step | None
    inside: tuple[Step, ...]
    outside: tuple[Step, ...]

    def everyone(self) -> tuple[Step, ...]:
        """Return all of them."""
        handler = () if self.handler is None else (self.handler,)
        return (*self.listeners, *handler, *self.inside, *self.outside)


def compile_sync(cast: Cast, around: Surroundings, through_loop: ThroughLoop) -> Entry:
    """Compile what a sync emit runs."""
    async_only = next((step for step in cast.everyone() if step.call is None), None)
    entry = _admitting(cast, _sync_entry(cast, around, through_loop))
    if async_only is None:
        return entry
    return unless_on_loop(entry, around.declared.name, async_only.subscription.name)


def with_units(
    plain: Entry,
    cast_in: Callable[[Surroundings], Cast],
    around: Surroundings,
    through_loop: ThroughLoop,
    container: Container,
) -> Entry:
    """Compile what an emit runs where units of work may be open.

    A chain that needs one opens it, unless it is within one; every other chain runs as it is, unless it is within one.

    Args:
        plain: What runs outside of units of work.
        cast_in: Makes the cast for surroundings.
        around: For whom the entry is.
        through_loop: The way to the loop.
        container: Whose units of work.
    """
    joined = around._replace(joined=container, through_loop=through_loop)
    here_cast, loop_cast = (cast_in(joined._replace(in_threads=in_threads)) for in_threads in (False, True))
    inner = here_cast._replace(outside=()).everyone()
    needed = any(step.subscription.container is not None for step in inner)

    def bottom(cast: Cast, *, in_hop: bool) -> Link:
        link = _bottom(cast, joined, through_loop, in_hop=in_hop)
        if not cast.outside:
            return link
        tell = telling_here(here_cast.outside, around.failures, through_loop)
        return deferring(link, tell, Telling(loop_cast.outside, around.failures), container)

    entry = _admitting(loop_cast, chain(loop_cast.listeners, bottom(loop_cast, in_hop=True))[1])
    if around.in_threads:
        return (aopened, (container, *entry)) if needed else (joining, (container, plain, entry))
    on_loop = partial(_entered, (aopened, (container, *entry)))
    entry = _admitting(here_cast, here(here_cast.listeners, bottom(here_cast, in_hop=False), through_loop))
    if not needed:
        return (joining, (container, plain, entry))
    if all(step.call is not None for step in inner):
        entry = (opened, (container, *entry))
    else:
        entry = (opened_on_loop, (container, entry, through_loop, on_loop))
    async_only = next((step for step in here_cast.everyone() if step.call is None), None)
    return entry if async_only is None else unless_on_loop(entry, around.declared.name, async_only.subscription.name)


def _entered(entry: Entry, event: Any) -> Any:
    return entry[0](event, entry[1])


def unless_on_loop(entry: Entry, event: str, subscriber: str) -> Entry:
    """Have a sync run that needs the loop refused where its own thread's loop is running."""
    return (_guarded, (partial(SyncEmitError, event, subscriber), *entry))


def _admitting(cast: Cast, entry: Entry) -> Entry:
    """Ask whoever may refuse, because it has no room, before anything runs."""
    gates = tuple(step.admit for step in cast.outside if step.admit is not None)
    return (_admitted, (gates, *entry)) if gates else entry


def _admitted(event: Any, rest: tuple[tuple[Call, ...], Call, Any]) -> Any:
    for admit in rest[0]:
        admit(event)
    return rest[1](event, rest[2])


def _guarded(event: Any, rest: tuple[Callable[[], SyncEmitError], Call, Any]) -> Any:
    """Refuse before anything ran: on this thread the loop would wait for itself."""
    if loop_is_running():
        refusal = rest[0]()
        raise refusal
    return rest[1](event, rest[2])


def _sync_entry(cast: Cast, around: Surroundings, through_loop: ThroughLoop) -> Entry:
    bottom = _bottom(cast, around, through_loop, in_hop=False)
    if not cast.outside:
        return here(cast.listeners, bottom, through_loop)
    calls = tuple(step.call for step in cast.outside if step.call and step.subscription.options.where is None)
    each_once = len(set(map(id, calls))) == len(calls)  # or nobody could tell whose failure it was
    if each_once and len(calls) == len(cast.outside) == len(cast.everyone()) and not around.declared.is_request:
        return (tell_each, (cast.outside, calls, around.failures))
    run = recorded_here(cast.listeners, recorded(bottom), through_loop)
    return (_told, (run, telling_here(cast.outside, around.failures, through_loop)))


def _told(event: Any, rest: tuple[Call, Call]) -> Any:
    """Run the chain; then tell the observers of each event that reached the bottom."""
    run, tell = rest
    record: list[Any] = []
    result = run(event, record)
    for passed in record:
        tell(passed)
    return result


def compile_async(cast: Cast, around: Surroundings, through_loop: ThroughLoop) -> Entry:
    """Compile what an async emit runs."""
    return _admitting(cast, _async_entry(cast, around, through_loop))


def _async_entry(cast: Cast, around: Surroundings, through_loop: ThroughLoop) -> Entry:
    bottom = _bottom(cast, around, through_loop, in_hop=True)
    if not cast.outside:
        return chain(cast.listeners, bottom)[1]
    telling = Telling(cast.outside, around.failures)
    link = recorded_chain(cast.listeners, recorded(bottom))
    if link.call is not None and link.threads is not None and link.threads is telling.first_threads:
        return (_told_in_hop, (link.threads, link.call, telling))
    return (_atold, (link.acall, telling))


async def _atold(event: Any, rest: tuple[Call, Telling]) -> Any:
    run, telling = rest
    record: list[Any] = []
    result = await run(event, record)
    for passed in record:
        await telling(passed)
    return result


async def _told_in_hop(event: Any, rest: tuple[Threads, Call, Telling]) -> Any:
    """Run the chain and the first group of observers, which are of one plugin, in one hop."""
    threads, run, telling = rest
    collect = telling.first_collect

    def hop(event: Any) -> tuple[Any, list[Any], list[Any]]:
        record: list[Any] = []
        result = run(event, record)
        return result, record, collect(record[0]) if record and collect is not None else []

    result, record, failed = await threads.run(hop, event, place=run)
    for index, passed in enumerate(record):
        await (telling(passed) if index else telling.rest(passed, failed))
    return result


def _bottom(cast: Cast, around: Surroundings, through_loop: ThroughLoop, *, in_hop: bool) -> Link:
    """Return what is below the listeners: the handler, then the observers inside."""
    link = _handling(cast.handler, in_hop=in_hop) if cast.handler else _without_handler(around)
    if not cast.inside:
        return link
    telling = Telling(cast.inside, around.failures)
    sync = link.call is not None and all(step.call is not None for step in cast.inside)
    call = _then_tell(link.call, telling_here(cast.inside, around.failures, through_loop)) if sync else None
    threads = _shared_threads(cast) if sync else None
    if call is not None and threads is not _ELSEWHERE and threads is not None:
        alone = cast.handler is None  # then a filter may say that no thread is needed at all
        return Link(call, _then_atell(link.acall, telling) if alone else partial(threads.run, call), threads)
    return Link(call, _then_atell(link.acall, telling), _ELSEWHERE)


def _shared_threads(cast: Cast) -> Threads:
    """Return whose worker thread handler and observers inside share, or nobody's."""
    steps = cast.inside if cast.handler is None else (cast.handler, *cast.inside)
    first = steps[0].threads
    same = all(step.acall is None and not step.in_caller and step.threads is first for step in steps)
    return first if same else _ELSEWHERE


def _then_tell(call: Call | None, tell: Call) -> Call:
    def bottom(event: Any) -> Any:
        result = call(event) if call else event
        tell(event)
        return result

    return bottom


def _then_atell(acall: Call, telling: Telling) -> Call:
    async def bottom(event: Any) -> Any:
        result = await acall(event)
        await telling(event)
        return result

    return bottom


def _handling(step: Step, *, in_hop: bool) -> Link:
    return link_of(step.call, step.acall, step.threads, in_caller=step.in_caller, in_hop=in_hop)


def _without_handler(around: Surroundings) -> Link:
    def same(event: Any) -> Any:
        return event

    async def asame(event: Any) -> Any:
        return event

    def nobody(request: Any) -> Any:
        key = getattr(request, around.declared.key) if around.declared.key else None
        raise NoHandlerError(around.declared.name, key)

    return Link(nobody, awaitable(nobody), None) if around.declared.is_request else Link(same, asame, None)
