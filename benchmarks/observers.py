"""P4: what telling observers costs, against blinker, pyee and pluggy, each in its quickest form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import blinker
import pluggy
import pyee

from benchmarks.harness import Case
from benchmarks.parts import Tick, observer
from benchmarks.sides import Pair, Side, sync_run
from plugbus import EventBus

TICK = Tick(number=1)
SIZES = (1, 5, 50)


def emit_to(count: int) -> Side:
    bus = EventBus()
    for _ in range(count):
        bus.observe(Tick, observer())
    return Side(sync_run(bus.emit, TICK), TICK, {"observe": count})


def blinker_sends_to(count: int) -> Side:
    signal = blinker.Signal()
    for _ in range(count):
        signal.connect(observer(), weak=False)

    def send(event: Tick) -> int:
        return len(signal.send(event))

    return Side(sync_run(send, TICK), count, {"observe": count})


def pyee_emits_to(count: int) -> Side:
    emitter = pyee.EventEmitter()
    for _ in range(count):
        emitter.on("tick", observer())
    emit: Callable[[Tick], bool] = partial(emitter.emit, "tick")
    return Side(sync_run(emit, TICK), answer=True, calls={"observe": count})


def pluggy_calls(count: int) -> Side:
    specify, implement = pluggy.HookspecMarker("benchmarks"), pluggy.HookimplMarker("benchmarks")

    class Hooks:
        @specify
        def observe(self, event: Tick) -> None: ...

    class Observer:
        @implement
        def observe(self, event: Tick) -> None:
            pass

    manager = pluggy.PluginManager("benchmarks")
    manager.add_hookspecs(Hooks)
    for _ in range(count):
        manager.register(Observer())
    call = manager.hook.observe

    def emit(event: Tick) -> object:
        return call(event=event)

    return Side(sync_run(emit, TICK), [], {"observe": count})


def pair(theirs: Callable[[int], Side], count: int) -> Pair:
    return Pair(emit_to(count), theirs(count))


PEERS = {"blinker": blinker_sends_to, "pyee": pyee_emits_to, "pluggy": pluggy_calls}
CASES = tuple(
    Case("P4", f"emit, {count} observer{'s'[: count > 1]}", name, 1.0, partial(pair, peer, count), below=True)
    for count in SIZES
    for name, peer in PEERS.items()
)
