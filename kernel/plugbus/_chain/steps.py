"""One callable made ready to run: the pieces that a subscriber and a ``Bound`` share, and the step of a subscriber.

Around its callables are the policies that it asked for, innermost first; what it did not ask for costs nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from anyio.from_thread import check_cancelled

from plugbus._annotations import underlying
from plugbus._chain import levels, policies, units
from plugbus._chain.links import Call, Link, ThroughLoop
from plugbus._chain.watching import achecked, awatched, checked, watched
from plugbus.errors import ChainContractError, ListenerTimeoutError, SubscriptionError
from plugbus.options import OUTSIDE, RunIn

if TYPE_CHECKING:
    from plugbus._chain.failures import Failures
    from plugbus._chain.policies import BreakerState
    from plugbus._services.container import Container
    from plugbus._threads import Threads
    from plugbus.event_types import EventType
    from plugbus.instrument import Instrument
    from plugbus.subscription import Subscription


def is_coroutine_callable(call: Call) -> bool:
    """Tell whether calling gives a coroutine: functions, partials of them, objects with ``async __call__``."""
    while isinstance(call, partial):
        call = call.func
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(underlying(call))


def refuse_generator(name: str, call: Call) -> None:
    """Refuse what returns nothing until somebody iterates."""
    function = underlying(call)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise SubscriptionError(name, "it is a generator function", "Return a result, or nothing.")


def check_place(name: str, run_in: RunIn | None, *, has_sync: bool, has_async: bool) -> None:
    """Refuse a place where it cannot run."""
    if run_in == "loop" and not has_async:
        raise SubscriptionError(name, "run_in='loop' needs an async function", "Make it async, or use run_in='caller'.")
    if run_in in ("thread", "caller", *OUTSIDE) and not has_sync:
        raise SubscriptionError(name, f"run_in={run_in!r} needs a sync function")


def check_waiting(name: str, run_in: RunIn | None) -> None:
    """Refuse something sync that would have to wait on the loop for what its unit of work makes."""
    if run_in == "caller":
        problem = "run_in='caller' cannot wait for services of a unit of work"
        raise SubscriptionError(name, problem, "Leave it out, or make it async.")


def without_coroutine(call: Call, refusal: Callable[[], Exception]) -> Call:
    """Refuse a coroutine as the result of something sync: nobody would await it."""

    def refusing(event: Any, *next_fn: Call) -> Any:
        result = call(event, *next_fn)
        if type(result) is CoroutineType:
            result.close()
            error = refusal()
            raise error
        return result

    return refusing


class Guards(NamedTuple):
    """What is around one callable because it asked for it.

    ``overrun`` makes the error for a call that took longer than ``seconds``. One who is cancelled waits for a thread
    until then, if ``patient``.
    """

    seconds: float | None
    breaker: BreakerState | None
    threads: Threads
    overrun: Callable[[Any], Exception]
    patient: bool = True


def guarded(call: Call | None, acall: Call | None, guards: Guards) -> tuple[Call | None, Call | None]:
    """Wrap the two ways of running something: the time limit innermost, so that a breaker counts an overrun.

    A time limit needs the loop: async work is cancelled, a thread is given up.
    """
    if guards.seconds is not None:
        if acall is not None:
            acall = policies.atimed(acall, guards.seconds, guards.overrun)
        elif call is not None:
            acall = policies.timed_thread(call, guards.seconds, guards.threads, guards.overrun, patient=guards.patient)
        call = None
    if guards.breaker is not None:
        call = call and policies.breaking(call, guards.breaker)
        acall = acall and policies.abreaking(acall, guards.breaker)
    return call, acall


def link_of(call: Call | None, acall: Call | None, threads: Threads, *, in_caller: bool, in_hop: bool) -> Link:
    """Return how something with nothing below it is run: on the loop, in a worker thread, or right here.

    Args:
        call: What runs in any thread, if there is such.
        acall: What runs on the loop, if there is such.
        threads: Whose worker threads.
        in_caller: Whether *call* may run on the loop.
        in_hop: Whether *call* runs in a worker thread, where nothing new starts below a cancelled scope.
    """
    if acall is not None:
        return Link(None if in_hop else call, acall, None)
    assert call is not None, "there is one of the two"
    if in_caller:
        return Link(call, awaitable(call), None)
    if in_hop:
        call = _unless_cancelled(call)
    return Link(call, partial(threads.run, call), threads)


def _unless_cancelled(call: Call) -> Call:
    def checked(event: Any) -> Any:
        check_cancelled()
        return call(event)

    return checked


def awaitable(call: Call) -> Call:
    """Make something sync look async."""

    async def acall(event: Any) -> Any:
        return call(event)

    return acall


class Surroundings(NamedTuple):
    """What holds for every step of one chain: its event type, who watches, where failures go."""

    declared: EventType
    checked: bool
    instruments: tuple[Instrument, ...]
    failures: Failures
    in_threads: bool = False
    """Whether sync subscribers run in worker threads, as they do when the emit is async."""
    joined: Container | None = None
    """Whose unit of work is open while the chain runs, if any is."""
    through_loop: ThroughLoop | None = None
    """How a thread gets to the loop."""
    alone: bool = False
    """Whether there is no chain: the subscriber is replayed to."""


class Step(NamedTuple):
    """A subscriber in a chain: ``call`` runs anywhere, ``acall`` on the loop; at least one is there.

    ``unfiltered`` is ``call`` for who has asked the filter already; ``when_stuck`` is there if the listener is lenient,
    and reports that its plugin gets no threads any more; ``admit`` is asked before the chain runs, and may refuse.
    """

    subscription: Subscription
    call: Call | None
    acall: Call | None
    unfiltered: Call | None = None
    when_stuck: Call | None = None
    admit: Call | None = None

    @property
    def threads(self) -> Threads:
        """Whose worker threads its sync part runs in."""
        return self.subscription.owner.threads

    @property
    def in_caller(self) -> bool:
        """Whether its sync part may run on the loop, without a hop."""
        return self.subscription.options.run_in == "caller"

    def wants(self, event: Any) -> bool:
        """Tell whether the filter lets an event through; a listener's is compiled in."""
        where = self.subscription.options.where
        return where is None or where(event)

    def expect_call(self) -> Call:
        """Return the sync part, where the chain knows that there is one."""
        assert self.call is not None
        return self.call


def step_for(subscription: Subscription, around: Surroundings) -> Step:
    """Wrap a subscription's callables in what it asked for, innermost first; what it did not ask for costs nothing."""
    if subscription.background is None:
        return _wrapped(subscription, around)
    from plugbus._background.handing import queued  # only where somebody has such work

    return queued(_wrapped(subscription, around._replace(in_threads=True)), *subscription.background, around)


def _wrapped(subscription: Subscription, around: Surroundings) -> Step:
    options = subscription.options
    call, acall = _in_units(subscription, around)
    permits = subscription.owner.permits
    if permits is not None and permits.limits_publishing and subscription.kind == "listener":
        call, acall = (each and permits.handing_on(each) for each in (call, acall))
    if around.checked:
        call = call and checked(call, subscription, around.declared)
        acall = acall and achecked(acall, subscription, around.declared)
    elif call and (subscription.suspect or (around.in_threads and options.run_in != "caller")):
        call = without_coroutine(call, partial(_unawaited, subscription, around.declared.name))  # cheap beside a hop
    for instrument in around.instruments:
        call = call and watched(call, instrument, subscription, around.declared)
        acall = acall and awatched(acall, instrument, subscription, around.declared)
    overrun = partial(_overrun, subscription, around.declared.name)
    guards = Guards(options.timeout_seconds, subscription.breaker, subscription.owner.threads, overrun)
    if subscription.background is not None:
        guards = guards._replace(patient=False)
    call, acall = guarded(call, acall, guards)
    unfiltered = call
    if options.where is not None and subscription.kind == "listener":
        call = call and policies.filtered(call, options.where)
        acall = acall and policies.filtered(acall, options.where)
    if options.on_error == "skip":
        report = partial(around.failures.report, subscription)
        call, unfiltered = (each and policies.lenient(each, report) for each in (call, unfiltered))
        areport = partial(around.failures.areport, subscription)
        acall = acall and policies.alenient(acall, areport)
        return _repeatable(Step(subscription, call, acall, unfiltered, areport), around)
    return _repeatable(Step(subscription, call, acall, unfiltered), around)


def _in_units(subscription: Subscription, around: Surroundings) -> tuple[Call | None, Call | None]:
    """Wrap what is told after the chain in a unit of work of its own; and one whose failure is put up with in a try."""
    call, acall, container = subscription.call, subscription.acall, subscription.container
    flights = subscription.owner.flights
    if flights is not None:
        call, acall = call and flights.copy(call), acall and flights.copy(acall)
    outside = subscription.kind == "observer" and not subscription.inside
    if container is not None and (outside or around.alone):
        return call and units.own_unit(call, container), acall and units.aown_unit(acall, container)
    put_up_with = subscription.options.on_error in ("skip", "log") or (
        subscription.kind == "observer" and subscription.options.on_error is None
    )
    if around.joined is not None and put_up_with and not outside:
        assert around.through_loop is not None, "whoever joins a unit of work knows the way to the loop"
        call = call and levels.tries(call, around.joined, around.through_loop)
        acall = acall and levels.atries(acall, around.joined)
    return call, acall


def _repeatable(step: Step, around: Surroundings) -> Step:
    container, through_loop = around.joined, around.through_loop
    if container is None or through_loop is None or step.subscription.kind != "listener":
        return step
    call, unfiltered = (
        each and levels.repeatable(each, container, through_loop) for each in (step.call, step.unfiltered)
    )
    acall = step.acall and levels.arepeatable(step.acall, container)
    return step._replace(call=call, unfiltered=unfiltered, acall=acall)


def _overrun(subscription: Subscription, event: str, _: Any) -> ListenerTimeoutError:
    seconds = subscription.options.timeout_seconds or 0.0
    return ListenerTimeoutError(event, subscription.name, subscription.plugin, seconds)


def _unawaited(subscription: Subscription, event: str) -> Exception:
    """An observer's coroutine is its own failure, as all that it raises; everybody else's would become the result."""
    problem = "it returned a coroutine that nobody awaits; subscribe the async function itself"
    error = ChainContractError(event, subscription.name, subscription.plugin, problem)
    return TypeError(str(error)) if subscription.kind == "observer" else error
