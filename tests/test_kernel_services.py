"""What the kernel provides itself: no plugin puts a second one beside it, or another in its place."""

from __future__ import annotations

from typing import Any

import pytest

from plugbus import (
    Clock,
    Current,
    EventBus,
    Kernel,
    Logger,
    Manifest,
    Owner,
    Plugin,
    PluginContext,
    Plugins,
    Principal,
    ServiceError,
    Services,
    SystemClock,
    Tasks,
    hookimpl,
    provides,
)
from plugbus.testing import FakeClock

pytestmark = pytest.mark.anyio

OWN = [Clock, Current, EventBus, Logger, Owner, Plugins, Principal, Services, Tasks]
NAMES = ["bus", "clock", "event_bus", "log", "logger", "owner", "services", "settings", "tasks"]


class Reader(Plugin, id="reader"):
    def __init__(self, clock: Clock, bus: EventBus, log) -> None:
        self.clock = clock


class Mine: ...


def providing(type_: type, name: str = "mine", **fields: Any) -> type[Plugin]:
    """A plugin whose decorated method provides this."""

    def provide(self: object) -> Any: ...

    provide.__annotations__["return"] = type_
    provide.__name__ = name
    return type("Rival", (Plugin,), {"manifest": Manifest(id="rival", **fields), name: provides(provide)})


@pytest.mark.parametrize("fields", [{}, {"permissions": []}, {"permissions": ["kernel.manage"]}])
@pytest.mark.parametrize("type_", OWN)
async def test_a_plugin_that_provides_what_is_the_kernels_fails_alone(type_: type, fields: dict[str, Any]) -> None:
    """Before anything of it is built; the others have the kernel's."""
    async with Kernel(plugins=[providing(type_, **fields), Reader]) as kernel:
        record = kernel.plugins["rival"]

        assert (record.state, record.boot_seconds) == ("failed", 0)
        assert f"'rival' may not provide {type_.__name__}, which is the kernel's own" in record.reason
        assert "services.override" in record.reason
        assert kernel.plugins["reader"].state == "ready"


@pytest.mark.parametrize("name", NAMES)
async def test_nor_does_one_provide_something_by_a_name_of_the_kernels(name: str) -> None:
    """Un-annotated parameters of all plugins mean the kernel's."""
    async with Kernel(plugins=[providing(Mine, name), Reader]) as kernel:
        assert f"may not provide {name!r}, which is the kernel's own" in kernel.plugins["rival"].reason
        assert kernel.plugins["reader"].state == "ready"


@pytest.mark.parametrize("type_", OWN)
async def test_one_that_tries_at_run_time_is_refused_there(type_: type) -> None:
    class Late(Plugin, id="late"):
        def __init__(self, services: Services) -> None:
            self.services = services

    async with Kernel(plugins=[Late, Reader]) as kernel:
        services: Services = kernel.plugins["late"].instance.services  # type: ignore[union-attr]
        for call in (
            lambda: services.value(type_, object()),
            lambda: services.factory(type_, object),
            lambda: services.value(Mine, Mine(), names=("mine", "clock")),
            lambda: services.override(type_, object()),
        ):
            with pytest.raises(ServiceError, match="'late' may not provide") as caught:
                call()
            assert "kernel's own" in caught.value.problem
        services.value(Mine, Mine(), name="mine")

        assert kernel.services.has(Clock)


async def test_one_that_tries_in_its_boot_fails() -> None:
    class Native:
        manifest = Manifest(id="native")

        @hookimpl
        def plugbus_boot(self, ctx: PluginContext) -> None:
            ctx.provide(Clock, SystemClock())

    async with Kernel(plugins=[Native(), Reader]) as kernel:
        assert "'native' may not provide Clock" in kernel.plugins["native"].reason
        assert kernel.plugins["reader"].state == "ready"


async def test_a_clock_with_a_name_of_its_own_is_a_plugins_to_provide() -> None:
    """``Named`` sets it apart, so nobody gets it who did not ask for it."""

    class Utc(Plugin, id="utc"):
        async def on_boot(self, services: Services) -> None:
            services.value(Clock, FakeClock(), name="utc")

    async with Kernel(plugins=[Utc, Reader]) as kernel:
        assert isinstance(kernel.services.get(Clock, "utc"), FakeClock)
        assert isinstance(kernel.services.get(Clock), SystemClock)
        assert kernel.plugins["reader"].state == "ready"


async def test_the_host_has_its_own_clock_and_stands_in_for_the_kernels() -> None:
    kernel, clock = Kernel(plugins=[Reader]), FakeClock()
    kernel.services.value(Clock, clock, names=("clock",))
    async with kernel:
        assert kernel.plugins["reader"].instance.clock is clock  # type: ignore[union-attr]
        with kernel.services.override(Clock, SystemClock()):
            assert isinstance(kernel.services.get(Clock), SystemClock)


async def test_a_plugin_called_host_is_no_host() -> None:
    """The host's rights do not go by the name."""
    rival = providing(Clock)
    rival.manifest = Manifest(id="host")  # type: ignore[misc]
    async with Kernel(plugins=[rival, Reader]) as kernel:
        assert "may not provide Clock" in kernel.plugins["host"].reason


def test_check_tells_of_it_before_the_start() -> None:
    assert "may not provide Clock" in str(Kernel(plugins=[providing(Clock), Reader]).check()[0])
