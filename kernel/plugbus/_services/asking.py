"""Asking for services: one at a time, or all that a callable wants."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import TypeForm

from plugbus._services.container import Bound, Container
from plugbus._services.dividing import Divided, divide
from plugbus._services.late import FACED, facing, late
from plugbus._services.parameters import Parameter, parameters_of, wanted
from plugbus._services.units import detached
from plugbus.errors import PluginGoneError
from plugbus.owner import Owner
from plugbus.scope import Scope

if TYPE_CHECKING:
    from plugbus._generations import Generations

T = TypeVar("T")


class Asking:
    """The half of ``Services`` that hands out."""

    __slots__ = ("_container", "_owner")

    _container: Container
    _owner: Owner | None

    def has(self, type_: TypeForm[object], name: str | None = None) -> bool:
        """Tell whether a type is provided, and it is clear by whom.

        Args:
            type_: The type, or ``Annotated[type, Named(...)]``.
            name: Which of several.

        Example:
            >>> from plugbus import Services
            >>> services = Services()
            >>> _ = services.value(int, 7)
            >>> services.has(int), services.has(str)
            (True, False)
        """
        return len(self._container.find(wanted(type_, name), self._owner)) == 1

    def get(self, type_: TypeForm[T], name: str | None = None) -> T:
        """Return a service, building it and what it needs in this thread; this may block while another builds it.

        Args:
            type_: The type, or ``Annotated[type, Named(...)]``.
            name: Which of several.

        Raises:
            WiringError: If it, or something it needs, cannot be provided; nothing was built.
            ServiceError: If an async factory is needed; nothing was built. Or if the container is closed.
            PermissionDeniedError: If it is tied to a permission that the owner of this view has not.
            PluginGoneError: If the owner of this view has left.

        Example:
            >>> from plugbus import Services
            >>> services = Services()
            >>> _ = services.factory(list, lambda: ["built"])
            >>> services.get(list)
            ['built']
        """
        parameter = wanted(type_, name)
        service: T = self._container.fill("services.get", (parameter,), self._asker())[""]
        return service

    async def aget(self, type_: TypeForm[T], name: str | None = None) -> T:
        """Return a service, building it and what it needs; this may suspend, and be cancelled.

        Args:
            type_: The type, or ``Annotated[type, Named(...)]``.
            name: Which of several.

        Raises:
            WiringError: If it, or something it needs, cannot be provided; nothing was built.
            ServiceError: If the container is closed.
            PermissionDeniedError: If it is tied to a permission that the owner of this view has not.
            PluginGoneError: If the owner of this view has left.

        Example:
            >>> import anyio
            >>> from plugbus import Services
            >>> async def connect() -> list:
            ...     return ["connected"]
            >>> services = Services()
            >>> _ = services.factory(list, connect)
            >>> anyio.run(services.aget, list)
            ['connected']
        """
        parameter = wanted(type_, name)
        service: T = (await self._container.afill("services.aget", (parameter,), self._asker()))[""]
        return service

    def parameters(self, call: Callable[..., Any], given: int = 0) -> tuple[Parameter, ...]:
        """Return what a callable wants beyond what its caller passes.

        Args:
            call: A function, method, class, partial or callable object.
            given: How many positional parameters its caller passes.

        Example:
            >>> from plugbus import Services
            >>> def handle(event: str, stock: dict[str, int], log) -> None: ...
            >>> print(*Services().parameters(handle, given=1), sep="; ")
            stock: dict[str, int]; log
        """
        return parameters_of(call, given)

    def inject(
        self,
        call: Callable[..., T],
        *,
        given: int = 0,
        owner: Owner | None = None,
        parameters: tuple[Parameter, ...] | None = None,
    ) -> Callable[..., T]:
        """Return a callable with its services bound by name; itself when there is nothing to bind.

        The services are had now, those that are not there yet built in this thread; those of the scope ``"call"``
        at each call, from the unit of work that is open then.

        Args:
            call: A function, method, class, partial or callable object; async stays async.
            given: How many positional parameters its caller passes.
            owner: For whom, if not for the owner of this view.
            parameters: Which parameters to bind, if not all beyond those that are given; see :meth:`divide`.

        Raises:
            WiringError: If a parameter cannot be filled: all of them at once; nothing was built.
            ServiceError: If an async factory is needed; nothing was built. Or if the container is closed.
            PermissionDeniedError: If one is tied to a permission that the owner has not.
            PluginGoneError: If the owner has left.

        Example:
            >>> from plugbus import Services
            >>> services = Services()
            >>> _ = services.value(int, 7, name="count")
            >>> def show(what: str, count, unit="pieces") -> str:
            ...     return f"{count} {unit} of {what}"
            >>> services.inject(show, given=1)("tea")
            '7 pieces of tea'
        """
        parameters = parameters_of(call, given) if parameters is None else parameters
        if not parameters:
            return call
        asker = self._asker(owner)
        call, parameters = facing(self._container, call, parameters)
        return self._bound(call, self._container.bind(call, parameters, asker), asker, given)

    async def ainject(
        self,
        call: Callable[..., T],
        *,
        given: int = 0,
        owner: Owner | None = None,
        parameters: tuple[Parameter, ...] | None = None,
    ) -> Callable[..., T]:
        """Do the same with services that may need the loop; this may suspend, and be cancelled.

        Args:
            call: A function, method, class, partial or callable object; async stays async.
            given: How many positional parameters its caller passes.
            owner: For whom, if not for the owner of this view.
            parameters: Which parameters to bind, if not all beyond those that are given; see :meth:`divide`.

        Raises:
            WiringError: If a parameter cannot be filled: all of them at once; nothing was built.
            ServiceError: If the container is closed.
            PermissionDeniedError: If one is tied to a permission that the owner has not.
            PluginGoneError: If the owner has left.

        Example:
            >>> import anyio
            >>> from plugbus import Services
            >>> services = Services()
            >>> _ = services.value(int, 7, name="count")
            >>> anyio.run(services.ainject, lambda count: count + 1)()
            8
        """
        parameters = parameters_of(call, given) if parameters is None else parameters
        if not parameters:
            return call
        asker = self._asker(owner)
        call, parameters = facing(self._container, call, parameters)
        return self._bound(call, await self._container.abind(call, parameters, asker), asker, given)

    def scope(self, seeds: Mapping[Any, object] | None = None) -> Scope:
        """Return a unit of work to be opened with ``with`` or ``async with``, apart from any that is open already.

        Args:
            seeds: What it has from the beginning, by type: its own services of the scope ``"call"`` may ask for them.

        Raises:
            ServiceError: If a type is provided for longer than a unit of work.
            PluginGoneError: If the owner of this view has left.

        Example:
            >>> from typing import Annotated
            >>> from plugbus import Named, Services
            >>> services = Services()
            >>> _ = services.factory(list, lambda who: [who], scope="call")
            >>> _ = services.factory(str, lambda: "nobody", scope="call", name="who")
            >>> with services.scope({Annotated[str, Named("who")]: "Ada"}) as scope:
            ...     scope.get(list)
            ['Ada']
        """
        return Scope(self._container, self._asker(), seeds or {})

    def detached(self) -> AbstractContextManager[None]:
        """Return a ``with`` block in which no unit of work is open: what is emitted in it opens its own.

        For whatever stands for another process, or outlives its caller; ``InProcess`` is made of it.

        Example:
            >>> from plugbus import Services
            >>> services = Services()
            >>> _ = services.factory(list, list, scope="call")
            >>> with services.scope() as outer, services.detached(), services.scope() as inner:
            ...     outer.get(list) is inner.get(list)
            False
        """
        return detached()

    def overlap(self, generations: Generations | None) -> None:
        """Keep the services of new plugins apart from those in whose place they come; ``None`` ends that."""
        self._check_all()
        self._container.generations = generations

    def _bound(self, call: Callable[..., T], bound: Bound, asker: Owner | None, given: int) -> Callable[..., T]:
        if bound.later:
            return late(call, bound, container=self._container, owner=asker, given=given)
        return functools.partial(call, **bound.services) if bound.services else call

    def divide(self, call: Callable[..., Any], *, given: int = 0, argument_types: Collection[object] = ()) -> Divided:
        """Return what a callable wants beyond what its caller passes: ``services``, ``arguments``, ``scoped``.

        The last tells whether one of the services is made for each unit of work.

        A registered type, or ``Annotated[X, Inject]``, is a service; a scalar, model, dict or list is an argument.

        Args:
            call: A function, method, class, partial or callable object.
            given: How many positional parameters its caller passes, whatever they are.
            argument_types: Further types that are arguments.

        Raises:
            WiringError: If a parameter is neither, or a service cannot be provided; nothing was built.
            PluginGoneError: If the owner has left.

        Example:
            >>> from plugbus import Services
            >>> services = Services()
            >>> _ = services.factory(list, lambda: [])
            >>> def search(text: str, results: list, limit: int = 10) -> None: ...
            >>> found = services.divide(search)
            >>> [parameter.name for parameter in found.services], [parameter.name for parameter in found.arguments]
            (['results'], ['text', 'limit'])
        """
        asker = self._asker()
        found = divide(self._container, call, given, asker, argument_types)
        self._container.plan(call, tuple(each for each in found.services if each.type not in FACED), asker)
        return found

    def _check_all(self) -> None:
        if self._owner is not None:
            self._owner.check_acting_for(None)

    def _asker(self, owner: Owner | None = None) -> Owner | None:
        if owner is not None and self._owner is not None:
            self._owner.check_acting_for(owner)
        owner = owner or self._owner
        if owner is not None and owner.gone:
            raise PluginGoneError(owner.id, "its services")
        return owner
