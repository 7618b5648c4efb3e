"""What is timed: one side of a comparison as a loop that can be run any number of times.

Each side gets its own copy of the code that it times. CPython specialises the bytecode of a call site for what it
calls; two sides that shared one would undo each other's specialisation at every turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from time import perf_counter
from types import FunctionType
from typing import Any, TypeAlias, TypeVar, cast

E = TypeVar("E")
F = TypeVar("F", bound=Callable[..., Any])

Run: TypeAlias = Callable[[int], Awaitable[tuple[float, object]]]


@dataclass(frozen=True)
class Side:
    """One side: what to time, and how to know that it did its work.

    Attributes:
        run: Does it so many times; returns the seconds it took and the last answer.
        answer: The only right answer.
        calls: How often a function of a name must have been called by doing it once; looked at outside the timed part.
    """

    run: Run
    answer: object
    calls: Mapping[str, int] = field(default_factory=dict)


async def _nothing_to_close() -> None:
    pass


@dataclass(frozen=True)
class Pair:
    """Two sides that are measured round by round, one beside the other.

    Attributes:
        ours: The one that is held to the bar.
        theirs: What it is compared with.
        close: Ends what the sides have started, in the task that they ran in.
    """

    ours: Side
    theirs: Side
    close: Callable[[], Awaitable[None]] = _nothing_to_close


def own_code(function: F) -> F:
    """Return a copy of a function that shares nothing with it that the interpreter warms up."""
    original = cast("FunctionType", function)
    copy = FunctionType(
        original.__code__.replace(),
        original.__globals__,
        original.__name__,
        original.__defaults__,
        original.__closure__,
    )
    copy.__qualname__, copy.__kwdefaults__ = original.__qualname__, original.__kwdefaults__
    copy.__annotations__ = original.__annotations__
    return cast("F", copy)


def sync_run(call: Callable[[E], object], argument: E) -> Run:
    """Time calls of a function."""

    async def run(times: int) -> tuple[float, object]:
        answer = None
        started = perf_counter()
        for _ in repeat(None, times):
            answer = call(argument)
        return perf_counter() - started, answer

    return own_code(run)


def async_run(call: Callable[[E], Awaitable[object]], argument: E) -> Run:
    """Time awaited calls of a coroutine function."""

    async def run(times: int) -> tuple[float, object]:
        answer = None
        started = perf_counter()
        for _ in repeat(None, times):
            answer = await call(argument)
        return perf_counter() - started, answer

    return own_code(run)
