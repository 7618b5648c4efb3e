"""The metrics that there are, and filling them when somebody asks.

Owns names, labels and meanings; what is counted as things happen is in ``_recorder.py``, the rest is read here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar, final

from plugbus import EventBus, KernelHealth, PluginNotFoundError, PluginRecord, PluginState, PluginStatistics
from plugbus_contrib.metrics._names import OTHER, is_plain
from plugbus_contrib.metrics._recorder import OUTCOMES, Figures, Recorder

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ("FAMILIES", "Collector", "Family")

T = TypeVar("T")

MAX_NAMES: Final = 100
"""How many names of its own choice each plugin has in labels: of background observers, and of figures of its health."""

_STATES: Final = tuple(PluginState)
_STATUSES: Final = ("up", "degraded", "down")
_BREAKERS: Final = ("closed", "open", "half_open")


class Family(NamedTuple):
    """One metric."""

    name: str
    type: Literal["counter", "gauge", "histogram", "info", "stateset"]
    help: str
    labels: tuple[str, ...] = ()


FAMILIES: Final = (
    Family("plugbus_emits", "counter", "Events that were emitted, by outcome.", ("event", "outcome")),
    Family("plugbus_emit_duration_seconds", "histogram", "How long emits took.", ("event",)),
    Family("plugbus_calls", "counter", "Requests that were called, by outcome.", ("request", "outcome")),
    Family("plugbus_call_duration_seconds", "histogram", "How long calls took.", ("request",)),
    Family(
        "plugbus_subscriber_runs",
        "counter",
        "Runs of listeners, handlers and observers, by outcome.",
        ("event", "plugin", "kind", "outcome"),
    ),
    Family(
        "plugbus_subscriber_duration_seconds",
        "histogram",
        "How long runs of subscribers took; a listener's include all below it.",
        ("event", "plugin", "kind"),
    ),
    Family("plugbus_listener_failures", "counter", "Failures of subscribers that no emitter saw.", ("event", "plugin")),
    Family("plugbus_subscriptions", "gauge", "Subscriptions.", ("plugin",)),
    Family("plugbus_breakers", "gauge", "Circuit breakers of subscribers, by state.", ("plugin", "state")),
    Family("plugbus_threads_busy", "gauge", "Worker threads occupied, those of background work included.", ("plugin",)),
    Family("plugbus_threads_limit", "gauge", "Permits for worker threads; background work needs none.", ("plugin",)),
    Family("plugbus_threads_abandoned", "gauge", "Worker threads that overran and still run.", ("plugin",)),
    Family(
        "plugbus_background_depth", "gauge", "Events that wait for a background observer.", ("plugin", "subscriber")
    ),
    Family("plugbus_background_running", "gauge", "Background deliveries under way.", ("plugin", "subscriber")),
    Family(
        "plugbus_background_events",
        "counter",
        "What has become of events given to background observers.",
        ("plugin", "subscriber", "outcome"),
    ),
    Family("plugbus_plugin", "info", "Plugins, with their versions.", ("plugin",)),
    Family("plugbus_plugin_state", "stateset", "Where in its life each plugin is.", ("plugin",)),
    Family("plugbus_plugin_boot_seconds", "gauge", "How long each plugin took to boot.", ("plugin",)),
    Family("plugbus_health", "stateset", "How the kernel is."),
    Family("plugbus_plugin_health", "stateset", "How each plugin is.", ("plugin",)),
    Family("plugbus_plugin_figure", "gauge", "What plugins measure themselves.", ("plugin", "figure")),
    Family("plugbus_tasks_crashed", "gauge", "Background tasks that crashed for good.", ("plugin",)),
)


@final
class Collector:
    """What a ``CollectorRegistry`` asks.

    Args:
        recorder: What was counted.
        bus: Whose statistics are told.
        plugins: Whose states are told; nobody's without it.
    """

    def __init__(self, recorder: Recorder, bus: EventBus, plugins: Mapping[str, PluginRecord] | None) -> None:
        self._recorder, self._bus, self._plugins = recorder, bus, {} if plugins is None else plugins
        self.health: KernelHealth | None = None

    def describe(self) -> Iterable[Metric]:
        """Return the families without figures, so that a registry refuses others of their names."""
        return _Filling().families.values()

    def collect(self) -> Iterator[Metric]:
        """Return the families that have figures."""
        self._recorder.keep_types({declared.name for declared in self._bus.types()})
        filling = _Filling()
        filling.counted(self._recorder)
        for plugin, statistics in sorted(self._bus.statistics().plugins.items()):
            if statistics.subscriptions or statistics.threads_limit or statistics.background:  # or it has left
                filling.statistics(plugin, statistics)
        for plugin in sorted(self._plugins):
            with suppress(PluginNotFoundError):  # it left since, in another thread
                filling.record(plugin, self._plugins[plugin])
        if self.health is not None:
            filling.healths(self.health)
        return (family for family in filling.families.values() if family.samples)


@final
class _Filling:
    """The families, while figures are put into them."""

    def __init__(self) -> None:
        from prometheus_client import core

        classes: Mapping[str, Any] = {
            "counter": core.CounterMetricFamily,
            "gauge": core.GaugeMetricFamily,
            "histogram": core.HistogramMetricFamily,
            "info": core.InfoMetricFamily,
            "stateset": core.StateSetMetricFamily,
        }
        self.families: dict[str, Metric] = {
            name: classes[type_](name, help_, labels=labels) for name, type_, help_, labels in FAMILIES
        }

    def add(self, name: str, *labels: str, value: object) -> None:
        family: Any = self.families[f"plugbus_{name}"]
        family.add_metric(labels, value)

    def counted(self, recorder: Recorder) -> None:
        from prometheus_client.utils import floatToGoString

        bounds = (*map(floatToGoString, recorder.buckets), "+Inf")
        for key, figures in recorder.figures().items():
            if key.kind in {"emit", "call"}:
                self._series(f"{key.kind}s", f"{key.kind}_duration_seconds", (key.event,), figures, bounds)
            else:
                labels = (key.event, key.plugin, key.kind)
                self._series("subscriber_runs", "subscriber_duration_seconds", labels, figures, bounds)
        for (event, plugin), count in recorder.failures().items():
            self.add("listener_failures", event, plugin, value=count)

    def _series(
        self, counter: str, histogram: str, labels: tuple[str, ...], figures: Figures, bounds: tuple[str, ...]
    ) -> None:
        for outcome, count in zip(OUTCOMES, figures.outcomes, strict=True):
            self.add(counter, *labels, outcome, value=count)
        family: Any = self.families[f"plugbus_{histogram}"]
        family.add_metric(labels, list(zip(bounds, accumulate(figures.buckets), strict=True)), figures.seconds)

    def statistics(self, plugin: str, found: PluginStatistics) -> None:
        self.add("subscriptions", plugin, value=found.subscriptions)
        states = Counter(found.breakers.values())
        for state in _BREAKERS if states else ():
            self.add("breakers", plugin, state, value=states[state])
        for name in ("threads_busy", "threads_limit", "threads_abandoned"):
            self.add(name, plugin, value=getattr(found, name))
        for subscriber, works in _bounded(found.background).items():
            self.add("background_depth", plugin, subscriber, value=sum(work.depth for work in works))
            self.add("background_running", plugin, subscriber, value=sum(work.running for work in works))
            for outcome in ("delivered", "retried", "dropped", "failed", "left"):
                count = sum(getattr(work, outcome) for work in works)
                self.add("background_events", plugin, subscriber, outcome, value=count)

    def record(self, plugin: str, record: PluginRecord) -> None:
        self.add("plugin", plugin, value={"version": record.manifest.version if record.manifest else ""})
        state = record.state  # once, or a plugin that moves on meanwhile is in two, or in none
        self.add("plugin_state", plugin, value={each.value: each is state for each in _STATES})
        self.add("plugin_boot_seconds", plugin, value=record.boot_seconds)

    def healths(self, health: KernelHealth) -> None:
        self.add("health", value={status: status == health.status for status in _STATUSES})
        for plugin, found in sorted(health.plugins.items()):
            self.add("plugin_health", plugin, value={status: status == found.status for status in _STATUSES})
            self.add("tasks_crashed", plugin, value=len(found.tasks_crashed))
            figures = {name: value for name, value in sorted(found.metrics.items()) if is_plain(name)}
            for name in list(figures)[:MAX_NAMES]:
                self.add("plugin_figure", plugin, name, value=figures[name])


def _bounded(found: Mapping[str, T]) -> dict[str, list[T]]:
    """Return what has names by name, and together what has too many of them."""
    bounded: dict[str, list[T]] = {}
    for name, each in sorted(found.items()):
        shown = name if name.isprintable() and len(bounded) < MAX_NAMES else OTHER
        bounded.setdefault(shown, []).append(each)
    return bounded
