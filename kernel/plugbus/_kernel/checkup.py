"""How well the kernel is: asking each plugin, within a time limit, and adding what the kernel itself has seen.

Owns the rules for the whole; the values are in ``plugbus.health``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import anyio

from plugbus._failing import own_failure
from plugbus._kernel.steps import call_step, reason_of
from plugbus.health import Health, KernelHealth, PluginHealth, Status, worst
from plugbus.lifecycle import PluginState
from plugbus.manifest import plugin_key

if TYPE_CHECKING:
    from plugbus._kernel.runtime import Runtime
    from plugbus._kernel.unit import Unit
    from plugbus.statistics import PluginStatistics

_QUIET = frozenset({PluginState.DISABLED, PluginState.STOPPED})


async def check_health(runtime: Runtime, seconds: float) -> KernelHealth:
    """Ask all plugins at once.

    Args:
        runtime: The kernel.
        seconds: Time for each plugin to answer, in seconds.
    """
    answers: dict[Unit, Health] = {}
    named = {name: unit for name, unit in runtime.named_units() if unit.state not in _QUIET}
    async with anyio.create_task_group() as tasks:
        for unit in named.values():
            if unit.is_up and unit.steps.get("check_health"):
                tasks.start_soon(_ask, unit, seconds, answers)
    statistics = runtime.bus.statistics().plugins
    plugins = {name: _plugin_health(unit, answers.get(unit), statistics.get(name)) for name, unit in named.items()}
    return KernelHealth(status=_overall(runtime, plugins), plugins=plugins)


async def _ask(unit: Unit, seconds: float, answers: dict[Unit, Health]) -> None:
    found: list[Health] = []
    for call in unit.steps["check_health"]:
        try:
            answer = await call_step(unit, "check_health", call, seconds)
        except BaseException as raised:  # noqa: BLE001 - what it raised is its answer
            error = await own_failure(raised)
            found.append(Health(status="down", reason=reason_of(unit, error, "check_health")))
            continue
        if isinstance(answer, Health):
            found.append(answer)
        elif answer is not None:
            reason = f"check_health answered with {type(answer).__name__}, not with a Health"
            found.append(Health(status="degraded", reason=reason))
    answers[unit] = _together(found)


def _together(found: Iterable[Health]) -> Health:
    answers = list(found)
    statuses: list[Status] = [answer.status for answer in answers]
    return Health(
        status=worst(*statuses),
        reason="; ".join(answer.reason for answer in answers if answer.reason),
        checks={name: status for answer in answers for name, status in answer.checks.items()},
        metrics={name: figure for answer in answers for name, figure in answer.metrics.items()},
    )


def _plugin_health(unit: Unit, answer: Health | None, statistics: PluginStatistics | None) -> PluginHealth:
    """Add to the plugin's own answer what the kernel knows; each of it degrades the plugin at least."""
    said = answer or Health()
    tasks = unit.tasks_made.statistics() if unit.tasks_made else None
    crashed = tuple(task.name for task in tasks.crashed) if tasks else ()
    threads = unit.owner.threads.abandoned + (tasks.threads_abandoned if tasks else 0)
    breakers = statistics.breakers if statistics else {}
    open_ = tuple(name for name, state in breakers.items() if state != "closed")
    seen = [f"{threads} abandoned threads still run"] if threads else []
    seen += [f"the breaker of {name} is not closed" for name in open_]
    seen += [f"background task {name} crashed" for name in crashed]
    background = statistics.background if statistics else {}
    seen += [f"as many events wait for {name} as may" for name, work in background.items() if work.full]
    seen_as: Status = "degraded" if seen else "up"
    return PluginHealth(
        status=worst(said.status, seen_as) if unit.is_up else "down",
        state=unit.state,
        reason="; ".join(filter(None, [unit.reason, said.reason, *seen])),
        checks=said.checks,
        metrics=said.metrics,
        threads_abandoned=threads,
        breakers_open=open_,
        tasks_crashed=crashed,
        observer_errors=statistics.failures if statistics else 0,
        background={name: work._asdict() for name, work in background.items()},
    )


def _overall(runtime: Runtime, plugins: Mapping[str, PluginHealth]) -> Status:
    if runtime.fleet is None or runtime.stopping:
        return "down"
    required = {plugin_key(plugin_id) for plugin_id in runtime.required}
    if any(health.status == "down" for plugin_id, health in plugins.items() if plugin_key(plugin_id) in required):
        return "down"
    return "up" if all(plugin.status == "up" for plugin in plugins.values()) else "degraded"
