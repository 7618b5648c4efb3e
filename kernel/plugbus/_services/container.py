"""The container behind all views: providers, what they built, and what stands in for them.

Whatever is found here is planned first (``planning.py``), then built (``building.py``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, final

from plugbus._services.building import build_async, build_sync
from plugbus._services.closing import Exit, close_all, close_now, raise_failures
from plugbus._services.keys import BY_NAME
from plugbus._services.messages import Where, duplicate
from plugbus._services.parameters import Parameter
from plugbus._services.planning import ANYONE, Fixed, Planner, Step
from plugbus._services.providers import Provider, Registry
from plugbus._services.stores import ABSENT, Store, Stores
from plugbus._services.units import Level, current
from plugbus.errors import PluginGoneError, Problem, ServiceError, WiringError
from plugbus.owner import Owner

if TYPE_CHECKING:
    from plugbus._generations import Generations
    from plugbus._services.registration import Override


class Bound(NamedTuple):
    """What parameters get: services that are there, and those that each unit of work makes for itself."""

    services: dict[str, Any]
    later: tuple[Parameter, ...]
    needs_loop: bool


@final
class Container:
    """What all views of one container share.

    Args:
        clean_up_seconds: Time for each service to clean up, in seconds.
        view_type: The class ``Services``.
        view: Makes the one that an owner is given.
    """

    __slots__ = (
        "_late", "_lock", "_on_scoping", "_stores", "_view", "_view_type", "clean_up_seconds", "generations",
        "overrides", "registry", "scoping",
    )  # fmt: skip

    def __init__(
        self, clean_up_seconds: float, view_type: type, view: Callable[[Container, Owner | None], object]
    ) -> None:
        self.clean_up_seconds = clean_up_seconds
        self.registry = Registry()
        self.overrides: tuple[Override, ...] = ()
        self.generations: Generations | None = None
        self._view_type, self._view = view_type, view
        self._stores = Stores()
        self._late: list[Exit] = []  # async clean-up of what was closed by sync code
        self._lock = threading.Lock()
        self.scoping = False
        self._on_scoping: list[Callable[[], object]] = []

    # -- providers

    def add(self, provider: Provider) -> None:
        """Take a provider in."""
        with self._lock:
            self.registry.add(provider)
        if provider.scope == "call":
            self.begin_scoping()

    def remove(self, provider: Provider) -> list[Exit]:
        """Take a provider out, with all that it built; the clean-up is the caller's to do."""
        with self._lock:
            provider.closed = True
            self.registry.remove(provider)
        return self.clear(provider)

    def clear(self, provider: Provider) -> list[Exit]:
        """Let go of all that a provider built; the clean-up is the caller's to do."""
        return [exit_ for store in tuple(provider.stores) for exit_ in store.remove(provider)]

    def push(self, override: Override) -> None:
        """Let something stand in for a provider."""
        with self._lock:
            self.overrides = (*self.overrides, override)

    def pop(self, override: Override) -> list[Exit]:
        """End that; what was built with it goes too, and its clean-up is the caller's to do."""
        with self._lock:
            self.overrides = tuple(other for other in self.overrides if other is not override)
        return override.stores.close()

    # -- looking up

    def find(
        self, parameter: Parameter, asker: Owner | None = None, reader: Provider | None = None
    ) -> tuple[Provider, ...]:
        """Return those that provide it; one that stands in for another, in its place.

        Args:
            parameter: What is wanted.
            asker: For whom it is built.
            reader: The provider whose factory wants it, if one does.
        """
        found = self.registry.find_for(parameter)
        generations = self.generations
        if generations is not None:
            whose = reader.owner if reader is not None and reader.owner in generations else asker
            found = tuple(provider for provider in found if not generations.hides(provider.owner, whose))
        for override in reversed(self.overrides):
            if override.replaces(parameter, found):
                return (override.provider,)
        return found

    def built_in(self, parameter: Parameter, asker: Owner | None) -> object:
        """Return what everybody has without registering it: their own ``services`` and ``owner``."""
        wanted = parameter.name if parameter.type is BY_NAME else parameter.type
        if wanted == "owner" or wanted is Owner:
            return ABSENT if asker is None else asker
        if wanted == "services" or wanted is self._view_type:
            return self._view(self, asker)
        return ABSENT

    def store(self, owner: Owner | None, override: Override | None) -> Store:
        """Return where the services of one owner (None: the app) are kept, beneath one override."""
        stores = self._stores if override is None else override.stores
        store, new = stores.of(owner)
        if new and owner is not None:
            try:
                owner.own(partial(self._drop, stores, owner), what="the services made for it")
            except PluginGoneError:
                stores.drop(owner)
                raise
        return store

    # -- building

    def plan(
        self, where: Where, parameters: tuple[Parameter, ...], asker: Owner | None, planner: Planner | None = None
    ) -> dict[str, Step | Fixed]:
        """Say what parameters get; the planner knows what has to be built for it first.

        Raises:
            WiringError: If anything in the graph below them is wrong.
        """
        planner = planner or Planner(self, late=True)
        wants = planner.fill(where, parameters, asker)
        if planner.problems:
            raise WiringError(dict.fromkeys(planner.problems))
        return wants

    def fill(
        self, where: Where, parameters: tuple[Parameter, ...], asker: Owner | None, level: Level | None = None
    ) -> dict[str, Any]:
        """Return the services for parameters, building in this thread what is not there yet."""
        planner = Planner(self, level=level or current(self))
        wants = self.plan(where, parameters, asker, planner)
        if planner.order:
            build_sync(self, planner.order)
        return {name: wanted.instance for name, wanted in wants.items()}

    async def afill(
        self, where: Where, parameters: tuple[Parameter, ...], asker: Owner | None, level: Level | None = None
    ) -> dict[str, Any]:
        """Return the services for parameters, building in this task what is not there yet."""
        planner = Planner(self, level=level or current(self))
        wants = self.plan(where, parameters, asker, planner)
        if planner.order:
            await build_async(self, planner.order)
        return {name: wanted.instance for name, wanted in wants.items()}

    def bind(self, where: Where, parameters: tuple[Parameter, ...], asker: Owner | None) -> Bound:
        """Return the services that outlive a unit of work, building in this thread what is not there yet."""
        planner = Planner(self, late=True)
        wants = self.plan(where, parameters, asker, planner)
        if planner.order:
            build_sync(self, planner.order)
        return _bound(parameters, wants, planner)

    async def abind(self, where: Where, parameters: tuple[Parameter, ...], asker: Owner | None) -> Bound:
        """Do the same, building in this task."""
        planner = Planner(self, late=True)
        wants = self.plan(where, parameters, asker, planner)
        if planner.order:
            await build_async(self, planner.order)
        return _bound(parameters, wants, planner)

    def keep(self, step: Step, instance: object, exit_: Exit | None) -> None:
        """Take in what a step built, and have its clean-up owned."""
        step.store.keep(step.provider, instance, exit_)
        if exit_ is not None and step.owner is not None:
            close = partial(self._close_one, step.store, step.provider)
            try:
                exit_.forget = step.owner.own(close, what=f"service {step.provider.label}")
            except PluginGoneError:
                step.store.remove(step.provider)
                raise
        if step.owner is not None and step.owner is not step.provider.owner and step.provider.owner is not None:
            step.owner.lenders |= {step.provider.owner}
        step.instance = instance

    def check(self, targets: Iterable[tuple[str, tuple[Parameter, ...], Owner | None, bool]]) -> list[Problem]:
        """Return everything that is wrong with the whole graph, and with callables that are to be filled."""
        planner = Planner(self, dry=True)
        leaving = self.generations.leaving if self.generations else frozenset()
        for found in self.registry.duplicates():
            staying = tuple(provider for provider in found if provider.owner not in leaving)
            planner.problems += [duplicate(staying)] if len(staying) > 1 else []
        for provider in self.registry.providers():
            planner.visit(provider, ANYONE)
        for where, parameters, owner, planner.late in targets:
            planner.fill(where, parameters, owner)
        return list(dict.fromkeys(planner.problems))

    # -- units of work

    def begin_scoping(self) -> None:
        """Note that units of work may be open from now on, and have those told who compile chains without them."""
        with self._lock:
            if self.scoping:
                return
            self.scoping = True
            waiting, self._on_scoping = self._on_scoping, []
        for call in waiting:
            call()

    def on_scoping(self, call: Callable[[], object]) -> None:
        """Have something called once units of work may be open; not if they may be already."""
        with self._lock:
            if not self.scoping:
                self._on_scoping.append(call)

    # -- closing

    async def close(self) -> list[Exception]:
        """Clean up everything, the newest first, and build no more."""
        with self._lock:
            late, self._late = self._late, []
        return await self.close_async([*late, *self._take_all()])

    def close_now(self) -> list[Exception]:
        """Do the same without a loop; async clean-up fails, and stays due for ``close``."""
        failures = self.close_sync(self._take_all())
        hint = "use `async with`, or `await services.aclose()`"
        return [
            *failures,
            *(ServiceError(late.service, "its clean-up is async, and still due", hint) for late in self._late),
        ]

    async def close_async(self, exits: list[Exit]) -> list[Exception]:
        """Do the given clean-up, each within its time."""
        _forget(exits)
        return await close_all(exits, self.clean_up_seconds)

    def close_sync(self, exits: list[Exit]) -> list[Exception]:
        """Do what sync code can of the given clean-up; the rest waits for ``close``."""
        _forget(exits)
        with self._lock:
            self._late += [exit_ for exit_ in exits if not exit_.sync]
        return close_now(exit_ for exit_ in exits if exit_.sync)

    def _take_all(self) -> list[Exit]:
        layers = (self._stores, *(override.stores for override in self.overrides))
        return [exit_ for stores in layers for exit_ in stores.close()]

    async def _drop(self, stores: Stores, owner: Owner) -> None:
        raise_failures(await self.close_async(stores.drop(owner)))

    async def _close_one(self, store: Store, provider: Provider) -> None:
        raise_failures(await self.close_async(store.remove(provider)))


def _bound(parameters: Iterable[Parameter], wants: dict[str, Step | Fixed], planner: Planner) -> Bound:
    later = {name for name, wanted in wants.items() if isinstance(wanted, Step) and wanted.provider.scope == "call"}
    return Bound(
        {name: wanted.instance for name, wanted in wants.items() if name not in later},
        tuple(parameter for parameter in parameters if parameter.name in later),
        any(step.provider.needs_loop for step in planner.later),
    )


def _forget(exits: list[Exit]) -> None:
    for exit_ in exits:
        if exit_.forget is not None:
            exit_.forget()
            exit_.forget = None
