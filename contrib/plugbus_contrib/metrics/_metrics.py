"""The metrics of one bus: watching it, and telling what was seen in the formats of Prometheus.

Owns the registry, one for each of them: several kernels live in one process.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, Final, NamedTuple, Self, final

from plugbus import Clock, Closing, EventBus, ListenerFailed, Plugins, SystemClock
from plugbus_contrib.metrics._families import Collector
from plugbus_contrib.metrics._recorder import Recorder

if TYPE_CHECKING:
    from types import TracebackType

    from prometheus_client import CollectorRegistry

__all__ = ("BUCKETS", "MAX_EVENTS", "MAX_NAMED_EVENTS", "Metrics", "Rendered", "checked_buckets")

BUCKETS: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the histograms unless others are given, in seconds: an emit takes far less than a query."""

MAX_EVENTS: Final = 1000
MAX_NAMED_EVENTS: Final = 100


@final
class Rendered(NamedTuple):
    """Metrics as they go over the wire.

    Attributes:
        body: The text, in UTF-8.
        content_type: Its media type, with the version of the format.
    """

    body: bytes
    content_type: str


def checked_buckets(buckets: Iterable[float]) -> tuple[float, ...]:
    """Return the bounds of a histogram.

    Raises:
        ValueError: If they are none, or not finite numbers above zero, each above the one before.
    """
    bounds = tuple(map(float, buckets))
    if not bounds or not all(isfinite(bound) and bound > 0 for bound in bounds):
        raise ValueError(f"buckets={bounds!r}: must be finite numbers of seconds above zero, at least one")
    if any(higher <= lower for lower, higher in pairwise(bounds)):
        raise ValueError(f"buckets={bounds!r}: each must be above the one before")
    return bounds


@final
class Metrics:
    """What happens on a bus, for Prometheus: how much, for how long, with what outcome, and how full it is.

    While it does not watch, the chains of the bus are compiled without it, and only what can be read at any time is
    told: queues, threads, breakers, plugins. It begins with :meth:`resume`, or at the beginning of a ``with`` block.

    Args:
        bus: Which bus; all views of it are one.
        plugins: The plugins of its kernel, for their states and health.
        buckets: Upper bounds of the histograms, in seconds.
        max_events: How many event types have a label value of their own; the rest is ``other``.
        max_named_events: The same for the names of events without a type, which remote callers choose.
        clock: Measures how long things take.

    Attributes:
        registry: The ``prometheus_client.CollectorRegistry`` that has them; metrics of your own may join them.

    Raises:
        ValueError: If the bounds do not ascend from above zero.
        ModuleNotFoundError: If prometheus-client is not installed.

    Example:
        >>> from plugbus import Event, EventBus
        >>> class Placed(Event, name="order.placed"): ...
        >>> bus = EventBus()
        >>> with Metrics(bus) as metrics:
        ...     _ = bus.emit(Placed())
        >>> metrics.registry.get_sample_value("plugbus_emits_total", {"event": "order.placed", "outcome": "ok"})
        1
    """

    registry: CollectorRegistry

    def __init__(
        self,
        bus: EventBus,
        *,
        plugins: Plugins | None = None,
        buckets: Iterable[float] = BUCKETS,
        max_events: int = MAX_EVENTS,
        max_named_events: int = MAX_NAMED_EVENTS,
        clock: Clock | None = None,
    ) -> None:
        self._bus, self._plugins = bus, plugins
        self._recorder = Recorder(
            checked_buckets(buckets),
            (clock or SystemClock()).monotonic,
            max_events=max_events,
            max_named_events=max_named_events,
        )
        self._collector = Collector(self._recorder, bus, plugins)
        self.registry = _registry()
        self.registry.register(self._collector)
        self._lock = threading.Lock()
        self._watching: Closing | None = None

    @property
    def watching(self) -> bool:
        """Whether it watches."""
        return self._watching is not None

    def resume(self) -> None:
        """Watch, from the emits on that begin now; again does nothing.

        Raises:
            PermissionDeniedError: If the bus is the view of a plugin that may not hear everything.
        """
        with self._lock:
            if self._watching is None:
                self._watching = self._bus.instrument(self._recorder)

    def pause(self) -> None:
        """Stop watching, and keep what was counted; again does nothing."""
        with self._lock:
            watching, self._watching = self._watching, None
        if watching is not None:
            watching.close()

    def text(self, accept: str = "") -> str:
        """Return the metrics as text, health as it was found last; from any thread.

        Args:
            accept: The ``Accept`` header of whoever asks; without one, the format that every version understands.

        Example:
            >>> from plugbus import EventBus
            >>> bus = EventBus()
            >>> subscription = bus.observe(str, print)
            >>> for line in Metrics(bus).text().splitlines()[:3]:
            ...     print(line)
            # HELP plugbus_subscriptions Subscriptions.
            # TYPE plugbus_subscriptions gauge
            plugbus_subscriptions{plugin="host"} 1.0
        """
        return self.render(accept).body.decode()

    def render(self, accept: str = "") -> Rendered:
        """Return the same as bytes, with their media type.

        Args:
            accept: As of :meth:`text`.
        """
        from prometheus_client.exposition import choose_encoder

        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # a version that is no number
            encode, content_type = choose_encoder("")
        return Rendered(encode(self.registry), content_type)

    async def check_health(self, *, timeout_seconds: float = 5.0) -> None:
        """Ask all plugins how they are, for what is told from now on; nothing happens without *plugins*. Suspends.

        Args:
            timeout_seconds: Time for each plugin to answer, in seconds; one that does not is down.
        """
        if self._plugins is not None:
            self._collector.health = await self._plugins.health(timeout_seconds=timeout_seconds)

    def failed(self, failure: ListenerFailed) -> None:
        """Count a failure that no emitter saw.

        Args:
            failure: What the bus announced.
        """
        self._recorder.failed(failure.event, failure.plugin)

    def forget(self, plugin: str) -> None:
        """Drop the series of a plugin that has left.

        Args:
            plugin: Its id.
        """
        self._recorder.forget_plugin(plugin)
        self._collector.health = None

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.pause()

    def __repr__(self) -> str:
        return f"<Metrics {'watching' if self.watching else 'paused'}>"


def _registry() -> CollectorRegistry:
    try:
        from prometheus_client import CollectorRegistry
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"metrics need {error.name}, which is not installed.\nHint: pip install 'plugbus[metrics]'", name=error.name
        ) from error
    return CollectorRegistry()
