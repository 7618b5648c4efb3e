"""Going through a start without booting anything: what ``check`` and ``explain`` look at before a kernel runs.

Owns the scratch bus and registry for it. Plugins that are enabled are imported; nothing of them is built or called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast, final

from plugbus._background.runner import Runner
from plugbus._kernel.hooks import Registry, hookspec_problems
from plugbus._kernel.intercepting import may_give_settings
from plugbus._kernel.loading import load_all
from plugbus._kernel.marking import Marking, marked_of, readers_of, unread
from plugbus._kernel.near_misses import misspelt
from plugbus._kernel.preparing import Preparation, Read
from plugbus._kernel.settings import REQUIRED
from plugbus._kernel.steps import takes_self
from plugbus._kernel.unit import Unit
from plugbus.bus import EventBus
from plugbus.errors import PlugbusError, PluginError, Problem, SettingsError
from plugbus.event_types import EventType, event_type
from plugbus.explain import dangling
from plugbus.lifecycle import PluginState
from plugbus.marks import noted
from plugbus.subscribers import Declaration, named_declarations

if TYPE_CHECKING:
    from plugbus._kernel.runtime import Runtime
    from plugbus.owner import Owner
    from plugbus.services import Services


@final
class Rehearsal:
    """A start without boots.

    Args:
        runtime: The kernel, which does not run.
        found: What was read from outside.

    Attributes:
        units: The plugins by key.
        ordered: Those that would boot, in this order.
    """

    def __init__(self, runtime: Runtime, found: Read) -> None:
        self._runtime = runtime
        self._bus = EventBus()
        self._bus.attach_background(Runner())
        self._hooks = Registry()
        self._hooks.adopt_specs(runtime.hooks)
        around = replace(runtime.surroundings(found), bus=self._bus, hooks=self._hooks, marking=Marking())
        self.units: dict[str, Unit] = {}
        self._preparation = Preparation(around, self.units, runtime.settings_types, found.allow)
        self._preparation.called_later = True
        units = [self._preparation.unit(source) for source in found.sources]
        load_all(units)
        entered = self._preparation.enter(units)
        absent = self._preparation.absent()
        load_all(absent)
        self._preparation.enter(absent)
        self.ordered = self._preparation.resolve(entered)

    def close(self) -> None:
        """Forget what was imported for this alone."""
        for unit in self.units.values():
            if unit.loaded is not None:
                self._runtime.settings_types.leave(unit)
                unit.forget()

    def problems(self) -> Iterator[Problem]:
        """Find what would go wrong, or is odd."""
        for unit in self.ordered:
            if unit.state is PluginState.RESOLVED:
                yield from self._settings(unit)
                yield from self._hook_implementations(unit)
                yield from self._subscribers(unit)
                yield from _silenced(unit)
        yield from self._preparation.problems
        ours = self._bus.subscriptions()
        yield from dangling(ours, (*ours, *self._runtime.bus.subscriptions()))
        types = [*self._bus.types(), *self._runtime.bus.types(), *self._declared()]
        yield from misspelt(ours, types, self.units.values())
        yield from hookspec_problems(self._hooks)
        kinds = tuple(kind for unit in self.ordered for kind in readers_of(unit))
        yield from unread((found for unit in self.ordered for found in marked_of(unit)), kinds)

    def _declared(self) -> Iterator[EventType]:
        for unit in self.ordered:
            yield from map(event_type, (*unit.definition.events, *unit.events))

    @cached_property
    def _given_later(self) -> bool:
        """Whether what is required may come from a store or a listener, which only a start asks."""
        return may_give_settings(self.ordered, self._runtime.bus, self._runtime.services)

    def _settings(self, unit: Unit) -> Iterator[Problem]:
        if unit.definition.settings_model is None:
            return
        try:
            unit.settings_as(unit.definition.settings_model)
        except SettingsError as error:
            for problem in error.problems:
                fatal = problem.message != REQUIRED or not self._given_later
                yield Problem(f"plugin {unit.id!r}, {problem.where}", problem.message, problem.hint, fatal=fatal)

    def _hook_implementations(self, unit: Unit) -> Iterator[Problem]:
        try:
            if unit.definition.hookspecs is not None:
                self._hooks.add_specs(unit.definition.hookspecs, unit.id)
            self._hooks.enter(unit.definition.target, unit.id)
        except PluginError as error:
            yield Problem(f"plugin {unit.id!r}", error.reason)

    def _subscribers(self, unit: Unit) -> Iterator[Problem]:
        bus = self._bus.view(unit.owner, cast("Services", _Pretending()))
        for holder in (unit.definition.target, *unit.definition.parts):
            for attribute, declared in named_declarations(holder):
                try:
                    bus.subscribe(_without_self(declared) if takes_self(holder, attribute) else declared)
                except PlugbusError as error:
                    yield Problem(f"plugin {unit.id!r}", str(error).partition("\nHint: ")[0], _hint(error))


def _silenced(unit: Unit) -> Iterator[Problem]:
    """Find methods that lost what a base class has noted on them, because a subclass wrote them anew without it."""
    for holder in (unit.definition.target, *unit.definition.parts):
        cls = holder if isinstance(holder, type) else type(holder)
        now = {found.attribute for found in noted(cls)}
        for base in cls.__mro__[1:-1]:
            for name in dict.fromkeys(found.attribute for found in noted(base)):
                if name not in now and callable(getattr(cls, name, None)):
                    now.add(name)
                    message = f"is written anew without the decorator that {base.__qualname__}.{name} has"
                    hint = "decorate it as well; as it is, nobody calls it"
                    yield Problem(f"plugin {unit.id!r}, {cls.__qualname__}.{name}", message, hint, fatal=False)


def _hint(error: PlugbusError) -> str:
    return str(error).partition("\nHint: ")[2]


def _without_self(declared: Declaration) -> Declaration:
    """Make a method of a class that is not built look like a bound one."""
    call: Any = declared.call
    return Declaration(declared.kind, declared.events, partial(call, None), declared.options)


class _Pretending:
    """Services that build nothing, for subscribers that are never called."""

    def inject(self, call: Callable[..., Any], *, given: int = 0, owner: Owner | None = None) -> Callable[..., Any]:
        """Return something that looks like the callable with its services bound."""
        del given, owner
        return (lambda: object.__new__(call)) if isinstance(call, type) else call
