"""Metrics over HTTP: at /metrics, for those who may, in the format that was asked for."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic
from tests.bus.tools import SECONDS, Ping, marks

from plugbus import Health, Kernel, Plugin, Principal
from plugbus_adapters.http.testing import client
from plugbus_contrib.metrics import MetricsPlugin

pytestmark = marks

SCRAPER = Principal("prometheus", ["metrics.read"])


def kernel(*plugins: Any, **settings: Any) -> Kernel:
    return Kernel([MetricsPlugin, *plugins], required=["metrics"], config={"plugins": {"metrics": settings}})


async def test_it_is_served_to_those_who_may_read_it() -> None:
    """With what happened up to then, health included."""

    class Mail(Plugin):
        async def check_health(self) -> Health:
            return Health(metrics={"waiting": 3})

    service = kernel(Mail)
    async with client(service, as_=SCRAPER) as http:
        await service.bus.aemit(Ping())
        answer = await http.get("/metrics")

    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse_classic(answer.text)
        for sample in family.samples
    }
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert samples["plugbus_emits_total", "tools.ping", "ok"] == 1
    assert samples["plugbus_plugin_figure", "waiting", "mail"] == 3


@pytest.mark.parametrize(
    ("auth", "principal", "status"),
    [
        (None, None, 401),
        (None, Principal("ann", ["orders.read"]), 403),
        (None, Principal("root", ["metrics.*"]), 200),
        ("public", None, 200),
        ("user", Principal("ann"), 200),
        (["metrics.read", "ops.read"], SCRAPER, 403),
    ],
)
async def test_who_may_is_a_setting(auth: Any, principal: Principal | None, status: int) -> None:
    """The scope metrics.read, unless the operator says otherwise."""
    settings = {} if auth is None else {"auth": auth}
    async with client(kernel(**settings), as_=principal) as http:
        answer = await http.get("/metrics")

    assert answer.status_code == status
    assert ("plugbus_" in answer.text) is (status == 200)


async def test_the_format_is_the_one_that_was_asked_for() -> None:
    async with client(kernel(), as_=SCRAPER) as http:
        answer = await http.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        odd = await http.get("/metrics", headers={"accept": "text/plain; version=abc"})

    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert {family.name for family in parse_openmetrics(answer.text)} >= {"plugbus_emits", "plugbus_health"}
    assert odd.status_code == 200


async def test_it_stands_where_scrapers_look_whatever_prefix_plugins_have() -> None:
    """And elsewhere if a setting says so."""
    async with client(kernel(), as_=SCRAPER, plugin_prefix="/plugins/{plugin}") as http:
        assert (await http.get("/metrics")).status_code == 200
    async with client(kernel(path="/internal/metrics"), as_=SCRAPER) as http:
        assert (await http.get("/internal/metrics")).status_code == 200
        assert (await http.get("/metrics")).status_code == 404


async def test_it_is_gone_when_the_plugin_leaves_and_back_with_the_next() -> None:
    service = kernel()
    async with client(service, as_=SCRAPER) as http:
        with anyio.fail_after(SECONDS):
            await service.reload("metrics")
            assert (await http.get("/metrics")).status_code == 200
            await service.unload("metrics")
            assert (await http.get("/metrics")).status_code == 404


async def test_its_settings_can_be_changed_while_it_serves() -> None:
    """The plugin is reloaded for it."""
    service = kernel()
    async with client(service) as http:
        assert (await http.get("/metrics")).status_code == 401
        with anyio.fail_after(SECONDS):
            await service.plugins.configure("metrics", {"auth": "public", "paused": True})
        await service.bus.aemit(Ping())
        answer = await http.get("/metrics")

    assert answer.status_code == 200
    assert "plugbus_emits_total" not in answer.text


async def test_a_service_of_the_host_that_is_called_so_is_left_alone() -> None:
    """A client of the host's, say; there is no HTTP to serve anything then."""
    service = kernel()
    service.services.value(dict, {}, name="http")
    async with service:
        assert service.plugins["metrics"].state == "ready"
