"""Thirty plugins with conflicts: what explain, check and health say is what happens."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest
from anyio import fail_after, to_thread

from plugbus import (
    Breaker,
    Event,
    Health,
    Kernel,
    Manifest,
    Plugin,
    PluginState,
    Request,
    answers,
    hookimpl,
    listens,
    observes,
    provides,
)

pytestmark = pytest.mark.anyio

RAN: list[str] = []


class Placed(Event, name="system.placed", key="shop"):
    shop: str


class Price(Request[int], name="system.price"):
    item: str


class Ledger: ...


class Missing: ...


def listener(number: int) -> type[Plugin]:
    """Plugins 0 to 11: listeners in a contorted order; 11 refers to nobody."""
    before = {0: ["p5"], 3: ["p1"], 7: ["p0", "p3"], 11: ["nobody"]}.get(number, [])
    after = {2: ["p9"], 4: ["p2"], 10: ["P6.wrap"]}.get(number, [])

    class Listening(Plugin):
        manifest = Manifest(id=f"p{number}", version="1.0", requires=[f"p{number - 1}"] if number in {4, 8} else [])

        @listens(Placed, before=before, after=after, priority=100 - number % 3, name=f"P{number}.wrap")
        async def wrap(self, event, next_fn):
            RAN.append(f"P{number}.wrap")
            return await next_fn(event)

    return Listening


def observer(number: int) -> type[Plugin]:
    """Plugins 12 to 17: observers, some by key, some by pattern; 13 fails each time, behind a breaker."""
    target, options = [
        (Placed, {}), (Placed, {"breaker": Breaker(failures=2, cooldown_seconds=600)}), (Placed, {"key": "berlin"}),
        (Placed, {"key": "rome"}), ("system.*", {}), ("system.placed", {"where": lambda event: event.shop != "berlin"}),
    ][number - 12]  # fmt: skip

    class Observing(Plugin):
        manifest = Manifest(id=f"p{number}")

        @observes(target, name=f"P{number}.see", **options)
        async def see(self, event: Any) -> None:
            RAN.append(f"P{number}.see")
            if number == 13:
                raise OSError("outside system is down")

    return Observing


def special() -> list[type[Plugin]]:
    """Plugins 18 to 29: each a case of its own."""

    class Answering(Plugin, id="p18"):
        @answers(Price)
        async def price(self, request: Price) -> int:
            return len(request.item)

    class AlsoAnswering(Plugin, id="p19"):
        @answers(Price)
        async def price(self, request: Price) -> int:
            return 0

    class Providing(Plugin, id="p20"):
        @provides
        def ledger(self) -> Ledger:
            return Ledger()

    class FailingBoot(Plugin, id="p22"):
        async def on_boot(self) -> None:
            raise OSError("no disk")

    class Behind(Plugin):
        manifest = Manifest(id="p23", requires=["p22"])

    class FarBehind(Plugin):
        manifest = Manifest(id="p24", requires=["p23"], optional=["p12"])

    class Outdated(Plugin):
        manifest = Manifest(id="p25", requires=["p4>=2"])

    class CircleOne(Plugin):
        manifest = Manifest(id="p26", requires=["p27"])

    class CircleTwo(Plugin):
        manifest = Manifest(id="p27", requires=["p26"])

    class Hooked(Plugin, id="p28"):
        @hookimpl
        def system_unknown(self) -> None: ...

    class Degraded(Plugin, id="p29"):
        async def check_health(self) -> Health:
            return Health(status="degraded", reason="slow", metrics={"queue_length": 7})

    return [Answering, AlsoAnswering, Providing, Wired, FailingBoot, Behind, FarBehind, Outdated, CircleOne, CircleTwo,
            Hooked, Degraded]  # fmt: skip


class Wired(Plugin, id="p21"):
    def __init__(self, ledger: Ledger, missing: Missing) -> None: ...


def thirty() -> list[type[Plugin]]:
    plugins = [*map(listener, range(12)), *map(observer, range(12, 18)), *special()]
    assert len(plugins) == 30
    return plugins


FAILED = {"p19", "p21", "p22"}
BLOCKED = {"p23", "p24", "p25", "p26", "p27"}


@pytest.fixture(autouse=True)
def ran() -> None:
    RAN.clear()


async def test_explain_is_true_for_thirty_plugins() -> None:
    """The chain runs in the order that the plan says, and the plan keeps every wish."""
    with fail_after(20):
        async with Kernel(plugins=thirty(), config={"plugins": {"p99": {}}}) as kernel:
            plan = kernel.bus.explain(Placed, key="berlin")
            await kernel.bus.aemit(Placed(shop="berlin"))
            kernel_plan = kernel.explain()

    filtered_out = "P17.see"
    assert [step.name for step in plan.steps if step.name != filtered_out] == RAN
    place = {step.name: step.position for step in plan.steps}
    for first, second in [
        ("P0", "P5"),
        ("P3", "P1"),
        ("P7", "P0"),
        ("P7", "P3"),
        ("P9", "P2"),
        ("P2", "P4"),
        ("P6", "P10"),
    ]:
        assert place[f"{first}.wrap"] < place[f"{second}.wrap"]
    assert "P15.see" not in place
    assert len(plan.problems) == 1
    assert "'nobody'" in plan.problems[0]

    order = [step.id for step in kernel_plan.plugins if step.position]
    assert len(order) == 22
    assert order.index("p3") < order.index("p4")
    assert order.index("p7") < order.index("p8")
    assert {step.id for step in kernel_plan.plugins if not step.position} == FAILED | BLOCKED


async def test_the_plan_does_not_depend_on_the_moment() -> None:
    plans = set()
    for _ in range(2):
        async with Kernel(plugins=thirty()) as kernel:
            plans.add(str(kernel.bus.explain(Placed)))
    assert len(plans) == 1


async def test_check_is_true_for_thirty_plugins() -> None:
    """It finds before the start what the start runs into, but for what only happens then; and nothing else."""
    kernel = Kernel(plugins=thirty(), config={"plugins": {"p99": {}}}, required=["p98"])
    before = await to_thread.run_sync(kernel.check)

    found = Counter(
        problem.where.partition(",")[0].removeprefix("plugin ").strip("'") for problem in before if problem.fatal
    )
    assert found == Counter({"p19": 1, "p21": 1, "p25": 1, "p26": 1, "p27": 1, "p98": 1})
    odd = [str(problem) for problem in before if not problem.fatal]
    assert len(odd) == 3
    for phrase in ("before='nobody'", "system_unknown", "plugins.p99 in argument"):
        assert any(phrase in problem for problem in odd)
    assert RAN == []


async def test_a_running_kernel_of_thirty_tells_all_that_failed() -> None:
    async with Kernel(plugins=thirty(), config={"plugins": {"p99": {}}}) as kernel:
        problems = await to_thread.run_sync(kernel.check)
        states = {record.id: record.state for record in kernel.plugins.values()}

    assert {plugin_id for plugin_id, state in states.items() if state is PluginState.FAILED} == FAILED
    assert {plugin_id for plugin_id, state in states.items() if state is PluginState.BLOCKED} == BLOCKED
    for plugin_id in FAILED | BLOCKED:
        assert any(problem.fatal and f"plugin {plugin_id!r}" in problem.where for problem in problems)
    assert sum(not problem.fatal for problem in problems) == 3
    assert "it needs p23 -> p22, which failed: on_boot raised OSError: no disk" in str(problems)


async def test_health_is_true_for_thirty_plugins() -> None:
    with fail_after(20):
        async with Kernel(plugins=thirty()) as kernel:
            for _ in range(4):
                await kernel.bus.aemit(Placed(shop="berlin"))
            assert await kernel.bus.acall(Price(item="tea")) == 3
            health = await kernel.health()

    expected = dict.fromkeys(FAILED | BLOCKED, "down") | {"p13": "degraded", "p29": "degraded"}
    assert {name: found.status for name, found in health.plugins.items() if found.status != "up"} == expected
    assert health.status == "degraded"
    assert health.plugins["p13"].breakers_open == ("P13.see",)
    assert RAN.count("P13.see") == 2
    assert health.plugins["p29"].metrics == {"queue_length": 7}
    assert health.plugins["p24"].reason.startswith("it needs p23 -> p22, which failed")


async def test_thirty_plugins_leave_one_after_the_other() -> None:
    """Whoever leaves takes its steps out of the chain, and those that need it along."""
    with fail_after(20):
        async with Kernel(plugins=thirty()) as kernel:
            while ready := [record.id for record in kernel.plugins.values() if record.state == "ready"]:
                await kernel.unload(ready[0], cascade=True)
                RAN.clear()
                await kernel.bus.aemit(Placed(shop="rome"))
                left = {record.id.upper() for record in kernel.plugins.values() if record.state == "ready"}
                assert {name.partition(".")[0] for name in RAN} <= left
            assert kernel.bus.subscriptions() == ()
            await anyio.lowlevel.checkpoint()
