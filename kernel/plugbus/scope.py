"""A unit of work that is opened by hand: by edges, jobs and scripts; the bus opens its own.

Owns the face; what is built in one, and how it ends, is in ``_services/units.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar, final

import anyio.to_thread
from typing_extensions import TypeForm

from plugbus._services.keys import label, underlying
from plugbus._services.parameters import wanted
from plugbus._services.units import After, Unit
from plugbus.context import acting_as
from plugbus.errors import ServiceError
from plugbus.principal import Principal

if TYPE_CHECKING:
    from plugbus._services.container import Container
    from plugbus.owner import Owner

__all__ = ("Scope",)

T = TypeVar("T")


@final
class Scope:
    """A unit of work between ``with`` or ``async with`` and its end; from ``services.scope``.

    Services of the scope ``"call"`` are built in it on first use, once. At the end generators are resumed after
    their ``yield``, the newest first; if the block failed, its error is raised there instead. Then observers are
    told, and what ``on_success`` was given is run; neither of them if the block, or a commit, failed. What is
    emitted within belongs to it.

    Example:
        >>> from plugbus import Services
        >>> def open_basket():
        ...     yield []
        ...     print("paid")
        >>> services = Services()
        >>> registration = services.factory(list, open_basket, scope="call")
        >>> with services.scope() as scope:
        ...     scope.on_success(lambda: print("thanks"))
        ...     scope.get(list).append("tea")
        paid
        thanks
    """

    __slots__ = ("_acting", "_container", "_owner", "_seeds", "_unit")

    def __init__(self, container: Container, owner: Owner | None, seeds: Mapping[Any, object]) -> None:
        self._container, self._owner = container, owner
        self._seeds = {(key.type, key.named): seed for key, seed in _keys(container, seeds)}
        self._unit: Unit | None = None
        principal = self._seeds.get((Principal, None))
        self._acting = nullcontext() if principal is None else acting_as(principal)

    def get(self, type_: TypeForm[T], name: str | None = None) -> T:
        """Return a service, as ``Services.get`` does; of this unit, wherever the caller is.

        Args:
            type_: The type, or ``Annotated[type, Named(...)]``.
            name: Which of several.

        Raises:
            WiringError: If it, or something it needs, cannot be provided.
            ServiceError: If it needs the loop, or a loop would have to wait for it; or the unit of work is not open.
        """
        parameter = wanted(type_, name)
        service: T = self._container.fill("scope.get", (parameter,), self._owner, self._open().top)[""]
        return service

    async def aget(self, type_: TypeForm[T], name: str | None = None) -> T:
        """Return a service, as ``Services.aget`` does; this may suspend, and be cancelled.

        Args:
            type_: The type, or ``Annotated[type, Named(...)]``.
            name: Which of several.

        Raises:
            WiringError: If it, or something it needs, cannot be provided.
            ServiceError: If the unit of work is not open.
        """
        parameter = wanted(type_, name)
        found = await self._container.afill("scope.aget", (parameter,), self._owner, self._open().top)
        service: T = found[""]
        return service

    def on_success(self, call: Callable[[], object]) -> None:
        """Run something after the unit of work has succeeded, in the order of asking; not if it failed.

        What fails there is raised at the end of the block, once the rest was run; what was committed stays so.

        Args:
            call: A function without parameters: async, or sync, which then runs in a worker thread if the unit was
                opened with ``async with``.

        Raises:
            ServiceError: If the unit of work is not open, or *call* needs a loop and was given to a plain ``with``.
        """
        unit = self._open()
        is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(underlying(call))
        if is_async and not unit.home.is_async:
            raise ServiceError("of a unit of work", f"on_success({call!r}) is async", "open it with `async with`")
        acall: Any = call if is_async else partial(anyio.to_thread.run_sync, call)
        unit.top.after.append(After(call, acall))

    def _open(self) -> Unit:
        if self._unit is None or self._unit.top.closed:
            state = "not open yet" if self._unit is None else "over"
            raise ServiceError("of a unit of work", f"it is {state}", "ask between `with services.scope()` and its end")
        return self._unit

    def _enter(self, unit: Unit) -> Self:
        if self._unit is not None:
            raise ServiceError("of a unit of work", "it was opened before", "call services.scope() again")
        self._unit = unit
        self._container.begin_scoping()
        unit.enter()
        self._acting.__enter__()
        return self

    def __enter__(self) -> Self:
        return self._enter(Unit.here(self._container, self._seeds))

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        unit = self._open()
        self._acting.__exit__(None, None, None)
        unit.end(error)

    async def __aenter__(self) -> Self:
        return self._enter(Unit.on_loop(self._container, self._seeds))

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        unit = self._open()
        self._acting.__exit__(None, None, None)
        await unit.aend(error)


def _keys(container: Container, seeds: Mapping[Any, object]) -> Any:
    for type_, seed in seeds.items():
        parameter = wanted(type_, None)
        for provider in container.registry.find(parameter.type, parameter.named):
            if provider.scope != "call":
                raise ServiceError(
                    label(parameter.type, parameter.named),
                    f"services.scope() was given one, and {provider.place} provides it for longer than a unit of work",
                    'give its factory scope="call", or use services.override()',
                )
        yield parameter, seed
