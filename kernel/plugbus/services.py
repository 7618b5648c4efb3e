"""Services: what subscribers and plugins are handed, instead of fetching it themselves.

Owns the public face; the rooms behind it, from what a callable wants to closing, are in ``_services/``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Self, TypeAlias, TypeGuard, TypeVar, final

from typing_extensions import TypeForm

from plugbus._services.asking import Asking
from plugbus._services.closing import raise_failures
from plugbus._services.container import Container
from plugbus._services.keys import Inject, Named, label, place
from plugbus._services.parameters import Parameter, parameters_of, wanted
from plugbus._services.providers import LIFETIMES, Lifetime, Provider
from plugbus._services.registration import Override, Registration, refuse_kernels_own
from plugbus.errors import Problem
from plugbus.owner import Owner

__all__ = ("Factory", "Inject", "Lifetime", "Named", "Override", "Parameter", "Registration", "Services")

T = TypeVar("T")

Target: TypeAlias = tuple[str, Callable[..., Any], int, Owner | None, *tuple[bool, ...]]
Factory: TypeAlias = (
    Callable[..., T] | Callable[..., Awaitable[T]] | Callable[..., Iterator[T]] | Callable[..., AsyncIterator[T]]
)
"""What builds a service: sync, async, or a (async) generator that yields it once and cleans up afterwards."""


@final
class Services(Asking):
    """A container of services: values, and factories that build on first use and clean up in reverse order.

    A service is found by its type, or by the name of a parameter that has no annotation.
    It may be asked for from any thread, and from asyncio and trio alike.

    Args:
        clean_up_seconds: Time for each service to clean up, in seconds.
        owner: Who registers and asks here, if not somebody with a view of their own.

    Raises:
        ValueError: If *clean_up_seconds* is not above zero.

    Example:
        >>> class Database:
        ...     def __init__(self, url: str) -> None:
        ...         self.url = url
        >>> def open_database(url: str):
        ...     yield Database(url)
        ...     print("closed")
        >>> def report(title: str, db: Database, clock=None) -> str:
        ...     return f"{title} from {db.url}"
        >>> with Services() as services:
        ...     _ = services.value(str, "db.example")
        ...     _ = services.factory(Database, open_database)
        ...     print(services.inject(report, given=1)("Sales"))
        Sales from db.example
        closed
    """

    __slots__ = ()

    def __init__(self, *, clean_up_seconds: float = 10.0, owner: Owner | None = None) -> None:
        if not clean_up_seconds > 0:  # this way round, NaN fails too
            raise ValueError(f"Services(clean_up_seconds={clean_up_seconds!r}): must be above zero")
        self._container = Container(clean_up_seconds, Services, Services._seen_by)
        self._owner = owner

    @classmethod
    def _seen_by(cls, container: Container, owner: Owner | None) -> Services:
        view = cls.__new__(cls)
        view._container, view._owner = container, owner  # noqa: SLF001 -- a constructor for us alone
        return view

    def view(self, owner: Owner) -> Services:
        """Return the same container as one owner sees it.

        What is registered through it leaves with the owner; what is made for each plugin is made for this one.

        Args:
            owner: The plugin. Once it has left, everything here raises PluginGoneError.

        Raises:
            PermissionDeniedError: If this is itself the view of a plugin that may not act for others.

        Example:
            >>> from plugbus import Owner
            >>> services = Services()
            >>> _ = services.factory(list, lambda owner: [owner.id], scope="plugin")
            >>> services.view(Owner("shop")).get(list)
            ['shop']
        """
        if self._owner is not None:
            self._owner.check_acting_for(owner)
        return self._seen_by(self._container, owner)

    def value(
        self,
        type_: TypeForm[T],
        instance: T,
        *,
        name: str | None = None,
        names: Iterable[str] = (),
        permission: str | None = None,
    ) -> Registration:
        """Provide an object that is there already; its clean-up is the caller's own business.

        Args:
            type_: What it is asked for as: a class, a Protocol, a generic.
            instance: The service.
            name: Sets it apart from others of its type (``Named``), and is a name for un-annotated parameters.
            names: Further names for un-annotated parameters.
            permission: What a plugin that asks for it must have, once its manifest declares permissions.

        Raises:
            ValueError: If *permission* is no name.

        Example:
            >>> services = Services()
            >>> registration = services.value(dict[str, int], {"tea": 3}, names=("stock",))
            >>> services.inject(lambda stock: stock["tea"])()
            3
        """
        owner = self._asker()
        provider = Provider(*_key(type_, name), _all(name, names), value=instance, owner=owner, permission=permission)
        return Registration(self._container, provider, owner)

    def factory(
        self,
        type_: TypeForm[T],
        factory: Factory[T],
        *,
        name: str | None = None,
        names: Iterable[str] = (),
        scope: Lifetime = "app",
        permission: str | None = None,
    ) -> Registration:
        """Provide what a factory builds, on first use and once per scope.

        Its own parameters are injected. A generator yields the service once; what follows the ``yield`` is its
        clean-up. A sync factory runs where it is asked for: on the event loop when ``aget`` needs it, so one
        that blocks should be async and hop itself, or be built before the loop runs. An async generator may be
        resumed by another task than the one that opened it: no task group or cancel scope around its ``yield``.

        Args:
            type_: What it is asked for as: a class, a Protocol, a generic.
            factory: A class or a function: sync, async, generator, async generator.
            name: Sets it apart from others of its type (``Named``), and is a name for un-annotated parameters.
            names: Further names for un-annotated parameters.
            scope: ``"app"``: one for all. ``"plugin"``: one for each plugin that asks, closed with it; its
                factory may take ``owner: Owner``, the one who asks. ``"call"``: one for each unit of work; its
                generator sees at its ``yield`` whether that failed. A sync one is built, used and closed in one
                thread, which is a worker thread if the unit of work is on the loop.
            permission: What a plugin that asks for it must have, once its manifest declares permissions.

        Raises:
            ValueError: If there is no such scope, or *permission* is no name.

        Example:
            >>> services = Services()
            >>> registration = services.factory(list[int], lambda: [1, 2], name="numbers")
            >>> services.get(list[int]) is services.get(list[int])
            True
        """
        if scope not in LIFETIMES:
            raise ValueError(f"services.factory(scope={scope!r}): must be one of {', '.join(map(repr, LIFETIMES))}")
        if not callable(factory):
            raise TypeError(f"services.factory({label(type_)}, {factory!r}): no factory; services.value takes values")
        owner = self._asker()
        provider = Provider(
            *_key(type_, name), _all(name, names), factory=factory, scope=scope, owner=owner, permission=permission
        )
        return Registration(self._container, provider, owner)

    def override(self, type_: TypeForm[T], replacement: object, *, name: str | None = None) -> Override:
        """Let something stand in for a service inside ``with`` or ``async with``, also for one that is built already.

        Who was built before keeps what it got; who is built inside is built with the replacement, and cleaned up with
        it. Overrides nest. A plain ``with`` leaves async clean-up to ``aclose``.

        Args:
            type_: The type, or ``Annotated[type, Named(...)]``.
            replacement: The service; a class or a function is a factory for it.
            name: Which of several.

        Raises:
            PermissionDeniedError: If this is the view of a plugin that may not act for others, and it is not its own.
            ServiceError: If this is the view of a plugin, and the kernel provides it itself.

        Example:
            >>> services = Services()
            >>> _ = services.value(str, "real")
            >>> with services.override(str, "fake"):
            ...     services.get(str)
            'fake'
            >>> services.get(str)
            'real'
        """
        parameter = wanted(type_, name)
        found = self._container.find(parameter)
        target = found[0] if len(found) == 1 else None
        names = target.names if target else _all(parameter.named, ())
        refuse_kernels_own(self._owner, parameter.type, parameter.named, names)
        if self._owner is not None:  # the replacement is handed to whoever asks, and reads for whom it stands in for
            self._owner.check_acting_for(target.owner if target else None)
        scope: Lifetime = target.scope if target else "app"
        owner = target.owner if target else self._owner
        factory = replacement if _is_factory(replacement) else None
        provider = Provider(
            parameter.type, parameter.named, names, factory=factory, value=replacement, scope=scope, owner=owner,
            permission=target.permission if target else None,
        )  # fmt: skip
        return Override(self._container, provider, target)

    def check(self, targets: Iterable[Target] = ()) -> list[Problem]:
        """Return everything that is wrong with the whole graph, and build nothing.

        Missing services with the nearest names, circles, two providers of one thing, and what is asked for by
        something that outlives it.

        Args:
            targets: Callables that are to be injected: where they are (empty: where they were written),
                themselves, how many positional parameters are given, for whom, and whether a unit of work is open
                when they are called (not, unless given).

        Example:
            >>> services = Services()
            >>> _ = services.factory(list, lambda stok: [stok])
            >>> _ = services.value(int, 7, name="stock")
            >>> services.check()[0].message
            "no service is named 'stok', and it has no annotation"
        """
        return self._container.check(
            (where or place(call), parameters_of(call, given), owner, any(in_unit))
            for where, call, given, owner, *in_unit in targets
        )

    def close(self) -> None:
        """Clean up everything that sync code can, the newest first, and build no more.

        Raises:
            PermissionDeniedError: If this is the view of a plugin that may not act for others.
            ExceptionGroup: If clean-up failed, or is async and needs ``aclose``; the rest was done.
        """
        self._check_all()
        raise_failures(self._container.close_now())

    async def aclose(self) -> list[Exception]:
        """Clean up everything, the newest first, and build no more; one failure never stops the rest.

        Each has its time, whether the caller is cancelled or not; a sync generator of this very thread cannot be
        interrupted, one of another is left to itself then. Returns the failures, each with a note of its service.

        Example:
            >>> import anyio
            >>> services = Services()
            >>> anyio.run(services.aclose)
            []
        """
        self._check_all()
        return await self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        raise_failures(await self.aclose())


def _key(type_: Any, name: str | None) -> tuple[Any, str | None]:
    parameter = wanted(type_, name)
    return parameter.type, parameter.named


def _all(name: str | None, names: Iterable[str]) -> tuple[str, ...]:
    if isinstance(names, str):
        raise TypeError(f"names={names!r}: must be several names, such as ({names!r},)")
    return tuple(dict.fromkeys(filter(None, (name, *names))))


def _is_factory(replacement: object) -> TypeGuard[Callable[..., Any]]:
    return isinstance(replacement, (type, functools.partial)) or inspect.isroutine(replacement)
