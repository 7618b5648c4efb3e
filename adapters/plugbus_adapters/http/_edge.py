"""The edge of one kernel: which endpoint serves a request, who may use it, and what its answer is.

Owns the way of a request from the ASGI server to a handler and back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, final

from plugbus import Owner, Principal, acting_as
from plugbus.log import log_failure
from plugbus_adapters.http._answers import answered, failed
from plugbus_adapters.http._binding import Limits
from plugbus_adapters.http._correlation import correlated, new_id
from plugbus_adapters.http._entries import Entry, compiled
from plugbus_adapters.http._exchange import EXCHANGE, DisconnectedError, Exchange, Receive, Scope, Send
from plugbus_adapters.http._framework import framework
from plugbus_adapters.http._guard import Guard
from plugbus_adapters.http._matching import Tree
from plugbus_adapters.http._paths import join
from plugbus_adapters.http.endpoints import EndpointMark, EndpointTable
from plugbus_adapters.http.pages import Templates
from plugbus_adapters.http.problems import ProblemDocument, ProblemError, problem_of
from plugbus_adapters.http.security import Authenticator, BearerTokens
from plugbus_adapters.http.settings import HttpSettings

if TYPE_CHECKING:
    from plugbus import EventBus

__all__ = ("Edge",)


@final
class Edge:
    """What an app and the plugin ``http`` of its kernel share.

    Args:
        bus: Where requests go that the bus answers: the host's view.
        guard: Who may use an endpoint.
        prefix: In front of all paths.
        plugin_prefix: In front of those of plugins; ``{plugin}`` in it is the plugin's id.
        envelope: Whether results are wrapped where an endpoint does not say.

    Attributes:
        table: All endpoints.
        attached: Whether the plugin is there, as long as the kernel runs.
    """

    def __init__(
        self, bus: EventBus, *, guard: Guard, prefix: str = "", plugin_prefix: str = "", envelope: bool = False
    ) -> None:
        self.bus, self.guard = bus, guard
        self.prefix, self.plugin_prefix, self.envelope = prefix, plugin_prefix, envelope
        self.table = EndpointTable()
        self.limits = Limits(HttpSettings())
        self.templates = Templates()
        self.attached = False
        self._tree: Tree[tuple[Entry, ...]] = Tree()
        self._mapped: dict[type, list[tuple[object, int]]] = {}
        self._lock = threading.Lock()

    @property
    def settings(self) -> HttpSettings:
        """The settings in force."""
        return self.limits.settings

    def apply(self, settings: HttpSettings) -> None:
        """Put settings in force."""
        known: list[Authenticator] = []
        if settings.tokens:
            granted = {each.hash: Principal(name, each.scopes) for name, each in settings.tokens.items()}
            known.append(BearerTokens.from_hashes(granted))
        if settings.session_secrets:
            from plugbus_adapters.http.sessions import SessionAuthenticator

            known.append(SessionAuthenticator(seconds=settings.session_seconds))
        self.limits.apply(settings)
        self.templates = Templates(settings.template_folders)
        self.guard.configured = tuple(known)

    # What is served

    def path_of(self, owner: Owner, path: str, *, absolute: bool) -> str:
        """Return a whole path."""
        between = "" if absolute else self.plugin_prefix.replace("{plugin}", owner.id)
        return join(self.prefix, between, path)

    def add(self, owner: Owner, mark: EndpointMark, target: Any) -> Entry:
        """Serve an endpoint from now on, as soon as its plugin is ready.

        Raises:
            WiringError: If it cannot be decided where a parameter comes from, or somebody has the path.
        """
        path = self.path_of(owner, mark.path, absolute=mark.absolute)
        entry = compiled(owner, mark, target, path, self.bus, self.limits, envelope=self.envelope)
        with self._lock:
            self.table.add(entry.endpoint, entry)
            self._plant()
        return entry

    def remove(self, entry: Entry) -> None:
        """Serve it no more; requests that are under way go on."""
        with self._lock:
            self.table.remove(entry)
            self._plant()

    async def retire(self, entry: Entry) -> None:
        """Serve it no more, and wait until requests that are under way are over."""
        self.remove(entry)
        await entry.wait_idle()

    def _plant(self) -> None:
        places: dict[tuple[Any, str], list[Entry]] = {}
        for found, entry in self.table.entries():
            places.setdefault((found.template, found.method), []).insert(0, entry)
        self._tree = Tree((template, method, tuple(entries)) for (template, method), entries in places.items())

    def map_error(self, key: object, kind: type[Exception], status: int) -> Callable[[], None]:
        """Give a type of exception a status, wherever it comes out; return what takes that back."""
        with self._lock:
            self._mapped.setdefault(kind, []).append((key, status))

        def undo() -> None:
            with self._lock:
                self._mapped[kind] = [each for each in self._mapped[kind] if each[0] is not key]

        return undo

    def _status_of(self, entry: Entry) -> Callable[[type], int | None]:
        def status_of(kind: type) -> int | None:
            if kind in entry.statuses:
                return entry.statuses[kind]
            mapped = self._mapped.get(kind)
            return mapped[-1][1] if mapped else None

        return status_of

    # Serving

    def find(self, path: str, method: str) -> tuple[Entry | None, tuple[str, ...], Iterable[str]]:
        """Find what serves a method of a path; if nothing does, which methods are served there."""
        entries, values, others = self._tree.find(path, method)
        if entries is None and method == "HEAD":
            entries, values, others = self._tree.find(path, "GET")
        for entry in entries or ():
            if entry.owner.active:
                return entry, values, ()
        return None, (), others

    async def serve(self, entry: Entry, values: tuple[str, ...], scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        exchange = Exchange(scope, receive)
        exchange.entry, exchange.values = entry, values
        exchange.correlation_id, cause = correlated(exchange.headers)
        token = EXCHANGE.set(exchange)
        entry.flying += 1
        try:
            await self._answer(entry, exchange, cause, send)
        except DisconnectedError:
            return
        except Exception as error:
            document = self._document(error, entry, exchange)
            if exchange.started:
                raise  # the server breaks the connection off, so that nobody takes a part for the whole
            await failed(document, exchange, send, envelope=entry.endpoint.envelope)
        finally:
            if exchange.form is not None:
                await exchange.form.close()
            entry.landed()
            EXCHANGE.reset(token)

    async def _answer(self, entry: Entry, exchange: Exchange, cause: str | None, send: Send) -> None:
        principal = exchange.principal = await self.guard.principal(exchange.scope)
        entry.access.check(principal)
        with acting_as(principal, correlation_id=exchange.correlation_id, cause=cause):
            result = await entry.call(exchange)
            await answered(result, entry, exchange, send, self.templates)

    def _document(self, error: Exception, entry: Entry, exchange: Exchange) -> ProblemDocument:
        """Return what a caller reads of a failure; one that nobody raised on purpose gets an id, and is logged."""
        document = problem_of(error, self._status_of(entry))
        if document is not None:
            return document
        if isinstance(error, framework().failures):
            failure: Any = error
            return ProblemDocument(failure.status_code, failure.detail, headers=tuple((failure.headers or {}).items()))
        found = new_id()
        facts = {"id": found, "endpoint": entry.endpoint.name, "correlation_id": exchange.correlation_id}
        log_failure(entry.owner.id, "request failed", error, hide=entry.owner.hide, **facts)
        return ProblemDocument(500, "it failed; the log has the reason under the id", "internal", facts={"id": found})

    async def refuse(self, error: ProblemError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that no endpoint serves."""
        await failed(error.document, Exchange(scope, receive), send, envelope=self.envelope)
