"""P12: threads that emit on one bus do not hold each other up."""

from __future__ import annotations

import threading
from functools import partial
from itertools import repeat
from time import perf_counter

from benchmarks.harness import Case
from benchmarks.parts import Tick, observer, pass_through
from benchmarks.sides import Pair, Run, Side
from plugbus import EventBus

TICK = Tick(number=1)
EMITS = 20_000
"""Emits that the threads share; so many that starting the threads is nothing."""


def emits(threads: int) -> Run:
    """Time a number of emits that so many threads share."""
    bus = EventBus()
    bus.listen(Tick, pass_through())
    bus.observe(Tick, observer())

    def emit(barrier: threading.Barrier, answers: list[object]) -> None:
        barrier.wait()
        for _ in repeat(None, EMITS // threads):
            answer = bus.emit(TICK)
        answers.append(answer)

    async def run(times: int) -> tuple[float, object]:
        seconds, answers = 0.0, list[object]()
        for _ in range(times):
            answers.clear()
            barrier = threading.Barrier(threads + 1)
            workers = [threading.Thread(target=emit, args=(barrier, answers)) for _ in range(threads)]
            for worker in workers:
                worker.start()
            barrier.wait()
            started = perf_counter()
            for worker in workers:
                worker.join()
            seconds += perf_counter() - started
        return seconds, len(answers)

    return run


def pair(threads: int) -> Pair:
    return Pair(Side(emits(threads), threads), Side(emits(1), 1))


CASES = tuple(
    Case("P12", f"{EMITS:,} emits from {threads} threads", "from 1 thread", 1 / 0.9, partial(pair, threads))
    for threads in (2, 4)
)
