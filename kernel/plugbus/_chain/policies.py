"""What is wrapped around one subscriber because it asked for it: filter, time limit, breaker, leniency.

Every wrapper has the shape of what it wraps, ``(event, next_fn)`` or ``(event)``, so that they nest in any number.
A subscriber that asks for nothing is not wrapped at all. The breaker is after Nygard, "Release It!" (2007).
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, final

import anyio

from plugbus._threads import Overrun, Threads, back_to_loop
from plugbus.errors import BreakerOpenError, ChainContractError, EmitLoopError, Refused

if TYPE_CHECKING:
    from plugbus.options import Breaker


Call: TypeAlias = Callable[..., Any]
Report: TypeAlias = Callable[[Any, Exception], object]
AsyncReport: TypeAlias = Callable[[Any, Exception], Awaitable[object]]

PROOF = (EmitLoopError, ChainContractError)


def passes_policies(error: BaseException) -> bool:
    """Tell whether an error reaches the emitter whatever policy is on its way: refusals, loops, broken contracts."""
    if isinstance(error, (Refused, *PROOF)):
        return True
    return isinstance(error, BaseExceptionGroup) and any(passes_policies(inner) for inner in error.exceptions)


@final
class Pass:
    """What became of the last call of one ``next_fn``, as a policy above must know it."""

    __slots__ = ("_next_fn", "_turn", "state", "value")

    def __init__(self, next_fn: Call) -> None:
        self._next_fn = next_fn
        self._turn = 0
        self.state: Literal["not called", "running", "returned", "raised", "cancelled"] = "not called"
        self.value: Any = None

    def call(self, event: Any) -> Any:
        turn = self._start()
        try:
            result = self._next_fn(event)
        except BaseException as error:
            self._end(turn, "raised" if isinstance(error, Exception) else "cancelled", error)
            raise
        self._end(turn, "returned", result)
        return result

    async def acall(self, event: Any) -> Any:
        turn = self._start()
        try:
            result = await self._next_fn(event)
        except BaseException as error:
            self._end(turn, "raised" if isinstance(error, Exception) else "cancelled", error)
            raise
        self._end(turn, "returned", result)
        return result

    def _start(self) -> int:
        self._turn += 1
        self.state, self.value = "running", None
        return self._turn

    def _end(self, turn: int, state: Literal["returned", "raised", "cancelled"], value: Any) -> None:
        if turn == self._turn:  # the last call decides; an earlier one may end after it
            self.state, self.value = state, value

    def blames_listener(self, error: Exception) -> bool:
        """Tell whether an error is the listener's own, rather than one that passed through it."""
        return not (self.state == "raised" and self.value is error)


def lenient(call: Call, report: Report) -> Call:
    """Put up with a sync listener that fails: nothing below runs a second time for it."""

    def lenient_call(event: Any, next_fn: Call) -> Any:
        below = Pass(next_fn)
        try:
            return call(event, below.call)
        except Exception as error:
            if passes_policies(error) or below.state in ("running", "cancelled") or not below.blames_listener(error):
                raise
            own = error
        report(event, own)
        if below.state == "not called":
            return next_fn(event)
        if below.state == "raised":
            raise below.value
        return below.value

    return lenient_call


def alenient(call: Call, report: AsyncReport) -> Call:
    """Put up with an async listener that fails; as :func:`lenient`."""

    async def lenient_call(event: Any, next_fn: Call) -> Any:
        below = Pass(next_fn)
        try:
            return await call(event, below.acall)
        except Exception as error:
            if passes_policies(error) or below.state in ("running", "cancelled") or not below.blames_listener(error):
                raise
            own = error
        await report(event, own)
        if below.state == "not called":
            return await next_fn(event)
        if below.state == "raised":
            raise below.value
        return below.value

    return lenient_call


def breaking(call: Call, breaker: BreakerState) -> Call:
    """Guard a sync subscriber with a breaker; refusals and errors from below are not its failures."""

    def guarded(event: Any, *next_fn: Call) -> Any:
        breaker.enter()
        below = Pass(next_fn[0]) if next_fn else None
        try:
            result = call(event, below.call) if below else call(event)
        except BaseException as error:
            _judge(breaker, below, error)
            raise
        breaker.succeeded()
        return result

    return guarded


def abreaking(call: Call, breaker: BreakerState) -> Call:
    """Guard an async subscriber with a breaker; as :func:`breaking`."""

    async def guarded(event: Any, *next_fn: Call) -> Any:
        breaker.enter()
        below = Pass(next_fn[0]) if next_fn else None
        try:
            result = await (call(event, below.acall) if below else call(event))
        except BaseException as error:
            _judge(breaker, below, error)
            raise
        breaker.succeeded()
        return result

    return guarded


def _judge(breaker: BreakerState, below: Pass | None, error: BaseException) -> None:
    if not isinstance(error, Exception):
        breaker.left()
    elif passes_policies(error) or (below is not None and not below.blames_listener(error)):
        breaker.succeeded()
    else:
        breaker.failed()


def filtered(call: Call, where: Callable[[Any], bool]) -> Call:
    """Leave a listener out where its filter says no."""

    def filtered_call(event: Any, next_fn: Call) -> Any:
        return call(event, next_fn) if where(event) else next_fn(event)

    return filtered_call


def atimed(call: Call, seconds: float, overrun: Callable[[Any], Exception]) -> Call:
    """Cancel an async subscriber that takes longer than *seconds*."""

    async def timed(event: Any, *next_fn: Call) -> Any:
        with anyio.move_on_after(seconds):
            return await call(event, *next_fn)
        raise overrun(event)

    return timed


def timed_thread(
    call: Call, seconds: float, threads: Threads, overrun: Callable[[Any], Exception], *, patient: bool
) -> Call:
    """Run a sync subscriber in a worker thread of its own, and give the thread up after *seconds*."""

    async def timed(event: Any, *next_fn: Call) -> Any:
        def work(event: Any) -> Any:
            return call(event, *(lambda changed, below=below: back_to_loop(below, changed) for below in next_fn))

        try:
            return await threads.run_bounded(work, event, seconds, place=call, patient=patient)
        except Overrun:
            raise overrun(event) from None

    return timed


@final
class BreakerState:
    """Counts failures in a row; opens, lets one call try after the cool-down, closes when that one succeeds."""

    __slots__ = ("_breaker", "_clock", "_failures", "_lock", "_opened_at", "_probing", "name", "plugin")

    def __init__(self, breaker: Breaker, clock: Callable[[], float], name: str, plugin: str) -> None:
        self._breaker, self._clock, self.name, self.plugin = breaker, clock, name, plugin
        self._lock = threading.Lock()
        self._failures = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """Where it stands at this moment."""
        if self._opened_at is None:
            return "closed"
        return "half_open" if self._remaining() <= 0 else "open"

    def _remaining(self) -> float:
        return (self._opened_at or 0.0) + self._breaker.cooldown_seconds - self._clock()

    @property
    def wait_seconds(self) -> float:
        """How long until it lets a call through; zero if it does."""
        return 0.0 if self._opened_at is None else max(self._remaining(), 0.0)

    def enter(self) -> None:
        """Ask to make a call.

        Raises:
            BreakerOpenError: If it is open, or half open with its one trial under way.
        """
        if self._opened_at is None:
            return
        with self._lock:
            if self._opened_at is None:
                return
            remaining = self._remaining()
            if remaining > 0 or self._probing:
                raise BreakerOpenError(self.name, self.plugin, max(remaining, 0.0))
            self._probing = True

    def succeeded(self) -> None:
        """Note a call that went well, or failed for reasons that were not its own."""
        if self._failures or self._opened_at is not None:
            with self._lock:
                self._failures, self._opened_at, self._probing = 0, None, False

    def failed(self) -> None:
        """Note a failure; the one too many opens it, and so does a failed trial."""
        with self._lock:
            self._failures += 1
            if self._probing or self._failures >= self._breaker.failures:
                self._opened_at = self._clock()
            self._probing = False

    def left(self) -> None:
        """Note a call that was cancelled: it says nothing, but the trial is free again."""
        with self._lock:
            self._probing = False
