"""Reloading a plugin while everybody goes on: the new one boots beside the old one, then takes over, or goes again.

Owns one reload and its way back; the reasons are in docs/adr/0015-a-reload-swaps-and-can-go-back.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, final

import anyio
import anyio.to_thread

from plugbus._failing import own_failure
from plugbus._generations import Generations
from plugbus._kernel.fleet import Fleet
from plugbus._kernel.loading import Aside, load_all_in_threads, source_anew
from plugbus._kernel.resolve import dependents, exchange
from plugbus._kernel.steps import call_step, reason_of
from plugbus._kernel.unit import Unit
from plugbus.errors import PluginError, PluginTimeoutError, ReloadError
from plugbus.lifecycle import PluginState, PluginUnloaded
from plugbus.log import log_failure

if TYPE_CHECKING:
    from plugbus._kernel.runtime import Runtime


@final
class Reload:
    """One reload of one plugin, and of those that need it.

    Args:
        runtime: The kernel.
        fleet: Its plugins.
        unit: The plugin.
    """

    def __init__(self, runtime: Runtime, fleet: Fleet, unit: Unit) -> None:
        self._runtime, self._fleet, self._unit = runtime, fleet, unit
        self._trial = Fleet(runtime.around, fleet.assembler, runtime.background)
        self.olds = [unit, *reversed(dependents(unit, fleet.ready, holders=True))]
        self._news: list[Unit] = []
        self._culprit = unit
        self._aside: list[Aside] = []
        self._generations = Generations({})
        self._detached: list[Unit] = []
        self._seated: list[tuple[Unit, Unit]] = []
        self._swapped = False
        self._waiting = anyio.CancelScope()
        self._done = anyio.Event()

    async def run(self) -> Unit:
        """Reload.

        Returns:
            The new one.

        Raises:
            ReloadError: If a new one did not come to be ready; all is as it was then.
        """
        try:
            await self._replace()
        finally:
            self._done.set()
        return self._news[0]

    async def hurry(self, seconds: float) -> None:
        """Have it come to an end, because the kernel stops: go back, unless the new ones have taken over already.

        Args:
            seconds: How long to wait for that, in seconds.
        """
        self._waiting.cancel()
        with anyio.move_on_after(seconds):
            await self._done.wait()

    async def _replace(self) -> None:
        try:
            with self._waiting:
                await self._import()
                await self._boot()
                await self._take_over()
                await self._become_ready()
            if self._waiting.cancelled_caught:
                raise PluginError(self._unit.id, "the kernel stops")  # noqa: TRY301 - it goes back like any other
        except BaseException as error:  # noqa: BLE001 - raised again, as what the caller can use
            with anyio.CancelScope(shield=True):
                await self._go_back()
            culprit = self._culprit
            reason = reason_of(culprit, await own_failure(error), culprit.phase or "reloading")
            raise ReloadError(self._unit.id, culprit.id, reason) from (culprit.error or error)
        with anyio.CancelScope(shield=True):
            await self._settle()

    # -- forwards

    async def _import(self) -> None:
        seconds = self._fleet.assembler.boot_seconds
        staying = [unit for unit in self._runtime.units.values() if unit not in self.olds]
        for old in self.olds:
            self._culprit = old
            source, aside = source_anew(old, staying, reread=old is self._unit)
            if aside is not None:
                self._aside.append(aside)
            new = Unit(source, self._runtime.around)
            await load_all_in_threads([new], seconds)
            self._insist(new)
            self._news.append(new)

    async def _boot(self) -> None:
        runtime = self._runtime
        for old, new in self._pairs():
            new.succeed(old)
        self._generations = Generations({new.owner: old.owner for old, new in self._pairs()})
        self._overlap(self._generations)
        units = {**runtime.units, **{new.key: new for new in self._news}}
        prepare, _ = runtime.running()
        ordered = prepare.resolve(self._news, units)
        prepare.insist(ordered, starting=False)
        for new in self._news:
            if new.state is not PluginState.BLOCKED:
                self._insist(new)
        for new in self._news:
            self._insist(new)
        await self._trial.boot(ordered)
        for new in sorted(self._news, key=lambda new: new.state is PluginState.BLOCKED):
            self._insist(new)

    def _insist(self, new: Unit) -> None:
        if new.state in {PluginState.FAILED, PluginState.BLOCKED}:
            self._culprit = new
            raise new.error or PluginError(new.id, new.reason)

    async def _take_over(self) -> None:
        around, assembler = self._runtime.around, self._fleet.assembler
        for old in reversed(self.olds):
            if old.marks:
                self._detached.append(old)
                with self._in_time(old, "undoing what readers made of its marks"):
                    for failure in await around.marking.detach(old.owner):
                        log_failure(old.id, "undoing what a reader made of a mark failed", failure)
        for new in self._news:
            if new.marks:
                with self._in_time(new, "reading marks"):
                    await assembler.join(new, new.marks)
        for old, new in self._pairs():
            self._culprit = new
            self._seated.append((old, new))
            old.seat.leave()
            new.seat.take()
            self._runtime.background.hand_over(old.owner, new.owner)
        around.bus.swap(self._generations)
        self._swapped = True
        self._enter(self._news, self.olds)

    async def _become_ready(self) -> None:
        seconds = self._fleet.assembler.boot_seconds
        for new in self._news:
            await self._runtime.around.bus.replay(new.owner)
        for new in self._news:
            self._culprit = new
            for call in new.steps.get("on_ready", ()):
                new.phase = "on_ready"
                await call_step(new, "on_ready", call, seconds)
            new.phase = ""

    async def _settle(self) -> None:
        """Tell everybody, and let the old ones go."""
        with anyio.move_on_after(self._runtime.options.drain_seconds):
            for old in reversed(self.olds):
                await self._fleet.announce(PluginUnloaded(plugin=old.id))
            for new in self._news:
                await self._fleet.tell_fate(new)
        for old, new in self._pairs():
            _take_place(new, old)
        await self._retire(self.olds)
        self._overlap(None)

    # -- backwards

    async def _go_back(self) -> None:
        around = self._runtime.around
        if self._swapped:
            for old in self.olds:
                self._runtime.background.let_go(old.owner)  # or what the new ones heard would wait, and be given up
            around.bus.swap(self._generations, back=True)
            self._enter(self.olds, self._news)
        for old, new in reversed(self._seated):
            new.seat.leave()
            old.seat.take()
        await self._retire(self._news)
        for aside in reversed(self._aside):
            aside.put_back()
        for old in reversed(self._detached):
            try:
                with self._in_time(old, "reading marks"):
                    await self._fleet.assembler.join(old, old.marks)
            except Exception as error:  # noqa: BLE001 - it is logged; the old one runs on without its marks
                log_failure(old.id, "a reload failed, and its marks could not be read again", error)
            old.phase = ""
        self._overlap(None)

    # -- both ways

    def _pairs(self) -> Iterator[tuple[Unit, Unit]]:
        return zip(self.olds, self._news, strict=False)

    def _overlap(self, generations: Generations | None) -> None:
        runtime, around = self._runtime, self._runtime.around
        around.bus.overlap(generations)
        around.services.overlap(generations)
        runtime.settings_types.generations = generations
        around.marking.leaving = generations.leaving if generations else frozenset()

    def _enter(self, coming: Sequence[Unit], leaving: Sequence[Unit]) -> None:
        """Have the kernel know one generation instead of the other."""
        runtime, fleet = self._runtime, self._fleet
        instead = dict(zip(leaving, coming, strict=True))
        runtime.units.update({unit.key: unit for unit in coming})
        for unit in runtime.units.values():
            exchange(unit, instead)
        ready = [instead.get(unit, unit) for unit in fleet.ready]
        place = {unit: number for number, unit in enumerate(ready)}
        if any(place.get(needed, -1) > place[unit] for unit in ready for needed in unit.needs):
            order = self._trial.ready if coming is self._news else coming
            ready = [unit for unit in fleet.ready if unit not in instead] + list(order)
        fleet.ready[:] = ready

    async def _retire(self, units: Sequence[Unit]) -> None:
        """Wait until no call of theirs is under way, shut them down, and undo what they registered."""
        seconds = self._runtime.options.drain_seconds
        up = [unit for unit in units if unit.is_up]
        with anyio.move_on_after(seconds) as self._waiting:
            for unit in up if self._swapped else ():
                if unit.owner.flights is not None:
                    await unit.owner.flights.wait_landed()
        for unit in up if self._waiting.cancelled_caught else ():
            if count := unit.owner.flights.under_way if unit.owner.flights else 0:
                unit.log.warning("calls of the old one are still under way", calls=count, waited_seconds=seconds)
        for unit in reversed(units):
            shut_down = self._fleet.shut_down if unit.is_up else self._fleet.assembler.undo
            for failure in await shut_down(unit, seconds):
                log_failure(unit.id, "shutting down failed", failure)
            if unit.state is PluginState.STOPPING:
                unit.state = PluginState.STOPPED
        self._runtime.remember_threads(units)

    @contextmanager
    def _in_time(self, unit: Unit, phase: str) -> Iterator[None]:
        seconds = self._fleet.assembler.boot_seconds
        self._culprit, unit.phase = unit, phase
        with anyio.move_on_after(seconds) as limit:
            yield
        if limit.cancelled_caught:
            raise PluginTimeoutError(unit.id, unit.phase, seconds)


def _take_place(new: Unit, old: Unit) -> None:
    """Be what the other one was: from where it came, with its modules if these are the same."""
    new.source, new.replaces = old.source, None
    if new.loaded and old.loaded and new.definition.target is old.definition.target:
        new.loaded = replace(new.loaded, forget=old.loaded.forget)
        old.loaded = replace(old.loaded, forget=None)
