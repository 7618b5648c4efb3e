"""What is noted while a bus runs, and how trees are made of it.

Owns the bound: the last emits stay, whichever tree they are in, and nothing that goes is held on to by what stays.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime
from typing import NamedTuple

from plugbus_contrib.trace._span import Kind, Span

__all__ = ("MAX_SPANS", "Emit", "End", "Records", "Run")

MAX_SPANS = 1000
"""How many runs of subscribers one emit keeps: a listener may retry for ever."""

MAX_DEPTH = 200
"""How deep an emit may stand in its tree: who posts an event for each one that it hears would make it endless."""


class End(NamedTuple):
    """How something ended."""

    seconds: float
    error: str


class Run:
    """The run of one subscriber, or the emit itself; numbered in the order of beginning."""

    __slots__ = ("began", "emit", "end", "kind", "number", "parent", "plugin", "subscriber")

    def __init__(self, number: int, emit: Emit, parent: int | None, kind: Kind, began: float) -> None:
        self.number, self.emit, self.parent, self.began = number, emit, parent, began
        self.kind: Kind = kind
        self.subscriber = self.plugin = ""
        self.end: End | None = None


class Emit:
    """One emit that is kept; or one subscriber that runs apart from any, such as for the replay of a sticky event.

    Attributes:
        runs: What ran; the first is its top.
        within: Id of the emit that is running there, as ``current()`` says; its own, unless it stands apart.
    """

    __slots__ = ("cause", "correlation_id", "data", "event", "id", "runs", "skipped", "time", "within")

    def __init__(self, id: str, event: str, time: datetime, correlation_id: str, cause: str | None) -> None:
        self.id, self.event, self.time, self.correlation_id, self.cause = id, event, time, correlation_id, cause
        self.within: str | None = id
        self.runs: list[Run] = []
        self.skipped = 0
        self.data = ""


class Records:
    """The last emits, by id; from any thread.

    Args:
        keep: How many.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._emits: OrderedDict[str, Emit] = OrderedDict()

    def find(self, id: str) -> Emit | None:
        """Return an emit that is kept."""
        return self._emits.get(id)

    def add(self, run: Run) -> bool:
        """Note what begins; tell whether there was room for it in its emit.

        With the first run of an emit, the emit is kept, and the oldest one goes.
        """
        emit = run.emit
        with self._lock:
            if len(emit.runs) >= MAX_SPANS:
                emit.skipped += 1
                return False
            emit.runs.append(run)
            if len(emit.runs) == 1:
                self._emits[emit.id] = emit
                if len(self._emits) > self._keep:
                    self._emits.popitem(last=False)
        return True

    def resize(self, keep: int) -> None:
        """Keep another number of emits."""
        with self._lock:
            self._keep = keep
            while len(self._emits) > keep:
                self._emits.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._emits.clear()

    def trees(self) -> tuple[list[Span], dict[str, Span]]:
        """Return the tops, the oldest first, and the span of each emit by its id."""
        with self._lock:
            runs = [run for emit in self._emits.values() for run in emit.runs]
            tops = {emit.id: emit.runs[0].number for emit in self._emits.values()}
        parents = _parents(runs, tops)
        below: dict[int | None, list[Span]] = {None: []}
        emits: dict[str, Span] = {}
        for run in sorted(runs, key=lambda run: -run.number):  # what came of it began after it, and is made before it
            parent, top = parents[run.number], run is run.emit.runs[0]
            span = _span(run, tuple(reversed(below.pop(run.number, ()))), top=top)
            below.setdefault(parent, []).append(span)
            if top:
                emits[span.id] = span
        return below[None][::-1], emits


def _parents(runs: list[Run], tops: dict[str, int]) -> dict[int, int | None]:
    """Find below which run each one stands; an emit that would stand too deep is a tree of its own."""
    parents: dict[int, int | None] = {run.number: None for run in runs}
    depths: dict[int | None, int] = {None: 0}
    for run in sorted(runs, key=lambda run: run.number):  # what it came of began before it
        parent = run.parent if run.parent in parents else None
        if run is run.emit.runs[0]:
            if parent is None and run.emit.cause is not None:
                parent = tops.get(run.emit.cause)
            if depths[parent] >= MAX_DEPTH:
                parent = None
        parents[run.number], depths[run.number] = parent, depths[parent] + 1
    return parents


def _span(run: Run, children: tuple[Span, ...], *, top: bool) -> Span:
    emit, end = run.emit, run.end
    return Span(
        kind=run.kind,
        event=emit.event,
        subscriber=run.subscriber,
        plugin=run.plugin,
        id=emit.id,
        correlation_id=emit.correlation_id,
        cause=emit.cause,
        time=emit.time,
        seconds=None if end is None else end.seconds,
        error="" if end is None else end.error,
        data=emit.data if top else "",
        skipped=emit.skipped if top else 0,
        children=children,
    )
