"""One plugin of one kernel, from its discovery to its end.

Owns the plugin's state; what moves it from one state to the next is in ``boot.py`` and ``stop.py``.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, final

from plugbus._chain.flights import Flights
from plugbus._kernel.definition import Definition, folder_of
from plugbus._kernel.hiding import Hiding
from plugbus._kernel.hooks import Registry, Seat
from plugbus._kernel.settings import Draft
from plugbus._kernel.sources import CONFIGURED, SettingsSource, settings_sources
from plugbus._kernel.steps import Target, targets_of
from plugbus.errors import PluginBootError, PluginError, PluginGoneError
from plugbus.lifecycle import PluginState
from plugbus.log import Logger, plugin_logger
from plugbus.manifest import Manifest, plugin_key
from plugbus.owner import Owner
from plugbus.plugin import Phase, PluginContext

if TYPE_CHECKING:
    from pydantic import BaseModel

    from plugbus._kernel.config import Config
    from plugbus._kernel.discovery import Loaded, Source
    from plugbus._kernel.marking import Marking
    from plugbus._kernel.permitting import Permitting
    from plugbus.bus import EventBus
    from plugbus.marks import Found
    from plugbus.services import Services
    from plugbus.tasks import Tasks

    M = TypeVar("M", bound="BaseModel")

F = TypeVar("F", bound=Callable[..., Any])


@final
@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all plugins of one kernel share."""

    bus: EventBus
    services: Services
    hooks: Registry
    config: Config
    environ: Mapping[str, str] = field(repr=False)  # may hold secrets
    permitting: Permitting
    marking: Marking
    make_tasks: Callable[[Unit], Tasks]
    changed: dict[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """What was configured while the kernel runs and nobody keeps, by the plugins' keys."""


@final
class Unit:
    """A plugin and everything the kernel knows about it.

    Attributes:
        source: Where it comes from.
        id: Its id; as long as that is not known, what names it at its source.
        state: Where in its life it is.
        loaded: What was imported.
        targets: What of it asks for services.
        events: Event types that are defined in its package.
        needs: Those it cannot be without, and why.
        follows: Those that boot before it if they can, and why.
        uses: Those whose services it holds, if they have them for it.
        root: The one on the way to which the trouble began, when it is blocked, and the way.
        body: The plugin object, once it is built.
        parts: What was brought in while it registers; ``None`` once that is over.
        phase: What it is doing at this moment, for messages.
        announced: Whether ``PluginReady`` was emitted for it.
        steps: What is to be called at each phase of its life.
        settings: Its validated settings, if it has a schema for them.
        settings_model: That schema, as it declares it or asked for it.
        sources: Where its settings come from, once it has begun to boot.
        seat: Its place in the registry of hooks.
        marks: What is noted on its functions for others to read.
        replaces: The one that runs in its place yet, while it boots to take over.
    """

    __slots__ = (
        "__weakref__", "_bus", "_services", "_tasks", "announced", "body", "boot_seconds", "error", "events", "follows",
        "id", "loaded", "marks", "needs", "owner", "parts", "phase", "reason", "replaces", "root", "seat", "settings",
        "settings_model", "source", "sources", "state", "steps", "surroundings", "targets", "uses",
    )  # fmt: skip

    def __init__(self, source: Source, surroundings: Surroundings) -> None:
        self.source = source
        self.id = source.id or source.spec
        self.state = PluginState.DISCOVERED
        self.loaded: Loaded | None = None
        self.targets: tuple[Target, ...] = ()
        self.events: tuple[type, ...] = ()
        self.reason = ""
        self.error: BaseException | None = None
        self.boot_seconds = 0.0
        self.announced = False
        self.needs: dict[Unit, str] = {}
        self.follows: dict[Unit, str] = {}
        self.uses: set[Unit] = set()
        self.root: tuple[tuple[str, ...], Unit] | None = None
        self.body: Any = None
        self.phase = ""
        self.owner = Owner(self.id)
        self.settings: BaseModel | None = None
        self.settings_model: type[BaseModel] | None = None
        self.sources: Draft | None = None
        self.steps: dict[Phase, list[Callable[..., Any]]] = {}
        self.parts: list[object] | None = None
        self.surroundings = surroundings
        self.seat = Seat(surroundings.hooks, self.id)
        self.marks: Sequence[Found] = ()
        self.replaces: Unit | None = None
        self._bus: EventBus | None = None
        self._services: Services | None = None
        self._tasks: Tasks | None = None

    @property
    def context(self) -> PluginContext:
        """What it is handed, if it asks for a context."""
        return PluginContext(self)

    @property
    def manifest(self) -> Manifest | None:
        """What it says about itself, once that is known."""
        return self.loaded.definition.manifest if self.loaded else None

    @property
    def definition(self) -> Definition:
        """What it declares."""
        assert self.loaded is not None, f"{self.id} has not been loaded"
        return self.loaded.definition

    @property
    def key(self) -> str:
        """Its id in the common spelling."""
        return plugin_key(self.id)

    @property
    def bus(self) -> EventBus:
        """Its view of the bus."""
        if self._bus is None:
            self._bus = self.surroundings.bus.view(self.owner, self.services)
        return self._bus

    def enlist(self) -> None:
        """Take its place among the others' subscriptions, before they boot in parallel: views are made there."""
        _ = self.bus

    @property
    def services(self) -> Services:
        """Its view of the services."""
        if self._services is None:
            self._services = self.surroundings.services.view(self.owner)
        return self._services

    @property
    def log(self) -> Logger:
        """Its logger."""
        return plugin_logger(self.id)

    @property
    def tasks(self) -> Tasks:
        """Where it starts background work."""
        if self._tasks is None:
            self._tasks = tasks = self.surroundings.make_tasks(self)
            self.owner.own(tasks.aclose, what="background tasks")
        return self._tasks

    @property
    def tasks_made(self) -> Tasks | None:
        """Where it started background work, if it did."""
        return self._tasks

    @property
    def is_up(self) -> bool:
        """Whether it is ready."""
        return self.state is PluginState.READY

    def identify(self, loaded: Loaded) -> None:
        """Take in what was imported: from now on its id is known."""
        self.loaded = loaded
        self.targets = tuple(targets_of(loaded.definition))
        self.settings_model = loaded.definition.settings_model
        self.id = loaded.definition.manifest.id
        definition = loaded.definition
        self.owner = Owner(
            self.id,
            manifest=definition.manifest,
            package=definition.package,
            folder=loaded.folder or folder_of(sys.modules.get(definition.package)),
            settings_model=definition.settings_model,
            home=self,
            grants=self.surroundings.permitting.for_plugin(self.id),
        )
        self.owner.flights = Flights()
        weak = weakref.ref(self)  # whoever keeps an owner keeps no plugin alive
        self.owner.hide = lambda text: text if (unit := weak()) is None else unit.hide(text)
        self.seat = Seat(self.surroundings.hooks, self.id)

    def succeed(self, old: Unit) -> None:
        """Boot beside another one, to take its place later."""
        self.replaces, self.seat.reserved = old, True
        self.enlist()

    def refuse(self, reason: str, cause: BaseException) -> None:
        """Note that it fails before anything of it was built."""
        self.state = PluginState.FAILED
        self.reason = reason
        self.error = PluginBootError(self.id, reason)
        self.error.__cause__ = cause

    def forget(self) -> None:
        """Let go of the modules that were imported for it alone."""
        if self.loaded is not None and self.loaded.forget is not None:
            self.loaded.forget()

    def drafted(self) -> Draft:
        """Return its settings before they are validated; as long as it has not booted, what is known by then."""
        if self.sources is not None:
            return self.sources
        around = self.surroundings
        changed = SettingsSource(CONFIGURED, around.changed.get(self.key, {}), level="stored")
        sources = settings_sources(self.id, around.config, around.environ, changed)
        return Draft(self.id, self.settings_model, sources)

    def settings_as(self, model: type[M]) -> M:
        """Return its settings, validated by a model."""
        return self.drafted().validated(model)

    def current_settings(self) -> BaseModel:
        """Return its settings as they are at this moment.

        Raises:
            PluginGoneError: If it has left.
        """
        if self.settings is None:
            raise PluginGoneError(self.id, "its settings")
        return self.settings

    def hide(self, text: str) -> str:
        """Cross the plugin's secrets out of a text that its code may have put them into."""
        if self.settings_model is None:
            return text
        return Hiding(self.settings_model, self.drafted().values()).without_secrets(text)

    def ask_settings(self, model: type[M]) -> M:
        """Do the same for a plugin that says only now which model it has."""
        found = self.settings_as(model)
        if self.settings_model is None:
            self.settings_model, self.settings = model, found
        return found

    def add_part(self, part: object) -> None:
        """Bring in a module, class or object while it registers."""
        parts = self._registering("ctx.add")
        if not any(part is known for known in parts):
            parts.append(part)

    def add_step(self, phase: Phase, call: F) -> F:
        """Have something called at a phase of its life."""
        if self.state is not PluginState.BOOTING:
            self._registering(f"ctx.{phase}")
        if phase == "on_settings" and not _takes_two(call):
            raise PluginError(self.id, "on_settings takes the old and the new settings, then what is to be injected")
        self.steps.setdefault(phase, []).append(call)
        return call

    def add_hookspecs(self, namespace: object) -> None:
        """Bring in hook specifications; they leave with it."""
        names = self.seat.specify(namespace)
        self.owner.own(self.seat.leave, what=f"hook specifications {', '.join(names)}")

    def _registering(self, what: str) -> list[object]:
        if self.parts is None:
            raise PluginError(self.id, f"{what}() was called too late: it has booted already")
        return self.parts


def _takes_two(call: Callable[..., Any]) -> bool:
    try:
        inspect.signature(call).bind_partial(None, None)
    except TypeError:
        return False
    return True
