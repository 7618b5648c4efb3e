"""The instrument: counts what ends, by event and plugin, and how long it took.

Owns the figures; how they look is in ``_families.py``. Not the metric objects of ``prometheus_client``: those look up
labels at each use, and share one file between kernels in its mode for several processes.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, final

from plugbus import NamedEvent, Refused, Watched, event_type
from plugbus_contrib.metrics._names import OTHER, Names, is_plain

__all__ = ("OUTCOMES", "Figures", "Key", "Recorder")

Kind: TypeAlias = Literal["emit", "call", "listener", "handler", "observer"]

OUTCOMES: Final = ("ok", "refused", "error", "cancelled")
_OK, _REFUSED, _ERROR, _CANCELLED = range(4)

_NAMED: Final = event_type(NamedEvent).name


class Key(NamedTuple):
    """What is counted together; *plugin* is empty for an emit and a call."""

    kind: Kind
    event: str
    plugin: str


class Figures(NamedTuple):
    """What was counted.

    Attributes:
        outcomes: How often each of :data:`OUTCOMES` came out.
        buckets: How many took how long: up to the first bound, up to the second, ..., longer than the last.
        seconds: How long all took together, in seconds.
    """

    outcomes: tuple[int, ...]
    buckets: tuple[int, ...]
    seconds: float


@final
class _Series:
    """Counts for one key; from any thread."""

    __slots__ = ("_bounds", "_buckets", "_lock", "_outcomes", "_seconds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._outcomes = [0] * len(OUTCOMES)
        self._buckets = [0] * (len(bounds) + 1)
        self._seconds = 0.0
        self._lock = threading.Lock()  # "+= 1" is a read and a write

    def add(self, seconds: float, outcome: int) -> None:
        place = bisect_left(self._bounds, seconds)
        with self._lock:
            self._outcomes[outcome] += 1
            self._buckets[place] += 1
            self._seconds += seconds

    def figures(self) -> Figures:
        with self._lock:
            return Figures(tuple(self._outcomes), tuple(self._buckets), self._seconds)


@final
class Recorder:
    """What ``EventBus.instrument`` is given.

    Args:
        buckets: Upper bounds of the histograms, in seconds, ascending.
        monotonic: Tells the time, in seconds.
        max_events: How many event types have a label value of their own.
        max_named_events: How many names of events without a type have; remote callers choose these.
    """

    def __init__(
        self, buckets: Sequence[float], monotonic: Callable[[], float], *, max_events: int, max_named_events: int
    ) -> None:
        self.buckets = tuple(buckets)
        self._monotonic = monotonic
        self._types, self._named = Names(max_events), Names(max_named_events)
        self._found: dict[tuple[str, str, str], _Series] = {}
        self._series: dict[Key, _Series] = {}
        self._failures: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    def enter(self, what: Watched, event: object, /) -> tuple[_Series, float]:
        """Note a start."""
        series = self._found.get((what.kind, what.event, what.plugin))
        return series or self._begin(what, event), self._monotonic()

    def leave(self, what: Watched, token: Any, error: BaseException | None, /) -> None:
        """Count an end."""
        del what
        series, began = token
        series.add(self._monotonic() - began, _OK if error is None else _outcome(error))

    def failed(self, event: object, plugin: str) -> None:
        """Count a failure that no emitter saw."""
        shown = self._shown(event_type(type(event)).name, event)
        with self._lock:
            self._failures[shown, plugin] += 1

    def _begin(self, what: Watched, event: object) -> _Series:
        shown = self._shown(what.event, event)
        is_call = what.kind == "emit" and event_type(type(event)).is_request
        key = Key("call" if is_call else what.kind, shown, what.plugin)
        with self._lock:
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = _Series(self.buckets)
            # Others come here each time: one name stands for many events, and one event type has many names.
            if shown == what.event != _NAMED:
                self._found[what.kind, what.event, what.plugin] = series
        return series

    def _shown(self, name: str, event: object) -> str:
        if name != _NAMED:
            return self._types.shown(name) if name.isprintable() else OTHER  # a class made at run time may be called so
        name = getattr(event, "name", "")
        return self._named.shown(name) if is_plain(name) else OTHER

    def figures(self) -> dict[Key, Figures]:
        """Return what was counted, sorted."""
        with self._lock:
            series = sorted(self._series.items())
        return {key: each.figures() for key, each in series}

    def failures(self) -> dict[tuple[str, str], int]:
        """Return how often subscribers failed unseen, by event and plugin, sorted."""
        with self._lock:
            return dict(sorted(self._failures.items()))

    def forget_plugin(self, plugin: str) -> None:
        """Drop what was counted of a plugin's subscribers."""
        with self._lock:
            self._drop([key for key in self._series if key.plugin == plugin])
            for known in [known for known in self._failures if known[1] == plugin]:
                del self._failures[known]

    def keep_types(self, names: Collection[str]) -> None:
        """Drop what was counted of event types that are there no more.

        Args:
            names: Wire names of those that there are.
        """
        with self._lock:
            events = {key.event for key in self._series} | {event for event, _ in self._failures}
            gone = {event for event in events if event not in names and event not in self._named and event != OTHER}
            self._drop([key for key in self._series if key.event in gone])
            for known in [known for known in self._failures if known[0] in gone]:
                del self._failures[known]
        self._types.forget(gone)

    def _drop(self, keys: Collection[Key]) -> None:
        for key in keys:
            del self._series[key]
            self._found.pop(("emit" if key.kind == "call" else key.kind, key.event, key.plugin), None)


def _outcome(error: BaseException) -> int:
    if isinstance(error, Refused):
        return _REFUSED
    return _ERROR if isinstance(error, Exception) else _CANCELLED
