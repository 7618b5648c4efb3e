"""Telling observers, one after another; neighbours that share a thread are told in one hop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeAlias, final

from anyio.from_thread import check_cancelled

from plugbus._chain.blame import in_loop
from plugbus._chain.policies import PROOF

if TYPE_CHECKING:
    from plugbus._chain.failures import Failure, Failures
    from plugbus._chain.links import Call, ThroughLoop
    from plugbus._chain.steps import Step
    from plugbus._threads import Threads

Collected: TypeAlias = "list[Failure]"
Part: TypeAlias = Callable[[Any], Awaitable[Collected]]


def tell_each(event: Any, rest: tuple[tuple[Step, ...], tuple[Call, ...], Failures]) -> Any:
    """Tell sync observers in this thread, where nothing else is to be run: the quick way of ``emit``."""
    for call in rest[1]:
        try:
            call(event)
        except Exception as error:  # noqa: BLE001 - observers are isolated
            _reraise_proof(error)
            steps, calls, failures = rest
            culprit = next(step for step, other in zip(steps, calls, strict=True) if other is call)
            failures.report(culprit.subscription, event, error)
    return event


def _reraise_proof(error: Exception) -> None:
    """Let pass what no isolation may swallow: a loop of emits shows as recursion as well."""
    if isinstance(error, PROOF) or (isinstance(error, RecursionError) and in_loop()):
        raise error


def telling_here(steps: Sequence[Step], failures: Failures, through_loop: ThroughLoop) -> Callable[[Any], None]:
    """Tell observers from the calling thread; those that need the loop are told through it."""
    parts: list[Callable[[Any], Collected]] = []
    for is_async, group in groupby(steps, key=lambda step: step.call is None):
        members = tuple(group)
        parts.append(partial(through_loop, partial(_acollect, members)) if is_async else partial(_collect, members))

    def tell(event: Any) -> None:
        failed = [failure for part in parts for failure in part(event)]
        if failed:
            failures.settle(event, failed)

    return tell


@final
class Telling:
    """Tell observers from the loop.

    ``first_threads`` and ``first_collect`` are there if the first group runs in a worker thread,
    so that a chain which ends in that thread can take the group along.
    """

    __slots__ = ("_failures", "_parts", "first_collect", "first_threads")

    def __init__(self, steps: Sequence[Step], failures: Failures) -> None:
        self._failures = failures
        self._parts: list[Part] = []
        self.first_threads: Threads | None = None
        self.first_collect: Callable[[Any], Collected] | None = None
        for threads, members in _by_thread(steps):
            if threads is not None and not self._parts:
                self.first_threads, self.first_collect = threads, partial(_collect, members, in_hop=True)
            self._parts.append(partial(_acollect, members) if threads is None else partial(_hop, threads, members))

    async def __call__(self, event: Any) -> None:
        """Tell all of them."""
        await self._finish(event, [], self._parts)

    async def rest(self, event: Any, failed: Collected) -> None:
        """Tell those after the first group, which was told in the chain's own hop and *failed* so."""
        await self._finish(event, failed, self._parts[1:])

    async def _finish(self, event: Any, failed: Collected, parts: Sequence[Part]) -> None:
        for part in parts:
            failed.extend(await part(event))
        if failed:
            await self._failures.asettle(event, failed)


def _by_thread(steps: Sequence[Step]) -> Iterator[tuple[Threads | None, tuple[Step, ...]]]:
    for threads, group in groupby(steps, key=lambda step: None if step.acall or step.in_caller else step.threads):
        yield threads, tuple(group)


def _collect(steps: Sequence[Step], event: Any, *, in_hop: bool = False, filtered: bool = False) -> Collected:
    failed: Collected = []
    for step in steps:
        if in_hop:
            check_cancelled()
        try:
            if filtered or step.wants(event):
                step.expect_call()(event)
        except Exception as error:  # noqa: BLE001 - observers are isolated
            _reraise_proof(error)
            failed.append((step.subscription, error))
    return failed


async def _hop(threads: Threads, steps: Sequence[Step], event: Any) -> Collected:
    """Tell a group in one hop; the filters are asked before, so that what nobody wants waits for no thread."""
    failed: Collected = []
    wanting: list[Step] = []
    for step in steps:
        try:
            if step.wants(event):
                wanting.append(step)
        except Exception as error:  # noqa: BLE001 - a broken filter is its observer's failure
            _reraise_proof(error)
            failed.append((step.subscription, error))
    if wanting and threads.is_stuck:
        failed.extend((step.subscription, threads.stuck_error()) for step in wanting)
    elif wanting:
        failed.extend(await threads.run(partial(_collect, wanting, in_hop=True, filtered=True), event, place=steps))
    return failed


async def _acollect(steps: Sequence[Step], event: Any) -> Collected:
    failed: Collected = []
    for step in steps:
        try:
            if not step.wants(event):
                continue
            if step.acall is not None:
                await step.acall(event)
            else:
                step.expect_call()(event)
        except Exception as error:  # noqa: BLE001 - observers are isolated
            _reraise_proof(error)
            failed.append((step.subscription, error))
    return failed
