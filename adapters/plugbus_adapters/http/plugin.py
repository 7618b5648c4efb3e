"""The plugin ``http``: brings the service ``Http`` into a kernel, and serves what is marked with ``@endpoint``.

Owns the seam between kernel and edge; ``create_app`` adds it to its kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, final
from weakref import WeakSet

from plugbus import (
    AsyncNextFn,
    Clock,
    EventBus,
    KernelReady,
    Manifest,
    Marked,
    Owner,
    Plugin,
    PluginBooting,
    PluginFailed,
    PluginReady,
    Plugins,
    PluginUnloaded,
    Problem,
    Services,
    Veto,
    checks,
    listens,
    observes,
    provides,
    reads,
)
from plugbus_adapters.http._edge import Edge
from plugbus_adapters.http._guard import Guard
from plugbus_adapters.http._served import Served
from plugbus_adapters.http.context import HttpContext
from plugbus_adapters.http.endpoints import Endpoint, EndpointMark, EndpointTable, collisions
from plugbus_adapters.http.health import HealthEndpoints
from plugbus_adapters.http.lifecycle import HttpSetup, HttpShutdown, HttpStartup, PreResponse
from plugbus_adapters.http.security import Authenticator
from plugbus_adapters.http.service import Http
from plugbus_adapters.http.settings import HttpSettings

__all__ = ("HttpPlugin",)


@final
class HttpPlugin(Plugin):
    """Serves the endpoints of a kernel's plugins; :func:`create_app` brings it along.

    Without an app it can be loaded too: endpoints are checked and listed then, and nobody serves them.

    Args:
        owner: The plugin itself.
        bus: Where requests go, if there is no app.
        services: Where the authenticator of a plugin comes from.
        settings: The limits, tokens and origins; they change while it runs.
        edge: What the app serves.
    """

    manifest = Manifest(
        id="http",
        version="1.0.0",
        description="Serves plugins over HTTP.",
        publishes=["http.*"],
        subscribes=["kernel.ready", "plugin.*"],
        permissions=["kernel.manage"],
    )
    events = (HttpSetup, HttpStartup, HttpShutdown, PreResponse)
    Settings = HttpSettings

    def __init__(
        self, owner: Owner, bus: EventBus, services: Services, settings: HttpSettings, edge: Edge | None = None
    ) -> None:
        self._owner = owner
        self._bus, self._services = bus, services
        self._edge = edge or Edge(bus, Guard(), Served(bus))
        self._took_app: WeakSet[Owner] = WeakSet()
        self._edge.apply(settings)

    async def on_settings(self, old: HttpSettings, new: HttpSettings) -> None:
        """Put other settings in force; connections that are open keep their time limits."""
        del old
        self._edge.apply(new)

    @provides
    def endpoints(self) -> EndpointTable:
        """Return the table of all endpoints."""
        return self._edge.served.table

    @provides(name="http_context")
    def context(self) -> HttpContext:
        """Return what tells of the request that is being served."""
        return HttpContext()

    @provides(scope="plugin")
    def http(self, owner: Owner) -> Http:
        """Make the view of one plugin."""
        return Http(owner, self._edge.served, self._edge.layers)

    @reads(EndpointMark)
    async def attach(self, found: Marked[EndpointMark]) -> Callable[[], None]:
        """Serve a function that is marked."""
        served, owner = self._edge.served, found.owner
        entry = served.add(owner, found.mark, found.function)
        entry.disown = owner.own(entry.wait_idle, what=f"requests to {entry.endpoint}", brings_work=True)
        return lambda: served.leave(entry)

    @staticmethod
    @checks(EndpointMark)
    def check_marks(found: Iterable[Marked[EndpointMark]]) -> Iterator[Problem]:
        """Find endpoints of one plugin that answer the same requests, and absolute ones of any, before anything boots.

        What else collides depends on the prefixes of the app: it fails the plugin that comes second.
        """
        groups: dict[str, list[Endpoint]] = {}
        for each in found:
            known = Endpoint(each.mark.method, each.mark.path, each.owner.id, str(each))
            groups.setdefault("" if each.mark.absolute else each.owner.id, []).append(known)
        for group in groups.values():
            yield from collisions(group)

    @observes(KernelReady, PluginReady, PluginUnloaded)
    async def find_authenticator(self, _event: object) -> None:
        """Ask the authenticator that a plugin provides from now on, or no more."""
        found = await self._services.aget(Authenticator) if self._services.has(Authenticator) else None
        self._edge.guard.provided = found

    @listens(PluginBooting)
    async def note_boot(self, event: PluginBooting, next_fn: AsyncNextFn[PluginBooting, None]) -> None:
        """Note who boots, perhaps beside an older self; refuse it to whoever changed the app: that would stay."""
        if any(owner.id == event.plugin and not owner.gone for owner in self._took_app):
            raise Veto(f"plugin {event.plugin!r} took the app itself, which nobody can undo, so it cannot be reloaded")
        self._edge.served.booting.add(event.plugin)
        try:
            return await next_fn(event)
        except BaseException:
            self._edge.served.booted(event.plugin)
            raise

    @observes(PluginReady, PluginFailed)
    async def note_booted(self, event: PluginReady | PluginFailed) -> None:
        """Note that somebody has booted, or has not."""
        self._edge.served.booted(event.plugin)

    async def on_boot(self, plugins: Plugins, clock: Clock) -> None:
        """Let the app serve, and tell the others."""
        self._edge.attached = True
        own = self.http(self._owner)
        HealthEndpoints(plugins, clock).serve(own)
        if self._edge.documents is not None:
            self._edge.documents(own)
        if not self._edge.announced:
            self._edge.announced = True
            await self._bus.aemit(HttpSetup(self.http, self._take_app))

    def _take_app(self, owner: Owner) -> Any:
        if self._edge.app is None:
            raise LookupError("there is no app: the plugin 'http' was loaded without create_app()")
        self._took_app.add(owner)
        return self._edge.app

    async def on_shutdown(self) -> None:
        """Let the app say that the kernel has stopped."""
        self._edge.attached = False
