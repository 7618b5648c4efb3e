"""Routes of the web framework that plugins bring: Starlette's routes and mounts, FastAPI's routers.

Owns whose they are, and finding the one that fits; it is imported with Starlette alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, final

import anyio
from starlette.routing import BaseRoute, Match, Mount, Route

from plugbus import Owner, Problem, WiringError
from plugbus_adapters.http._exchange import EXCHANGE, Scope
from plugbus_adapters.http._paths import join
from plugbus_adapters.http.endpoints import EndpointTable
from plugbus_adapters.http.security import Access

__all__ = ("Routed", "Routes", "routed")

_PARAMETER: Final = re.compile(r"\{[^{}]*\}")


@final
class Routed:
    """Some routes that a plugin brought together.

    Attributes:
        owner: The plugin.
        access: Who may use them.
        label: What they are, for errors and logs.
        routes: The routes, with prefixes.
        documents: Returns the part of the documents that they have of their own, if they do.
        flying: How many requests are under way.
    """

    __slots__ = ("access", "documents", "flying", "idle", "label", "owner", "routes", "streams")

    def __init__(self, owner: Owner, access: Access, label: str, routes: Sequence[BaseRoute], documents: Any) -> None:
        self.owner, self.access, self.label, self.routes, self.documents = owner, access, label, routes, documents
        self.flying = 0
        self.idle: anyio.Event | None = None
        self.streams: set[anyio.CancelScope] = set()

    def claims(self) -> Iterator[tuple[str, str]]:
        """Yield method and path of what they answer, as far as that can be told."""
        for route in self.routes:
            if isinstance(route, Route):
                yield from ((method, _shape(route.path)) for method in route.methods or {"GET"})
            elif isinstance(route, Mount):
                yield "a mount at", route.path

    def landed(self) -> None:
        """Note that a request is over."""
        self.flying -= 1
        if self.idle is not None:
            self.idle.set()

    async def wait_idle(self) -> None:
        """Wait until no request is under way; one that waits here itself does not count."""
        here = EXCHANGE.get()
        own = here is not None and here.entry is self
        while self.flying > own:
            self.idle = anyio.Event()
            await self.idle.wait()


def routed(owner: Owner, access: Access, prefix: str, given: Any) -> Routed:
    """Take in what a plugin brings.

    Args:
        owner: The plugin.
        access: Who may use it.
        prefix: In front of its paths.
        given: A route, several, or a router of FastAPI.

    Raises:
        TypeError: If it is something else.
    """
    if type(given).__module__.split(".")[0] == "fastapi" and hasattr(given, "routes"):
        return _of_fastapi(owner, access, prefix, given)
    routes = [given] if isinstance(given, BaseRoute) else list(given)
    if wrong := [each for each in routes if not isinstance(each, BaseRoute)]:
        raise TypeError(f"http.include({wrong[0]!r}): takes Starlette routes, or a FastAPI APIRouter")
    if prefix:
        routes = [Mount(prefix, routes=routes)]
    return Routed(owner, access, ", ".join(str(getattr(each, "path", each)) for each in routes), routes, None)


def _of_fastapi(owner: Owner, access: Access, prefix: str, router: Any) -> Routed:
    """Put a router of FastAPI into a small app of its own; Starlette alone cannot run its routes."""
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(router)
    inner: BaseRoute = _Within(app)
    routes = [Mount(prefix, routes=[inner])] if prefix else [inner]
    paths = ", ".join(join(prefix, getattr(each, "path", "")) for each in router.routes)
    return Routed(owner, access, paths, routes, lambda: (prefix, app.openapi()))


@final
class _Within(BaseRoute):
    """An app that answers no more than its routes say, so that other routes come after it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """Tell whether one of its routes fits."""
        found = [route.matches(scope)[0] for route in self.app.router.routes]
        best = Match.FULL if Match.FULL in found else Match.PARTIAL if Match.PARTIAL in found else Match.NONE
        return best, {}

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await self.app({key: value for key, value in scope.items() if key != "router"}, receive, send)


@final
class Routes:
    """All routes that plugins brought."""

    def __init__(self) -> None:
        self._all: tuple[Routed, ...] = ()
        self.version = 0

    def __iter__(self) -> Iterator[Routed]:
        return iter(self._all)

    def add(self, new: Routed, table: EndpointTable) -> None:
        """Serve some from now on, as soon as their plugin is ready.

        Raises:
            WiringError: If somebody answers the same requests.
        """
        taken = {(each.method, _shape(each.path)): each.owner for each in table}
        self._refuse(new.owner, new.claims(), taken)
        self._all = (*self._all, new)
        self.version += 1

    def check(self, owner: Owner, method: str, path: str) -> None:
        """Refuse an endpoint that answers the same requests as one of these.

        Raises:
            WiringError: If it does.
        """
        self._refuse(owner, [(method, _shape(path))], {})

    def _refuse(self, owner: Owner, claims: Iterable[tuple[str, str]], taken: dict[tuple[str, str], str]) -> None:
        for other in self._all:
            if other.owner is owner or other.owner.id != owner.id:  # not of the one that is being reloaded
                taken.update((claim, other.owner.id) for claim in other.claims())
        wrong = [(claim, taken[claim]) for claim in claims if claim in taken]
        if wrong:
            raise WiringError(_problems(owner, wrong))

    def remove(self, gone: Routed) -> None:
        """Serve them no more; once more does nothing."""
        self._all = tuple(each for each in self._all if each is not gone)
        self.version += 1

    def find(self, scope: Scope) -> tuple[Routed, BaseRoute, Any] | None:
        """Find the route that serves a connection, and what it adds to its scope."""
        partial = None
        for each in reversed(self._all):
            if each.owner.active:
                for route in each.routes:
                    match, child = route.matches(scope)
                    if match is Match.FULL:
                        return each, route, child
                    if match is Match.PARTIAL and partial is None:
                        partial = each, route, child
        return partial


def _shape(path: str) -> str:
    """Return a path without the names of its parameters."""
    return _PARAMETER.sub("{}", path)


def _problems(owner: Owner, wrong: Iterable[tuple[tuple[str, str], str]]) -> list[Problem]:
    hint = "give one of them another path, or plugins a prefix of their own: create_app(plugin_prefix=...)"
    return [
        Problem(f"{method} {path} of plugin {owner.id!r}", f"plugin {other!r} answers the same requests", hint)
        for (method, path), other in wrong
    ]
