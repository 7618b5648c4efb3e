"""Metrics: what runs, for how long, with what outcome; in the formats of Prometheus, bounded, one registry each."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.to_thread
import prometheus_client
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic
from tests.bus.tools import (
    SECONDS,
    Ask,
    Boom,
    Gate,
    HandClock,
    Ping,
    Pong,
    World,
    coloured,
    in_every_world,
    in_threads,
    in_worlds,
    marks,
    noting,
    opening,
    plugin,
    raising,
    raising_listener,
    run,
    sync_or_async,
    tracer,
)
from tests.sources import ROOT

from plugbus import (
    Breaker,
    Event,
    EventBus,
    Health,
    Kernel,
    KernelStartError,
    Manifest,
    NamedEvent,
    PermissionDeniedError,
    Plugin,
    Veto,
    Watched,
    event_type,
    observes,
)
from plugbus.testing import PluginConformance
from plugbus_contrib.metrics import Metrics, MetricsPlugin
from plugbus_contrib.metrics._families import FAMILIES, MAX_NAMES
from plugbus_contrib.metrics._metrics import BUCKETS
from plugbus_contrib.metrics._recorder import Recorder

pytestmark = marks

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Seen(Event, name="metrics.seen"): ...


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


def found(metrics: Metrics, name: str, **labels: str) -> dict[tuple[str, ...], float]:
    """The samples of a name that have these labels, by the values of their other labels in alphabetical order."""
    families = parse_openmetrics(metrics.text(OPENMETRICS))
    return {
        tuple(value for label, value in sorted(sample.labels.items()) if label not in labels): sample.value
        for family in families
        for sample in family.samples
        if sample.name == f"plugbus_{name}" and labels.items() <= sample.labels.items()
    }


def counted(metrics: Metrics, name: str, **labels: str) -> dict[tuple[str, ...], float]:
    """The same, without those that never happened."""
    return {key: value for key, value in found(metrics, name, **labels).items() if value}


# ------------------------------------------------------------------------------------------------ what is counted


@in_every_world
@sync_or_async
def test_emits_calls_and_runs_are_counted_by_event_and_plugin(bus: EventBus, world: World, asynchronous: bool) -> None:
    _, shop = plugin(bus, "shop")
    shop.listen(Ask, tracer("l", [], asynchronous=asynchronous), name="l")
    bus.answer(Ask, coloured(lambda request: "answer", asynchronous=asynchronous), name="h")
    shop.observe(Ping, noting("o1", [], asynchronous=asynchronous), name="o1")
    shop.observe(Ping, noting("o2", [], asynchronous=asynchronous), name="o2")
    with Metrics(bus) as metrics:
        world.emit(bus, Ping())
        world.emit(bus, Ping())
        world.call(bus, Ask())

    assert counted(metrics, "emits_total") == {("tools.ping", "ok"): 2}
    assert counted(metrics, "calls_total") == {("ok", "tools.ask"): 1}
    assert counted(metrics, "subscriber_runs_total", outcome="ok") == {
        ("tools.ask", "handler", "host"): 1,
        ("tools.ask", "listener", "shop"): 1,
        ("tools.ping", "observer", "shop"): 4,
    }
    assert found(metrics, "subscriber_duration_seconds_count", event="tools.ping") == {("observer", "shop"): 4}


@in_worlds
@pytest.mark.parametrize(("error", "outcome"), [(Veto("closed"), "refused"), (Boom("x"), "error")])
def test_what_is_raised_is_counted_where_it_passed(bus: EventBus, world: World, error: Exception, outcome: str) -> None:
    bus.listen(Ping, raising_listener(error), name="l")
    with Metrics(bus) as metrics, pytest.raises(type(error)):
        world.emit(bus, Ping())

    assert counted(metrics, "emits_total") == {("tools.ping", outcome): 1}
    assert counted(metrics, "subscriber_runs_total", kind="listener") == {("tools.ping", outcome, "host"): 1}


async def test_what_is_cancelled_is_no_error(bus: EventBus) -> None:
    bus.observe(Ping, coloured(lambda ping: None, asynchronous=True), name="o")

    async def hang(ping):
        await anyio.sleep_forever()

    bus.observe(Ping, hang, name="hang")
    with Metrics(bus) as metrics:
        async with anyio.create_task_group() as group:
            group.start_soon(bus.aemit, Ping())
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    assert counted(metrics, "emits_total") == {("tools.ping", "cancelled"): 1}
    assert counted(metrics, "subscriber_runs_total", event="tools.ping") == {
        ("observer", "cancelled", "host"): 1,
        ("observer", "ok", "host"): 1,
    }


def test_none_is_lost_between_threads(bus: EventBus) -> None:
    bus.observe(Ping, lambda ping: None, name="o")

    def work() -> None:
        for _ in range(300):
            bus.emit(Ping())

    with Metrics(bus) as metrics:
        in_threads(*[work] * 6)

    assert counted(metrics, "emits_total") == {("tools.ping", "ok"): 1800}
    assert found(metrics, "subscriber_duration_seconds_count") == {("tools.ping", "observer", "host"): 1800}


def test_it_says_how_long_things_took(bus: EventBus) -> None:
    """A bound belongs to its bucket, and each bucket has all that is below it."""
    clock = HandClock()
    bus.observe(Ping, lambda ping: clock.__dict__.update(seconds=clock.seconds + ping.number), name="o")
    with Metrics(bus, buckets=(1, 2.5), clock=clock) as metrics:
        for seconds in (1, 2, 3):
            bus.emit(Ping(number=seconds))

    assert found(metrics, "emit_duration_seconds_bucket") == {
        ("tools.ping", "1.0"): 1, ("tools.ping", "2.5"): 2, ("tools.ping", "+Inf"): 3,
    }  # fmt: skip
    assert found(metrics, "emit_duration_seconds_sum") == {("tools.ping",): 6}


@given(
    st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=6, unique=True),
    st.lists(st.floats(0, 1e10), max_size=20),
)
def test_histograms_are_those_of_the_official_client(bounds: list[float], seconds: list[float]) -> None:
    """For any durations and bounds, bucket for bucket."""
    clock = HandClock()
    bus = EventBus()
    bounds.sort()
    registry = prometheus_client.CollectorRegistry()
    theirs = prometheus_client.Histogram(
        "plugbus_emit_duration_seconds", "How long emits took.", ["event"], buckets=bounds, registry=registry
    ).labels("tools.ping")
    metrics = Metrics(bus, buckets=bounds, clock=clock)
    series = metrics._recorder

    for each in (0.0, *seconds):
        clock.seconds = 0.0
        token = series.enter(Watched("emit", "tools.ping"), Ping())
        clock.seconds = each
        series.leave(Watched("emit", "tools.ping"), token, None)
        theirs.observe(each)
    bus.declare(Ping)

    def samples(collected: Any) -> list[Any]:
        return [
            (sample.name, sample.labels, pytest.approx(sample.value))
            for family in collected.collect()
            for sample in family.samples
            if sample.name.startswith("plugbus_emit_duration") and not sample.name.endswith("_created")
        ]

    assert samples(metrics.registry) == samples(registry)


async def test_failures_that_no_emitter_saw_are_counted() -> None:
    class Shop(Plugin):
        @observes(Ping)
        async def fails(self, event: Ping) -> None:
            raise Boom("x")

    async with Kernel([MetricsPlugin, Shop]) as kernel:
        metrics = kernel.services.get(Metrics)
        await kernel.bus.aemit(Ping())
        await kernel.bus.aemit(Ping())

        assert found(metrics, "listener_failures_total") == {("tools.ping", "shop"): 2}
        assert counted(metrics, "subscriber_runs_total", plugin="shop", outcome="error")


# ------------------------------------------------------------------------------------------------ what can be read


async def test_how_full_it_is_is_told_without_watching(bus: EventBus) -> None:
    """Threads, queues and breakers."""
    gate, metrics = Gate(), Metrics(bus)
    _, shop = plugin(bus, "shop", thread_limit=1)
    shop.observe(Pong, raising(Boom("x"), asynchronous=True), name="breaks", breaker=Breaker(failures=1))
    shop.observe(Pong, lambda pong: None, name="holds", breaker=Breaker(failures=1))

    with opening(gate), anyio.fail_after(SECONDS):
        async with bus.background():
            shop.observe(Ping, lambda ping: gate.wait(), name="slow", background=True)
            for _ in range(3):
                await bus.aemit(Ping())
            await gate.wait_for_arrivals()

            assert found(metrics, "threads_busy") == {("shop",): 1}
            assert found(metrics, "threads_limit") == {("shop",): 1}
            assert found(metrics, "background_depth") == {("shop", "slow"): 2}
            assert found(metrics, "background_running") == {("shop", "slow"): 1}
            gate.open()
        assert counted(metrics, "background_events_total") == {("delivered", "shop", "slow"): 3}
        await bus.aemit(Pong())

    assert counted(metrics, "breakers", plugin="shop") == {("closed",): 1, ("open",): 1}
    assert not counted(metrics, "emits_total")


class Mail(Plugin, version="2.1.0"):
    async def check_health(self) -> Health:
        return Health(status="degraded", reason="ann@example.org", metrics={"sent_total": 7, "to ann": 1})


class Broken(Plugin):
    def on_boot(self) -> None:
        raise Boom("no")


async def test_plugins_are_told_with_their_states_and_their_health() -> None:
    async with Kernel([MetricsPlugin, Mail, Broken]) as kernel:
        metrics = kernel.services.get(Metrics)
        assert not found(metrics, "health"), "nobody was asked yet"
        rendered = await _plugin(kernel).render(OPENMETRICS)

        assert b"plugbus_health" in rendered.body
        assert found(metrics, "plugin_info", plugin="mail") == {("2.1.0",): 1}
        assert counted(metrics, "plugin_state") == {
            ("failed", "broken"): 1, ("ready", "mail"): 1, ("ready", "metrics"): 1,
        }  # fmt: skip
        assert len(found(metrics, "plugin_state", plugin="mail")) == 9
        assert counted(metrics, "health") == {("degraded",): 1}
        assert counted(metrics, "plugin_health") == {
            ("down", "broken"): 1, ("degraded", "mail"): 1, ("up", "metrics"): 1,
        }  # fmt: skip
        assert found(metrics, "plugin_figure") == {("sent_total", "mail"): 7}, "a name with a space might be anything"
        assert found(metrics, "plugin_boot_seconds", plugin="mail")[()] > 0


async def test_plugins_need_not_be_asked() -> None:
    """Those whose checks cost something."""
    async with Kernel([MetricsPlugin, Mail], config={"plugins": {"metrics": {"health": False}}}) as kernel:
        rendered = await _plugin(kernel).render()
        assert b"plugbus_plugin_state" in rendered.body
        assert b"plugbus_health" not in rendered.body


def _plugin(kernel: Kernel) -> MetricsPlugin:
    instance = kernel.plugins["metrics"].instance
    assert isinstance(instance, MetricsPlugin)
    return instance


# ------------------------------------------------------------------------------------------------ labels are bounded


@in_worlds
def test_names_that_anybody_may_choose_are_bounded(bus: EventBus, world: World) -> None:
    bus.observe("remote.**", lambda event: None, name="o")
    with Metrics(bus, max_named_events=2) as metrics:
        for number in range(10):
            world.emit(bus, NamedEvent(f"remote.n{number}"))
        world.emit(bus, Ping())

    named = {("remote.n0", "ok"): 1, ("remote.n1", "ok"): 1, ("other", "ok"): 8}
    assert counted(metrics, "emits_total") == named | {("tools.ping", "ok"): 1}
    assert counted(metrics, "subscriber_runs_total", kind="observer", plugin="host", outcome="ok") == {
        ("remote.n0",): 1, ("remote.n1",): 1, ("other",): 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "mail.ann@example.org",
        "a b",
        "x" * 101,
        'a"b',
        "a\nb",
        "\ud800",
        "",
        "a..b",
        "ärger",
        event_type(NamedEvent).name,
    ],
)
def test_a_name_that_might_be_anything_is_not_shown(bus: EventBus, name: str) -> None:
    """And none of them changes what the next one is counted as."""
    with Metrics(bus) as metrics:
        bus.emit(NamedEvent(name))
        bus.emit(NamedEvent("next"))

    shown = {event for event, _ in counted(metrics, "emits_total")}
    assert shown == {"next", name if name == event_type(NamedEvent).name else "other"}


@given(st.text())
def test_whatever_an_event_is_called_the_text_can_be_parsed(name: str) -> None:
    bus = EventBus()
    odd = type(name.replace("\0", "") or "x", (), {})
    with Metrics(bus) as metrics:
        bus.emit(NamedEvent(name))
        bus.emit(odd())
    assert sum(counted(metrics, "emits_total").values()) == 2
    assert list(parse_classic(metrics.text()))


def test_types_made_at_run_time_are_bounded(bus: EventBus) -> None:
    with Metrics(bus, max_events=3) as metrics:
        for number in range(10):
            bus.emit(type(f"Made{number}", (), {})())

    assert sorted(counted(metrics, "emits_total").values()) == [1, 1, 1, 7]


async def test_figures_and_background_observers_of_a_plugin_are_bounded() -> None:
    """It chooses their names."""

    class Many(Plugin):
        def __init__(self, bus: EventBus) -> None:
            for number in range(MAX_NAMES + 5):
                bus.observe(Ping, noting("o", [], asynchronous=True), name=f"o{number:04}", background=True)

        async def check_health(self) -> Health:
            return Health(metrics={f"f{number}": 1 for number in range(MAX_NAMES + 5)})

    async with Kernel([MetricsPlugin, Many], required=["many"]) as kernel:
        await _plugin(kernel).render()
        metrics = kernel.services.get(Metrics)

        assert len(found(metrics, "plugin_figure", plugin="many")) == MAX_NAMES
        depths = found(metrics, "background_depth", plugin="many")
        assert len(depths) == MAX_NAMES + 1
        assert ("other",) in depths


def test_nothing_that_was_sent_or_said_is_shown(bus: EventBus) -> None:
    """Not in a label, wherever it was: fields, keys, messages of errors, reasons."""
    secret = "s3cret"
    bus.listen(Ping, raising_listener(Veto(secret)), name="refuses")
    bus.listen(Pong, raising_listener(Boom(secret)), name="fails")
    with Metrics(bus) as metrics:
        with pytest.raises(Veto):
            bus.emit(Ping(trail=(secret,)))
        with pytest.raises(Boom):
            bus.emit(Pong(trail=(secret,)))
        bus.emit(NamedEvent("told", {"token": secret}))

    assert sum(counted(metrics, "emits_total").values()) == 3
    assert secret not in metrics.text()


# ------------------------------------------------------------------------------------------------ who comes and goes


class Shop(Plugin):
    events = (Seen,)

    @observes(Ping)
    async def hear(self, event: Ping) -> None: ...

    @observes(Ping, background=True, name="later")
    async def later(self, event: Ping) -> None: ...


async def test_a_plugin_that_leaves_takes_its_series_along() -> None:
    """Also those of the event types that leave with it; what others did stays."""
    async with Kernel([MetricsPlugin, Shop]) as kernel:
        metrics = kernel.services.get(Metrics)
        await kernel.bus.aemit(Ping())
        await kernel.bus.aemit(Seen())
        await _plugin(kernel).render()
        assert '"shop"' in metrics.text()
        assert found(metrics, "emits_total", event="metrics.seen")

        await kernel.unload("shop")

        left = {
            sample.name
            for family in parse_openmetrics(metrics.text(OPENMETRICS))
            for sample in family.samples
            if sample.labels.get("plugin") == "shop"
        }
        assert left <= {"plugbus_plugin_info", "plugbus_plugin_state", "plugbus_plugin_boot_seconds"}, "its record"
        assert not found(metrics, "emits_total", event="metrics.seen")
        assert counted(metrics, "emits_total", event="tools.ping") == {("ok",): 1}


async def test_a_plugin_that_is_reloaded_begins_anew() -> None:
    async with Kernel([MetricsPlugin, Shop]) as kernel:
        metrics = kernel.services.get(Metrics)
        for _ in range(3):
            await kernel.bus.aemit(Ping())
        await kernel.reload("shop")
        await kernel.bus.aemit(Ping())

        runs = counted(metrics, "subscriber_runs_total", plugin="shop", event="tools.ping", kind="observer")
        assert runs.keys() == {("ok",)}
        assert runs["ok",] <= 2, "one heard at once, one in the background"


async def test_its_instrument_leaves_with_it() -> None:
    async with Kernel([MetricsPlugin]) as kernel:
        metrics = kernel.services.get(Metrics)
        await kernel.unload("metrics")
        await kernel.bus.aemit(Ping())
        assert not counted(metrics, "emits_total", event="tools.ping")
        assert kernel.bus._core.instruments == ()


async def test_paused_it_costs_nothing_and_tells_the_rest() -> None:
    """Chains are compiled without it."""
    async with Kernel([MetricsPlugin], config={"plugins": {"metrics": {"paused": True}}}) as kernel:
        metrics = kernel.services.get(Metrics)
        await kernel.bus.aemit(Ping())
        assert kernel.bus._core.instruments == ()
        assert not metrics.watching
        assert not counted(metrics, "emits_total")
        assert counted(metrics, "plugin_state") == {("ready", "metrics"): 1}
        metrics.resume()
        metrics.resume()
        assert len(kernel.bus._core.instruments) == 1
        await kernel.bus.aemit(Ping())
        assert counted(metrics, "emits_total", event="tools.ping") == {("ok",): 1}


async def test_each_kernel_has_its_own() -> None:
    """And the registry of the process has none of them."""
    async with Kernel([MetricsPlugin]) as one, Kernel([MetricsPlugin]) as other:
        await one.bus.aemit(Ping())
        here, there = one.services.get(Metrics), other.services.get(Metrics)
        assert here.registry is not there.registry
        assert counted(here, "emits_total", event="tools.ping") == {("ok",): 1}
        assert not counted(there, "emits_total", event="tools.ping")
        assert not [name for name in prometheus_client.REGISTRY._names_to_collectors if name.startswith("plugbus")]


def test_metrics_of_others_may_join(bus: EventBus) -> None:
    """But not under our names."""
    metrics = Metrics(bus)
    prometheus_client.Counter("shop_orders", "Orders.", registry=metrics.registry).inc()

    assert "shop_orders_total 1.0" in metrics.text()
    with pytest.raises(ValueError, match="Duplicated"):
        prometheus_client.Counter("plugbus_emits", "Ours.", registry=metrics.registry)


# ------------------------------------------------------------------------------------------------ formats


FORMATS: Mapping[str, tuple[str, Any]] = {
    "": ("text/plain; version=0.0.4; charset=utf-8", parse_classic),
    "text/html": ("text/plain; version=0.0.4; charset=utf-8", parse_classic),
    "text/plain; version=abc": ("text/plain; version=0.0.4; charset=utf-8", parse_classic),
    "text/plain; version=1.0.0": ("text/plain; version=", parse_classic),  # older libraries know 0.0.4 alone
    OPENMETRICS: ("application/openmetrics-text; version=1.0.0; charset=utf-8", parse_openmetrics),
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.2,*/*;q=0.1": (
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        parse_openmetrics,
    ),
}


@pytest.mark.parametrize("accept", FORMATS)
async def test_every_metric_can_be_read_in_the_format_that_was_asked_for(accept: str) -> None:
    """By the official parsers; with all families filled."""
    content_type, parse = FORMATS[accept]

    class Fails(Plugin):
        @observes(Ping, breaker=Breaker(failures=3))
        async def fails(self, event: Ping) -> None:
            raise Boom("x")

    async with Kernel([MetricsPlugin, Mail, Shop, Fails]) as kernel:
        kernel.bus.answer(Ask, lambda request: "answer")
        await kernel.bus.aemit(Ping())
        await kernel.bus.acall(Ask())
        rendered = await _plugin(kernel).render(accept)

    families = {family.name: family for family in parse(rendered.body.decode())}
    assert rendered.content_type.startswith(content_type)
    suffix = {"counter": "", "info": "_info"} if parse is parse_classic else {}
    assert sorted(families) == sorted(family.name + suffix.get(family.type, "") for family in FAMILIES)
    samples = list(itertools.chain.from_iterable(family.samples for family in families.values()))
    assert all(sample.value >= 0 and not math.isnan(sample.value) for sample in samples)


@given(st.one_of(st.text(), st.sampled_from(["text/plain", "application/openmetrics-text"]).flatmap(
    lambda kind: st.text().map(lambda version: f"{kind}; version={version}"))))  # fmt: skip
@example("text/plain;version=1.x")
@example("application/openmetrics-text;version=")
def test_no_header_can_break_it(accept: str) -> None:
    assert Metrics(EventBus()).render(accept).content_type


# ------------------------------------------------------------------------------------------------ the plugin


async def test_a_service_enables_it_by_its_name() -> None:
    """From the entry point; strictly, as it declares all that it does."""
    async with Kernel(enabled=["metrics"], required=["metrics"], strict=True) as kernel:
        await kernel.bus.aemit(Ping())
        assert counted(kernel.services.get(Metrics), "emits_total", event="tools.ping") == {("ok",): 1}


@pytest.mark.parametrize(("permissions", "state"), [((), "failed"), (("metrics",), "ready")])
async def test_who_reads_it_needs_the_permission(permissions: tuple[str, ...], state: str) -> None:
    class Reader(Plugin):
        manifest = Manifest(id="reader", publishes=[], subscribes=[], permissions=permissions)

        def __init__(self, metrics: Metrics) -> None: ...

    async with Kernel([MetricsPlugin, Reader]) as kernel:
        assert kernel.plugins["reader"].state == state


async def test_where_it_may_not_manage_it_tells_the_rest() -> None:
    """The operator decides whether it sees plugins and their health."""
    grants = {"metrics": {"permissions": []}}
    async with Kernel([MetricsPlugin, Mail], grants=grants, required=["metrics"]) as kernel:
        await kernel.bus.aemit(Ping())
        await _plugin(kernel).render()
        metrics = kernel.services.get(Metrics)
        assert counted(metrics, "emits_total", event="tools.ping") == {("ok",): 1}
        assert not found(metrics, "plugin_state")
        assert not found(metrics, "health")


async def test_a_plugin_that_may_not_hear_everything_cannot_count_it() -> None:
    refused: list[str] = []

    class Curious(Plugin):
        manifest = Manifest(id="curious", subscribes=["order.*"])

        def __init__(self, bus: EventBus) -> None:
            metrics = Metrics(bus)
            with pytest.raises(PermissionDeniedError):
                metrics.resume()
            refused.append(repr(metrics))

    async with Kernel([Curious], required=["curious"]):
        assert refused == ["<Metrics paused>"]


@pytest.mark.parametrize("buckets", [(), (0, 1), (2, 1), (1, 1), (1, math.inf), (math.nan,), (-1,)])
def test_buckets_that_make_no_histogram_are_refused(bus: EventBus, buckets: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="buckets="):
        Metrics(bus, buckets=buckets)


async def test_settings_that_do_not_fit_are_told() -> None:
    with pytest.raises(KernelStartError, match="each must be above the one before"):
        async with Kernel([MetricsPlugin], config={"plugins": {"metrics": {"buckets": [2, 1]}}}, required=["metrics"]):
            pass


async def test_the_buckets_are_a_setting() -> None:
    async with Kernel([MetricsPlugin], config={"plugins": {"metrics": {"buckets": [0.5, 60]}}}) as kernel:
        await kernel.bus.aemit(Ping())
        metrics = kernel.services.get(Metrics)
        buckets = found(metrics, "emit_duration_seconds_bucket", event="tools.ping")
        assert [bound for (bound,) in buckets] == ["0.5", "60.0", "+Inf"]


def test_it_imports_without_the_library_and_says_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from plugbus import EventBus; from plugbus_contrib.metrics import Metrics, MetricsPlugin\n"
        "try: Metrics(EventBus())\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert "pip install 'plugbus[metrics]'" in done.stdout


def test_every_metric_and_setting_stands_in_the_reference() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text()

    missing = [family.name for family in FAMILIES if f"`{family.name}" not in page]
    assert missing + [name for name in MetricsPlugin.Settings.model_fields if f"| `{name}`" not in page] == []


def test_a_recorder_grows_with_what_there_is_and_not_with_what_happens() -> None:
    """Names of subscribers come and go, as those who wait do."""
    recorder = Recorder(BUCKETS, lambda: 0.0, max_events=10, max_named_events=10)
    for number in range(1000):
        for watched, event in ((Watched("observer", "tools.ping", f"s{number}", "shop"), Ping()),
                               (Watched("emit", event_type(NamedEvent).name), NamedEvent(f"n{number}"))):  # fmt: skip
            recorder.leave(watched, recorder.enter(watched, event), None)

    assert len(recorder.figures()) == 12
    assert len(recorder._found) == 1


def test_it_works_where_no_event_loop_runs() -> None:
    """As for a push gateway, or another server."""
    with Kernel([MetricsPlugin]).portal() as kernel:
        kernel.bus.emit(Ping())
        assert 'plugbus_emits_total{event="tools.ping",outcome="ok"} 1.0' in kernel.services.get(Metrics).text()


async def test_it_can_be_read_while_plugins_come_and_go() -> None:
    """From a thread, as scrapes are written."""
    stop = False

    async with Kernel([MetricsPlugin]) as kernel:
        metrics = kernel.services.get(Metrics)

        def read() -> int:
            return next(count for count in itertools.count() if metrics.text() and stop)

        async def change() -> None:
            nonlocal stop
            for _ in range(20):
                await kernel.load(Shop)
                await kernel.bus.aemit(Ping())
                await kernel.unload("shop")
            stop = True

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.to_thread.run_sync, read)
                await change()

        assert not counted(metrics, "subscriber_runs_total", plugin="shop")


class TestConforms(PluginConformance):
    """It leaves nothing behind, reloads, and keeps to what it declares."""

    plugin = MetricsPlugin


def test_it_works_on_both_loops() -> None:
    for backend in ("asyncio", "trio"):
        bus = EventBus()
        with Metrics(bus) as metrics:
            run(backend, bus.aemit, Ping())
        assert counted(metrics, "emits_total") == {("tools.ping", "ok"): 1}
