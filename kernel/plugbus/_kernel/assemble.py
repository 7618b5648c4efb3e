"""Putting one plugin together, and taking it apart again.

Owns the steps from a definition to a plugin that is wired, registered and booted; who boots when is ``boot.py``'s job.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

import anyio

from plugbus._chain.steps import is_coroutine_callable
from plugbus._kernel.definition import services_of
from plugbus._kernel.intercepting import boot_through, configured, is_intercepted
from plugbus._kernel.steps import PHASES, call_step
from plugbus._kernel.wiring import provide
from plugbus.errors import PluginTimeoutError
from plugbus.lifecycle import PluginState
from plugbus.marks import Found, noted
from plugbus.plugin import Phase, Provided
from plugbus.subscribers import GIVEN, Declaration, Subscribed

if TYPE_CHECKING:
    from plugbus._kernel.settings import Draft
    from plugbus._kernel.unit import Unit

_NATIVE: Final[dict[str, Phase]] = {
    "plugbus_boot": "on_boot",
    "plugbus_ready": "on_ready",
    "plugbus_settings": "on_settings",
    "plugbus_shutdown": "on_shutdown",
    "plugbus_health": "check_health",
}


def is_quick(unit: Unit) -> bool:
    """Tell whether there is nothing to wait for while a plugin boots, so that it needs no task of its own."""
    definition = unit.definition
    if definition.dynamic or definition.parts or hasattr(definition.target, "on_boot"):
        return False
    return all(target.call is definition.target or not unit.services.parameters(target.call, target.given)
               for target in unit.targets)  # fmt: skip


@final
class Assembler:
    """Puts plugins together within a time limit.

    Args:
        boot_seconds: Time for each plugin to boot, in seconds.
        close_seconds: Time for each entry that is undone when a plugin leaves, in seconds.
    """

    def __init__(self, boot_seconds: float, close_seconds: float) -> None:
        self.boot_seconds = boot_seconds
        self._close_seconds = close_seconds

    def boot_now(self, unit: Unit) -> bool:
        """Boot a plugin that has nothing to wait for; one that has is left as it was.

        Raises:
            Exception: Why it failed; whatever it registered is to be undone.
        """
        if not is_quick(unit) or is_intercepted(unit):
            return False
        started = time.perf_counter()
        unit.state = PluginState.BOOTING
        self._take_settings(unit, unit.drafted())
        build: Callable[[], Any] = lambda: unit.definition.target  # noqa: E731
        if unit.definition.form == "class":
            try:
                build = unit.services.inject(unit.definition.target)
            except Exception:  # noqa: BLE001 - it may need the loop; whatever it is, booting with time tells
                return False
        self._wire(unit, build)
        if unit.steps.get("on_boot"):
            return False
        found = [each for each in noted(unit.body) if not isinstance(each.mark, Provided)]
        if not all(isinstance(each.mark, Subscribed) for each in found):
            return False
        self._take_parts(unit)
        self._subscribe(unit, found)
        self._activate(unit, started)
        return True

    async def boot(self, unit: Unit) -> None:
        """Boot a plugin, however long it takes within its time.

        Raises:
            PluginTimeoutError: If it took too long; what it was doing is named.
            Exception: Why else it failed; whatever it registered is to be undone.
        """
        started = time.perf_counter()
        unit.state = PluginState.BOOTING
        deadline = anyio.current_time() + self.boot_seconds
        with anyio.CancelScope(deadline=deadline):
            if unit.body is None:
                self._take_settings(unit, await configured(unit, self.boot_seconds))
            await boot_through(unit, partial(self._boot, unit, started, deadline))
            unit.phase = ""
            return
        raise PluginTimeoutError(unit.id, unit.phase, self.boot_seconds)

    async def _boot(self, unit: Unit, started: float, deadline: float) -> None:
        definition = unit.definition
        if unit.body is None:
            unit.phase = "__init__"
            build: Callable[[], Any] = lambda: definition.target  # noqa: E731
            if definition.form == "class":
                build = await unit.services.ainject(definition.target)
            self._wire(unit, build)
        if definition.register is not None:
            await self._step(unit, "register", partial(definition.register, unit.context), deadline)
        parts = self._take_parts(unit)
        holders = [unit.body, *[await self._part(unit, part) for part in parts]]
        found = [each for holder in holders for each in noted(holder) if not isinstance(each.mark, Provided)]
        await self._prebuild(unit, found)
        self._subscribe(unit, found)
        for call in unit.steps.get("on_boot", ()):
            await self._step(unit, "on_boot", call, deadline)
        marks = [each for each in found if not isinstance(each.mark, Subscribed)]
        if unit.replaces is not None:
            unit.marks = marks
        elif marks:
            await self.join(unit, marks)
        self._activate(unit, started)

    async def join(self, unit: Unit, marks: Sequence[Found]) -> None:
        """Have the readers of marks told of a plugin's, and it of theirs."""
        unit.phase, unit.marks = "reading marks", marks
        await unit.surroundings.marking.join(unit, marks)

    async def _step(self, unit: Unit, phase: str, call: Callable[..., Any], deadline: float) -> None:
        unit.phase = phase
        await call_step(unit, phase, call, self.boot_seconds, deadline)

    def _take_settings(self, unit: Unit, sources: Draft) -> None:
        unit.phase = "settings"
        unit.sources = sources
        model = unit.definition.settings_model
        if model is not None:
            unit.settings = sources.validated(model)
        unit.phase = "__init__"

    def _wire(self, unit: Unit, build: Callable[[], Any]) -> None:
        """Build the plugin object and register what is known of it without running it."""
        definition, owner = unit.definition, unit.owner
        unit.body = body = build()
        unit.phase = "registering"
        unit.parts = list(definition.parts)
        if definition.hookspecs is not None:
            unit.add_hookspecs(definition.hookspecs)
        implemented = unit.seat.enter(body)
        owner.own(unit.seat.leave, what="registration with pluggy")
        if definition.events or unit.events:
            unit.bus.declare(*definition.events, *unit.events)
        for service in definition.services:
            if service.holder is definition.target:
                provide(unit, service, getattr(body, service.attribute))
        self._find_steps(unit, body, implemented)

    def _find_steps(self, unit: Unit, body: Any, implemented: Iterable[tuple[str, str]]) -> None:
        for phase in PHASES:
            call = getattr(body, phase, None)
            if call is not None:
                unit.add_step(phase, call)
        for hook, attribute in implemented:
            if hook in _NATIVE:
                unit.add_step(_NATIVE[hook], _with_context(getattr(body, attribute), unit, hook))

    def _take_parts(self, unit: Unit) -> list[object]:
        """Return what was brought in; from now on it is too late for more."""
        parts, unit.parts = unit.parts or [], None
        return parts

    async def _part(self, unit: Unit, part: object) -> object:
        """Build a part that is a class, and provide what it provides."""
        unit.phase = f"building {getattr(part, '__qualname__', type(part).__qualname__)}"
        built: Any = (await unit.services.ainject(part))() if isinstance(part, type) else part
        for service in services_of(built):
            provide(unit, service, getattr(built, service.attribute))
        return built

    async def _prebuild(self, unit: Unit, found: Iterable[Found]) -> None:
        """Build what subscribers ask for; on the bus, it must be there already."""
        unit.phase = "subscribing"
        for mark, _, call in found:
            if isinstance(mark, Subscribed):
                await unit.services.ainject(call, given=0 if isinstance(call, type) else GIVEN[mark.kind])

    def _subscribe(self, unit: Unit, found: Iterable[Found]) -> None:
        unit.phase = "subscribing"
        for mark, _, call in found:
            if isinstance(mark, Subscribed):
                unit.bus.subscribe(Declaration(mark.kind, mark.events, call, mark.options))

    def _activate(self, unit: Unit, started: float) -> None:
        """Let all its subscriptions hear at once: from now on it is ready."""
        if unit.replaces is None:
            unit.surroundings.bus.activate(unit.owner)
        unit.boot_seconds = time.perf_counter() - started
        unit.phase = ""
        unit.state = PluginState.READY

    async def undo(self, unit: Unit, seconds: float | None = None) -> list[Exception]:
        """Take apart whatever there is of a plugin, whether cancelled or not; what fails is returned.

        Args:
            unit: The plugin.
            seconds: Time for each entry, in seconds; the kernel's usual time unless given.
        """
        unit.surroundings.bus.retire(unit.owner)
        failures: list[Exception] = []
        with anyio.CancelScope(shield=True):
            failures += await unit.owner.aclose(self._close_seconds if seconds is None else seconds)
        unit.body = unit.settings = unit.parts = None
        unit.steps.clear()
        unit.marks = ()
        unit.seat.give_up()
        unit.forget()
        return failures


def _with_context(call: Callable[..., Any], unit: Unit, hook: str) -> Callable[..., Any]:
    """Hand a hook implementation what it asks for by name, as pluggy does: the context, the settings."""
    names = inspect.signature(call).parameters
    given = {"ctx": unit.context} if "ctx" in names else {}
    if hook != "plugbus_settings":
        return partial(call, **given) if given else call

    def told(old: object, new: object) -> dict[str, Any]:
        return given | {name: value for name, value in (("old", old), ("new", new)) if name in names}

    async def asettings(old: object, new: object) -> Any:
        return await call(**told(old, new))

    return asettings if is_coroutine_callable(call) else lambda old, new: call(**told(old, new))
