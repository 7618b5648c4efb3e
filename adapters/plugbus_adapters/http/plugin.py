"""The plugin ``http``: brings the service ``Http`` into a kernel, and serves what is marked with ``@endpoint``.

Owns the seam between kernel and edge; ``create_app`` adds it to its kernel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import final

from plugbus import (
    EventBus,
    KernelReady,
    Marked,
    Owner,
    Plugin,
    PluginReady,
    PluginUnloaded,
    Problem,
    Services,
    checks,
    observes,
    provides,
    reads,
)
from plugbus_adapters.http._edge import Edge
from plugbus_adapters.http._guard import Guard
from plugbus_adapters.http.context import HttpContext
from plugbus_adapters.http.endpoints import Endpoint, EndpointMark, EndpointTable, collisions
from plugbus_adapters.http.security import Authenticator
from plugbus_adapters.http.service import Http
from plugbus_adapters.http.settings import HttpSettings

__all__ = ("HttpPlugin",)


@final
class HttpPlugin(Plugin, id="http", version="1.0.0"):
    """Serves the endpoints of a kernel's plugins; :func:`create_app` brings it along.

    Without an app it can be loaded too: endpoints are checked and listed then, and nobody serves them.

    Args:
        bus: Where requests go, if there is no app.
        services: Where the authenticator of a plugin comes from.
        settings: The limits, tokens and origins; they change while it runs.
        edge: What the app serves.
    """

    Settings = HttpSettings

    def __init__(self, bus: EventBus, services: Services, settings: HttpSettings, edge: Edge | None = None) -> None:
        self._edge, self._services = edge or Edge(bus, guard=Guard()), services
        self._edge.apply(settings)

    async def on_settings(self, old: HttpSettings, new: HttpSettings) -> None:
        """Put other settings in force; connections that are open keep their time limits."""
        del old
        self._edge.apply(new)

    @provides
    def endpoints(self) -> EndpointTable:
        """Return the table of all endpoints."""
        return self._edge.table

    @provides(name="http_context")
    def context(self) -> HttpContext:
        """Return what tells of the request that is being served."""
        return HttpContext()

    @provides(scope="plugin")
    def http(self, owner: Owner) -> Http:
        """Make the view of one plugin."""
        return Http(owner, self._edge)

    @reads(EndpointMark)
    async def attach(self, found: Marked[EndpointMark]) -> Callable[[], Awaitable[None]]:
        """Serve a function that is marked."""
        entry = self._edge.add(found.owner, found.mark, found.function)
        return lambda: self._edge.retire(entry)

    @staticmethod
    @checks(EndpointMark)
    def check_marks(found: Iterable[Marked[EndpointMark]]) -> Iterator[Problem]:
        """Find endpoints that answer the same requests, before anything is built."""
        yield from collisions(Endpoint(each.mark.method, each.mark.path, each.owner.id, str(each)) for each in found)

    @observes(KernelReady, PluginReady, PluginUnloaded)
    async def find_authenticator(self, _event: object) -> None:
        """Ask the authenticator that a plugin provides from now on, or no more."""
        found = await self._services.aget(Authenticator) if self._services.has(Authenticator) else None
        self._edge.guard.provided = found

    async def on_boot(self) -> None:
        """Let the app serve."""
        self._edge.attached = True

    async def on_shutdown(self) -> None:
        """Let the app say that the kernel has stopped."""
        self._edge.attached = False
