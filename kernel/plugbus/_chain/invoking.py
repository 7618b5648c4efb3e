"""Running one callable: the pieces that a subscriber's step and a ``Bound`` are both made of.

Owns where it runs and what guards it, in one order; which callables follow upon each other is the chain's business.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from anyio.from_thread import check_cancelled

from plugbus._annotations import underlying
from plugbus._chain import policies
from plugbus._chain.links import Link
from plugbus.errors import SubscriptionError
from plugbus.options import OUTSIDE, RunIn

if TYPE_CHECKING:
    from plugbus._chain.policies import BreakerState
    from plugbus._threads import Threads

Call: TypeAlias = Callable[..., Any]


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
