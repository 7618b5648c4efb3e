"""All plugins of one kernel: where each is in its life, and moving them on together.

Owns the plugins by id and the order in which they booted; what happens to one of them is in ``assemble.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, final

import anyio

from plugbus._failing import own_failure
from plugbus._kernel.assemble import Assembler
from plugbus._kernel.resolve import block_by, dependents, down_below
from plugbus._kernel.schedule import in_order
from plugbus._kernel.steps import call_step, reason_of
from plugbus.errors import PluginBootError, PluginError
from plugbus.lifecycle import PluginFailed, PluginReady, PluginState, PluginUnloaded
from plugbus.log import log_failure, text_of

if TYPE_CHECKING:
    from plugbus._background.runner import Runner
    from plugbus._kernel.unit import Surroundings, Unit
    from plugbus.events import Event


@final
class Fleet:
    """The plugins of one kernel.

    Attributes:
        units: All plugins that are known, by key.
        ready: Those that are ready, each after those that it needs.
        assembler: Puts one plugin together.
    """

    def __init__(self, surroundings: Surroundings, assembler: Assembler, background: Runner) -> None:
        self.units: dict[str, Unit] = {}
        self.ready: list[Unit] = []
        self._around = surroundings
        self.assembler = assembler
        self._background = background

    async def boot(self, units: Sequence[Unit]) -> None:
        """Boot plugins, in parallel as far as they do not need each other; one that fails stops no other.

        Args:
            units: Those that were resolved, each after those it needs and follows.
        """
        for unit in units:
            unit.enlist()
        try:
            await in_order(units, self._boot_now, self._boot)
        finally:
            self.ready += [unit for unit in units if unit.is_up]

    async def clear(self, units: Iterable[Unit]) -> None:
        """Undo what plugins registered that were to boot, and did not."""
        for unit in units:
            if not unit.is_up:
                await self.assembler.undo(unit)

    def _boot_now(self, unit: Unit) -> bool:
        if unit.state is not PluginState.RESOLVED:
            return True
        down = down_below(unit)
        if down is not None:
            block_by(unit, down)
            return True
        try:
            return self.assembler.boot_now(unit)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - it is on record, and told as PluginFailed
            unit.error = error
            return False

    async def _boot(self, unit: Unit) -> None:
        try:
            if unit.error is None:
                await self.assembler.boot(unit)
                return
            error: BaseException = unit.error
        except BaseException as raised:  # noqa: BLE001 - as above
            try:
                error = await own_failure(raised)
            except BaseException:
                await self.assembler.undo(unit)
                unit.state = PluginState.STOPPED
                raise
        await self._fail(unit, error)

    async def _fail(self, unit: Unit, error: BaseException) -> None:
        phase = unit.phase or "booting"
        unit.reason = reason_of(unit, error, phase)
        unit.error = _as_plugin_error(unit, error)
        # Ready, and yet it failed: a listener of PluginBooting would not have it after all.
        up, seconds = unit.is_up, self.assembler.boot_seconds
        failures = await (self.shut_down(unit, seconds) if up else self.assembler.undo(unit))
        for failure in failures:
            unit.error.add_note(unit.hide(f"undoing it failed, too: {text_of(failure)}"))
        unit.state = PluginState.FAILED

    async def announce_ready(self, units: Sequence[Unit]) -> None:
        """Run ``on_ready`` of those that have booted, and tell of everyone; one that fails here leaves again."""
        for unit in units:
            if unit.is_up:
                await self._around.bus.replay(unit.owner)
        async with anyio.create_task_group() as tasks:
            for unit in units:
                if unit.is_up and unit.steps.get("on_ready"):
                    tasks.start_soon(self._run_ready, unit)
        for unit in units:
            await self.tell_fate(unit)

    async def _run_ready(self, unit: Unit) -> None:
        try:
            for call in unit.steps["on_ready"]:
                await call_step(unit, "on_ready", call, self.assembler.boot_seconds)
        except BaseException as raised:  # noqa: BLE001 - it is on record, and told as PluginFailed
            error = await own_failure(raised)
            unit.phase = "on_ready"
            await self._withdraw(unit, error)

    async def _withdraw(self, unit: Unit, error: BaseException) -> None:
        """Take a plugin down that was ready, with those that need it."""
        below = [other for other in dependents(unit, self.ready) if other.is_up]
        for other in (*below, unit):
            await self.stop(other, self.assembler.boot_seconds)
        unit.state = PluginState.FAILED
        unit.reason, unit.error = reason_of(unit, error, "on_ready"), _as_plugin_error(unit, error)
        for other in reversed(below):
            block_by(other, next((needed for needed in other.needs if not needed.is_up), unit))

    async def tell_fate(self, unit: Unit) -> None:
        """Log and announce what has become of a plugin that was to boot."""
        manifest = unit.manifest
        if unit.is_up and manifest is not None:
            unit.announced = True
            await self.announce(PluginReady(plugin=unit.id, version=manifest.version, boot_seconds=unit.boot_seconds))
        elif unit.state in {PluginState.FAILED, PluginState.BLOCKED}:
            if unit.error is None:
                unit.log.error("plugin does not run", state=str(unit.state), reason=unit.reason)
            else:
                log_failure(unit.id, "plugin does not run", unit.error, hide=unit.hide, state=str(unit.state))
            await self.announce(PluginFailed(plugin=unit.id, state=unit.state, reason=unit.reason))

    async def announce(self, event: Event, *, within: float | None = None) -> None:
        """Emit a kernel event; what its listeners fail with changes nothing here, and is logged.

        Args:
            event: What is told.
            within: It is told whether the caller is cancelled or not, and for no longer than this, in seconds.
        """
        try:
            with anyio.move_on_after(within, shield=within is not None):
                await self._around.bus.aemit(event)
        except Exception as error:  # noqa: BLE001 - a listener of ours must not stop a start or a shutdown
            log_failure("host", "a listener of a kernel event failed", error, kernel_event=repr(event))

    async def stop(self, unit: Unit, seconds: float) -> None:
        """Shut a plugin down and undo what it registered; its failures are on its record and logged.

        Args:
            unit: A plugin that is ready.
            seconds: Time for each of its steps and for each entry that is undone, in seconds; half of it for what it
                has in the background, and half for what it posted.
        """
        failures = await self.shut_down(unit, seconds)
        unit.state = PluginState.STOPPED
        unit.reason = "; ".join(reason_of(unit, failure, "shutting down") for failure in failures)
        self.ready.remove(unit)
        for failure in failures:
            unit.error = failure
            log_failure(unit.id, "shutting down failed", failure, hide=unit.hide)

    async def shut_down(self, unit: Unit, seconds: float) -> list[Exception]:
        """Shut a plugin down and undo what it registered; what fails is returned."""
        unit.state = PluginState.STOPPING
        await self._background.wait_idle(unit.owner, seconds / 2, posts_only=True)
        self._around.bus.retire(unit.owner)
        await self._background.drain(unit.owner, seconds / 2)
        failures: list[Exception] = []
        with anyio.CancelScope(shield=True):
            failures += await unit.owner.stop_work(seconds)
        for call in reversed(unit.steps.get("on_shutdown", [])):
            try:
                with anyio.CancelScope(shield=True):
                    await call_step(unit, "on_shutdown", call, seconds)
            except BaseException as error:  # noqa: BLE001 - collected, and the rest goes on; it is shielded
                failures.append(_as_plugin_error(unit, error, "on_shutdown"))
        return failures + await self.assembler.undo(unit, seconds)

    async def unload(self, units: Iterable[Unit], seconds: float) -> None:
        """Shut plugins down while the kernel goes on, and tell of it; once begun, whether cancelled or not.

        Args:
            units: Each before those that it needs.
            seconds: As for :meth:`stop`, and for those who are told.
        """
        with anyio.CancelScope(shield=True):  # one that is left in the middle of its end neither hears nor is gone
            for unit in units:
                await self.stop(unit, seconds)
                await self.announce(PluginUnloaded(plugin=unit.id), within=seconds)

    async def roll_back(self, unit: Unit, seconds: float) -> None:
        """Shut a plugin down whose load was cancelled after it had booted, with those that need it by now.

        Args:
            unit: The plugin.
            seconds: As for :meth:`stop`, and for those who are told.
        """
        if not unit.is_up:
            return
        leaving = [*dependents(unit, self.ready), unit]
        for other in leaving:
            await self.stop(other, seconds)
        unit.reason = "; ".join(filter(None, ("its load was cancelled", unit.reason)))
        with anyio.move_on_after(seconds):
            for other in leaving:
                if other.announced:
                    await self.announce(PluginUnloaded(plugin=other.id))


def _as_plugin_error(unit: Unit, error: BaseException, phase: str = "") -> PluginError:
    if isinstance(error, PluginError):
        return error
    wrapped = PluginBootError(unit.id, reason_of(unit, error, phase or unit.phase or "booting"))
    wrapped.__cause__ = error
    return wrapped
