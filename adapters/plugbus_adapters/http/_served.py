"""What one edge serves: endpoints, routes, and which status a failure has.

Owns the registrations of plugins; they come and go while requests are under way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, final

from plugbus import EventBus, Owner
from plugbus.log import log_failure
from plugbus_adapters.http._binding import Limits
from plugbus_adapters.http._correlation import new_id
from plugbus_adapters.http._entries import Entry, compiled, compiled_websocket
from plugbus_adapters.http._exchange import Scope
from plugbus_adapters.http._framework import framework
from plugbus_adapters.http._matching import Tree
from plugbus_adapters.http._paths import join
from plugbus_adapters.http.endpoints import Auth, EndpointMark, EndpointTable
from plugbus_adapters.http.problems import ProblemDocument, problem_of
from plugbus_adapters.http.security import Access
from plugbus_adapters.http.settings import HttpSettings

if TYPE_CHECKING:
    from plugbus_adapters.http._routes import Routed, Routes

__all__ = ("Served",)


@final
class Served:
    """What one edge serves.

    Args:
        bus: Where requests go that the bus answers.
        prefix: In front of all paths.
        plugin_prefix: In front of those of plugins; ``{plugin}`` in it is the plugin's id.
        envelope: Whether results are wrapped where an endpoint does not say.

    Attributes:
        table: All endpoints.
        limits: What is let in.
        routes: Routes of the web framework, if there are any.
        booting: Ids of plugins that boot at this moment.
    """

    def __init__(self, bus: EventBus, *, prefix: str = "", plugin_prefix: str = "", envelope: bool = False) -> None:
        self._bus, self._prefix, self._plugin_prefix, self.envelope = bus, prefix, plugin_prefix, envelope
        self.table = EndpointTable()
        self.limits = Limits(HttpSettings())
        self.routes: Routes | None = None  # made with the first, which needs Starlette
        self._tree: Tree[tuple[Entry, ...]] = Tree()
        self._mapped: dict[type, list[tuple[object, int]]] = {}
        self._lock = threading.Lock()
        self.booting: set[str] = set()
        self._lingering: list[Entry] = []

    @property
    def version(self) -> tuple[int, int]:
        """Another one whenever something came or went."""
        return self.table.version, 0 if self.routes is None else self.routes.version

    def path_of(self, owner: Owner, path: str, *, absolute: bool = False) -> str:
        """Return a whole path."""
        between = "" if absolute or owner.id in {"host", "http"} else self._plugin_prefix.replace("{plugin}", owner.id)
        return join(self._prefix, between, path)

    def add(self, owner: Owner, mark: EndpointMark, target: Any) -> Entry:
        """Serve an endpoint from now on, as soon as its plugin is ready.

        Raises:
            WiringError: If it cannot be decided where a parameter comes from, or somebody has the path.
        """
        path = self.path_of(owner, mark.path, absolute=mark.absolute)
        return self._enter(compiled(owner, mark, target, path, self._bus, self.limits, envelope=self.envelope))

    def add_websocket(
        self, owner: Owner, path: str, handler: Any, auth: Auth, name: str | None, *, absolute: bool = False
    ) -> Entry:
        """Likewise for a WebSocket."""
        path = self.path_of(owner, path, absolute=absolute)
        return self._enter(compiled_websocket(owner, path, handler, auth, name, self.limits))

    def _enter(self, entry: Entry) -> Entry:
        with self._lock:
            if self.routes is not None:
                self.routes.check(entry.owner, entry.endpoint.method, entry.endpoint.path)
            for each in self._lingering:  # the same owner, read again
                if each.owner is entry.owner and str(each.endpoint) == str(entry.endpoint):
                    self.table.remove(each)
            self.table.add(entry.endpoint, entry)
            self._plant()
        return entry

    def include(self, owner: Owner, given: Any, prefix: str, auth: Auth) -> Routed:
        """Serve routes of the web framework from now on, as soon as their plugin is ready.

        Raises:
            WiringError: If somebody answers the same requests.
            TypeError: If they are no routes.
        """
        from plugbus_adapters.http._routes import Routes, routed

        found = routed(owner, Access.of(auth), self.path_of(owner, prefix or "/").rstrip("/"), given)
        with self._lock:
            self.routes = self.routes or Routes()
            self.routes.add(found, self.table)
        return found

    def remove(self, entry: Entry | Routed) -> None:
        """Serve it no more; requests that are under way go on."""
        with self._lock:
            if not isinstance(entry, Entry):
                if self.routes is not None:
                    self.routes.remove(entry)
                return
            self.table.remove(entry)
            self._plant()
        entry.removed()

    def leave(self, entry: Entry) -> None:
        """Serve it no more; while its plugin is being reloaded, until the new one is in its place.

        A reload takes the marks of the old one back before the new one hears, and nobody shall find nothing meanwhile.
        """
        if self.booting.isdisjoint({entry.owner.id, "http"}):
            self.remove(entry)
        else:
            self._lingering.append(entry)

    def booted(self, plugin: str) -> None:
        """Take away what lingers, once a boot or a reload has ended."""
        self.booting.discard(plugin)
        gone = [each for each in self._lingering if plugin in {each.owner.id, "http"}]
        self._lingering = [each for each in self._lingering if each not in gone]
        for each in gone:
            self.remove(each)

    async def retire(self, entry: Entry | Routed) -> None:
        """Serve it no more, and wait until requests that are under way are over."""
        self.remove(entry)
        await entry.wait_idle()

    def _plant(self) -> None:
        places: dict[tuple[Any, str], list[Entry]] = {}
        for found, entry in self.table.entries():
            places.setdefault((found.template, found.method), []).insert(0, entry)
        self._tree = Tree((template, method, tuple(entries)) for (template, method), entries in places.items())

    def find(self, path: str, method: str) -> tuple[Entry | None, tuple[str, ...], Iterable[str]]:
        """Find what serves a method of a path; if nothing does, which methods are served there."""
        entries, values, others = self._tree.find(path, method)
        if entries is None and method == "HEAD":
            entries, values, others = self._tree.find(path, "GET")
        for entry in entries or ():
            if entry.owner.active:
                return entry, values, ()
        return None, (), others

    def routes_for(self, scope: Scope) -> tuple[Routed, Any, Any] | None:
        """Find the route of the web framework that serves a connection."""
        return None if self.routes is None else self.routes.find(scope)

    # Failures

    def map_error(self, kind: type[Exception], status: int) -> Callable[[], None]:
        """Give a type of exception a status, wherever it comes out; return what takes that back."""
        if not 400 <= status <= 599:  # noqa: PLR2004 - RFC 9110, section 15
            raise ValueError(f"map_error({kind.__name__}, {status}): must be between 400 and 599")
        entry = (object(), status)
        with self._lock:
            self._mapped.setdefault(kind, []).append(entry)

        def undo() -> None:
            with self._lock:
                self._mapped[kind].remove(entry)

        return undo

    def document_of(self, error: Exception, entry: Entry | Routed, correlation_id: str) -> ProblemDocument:
        """Return what a caller reads of a failure; one that nobody raised on purpose gets an id, and is logged."""
        own = entry.statuses if isinstance(entry, Entry) else {}

        def status_of(kind: type) -> int | None:
            mapped = self._mapped.get(kind)
            return own.get(kind) or (mapped[-1][1] if mapped else None)

        document = problem_of(error, status_of)
        if document is not None:
            return document
        if isinstance(error, framework().failures):
            failure: Any = error
            return ProblemDocument(failure.status_code, failure.detail, headers=tuple((failure.headers or {}).items()))
        found = new_id()
        named = entry.endpoint.name if isinstance(entry, Entry) else entry.label
        facts = {"id": found, "endpoint": named, "correlation_id": correlation_id}
        log_failure(entry.owner.id, "request failed", error, hide=entry.owner.hide, **facts)
        return ProblemDocument(500, "it failed; the log has the reason under the id", "internal", facts={"id": found})
