"""Health over HTTP: alive, ready, and how each plugin is for those who may know."""

from __future__ import annotations

import pytest

from plugbus import Health, Kernel, Plugin, Principal
from plugbus.testing import FakeClock, KernelFactory
from plugbus_adapters.http import create_app
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio


class Mail(Plugin, id="mail"):
    def __init__(self) -> None:
        self.status, self.asked = "up", 0

    async def check_health(self) -> Health:
        self.asked += 1
        return Health(status=self.status, reason="canary-7")


async def test_everybody_is_told_whether_it_lives_and_is_ready() -> None:
    """And nothing else."""
    async with client(Kernel([Mail])) as http:
        live, ready = await http.get("/health/live"), await http.get("/health/ready")

    assert (live.status_code, live.json()) == (200, {"status": "up"})
    assert (ready.status_code, ready.json()) == (200, {"status": "up"})


async def test_a_required_plugin_that_is_down_is_503(kernel_factory: KernelFactory) -> None:
    """One that is not required only degrades the whole; plugins are asked once a second at most."""
    clock = FakeClock()
    kernel = kernel_factory(Mail, clock=clock, required=["mail"])
    async with client(kernel) as http:
        mail = kernel.plugins["mail"].instance
        assert (await http.get("/health/ready")).status_code == 200
        mail.status = "down"
        assert (await http.get("/health/ready")).status_code == 200
        assert mail.asked == 1
        await clock.advance(2)
        down = await http.get("/health/ready")
        assert (down.status_code, down.json()) == (503, {"status": "down"})
        assert "retry-after" in down.headers


async def test_who_may_know_is_told_of_each_plugin() -> None:
    """With its reason, which may be nobody else's business."""
    kernel = Kernel([Mail])
    app = create_app(kernel)
    async with (
        kernel,
        client(app, as_=Principal("ops", ["health.read"])) as ops,
        client(app, as_=Principal("ann")) as ann,
    ):
        told = (await ops.get("/health/ready")).json()
        assert (told["plugins"]["mail"]["reason"], told["plugins"]["http"]["state"]) == ("canary-7", "ready")
        assert "canary-7" not in (await ann.get("/health/ready")).text
