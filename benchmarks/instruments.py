"""P13: instruments that were on and are off again leave nothing behind."""

from __future__ import annotations

from benchmarks.chains import TICK, emit_through, listening_bus
from benchmarks.harness import Case
from benchmarks.sides import Pair, Side, sync_run
from plugbus import Watched

COUNT = 5


class Quiet:
    """An instrument that looks at nothing."""

    def enter(self, what: Watched, event: object) -> None:
        pass

    def leave(self, what: Watched, token: object, error: BaseException | None) -> None:
        pass


def off_again() -> Side:
    bus = listening_bus(COUNT)
    with bus.instrument(Quiet()):
        bus.emit(TICK)
    return Side(sync_run(bus.emit, TICK), TICK, {"handle": COUNT})


def pair() -> Pair:
    return Pair(off_again(), emit_through(COUNT))


CASES = (Case("P13", "emit, 5 listeners, instruments off again", "never on", 1.05, pair),)
