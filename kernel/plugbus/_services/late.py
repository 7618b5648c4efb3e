"""Callables that are given something at each call: services of a unit of work, who acts, which emit runs.

The last two are no services, for no container makes them: they are looked up in the context.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from plugbus._context import HERE, WANTED, Current
from plugbus._services.homes import Home, away
from plugbus._services.keys import place, underlying
from plugbus._services.messages import differs
from plugbus._services.units import current
from plugbus.context import current as current_emit
from plugbus.errors import NoPrincipalError, WiringError
from plugbus.principal import Principal

if TYPE_CHECKING:
    from plugbus._services.container import Bound, Container
    from plugbus._services.parameters import Parameter
    from plugbus.owner import Owner


class Late(functools.partial[Any]):
    """A callable whose longer-lived services are bound, and the others looked up at each call.

    A partial, because that is what everybody who looks below one knows. A sync one runs in the thread that the sync
    services of the unit live on; what it calls back runs in the caller's.

    Attributes:
        container: Where they come from.
        parameters: Those that are filled at each call.
        owner: For whom.
        given: How many positional parameters its caller passes; the second one is a listener's ``next_fn``.
        needs_loop: Whether one of them can be built on the loop alone.
    """

    container: Container
    parameters: tuple[Parameter, ...]
    owner: Owner | None
    given: int
    needs_loop: bool

    def __call__(self, /, *args: Any, **keywords: Any) -> Any:
        level = current(self.container)
        if level is None:  # which is an error that says so
            return self.with_services(self.resolve(), *args, **keywords)
        return self.at_home(level.unit.home, lambda *args: self.with_services(self.resolve(), *args, **keywords), args)

    def at_home(self, home: Home, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Run something with a listener's or other arguments where the sync services of a unit are."""
        if self.given > 1 and not home.here:
            event, *next_fn = args
            args = (event, *(functools.partial(away, back) for back in next_fn))
        return home.run(call, *args)

    def with_services(self, services: dict[str, Any], *args: Any, **keywords: Any) -> Any:
        """Call it with its services."""
        return self.func(*self.args, *args, **{**self.keywords, **services, **keywords})

    def resolve(self) -> dict[str, Any]:
        """Return its services, building in this thread what is not there yet."""
        return self.container.fill(self.func, self.parameters, self.owner)

    async def aresolve(self) -> dict[str, Any]:
        """Return its services, building what is not there yet."""
        return await self.container.afill(self.func, self.parameters, self.owner)


class _AsyncLate(Late):
    def __call__(self, /, *args: Any, **keywords: Any) -> Any:
        return self._run(args, keywords)

    async def _run(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        return await self.with_services(await self.aresolve(), *args, **keywords)


def late(call: Callable[..., Any], bound: Bound, **facts: Any) -> Late:
    """Make one; async stays async."""
    is_async = inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(underlying(call))
    made = (_AsyncLate if is_async else Late)(call, **bound.services)
    made.__dict__.update(facts, parameters=bound.later, needs_loop=bound.needs_loop)
    return made


def principal_now() -> Principal | None:
    """Return who acts."""
    here = HERE.get()
    return None if here is None else here.principal


FACED: Final[dict[object, Callable[[], object]]] = {Principal: principal_now, Current: current_emit}
"""How to look it up, by type."""


def value_of(parameter: Parameter, where: str) -> object:
    """Return what a parameter gets at this moment.

    Raises:
        NoPrincipalError: If there is none, and it cannot do without.
    """
    value = FACED[parameter.type]()
    if value is None and not parameter.optional:
        raise NoPrincipalError(where, parameter.type.__name__)
    return value


class _Facing(functools.partial[Any]):
    """A callable that is given at each call what is in force then; a partial, as everybody knows to look below one."""

    parameters: tuple[Parameter, ...]

    def __call__(self, /, *args: Any, **keywords: Any) -> Any:
        for parameter in self.parameters:
            if parameter.name in keywords or (parameter.has_default and FACED[parameter.type]() is None):
                continue
            keywords[parameter.name] = value_of(parameter, place(self.func))
        return self.func(*args, **keywords)


def facing(
    container: Container, call: Callable[..., Any], parameters: tuple[Parameter, ...]
) -> tuple[Callable[..., Any], tuple[Parameter, ...]]:
    """Have a callable given what is in force at each call.

    Returns:
        The callable, and what it wants beside.

    Raises:
        WiringError: If it is a class: what it makes lives longer than a call.
    """
    faced = tuple(each for each in parameters if each.type in FACED and not container.find(each))
    if not faced:
        return call, parameters
    if isinstance(call, type):
        raise WiringError([differs(call, each) for each in faced])
    if any(each.type is Current for each in faced):
        WANTED.turn_on()
    made = _Facing(call)
    made.parameters = faced
    return made, tuple(each for each in parameters if each not in faced)
