"""A kernel's machinery: starting, stopping, loading and unloading, one at a time.

Owns the order of these steps; ``plugbus.kernel`` is the face, and each step has a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, final

import anyio
import anyio.lowlevel
import anyio.to_thread
import structlog  # noqa: F401 - a kernel will log, and should not import this in the middle of a failure

from plugbus._background.runner import Runner
from plugbus._errors.base import close_names
from plugbus._kernel.assemble import Assembler
from plugbus._kernel.fleet import Fleet
from plugbus._kernel.hooks import Registry
from plugbus._kernel.loading import load_all_in_threads
from plugbus._kernel.marking import Marking
from plugbus._kernel.permitting import grant_problems
from plugbus._kernel.preparing import KernelOptions, Preparation, Read, read, required_problems
from plugbus._kernel.resolve import leaving
from plugbus._kernel.schedule import Turns
from plugbus._kernel.unit import Surroundings, Unit
from plugbus._kernel.wiring import SettingsTypes
from plugbus._permits import MANAGE
from plugbus.bus import EventBus
from plugbus.clock import Clock
from plugbus.errors import (
    KernelStartError,
    PluginError,
    PluginNotFoundError,
)
from plugbus.lifecycle import KernelReady, KernelStopping, PluginState
from plugbus.log import Logger, log_failure
from plugbus.manifest import plugin_key
from plugbus.owner import Owner
from plugbus.plugins import Plugins
from plugbus.services import Services
from plugbus.tasks import TaskHandle, Tasks

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from plugbus._kernel.reloading import Reload
    from plugbus._threads import Threads


@final
class Runtime:
    """Everything behind one kernel."""

    def __init__(self, options: KernelOptions) -> None:
        self.options = options
        self.host = Owner("host", home=self)
        self.services = Services(owner=self.host)
        self.bus = EventBus(checked=options.checked, services=self.services, owner=self.host)
        self.background: Runner = Runner()
        self.bus.attach_background(self.background)
        self.hooks = Registry()
        self.marking = Marking()
        self.units: dict[str, Unit] = {}
        self.required: tuple[str, ...] = options.required
        self.requires_all = False  # for tests, who want each plugin that they name
        self.fleet: Fleet | None = None
        self.preparation: Preparation | None = None
        self.around: Surroundings  # made by start, which reads the configuration
        self.reloading: Reload | None = None
        self.stopping = False
        self._left_behind: list[Threads] = []
        self._tasks: TaskGroup | None = None
        self._host_tasks: Tasks | None = None
        self._token: anyio.lowlevel.EventLoopToken | None = None
        self.turns: Turns  # made by start, because it belongs to one event loop
        self.settings_types = SettingsTypes(self.services, self.unit_of)
        self._provide_own()

    def _provide_own(self) -> None:
        """Provide what each plugin has of its own: views like any other plugin's."""
        provide = partial(self.services.factory, scope="plugin")
        provide(EventBus, lambda owner: owner.bus, names=("bus", "event_bus"))
        provide(Logger, lambda owner: owner.log, names=("log", "logger"))
        provide(Tasks, lambda owner: owner.tasks, names=("tasks",))
        provide(Plugins, lambda owner: Plugins(self, owner), permission=MANAGE)

    @property
    def tasks(self) -> Tasks:
        """Where the host starts background work."""
        if self._host_tasks is None:
            self._host_tasks = self._tasks_for("host")
        return self._host_tasks

    def make_tasks(self, unit: Unit) -> Tasks:
        """Return where a plugin starts background work."""
        return self._tasks_for(unit.id, unit.hide)

    def _tasks_for(self, owner_id: str, hide: Callable[[str], str] = str) -> Tasks:
        if self._tasks is None:
            raise PluginError(owner_id, "there are no background tasks before the kernel has started")

        def tell(handle: TaskHandle, error: BaseException) -> None:
            facts = {"task": handle.name, "starts": handle.starts}
            log_failure(owner_id, "background task crashed", error, hide=hide, **facts)

        return Tasks(self._tasks, owner=owner_id, clock=self.services.get(Clock), on_crash=tell, token=self._token)

    def unit_of(self, owner: Owner) -> Unit | None:
        """Return the plugin that an owner is, if it is one of ours."""
        home = owner.home
        return home if isinstance(home, Unit) else None

    def named_units(self) -> list[tuple[str, Unit]]:
        """Return all plugins with their ids; a second one with the id of another has ``#2`` behind it."""
        return [(unit.id if unit.key == key else key, unit) for key, unit in list(self.units.items())]

    def nearest(self, plugin_id: str) -> tuple[str, ...]:
        """Return ids that come close to one."""
        return close_names(plugin_id, [unit.id for unit in self.units.values()])

    def surroundings(self, found: Read) -> Surroundings:
        """Return what all plugins share, once the configuration is read."""
        if not self.services.has(Clock):  # unless the host has provided one
            self.services.value(Clock, self.bus._core.clock, names=("clock",))  # noqa: SLF001 - the kernel's own bus
        return Surroundings(
            self.bus, self.services, self.hooks, found.config, found.environ, found.permitting, self.marking,
            self.make_tasks,
        )  # fmt: skip

    async def start(self, tasks: TaskGroup) -> None:
        """Start: discover, load, resolve, boot, announce.

        Raises:
            KernelStartError: If the configuration cannot be used, or a required plugin is not ready; everything
                that had started is rolled back then.
        """
        self._tasks, self._token, self.turns = tasks, anyio.lowlevel.current_token(), Turns()
        found = await anyio.to_thread.run_sync(read, self.options)
        self.required = found.required
        around = self.around = self.surroundings(found)
        clock = self.bus._core.clock = self.services.get(Clock)  # noqa: SLF001 - the kernel's own bus
        self.background.start(tasks, clock)
        prepare = self.preparation = Preparation(around, self.units, self.settings_types, found.allow)
        limits = self.options
        fleet = self.fleet = Fleet(
            around, Assembler(limits.boot_timeout_seconds, limits.drain_seconds), self.background
        )
        async with self.turns.wait():
            units = [prepare.unit(source) for source in found.sources]
            await load_all_in_threads(units, limits.boot_timeout_seconds)
            entered = prepare.enter(units)
            absent = prepare.absent()
            await load_all_in_threads(absent, limits.boot_timeout_seconds)
            prepare.enter(absent)
            if self.requires_all:
                self.required = tuple(unit.id for unit in units if unit.state is not PluginState.DISABLED)
            for problem in grant_problems(found.permitting, self.units):
                self.host.log.warning("a grant has no effect", problem=str(problem))
            await self.boot(entered, starting=True)
            self._insist()
        await fleet.announce_ready(tuple(self.units.values()))
        self._insist()
        await fleet.announce(KernelReady(plugins=tuple(unit.id for unit in fleet.ready)))

    async def boot(self, entered: Sequence[Unit], *, starting: bool = False) -> None:
        """Boot plugins that were entered; what those registered that do not come to be ready is undone."""
        prepare, fleet = self.running()
        try:
            ordered = prepare.resolve(entered)
            prepare.insist(ordered, starting=starting)
            await fleet.boot(ordered)
        finally:
            await fleet.clear(entered)

    def _insist(self) -> None:
        problems = required_problems(self.required, self.units)
        if problems:
            raise KernelStartError(problems)

    async def stop(self, reason: str) -> None:
        """Shut down in reverse order, each plugin within its time; whether cancelled or not."""
        self.stopping = True
        with anyio.CancelScope(shield=True):
            deadline = anyio.current_time() + self.options.drain_seconds
            if self.fleet is not None:
                await self._stop_fleet(self.fleet, reason, deadline)
            await self.background.drain(None, _half_way(deadline) - anyio.current_time())
            for failure in [*await self.services.aclose(), *await self.host.aclose()]:
                log_failure("host", "closing a service failed", failure)

    async def _stop_fleet(self, fleet: Fleet, reason: str, deadline: float) -> None:
        with anyio.CancelScope(deadline=_half_way(deadline)):
            await fleet.announce(KernelStopping(reason=reason))
        if self.reloading is not None:
            await self.reloading.hurry(_half_way(deadline) - anyio.current_time())
        await self.background.wait_idle(None, _half_way(deadline) - anyio.current_time())
        for unit in leaving(fleet.ready):
            await fleet.stop(unit, _half_way(deadline) - anyio.current_time())

    def known(self, plugin_id: str) -> Unit:
        """Return a plugin by its id.

        Raises:
            PluginNotFoundError: If there is none.
        """
        unit = self.units.get(plugin_key(plugin_id))
        if unit is None:
            raise PluginNotFoundError(plugin_id, self.nearest(plugin_id))
        return unit

    def remember_threads(self, units: Iterable[Unit]) -> None:
        """Go on counting the threads that plugins without a record have left behind."""
        found = [*self._left_behind, *(unit.owner.threads for unit in units)]
        self._left_behind = [threads for threads in found if threads.abandoned]

    def threads_abandoned(self) -> int:
        """How many threads overran their time and still run."""
        tasks = [unit.tasks_made.statistics() for unit in self.units.values() if unit.tasks_made]
        threads = [self.host.threads, *(unit.owner.threads for unit in self.units.values()), *self._left_behind]
        return sum(found.abandoned for found in threads) + sum(found.threads_abandoned for found in tasks)

    def running(self) -> tuple[Preparation, Fleet]:
        """Return what there is while it runs.

        Raises:
            PluginError: If it does not.
        """
        if self.preparation is None or self.fleet is None or self.stopping:
            raise PluginError("host", "the kernel is not running; use `async with kernel`, or kernel.portal()")
        return self.preparation, self.fleet


def _half_way(deadline: float) -> float:
    """Half of the time that is left: one that hangs leaves the others as much as it had, and the sum is bounded."""
    now = anyio.current_time()
    return now + max(deadline - now, 0.0) / 2
