"""Callables that get some of their services at each call: those that are made once per unit of work."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plugbus._services.homes import Home, away
from plugbus._services.keys import underlying
from plugbus._services.units import current

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
