"""P9: booting twice as many plugins takes twice as long, and not many times what their registry alone takes."""

from __future__ import annotations

from functools import partial
from time import perf_counter

import anyio
import pluggy

from benchmarks.harness import Case
from benchmarks.parts import Tick
from benchmarks.sides import Pair, Run, Side
from plugbus import Clock, EventBus, Kernel, Logger, Plugin, observes

PLUGINS = 2_000


class Hearing(Plugin):
    """What every plugin here is made like: three services handed in, one subscription."""

    def __init__(self, bus: EventBus, log: Logger, clock: Clock) -> None:
        self.bus, self.log, self.clock = bus, log, clock

    @observes(Tick)
    def observe(self, event: Tick) -> None:
        """Hear the event."""


def plugin_classes(count: int) -> list[type[Plugin]]:
    return [_plugin_class(number) for number in range(count)]


def _plugin_class(number: int) -> type[Plugin]:
    class Numbered(Hearing, id=f"plugin-{number}"):
        pass

    return Numbered


def boots(classes: list[type[Plugin]]) -> Run:
    """Time from building a kernel until every plugin of it is ready."""

    async def run(times: int) -> tuple[float, object]:
        seconds, ready = 0.0, 0
        for _ in range(times):
            started = perf_counter()
            async with Kernel(plugins=classes) as kernel:
                seconds += perf_counter() - started
                ready = sum(record.state == "ready" for record in kernel.plugins.values())
        return seconds, ready

    return run


def registers(classes: list[type[Plugin]]) -> Run:
    """Time pluggy registering the plugins that a kernel has built of the same classes."""

    async def build() -> list[object]:
        async with Kernel(plugins=classes) as kernel:
            return [record.instance for record in kernel.plugins.values()]

    with anyio.from_thread.start_blocking_portal() as portal:
        built = portal.call(build)

    async def run(times: int) -> tuple[float, object]:
        seconds, registered = 0.0, 0
        for _ in range(times):
            manager = pluggy.PluginManager("benchmarks")
            started = perf_counter()
            for plugin in built:
                manager.register(plugin)
            seconds += perf_counter() - started
            registered = len(manager.get_plugins())
        return seconds, registered

    return run


def against_half() -> Pair:
    twice, once = plugin_classes(PLUGINS), plugin_classes(PLUGINS // 2)
    return Pair(Side(boots(twice), PLUGINS), Side(boots(once), PLUGINS // 2))


def against_pluggy() -> Pair:
    classes = plugin_classes(PLUGINS)
    return Pair(Side(boots(classes), PLUGINS), Side(registers(classes), PLUGINS))


def _case(against: str, bar: float, build: partial[Pair]) -> Case:
    return Case("P9", f"boot of {PLUGINS:,} plugins", against, bar, build, loop="asyncio", rounds=9, turns=2)


CASES = (
    _case(f"boot of {PLUGINS // 2:,}", 2.3, partial(against_half)),
    _case("pluggy registers the same objects", 6.0, partial(against_pluggy)),
)
