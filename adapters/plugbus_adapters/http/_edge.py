"""The edge of one kernel: what is served, who may use it, and the way of a request to it and back.

Owns what an app and the plugin ``http`` of its kernel share.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import Token
from typing import TYPE_CHECKING, Any, final

from plugbus import EventBus, Principal, acting_as
from plugbus_adapters.http._answers import answered, denied, failed
from plugbus_adapters.http._correlation import correlated
from plugbus_adapters.http._entries import Entry
from plugbus_adapters.http._exchange import EXCHANGE, DisconnectedError, Exchange, Message, Receive, Scope, Send
from plugbus_adapters.http._layers import App, Layers
from plugbus_adapters.http._paths import route_path
from plugbus_adapters.http._served import Served
from plugbus_adapters.http.lifecycle import PreResponse
from plugbus_adapters.http.pages import Templates
from plugbus_adapters.http.problems import ProblemError
from plugbus_adapters.http.security import Authenticator, BearerTokens
from plugbus_adapters.http.settings import HttpSettings

if TYPE_CHECKING:
    from plugbus_adapters.http._guard import Guard
    from plugbus_adapters.http._routes import Routed
    from plugbus_adapters.http.service import Http

__all__ = ("Edge",)


@final
class Edge:
    """What an app and the plugin ``http`` of its kernel share.

    Args:
        bus: Where requests go that the bus answers: the host's view.
        guard: Who asks.
        served: What is served.

    Attributes:
        layers: Middleware of plugins.
        fallback: Serves what no plugin does: the routes of the host.
        app: The app, if there is one.
        documents: Serves the documents of the app, if it has some.
        attached: Whether the kernel runs.
        announced: Whether ``HttpSetup`` was emitted.
        templates: Of pages.
        endless: Ends the answers that have no end of their own, when the server is to stop.
    """

    def __init__(self, bus: EventBus, guard: Guard, served: Served) -> None:
        self.bus, self.guard, self.served = bus, guard, served
        self.layers = Layers(self.dispatch)
        self.fallback: App = self._nothing
        self.app: Any = None
        self.documents: Callable[[Http], None] | None = None
        self.attached = self.announced = False
        self.templates = Templates()
        self.endless: list[Callable[[], None]] = []

    @property
    def settings(self) -> HttpSettings:
        """The settings in force."""
        return self.served.limits.settings

    def apply(self, settings: HttpSettings) -> None:
        """Put settings in force."""
        known: list[Authenticator] = []
        if settings.tokens:
            granted = {each.hash: Principal(name, each.scopes) for name, each in settings.tokens.items()}
            known.append(BearerTokens.from_hashes(granted))
        if settings.session_secrets:
            from plugbus_adapters.http.sessions import SessionAuthenticator

            known.append(SessionAuthenticator(seconds=settings.session_seconds))
        self.served.limits.apply(settings)
        self.templates = Templates(settings.template_folders)
        self.guard.configured = tuple(known)

    def stop(self) -> None:
        """End the answers that have no end, so that a server that waits for answers can stop."""
        for end in tuple(self.endless):
            end()

    async def dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, within all layers."""
        is_http = scope["type"] == "http"
        entry, values, others = self.served.find(route_path(scope), scope["method"] if is_http else "WEBSOCKET")
        if entry is not None:
            await (self._serve if is_http else self._serve_websocket)(entry, values, scope, receive, send)
            return
        routed = self.served.routes_for(scope)
        if routed is not None:
            await self._serve_route(routed, scope, receive, send)
            return
        if is_http and others:
            scope["plugbus.methods"] = sorted({*others, "HEAD"} if "GET" in others else set(others) - {"WEBSOCKET"})
        await self.fallback(scope, receive, send)

    async def _nothing(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.refuse(ProblemError(404, "there is nothing here", code="no_route"), scope, receive, send)

    async def refuse(self, error: ProblemError, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that nobody serves."""
        await failed(error.document, Exchange(scope, receive), send, envelope=self.served.envelope)

    # Endpoints

    async def _serve(self, entry: Entry, values: tuple[str, ...], scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive)
        exchange.entry, exchange.values = entry, values
        token = self._begin(exchange)
        try:
            await self._answer(entry, exchange, send)
        except DisconnectedError:
            return
        except Exception as error:
            document = self.served.document_of(error, entry, exchange.correlation_id)
            if exchange.started:
                raise  # the server breaks the connection off, so that nobody takes a part for the whole
            await failed(document, exchange, send, envelope=entry.endpoint.envelope)
        finally:
            if exchange.form is not None:
                await exchange.form.close()
            self._end(exchange, token)

    async def _answer(self, entry: Entry, exchange: Exchange, send: Send) -> None:
        principal = exchange.principal = await self.guard.principal(exchange.scope)
        entry.access.check(principal)
        with self._acting(exchange):
            if entry.lasting:
                await self._tell_lasting(entry, exchange, send)
            else:
                await self._tell(entry, exchange, send)

    async def _tell_lasting(self, entry: Entry, exchange: Exchange, send: Send) -> None:
        """Answer within a unit of work: what streams goes on using what was built for it, and commits at its end."""
        last: list[Message] = []

        async def all_but_last(message: Message) -> None:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                last.append(message)  # a commit may fail still, and then nobody takes the answer for complete
            else:
                await send(message)

        async with entry.owner.services.scope():
            await self._tell(entry, exchange, all_but_last)
        for message in last:
            await send(message)

    async def _tell(self, entry: Entry, exchange: Exchange, send: Send) -> None:
        result = await entry.call(exchange)
        if self.bus.hears(PreResponse, key=entry.endpoint.name):
            result = (await self.bus.aemit(PreResponse(entry.endpoint.name, result))).result
        await answered(result, entry, exchange, send, self.templates)

    @staticmethod
    def _begin(exchange: Exchange) -> Token[Exchange | None]:
        exchange.correlation_id, exchange.cause, exchange.traceparent = correlated(exchange.headers)
        exchange.entry.flying += 1
        return EXCHANGE.set(exchange)

    @staticmethod
    def _acting(exchange: Exchange) -> AbstractContextManager[None]:
        return acting_as(
            exchange.principal,
            correlation_id=exchange.correlation_id,
            cause=exchange.cause,
            traceparent=exchange.traceparent,
        )

    @staticmethod
    def _end(exchange: Exchange, token: Token[Exchange | None]) -> None:
        exchange.entry.landed()
        EXCHANGE.reset(token)

    # WebSockets, and routes of the web framework

    async def _serve_websocket(
        self, entry: Entry, values: tuple[str, ...], scope: Scope, receive: Receive, send: Send
    ) -> None:
        from starlette.websockets import WebSocket, WebSocketDisconnect

        exchange = Exchange(scope, receive)
        exchange.entry, exchange.values = entry, values
        websocket: Any = WebSocket(scope, receive, send)
        exchange.given_as(websocket)
        token = self._begin(exchange)
        try:
            principal = exchange.principal = await self.guard.principal(scope)
            entry.access.check(principal)
            with self._acting(exchange):
                await entry.call(exchange)
        except WebSocketDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - it is logged, and the connection closed with the reason
            document = self.served.document_of(error, entry, exchange.correlation_id)
            if websocket.application_state.name == "CONNECTING" and await denied(document, exchange, send):
                return
            code = 1011 if document.status >= 500 else 1008  # noqa: PLR2004 - RFC 6455, section 7.4.1
            if websocket.application_state.name != "DISCONNECTED":
                await websocket.close(code, document.detail[:100])
        finally:
            self._end(exchange, token)

    async def _serve_route(self, found: tuple[Routed, Any, Any], scope: Scope, receive: Receive, send: Send) -> None:
        routed, route, child = found
        exchange = Exchange(scope, receive)
        exchange.entry = routed
        token = self._begin(exchange)

        async def noting(message: Any) -> None:
            exchange.started = True
            await send(message)

        try:
            principal = exchange.principal = await self.guard.principal(scope)
            routed.access.check(principal)
            with self._acting(exchange):
                await route.handle({**scope, **child}, receive, noting)
        except Exception as error:
            document = self.served.document_of(error, routed, exchange.correlation_id)
            if exchange.started:
                raise
            if scope["type"] == "websocket":
                if await denied(document, exchange, send):
                    return
                await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before it is accepted: 403
                return
            await failed(document, exchange, send, envelope=False)
        finally:
            self._end(exchange, token)
