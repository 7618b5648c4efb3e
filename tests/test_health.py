"""How the kernel is: what plugins answer, each within its time, and what the kernel has seen itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import anyio
import pytest
from anyio import fail_after
from tests.support import virtual_time

from plugbus import Breaker, Event, Health, Kernel, KernelHealth, Logger, Manifest, Plugin, Plugins, observes
from plugbus.health import worst

pytestmark = pytest.mark.anyio


class Tick(Event, name="health.tick"): ...


def plugin(name: str, answer=None, *, is_async: bool = True) -> type[Plugin]:
    def check_health(self) -> Health:
        return answer() if callable(answer) else answer

    async def check_health_async(self) -> Health:
        return answer() if callable(answer) else answer

    return type(name, (Plugin,), {"check_health": check_health_async if is_async else check_health} if answer else {})


def test_the_worst_status_counts() -> None:
    assert worst() == worst("up") == "up"
    assert worst("up", "degraded") == "degraded"
    assert worst("down", "up", "degraded") == "down"
    assert Health(checks={"a": "up", "b": "down"}).status == "down"
    assert Health(status="degraded", checks={"a": "up"}).status == "degraded"


async def test_each_plugin_tells_how_it_is_with_checks_and_metrics() -> None:
    mail = plugin("mail", Health(reason="slow", checks={"smtp": "degraded"}, metrics={"sent_per_second": 2.5}))
    shop = plugin("shop", Health(), is_async=False)

    async with Kernel(plugins=[mail, shop, plugin("silent")]) as kernel:
        health = await kernel.health()

    assert {name: found.status for name, found in health.plugins.items()} == {
        "mail": "degraded", "shop": "up", "silent": "up",
    }  # fmt: skip
    assert health.status == "degraded"
    assert health.ok
    assert (health.plugins["mail"].reason, health.plugins["mail"].metrics) == ("slow", {"sent_per_second": 2.5})


async def test_a_plugin_that_manages_may_ask_how_all_are() -> None:
    """Nobody else needs the kernel itself for that: an edge, metrics."""
    found: list[KernelHealth] = []

    class Watcher(Plugin):
        manifest = Manifest(id="watcher", publishes=[], subscribes=[], permissions=["kernel.manage"])

        def __init__(self, plugins: Plugins) -> None:
            self.plugins = plugins

        async def on_ready(self) -> None:
            found.append(await self.plugins.health(timeout_seconds=1))

    async with Kernel(plugins=[Watcher, plugin("mail", Health(status="degraded"))], required=["watcher"]) as kernel:
        assert found == [await kernel.health()]

    assert found[0].plugins["mail"].status == "degraded"


async def test_a_kernel_that_does_not_run_is_down() -> None:
    kernel = Kernel(plugins=[plugin("a")])
    assert await kernel.health() == KernelHealth(status="down")
    async with kernel:
        assert (await kernel.health()).status == "up"
    assert not (await kernel.health()).ok


@pytest.mark.parametrize(("answer", "status", "reason"), [
    (lambda: 1 / 0, "down", "check_health raised ZeroDivisionError: division by zero"),
    (lambda: "fine", "degraded", "check_health answered with str, not with a Health"),
])  # fmt: skip
async def test_a_check_that_fails_is_an_answer_too(answer, status: str, reason: str) -> None:
    async with Kernel(plugins=[plugin("a", answer), plugin("b", Health())]) as kernel:
        health = await kernel.health()

    assert (health.plugins["a"].status, health.plugins["a"].reason) == (status, reason)
    assert health.plugins["b"].status == "up"
    assert health.status == "degraded"


async def test_a_check_that_answers_with_nothing_says_nothing() -> None:
    class Quiet(Plugin):
        async def check_health(self, log: Logger) -> None: ...

    async with Kernel(plugins=[Quiet]) as kernel:
        assert (await kernel.health()).status == "up"


@virtual_time
async def test_checks_run_at_once_each_within_its_time() -> None:
    class Hanging(Plugin):
        async def check_health(self) -> Health:
            await anyio.sleep_forever()

    plugins = [type(name, (Hanging,), {}) for name in ("a", "b", "c")]
    async with Kernel(plugins=[*plugins, plugin("fine", Health())]) as kernel:
        start = anyio.current_time()
        health = await kernel.health(timeout_seconds=3)
        assert anyio.current_time() - start == pytest.approx(3)

    assert health.plugins["a"].reason == "check_health was still running after 3 s"
    assert [found.status for found in health.plugins.values()] == ["down", "down", "down", "up"]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_abandoned_threads_show_until_they_end(gate: threading.Event) -> None:
    class Hanging(Plugin, id="hanging"):
        def check_health(self) -> Health:
            gate.wait(20)
            return Health()

    with fail_after(15):
        async with Kernel(plugins=[Hanging]) as kernel:
            hanging = (await kernel.health(timeout_seconds=0.05)).plugins["hanging"]
            assert (hanging.status, hanging.threads_abandoned) == ("down", 1)
            assert "1 abandoned threads still run" in hanging.reason
            gate.set()
            while (await kernel.health()).plugins["hanging"].threads_abandoned:
                await anyio.lowlevel.checkpoint()
            assert (await kernel.health()).status == "up"


async def test_breakers_observer_errors_and_crashed_tasks_show() -> None:
    class Failing(Plugin, id="failing"):
        @observes(Tick, breaker=Breaker(failures=2, cooldown_seconds=60), name="fragile")
        async def see(self, event: Tick) -> None:
            raise OSError("no")

        async def on_ready(self, tasks) -> None:
            handle = tasks.start(self.crash, name="crasher")
            await handle.wait()

        async def crash(self) -> None:
            raise OSError("no")

    async with Kernel(plugins=[Failing]) as kernel:
        for _ in range(3):
            await kernel.bus.aemit(Tick())
        failing = (await kernel.health()).plugins["failing"]

    assert (failing.status, failing.breakers_open, failing.tasks_crashed) == ("degraded", ("fragile",), ("crasher",))
    assert failing.observer_errors >= 2
    assert "the breaker of fragile is not closed" in failing.reason
    assert "background task crasher crashed" in failing.reason


async def test_a_plugin_that_does_not_run_is_down_and_degrades_the_whole_or_ends_it_if_required() -> None:
    class Late(Plugin, id="late"):
        healthy = True

        async def check_health(self) -> Health:
            return Health(status="up" if self.healthy else "down")

    class Broken(Plugin, id="broken"):
        async def on_boot(self) -> None:
            raise OSError("no disk")

    async with Kernel(plugins=[Late, Broken], required=["late"]) as kernel:
        health = await kernel.health()
        assert (health.status, health.plugins["broken"].status) == ("degraded", "down")
        assert health.plugins["broken"].reason == "on_boot raised OSError: no disk"
        kernel.plugins["late"].instance.healthy = False
        assert (await kernel.health()).status == "down"


async def test_disabled_plugins_and_those_that_were_unloaded_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGBUS_ENABLED", "-a")
    async with Kernel(plugins=[plugin("a", Health()), plugin("b", Health())]) as kernel:
        await kernel.unload("b")
        assert await kernel.health() == KernelHealth(status="up")


async def test_a_task_that_exits_leaves_the_kernel_and_the_others_running() -> None:
    """It is recorded as that task's crash, and shows in its plugin's health."""

    class Exits(Plugin, id="exits"):
        async def on_ready(self, tasks) -> None:
            await tasks.start(self.leave, name="leaver").wait()

        async def leave(self) -> None:
            raise SystemExit(3)

    class Works(Plugin, id="works"): ...

    async with Kernel(plugins=[Exits, Works]) as kernel:
        health = await kernel.health()

        assert (health.plugins["exits"].status, health.plugins["exits"].tasks_crashed) == ("degraded", ("leaver",))
        assert health.plugins["works"].status == "up"
