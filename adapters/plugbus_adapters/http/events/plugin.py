"""The plugin ``events``: the event API of an app.

Owns its paths, its settings and its log; what each path does is in the modules beside it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any, final

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json
from starlette.websockets import WebSocket

from plugbus import (
    Closing,
    Event,
    EventBus,
    EventLog,
    Health,
    KernelStopping,
    Manifest,
    MemoryEventLog,
    Plugin,
    observes,
)
from plugbus_adapters.cloudevents import BATCH, CloudEvent, CloudEventError, from_http
from plugbus_adapters.http._edge import Edge
from plugbus_adapters.http.context import HttpContext
from plugbus_adapters.http.documents.asyncapi import asyncapi_document
from plugbus_adapters.http.documents.catalogue import Catalogue
from plugbus_adapters.http.events._publishing import Publisher, known
from plugbus_adapters.http.events._readers import Limits, Reader, Readers, ReaderStatistics
from plugbus_adapters.http.events._selection import Selection
from plugbus_adapters.http.events._socket import SocketServer
from plugbus_adapters.http.events._sse import EventSource
from plugbus_adapters.http.parameters import Body, Header, Query
from plugbus_adapters.http.problems import ProblemError
from plugbus_adapters.http.service import Http
from plugbus_adapters.sqlite_log import SQLiteEventLog

__all__ = ("EventsPlugin",)


class EventsSettings(BaseModel):
    """Settings of the event API, ``[plugins.events]``."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field("/plugbus", min_length=1, description="CloudEvents source of events that were emitted here")
    log_path: str | None = Field(None, description="SQLite file of the event log; in memory unless given")
    log_max_events: int = Field(10_000, ge=1, description="events that the log holds")
    log_max_age_seconds: float | None = Field(None, gt=0, description="age up to which a file holds events")
    heartbeat_seconds: float = Field(15.0, gt=0, description="longest silence on a stream")
    send_timeout_seconds: float = Field(20.0, gt=0, description="time for a reader to take what it is sent")
    max_batch: int = Field(1000, ge=1, description="events that are published together")
    title: str = Field("plugbus", description="title of the AsyncAPI document")


@final
class EventsPlugin(Plugin):
    """Serves the events of a kernel; :func:`create_app` brings it along.

    A log that the host has attached to the bus, or provides as ``EventLog``, is used; else it keeps one of its own.

    Args:
        bus: Where events come from and go to.
        http: Where paths are served.
        settings: How.
        edge: What the app serves.
        event_log: The log that the host provides.
    """

    manifest = Manifest(
        id="events",
        version="1.0.0",
        description="Serves events over HTTP: publish, call, subscribe.",
        publishes=["**"],
        subscribes=["**"],
        permissions=[],
    )
    Settings = EventsSettings

    def __init__(
        self,
        bus: EventBus,
        http: Http,
        settings: EventsSettings,
        edge: Edge,
        event_log: EventLog | None = None,
    ) -> None:
        self._bus, self._settings, self._edge, self._given = bus, settings, edge, event_log
        self._attached: Closing | None = None
        self._own: EventLog | None = None
        self.readers: Readers
        self.publisher: Publisher
        self.catalogue = Catalogue(bus)
        tags = ["events"]
        for path, method, handler in (
            ("/events", "POST", self.publish),
            ("/events", "GET", self.list_events),
            ("/events/stream", "GET", self.stream),
            ("/requests/{name}", "POST", self.call),
            ("/asyncapi.json", "GET", self.asyncapi),
        ):
            status, others = (202, (207,)) if handler == self.publish else (200, ())
            http.add_endpoint(
                path, method, handler, status=status, tags=tags, absolute=True, envelope=False, statuses=others
            )
        http.add_websocket("/events/ws", self.socket, absolute=True)

    async def on_boot(self) -> None:
        """Open the log."""
        own = self._settings
        log = self._bus.event_log or self._given or await self._open_log()
        if self._bus.event_log is None:
            # Other classes hold live objects, and one of them passes with each answer that is served.
            self._attached = self._bus.attach_log(log, events=Event)
        limits, edge = Limits(own.heartbeat_seconds, own.send_timeout_seconds, own.max_batch), self._edge
        self.readers = Readers(log, own.source, limits, lambda: edge.settings)
        self.publisher = Publisher(self._bus, log)
        edge.endless.append(self.readers.end)

    async def _open_log(self) -> EventLog:
        own = self._settings
        if own.log_path is None:
            self._own = MemoryEventLog(own.log_max_events)
        else:
            facts: dict[str, Any] = {"max_events": own.log_max_events, "max_age_seconds": own.log_max_age_seconds}
            path = own.log_path
            self._own = await anyio.to_thread.run_sync(lambda: SQLiteEventLog(path, **facts))
        return self._own

    @observes(KernelStopping)
    async def end_readers(self, _event: KernelStopping) -> None:
        """End all streams: they have no end of their own, and a server waits for them."""
        self.readers.end()

    async def on_shutdown(self) -> None:
        """End all streams, and close the log if it is its own."""
        self.readers.end()
        with suppress(ValueError):  # it was not booted to the end
            self._edge.endless.remove(self.readers.end)
        if self._attached is not None:
            self._attached.close()
        if self._own is not None:
            await self._own.aclose()

    async def check_health(self) -> Health:
        """Tell who reads, and what the log holds."""
        seen, held = self.readers.statistics(), self.readers.log.statistics()
        metrics = {
            "readers": seen.readers, "events_sent": seen.sent, "resets": seen.resets,
            "readers_cut_off": sum(seen.cut_off.values()), "events_held": held.events, "events_lost": held.lost,
        }  # fmt: skip
        return Health(metrics=metrics)

    def statistics(self) -> ReaderStatistics:
        """Return who reads."""
        return self.readers.statistics()

    # What is served

    async def publish(self, body: Annotated[bytes, Body()], http: HttpContext) -> dict[str, Any]:
        """Publish CloudEvents: one, in structured or binary mode, or a batch.

        Each is validated by the type that has its name, and goes through the bus as any other event. A batch is
        answered with 202 if all were accepted, else with 207 and what became of each. One event alone is refused
        with ``Prefer: handling=strict`` if no type has its name, and with ``return=representation`` the answer has
        what came out of its chain, for those who may subscribe to it.
        """
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in http.scope["headers"]]
        try:
            events = from_http(headers, body, max_events=self.readers.limits.max_events)
        except CloudEventError as error:
            told = "this is no CloudEvent"
            raise ProblemError(400, told, code="invalid_cloudevent", problems=error.problems) from None
        self.publisher.check(events, http.principal)
        if not (http.header("content-type") or "").lower().startswith(BATCH):
            outcomes = [await self._publish_one(events[0], http)]
        else:
            outcomes = await self.publisher.publish_all(events, http.principal)
        if any(outcome["status"] != 202 for outcome in outcomes):  # noqa: PLR2004 - accepted
            http.set_status(207)
        await self.publisher.settle()
        return {"events": outcomes}

    async def _publish_one(self, event: CloudEvent, http: HttpContext) -> dict[str, Any]:
        """Publish an event as its sender prefers (RFC 7240): strictly, and with what came out of its chain."""
        preferred = {each.strip().lower() for each in (http.header("prefer") or "").split(",")}
        came_out = await self.publisher.publish(event, http.principal, strict="handling=strict" in preferred)
        outcome = {"id": event.id, "source": event.source, "status": 202}
        if "return=representation" in preferred:
            outcome |= self.publisher.represent(event, came_out, http.principal)
        return outcome

    async def call(self, name: str, body: Annotated[bytes, Body()], http: HttpContext) -> Any:
        """Have a request answered: its fields are the body, its answer is the result."""
        try:
            data = from_json(body, allow_inf_nan=False) if body else {}
        except ValueError:
            raise ProblemError(400, "the body is no JSON", code="malformed_json") from None
        return await self.publisher.call(name, data, http.principal)

    async def list_events(self, http: HttpContext) -> dict[str, Any]:
        """List the events and requests that the caller may publish, subscribe to or call, with their schemas."""
        entries = await anyio.to_thread.run_sync(self.catalogue.entries, http.principal)
        return {"events": [asdict(entry) for entry in entries], "cursor": self.readers.log.cursor}

    async def stream(
        self,
        http: HttpContext,
        types: Annotated[list[str] | None, Query("type")] = None,
        key: str | None = None,
        since: str | None = None,
        last_event_id: Annotated[str | None, Header("Last-Event-ID")] = None,
    ) -> Any:
        """Subscribe by server-sent events: CloudEvents in JSON, each with a cursor as its id.

        A stream that is given a cursor, as ``Last-Event-ID`` or ``since``, goes on right after it; if the log no
        longer reaches back, the first thing in it is an event named ``reset``.
        """
        principal = known(http.principal)
        selection = Selection(self._bus, principal, types or (), key)
        cursor = self.readers.check(last_event_id or since)
        return EventSource(self.readers, Reader(self.readers, selection, cursor), principal)

    async def socket(self, websocket: WebSocket, http: HttpContext) -> None:
        """Subscribe and publish over WebSocket: many subscriptions on one connection."""
        max_bytes = self._edge.settings.max_message_bytes
        server = SocketServer(self._bus, self.readers, self.publisher, max_bytes)
        await server.serve(websocket, known(http.principal))

    async def asyncapi(self, http: HttpContext) -> dict[str, Any]:
        """Describe all events and requests that the caller may know of, as AsyncAPI 3.0."""
        allowed = {entry.name for entry in self.catalogue.entries(http.principal)}
        offered = [each for each in self.catalogue.offered() if each.declared.name in allowed]
        scope = http.scope
        prefix = http.path.removesuffix("/asyncapi.json")
        return asyncapi_document(
            offered,
            title=self._settings.title,
            host=http.header("host"),
            path=prefix,
            secure=scope.get("scheme") == "https",
        )
