"""Asking for services: one at a time, or all that a callable wants."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from typing_extensions import TypeForm

from plugbus._services.annotations import read
from plugbus._services.container import Container
from plugbus._services.dividing import divide
from plugbus._services.parameters import Parameter, parameters_of
from plugbus.errors import PluginGoneError
from plugbus.owner import Owner

__all__ = ("Asking", "wanted")

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
            >>> from plugbus.services import Services
            >>> services = Services()
            >>> _ = services.value(int, 7)
            >>> services.has(int), services.has(str)
            (True, False)
        """
        return len(self._container.find(wanted(type_, name))) == 1

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
            >>> from plugbus.services import Services
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
            >>> from plugbus.services import Services
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
            >>> from plugbus.services import Services
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

        The services are had now, those that are not there yet built in this thread.

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
            >>> from plugbus.services import Services
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
        return _bound(call, self._container.fill(call, parameters, self._asker(owner)))

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
            >>> from plugbus.services import Services
            >>> services = Services()
            >>> _ = services.value(int, 7, name="count")
            >>> anyio.run(services.ainject, lambda count: count + 1)()
            8
        """
        parameters = parameters_of(call, given) if parameters is None else parameters
        if not parameters:
            return call
        return _bound(call, await self._container.afill(call, parameters, self._asker(owner)))

    def divide(
        self, call: Callable[..., Any], *, given: int = 0, argument_types: Collection[object] = ()
    ) -> tuple[tuple[Parameter, ...], tuple[Parameter, ...]]:
        """Return what a callable wants beyond what its caller passes: the services, and the arguments.

        A registered type, or ``Annotated[X, Inject]``, is a service; a scalar, model, dict or list is an argument.

        Args:
            call: A function, method, class, partial or callable object.
            given: How many positional parameters its caller passes, whatever they are.
            argument_types: Further types that are arguments.

        Raises:
            WiringError: If a parameter is neither, or a service cannot be provided; nothing was built.
            PluginGoneError: If the owner has left.

        Example:
            >>> from plugbus.services import Services
            >>> services = Services()
            >>> _ = services.factory(list, lambda: [])
            >>> def search(text: str, results: list, limit: int = 10) -> None: ...
            >>> wanted, arguments = services.divide(search)
            >>> [parameter.name for parameter in wanted], [parameter.name for parameter in arguments]
            (['results'], ['text', 'limit'])
        """
        asker = self._asker()
        wanted, arguments = divide(self._container, call, given, asker, argument_types)
        self._container.plan(call, wanted, asker)
        return wanted, arguments

    def _asker(self, owner: Owner | None = None) -> Owner | None:
        if owner is not None and self._owner is not None:
            self._owner.check_acting_for(owner)
        owner = owner or self._owner
        if owner is not None and owner.gone:
            raise PluginGoneError(owner.id, "its services")
        return owner


def wanted(type_: Any, name: str | None) -> Parameter:
    """A type as code asks for it, as if it were a parameter without a name."""
    if isinstance(type_, type):
        return Parameter("", type_, name)
    type_, named, optional, marked = read(type_)
    return Parameter("", type_, name or named, optional, marked=marked)


def _bound(call: Callable[..., T], services: dict[str, Any]) -> Callable[..., T]:
    return functools.partial(call, **services) if services else call
