"""Measure pairs: calibrate, warm up, then take turns; the figure is the median of the paired ratios.

Other work on the machine slows both sides of a round alike, so a ratio of neighbours stands still where times do not.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from statistics import median, quantiles
from types import FrameType
from typing import Any, Literal, TypeVar

import anyio

from benchmarks.sides import Pair, Side

T = TypeVar("T")
Progress = Callable[[int], None]

REPORTED = inf
"""The bar of what is told beside a row and held to nothing."""

FEW_TURNS = 5
"""Turns of a round where one call alone takes longer than a turn should."""


class WrongAnswerError(Exception):
    """A side did something else than what it is timed for, so its time means nothing."""


@dataclass(frozen=True)
class Case:
    """One figure: what is measured, against what, and the bar.

    Attributes:
        row: The row of the bars that it belongs to, such as ``"P1"``.
        what: Our side in words.
        against: Their side in words.
        bar: The highest ratio of ours to theirs that holds; ``REPORTED`` if there is none.
        build: Makes both sides, just before they are measured.
        below: Whether the ratio must be below the bar, not only at it.
        loop: The event loop that it needs, if it cannot do without.
        rounds: Rounds at most, for what takes long or comes out the same each time.
        turns: Turns of a round at most, likewise.
        unit: What is measured: seconds, or bytes.
    """

    row: str
    what: str
    against: str
    bar: float
    build: Callable[[], Pair]
    below: bool = False
    loop: Literal["asyncio", "trio"] | None = None
    rounds: int = 1_000
    turns: int = 1_000
    unit: Literal["s", "B"] = "s"


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: Rounds that count; one more comes before them as warm-up.
        seconds: Time for one side of one round.
        turns: Parts that this time is split into; the sides take turns, and the quickest part of each counts.
            Two milliseconds fit between two interruptions by other work; thirty do not.
    """

    rounds: int = 21
    seconds: float = 0.032
    turns: int = 16


@dataclass(frozen=True)
class Result:
    """What came out: seconds per call (or bytes) of each side, and the ratio of each round."""

    case: Case
    ours: float
    theirs: float
    ratios: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median of the paired ratios."""
        return median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """The ratios that the middle half of the rounds lies between."""
        low, _, high = quantiles(self.ratios, n=4)
        return low, high

    @property
    def holds(self) -> bool:
        """Whether the bar is met."""
        return self.ratio < self.case.bar if self.case.below else self.ratio <= self.case.bar


def measure(case: Case, effort: Effort, progress: Progress) -> Result:
    """Measure one case.

    Args:
        case: What to measure.
        effort: How often and how long.
        progress: Told the number of each round that ended.

    Raises:
        WrongAnswerError: If a side does not do what it is timed for.
    """
    if case.loop is None:  # no event loop in the timed part, so its noise stays out
        return _drive(_measure(case, effort, progress))
    return anyio.run(_measure, case, effort, progress, backend=case.loop)


async def _measure(case: Case, effort: Effort, progress: Progress) -> Result:
    pair = case.build()
    try:
        return await _take_turns(case, pair, effort, progress)
    finally:
        await pair.close()


async def _take_turns(case: Case, pair: Pair, effort: Effort, progress: Progress) -> Result:
    rounds = min(effort.rounds, case.rounds)
    for side in (pair.ours, pair.theirs):
        await _check_calls(side)
    counts = await _calibrate(pair.ours, effort), await _calibrate(pair.theirs, effort)
    turns = min(case.turns, effort.turns, FEW_TURNS if max(counts) == 1 else effort.turns)
    times: list[tuple[float, float]] = []
    with _no_collection():
        for number in range(rounds + 1):
            times.append(await _round(pair, counts, turns))
            progress(number)
    ours, theirs = zip(*times[1:], strict=True)
    return Result(case, median(ours), median(theirs), tuple(a / b for a, b in times[1:]))


async def _round(pair: Pair, counts: tuple[int, int], turns: int) -> tuple[float, float]:
    """Time both sides in turns; whatever makes one part slower than another is not the code."""
    parts = [(await _time(pair.ours, counts[0]), await _time(pair.theirs, counts[1])) for _ in range(turns)]
    return min(ours for ours, _ in parts), min(theirs for _, theirs in parts)


async def _time(side: Side, count: int) -> float:
    """Return the seconds that one call takes, and refuse a wrong answer."""
    seconds, answer = await side.run(count)
    if answer != side.answer:
        raise WrongAnswerError(f"the answer was {answer!r}, not {side.answer!r}")
    return seconds / count


async def _calibrate(side: Side, effort: Effort) -> int:
    """Return how many calls fill one turn; finding out is a warm-up too."""
    count, enough = 1, effort.seconds / effort.turns
    while (per_call := await _time(side, count)) * count < enough / 2:
        count *= 2
    return max(1, round(enough / per_call))


async def _check_calls(side: Side) -> None:
    """See that what should be called is called: by watching one call, so that the timed part need not count."""
    called: Counter[str] = Counter()

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called[frame.f_code.co_name] += 1

    before = sys.getprofile()
    if side.calls:
        sys.setprofile(watch)
        try:
            await side.run(1)
        finally:
            sys.setprofile(before)
    found = {name: called[name] for name in side.calls}
    if found != side.calls:
        raise WrongAnswerError(f"called {found}, not {dict(side.calls)}")


def _drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits for anything."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a case that waits needs an event loop: give it loop=")


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
