"""Taking in events and requests from outside: whether somebody may, what came of each.

Owns the way of a CloudEvent onto the bus, for every transport of the event API.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, final

from plugbus import (
    EventBus,
    EventLog,
    EventTypeError,
    Forbidden,
    Invalid,
    PlugbusError,
    Principal,
    Problem,
    acting_as,
    arrived,
)
from plugbus.log import log_failure
from plugbus_adapters.cloudevents import CloudEvent
from plugbus_adapters.http._correlation import new_id
from plugbus_adapters.http.documents.catalogue import is_own, may, own_names
from plugbus_adapters.http.events._selection import names_of
from plugbus_adapters.http.problems import ProblemDocument, ProblemError, problem_of
from plugbus_adapters.http.security import Unauthenticated
from plugbus_adapters.inprocess._plain import Results, fields, plain_event

__all__ = ("Publisher", "known")


def known(principal: Principal | None) -> Principal:
    """Return who asks.

    Raises:
        Unauthenticated: If it is nobody known.
    """
    if principal is None:
        raise Unauthenticated("this needs credentials, and the request has none that are known")
    return principal


@final
class Publisher:
    """Emits what comes in.

    Args:
        bus: Where.
        log: What it is on record in, once somebody is told that it was accepted.
    """

    def __init__(self, bus: EventBus, log: EventLog) -> None:
        self._bus, self._log = bus, log
        self._results = Results()

    def check(self, events: Sequence[CloudEvent], principal: Principal | None) -> None:
        """Refuse all if there is one that somebody may not publish, before any is emitted.

        Raises:
            Unauthenticated: If nobody known asks.
            Forbidden: If a scope is missing; its problems say for which.
        """
        known(principal)
        problems = [
            Problem(f"[{index}].type", f"this needs the scope 'publish:{event.type}'")
            for index, event in enumerate(events)
            if not may(principal, "publish", names_of(self._bus, event.type))
        ]
        if problems:
            raise Forbidden("there is an event that you may not publish", code="insufficient_scope", problems=problems)

    async def publish(self, event: CloudEvent, principal: Principal | None, *, strict: bool = False) -> object:
        """Emit an event whose scope was checked; return what came out of its chain.

        Args:
            event: The event.
            principal: Who publishes it.
            strict: Whether a name that no type has is refused.

        Raises:
            Invalid: If it does not fit its type, or is none that anybody outside may tell.
            ProblemError: If it is a request, or no type has its name and that is refused.
            Exception: What a listener refused or failed with.
        """
        declared = self._bus.type_named(event.type)
        told = "the event cannot be published"
        if event.type in own_names() or (declared is not None and is_own(declared)):
            raise Invalid(told, problems=[Problem("type", "is told by the kernel alone")])
        if declared is not None and declared.is_request:
            problem = Problem("type", "is a request; POST /requests calls it")
            raise ProblemError(422, told, code="wrong_kind", problems=[problem])
        if declared is None and strict:
            raise ProblemError(404, told, code="unknown_event", problems=[Problem("type", "no type has this name")])
        data = event.data if declared is None else fields(event.type, event.data)
        with (
            acting_as(principal, correlation_id=event.correlation_id, cause=event.id, traceparent=event.traceparent),
            arrived(event.id, source=event.source, time=event.time),
        ):
            return await self._bus.aemit_named(event.type, data)

    def represent(self, event: CloudEvent, came_out: object, principal: Principal | None) -> dict[str, Any]:
        """Return what came out of an event's chain as the member ``data``; none for those who may not read it."""
        if principal is None or not may(principal, "subscribe", names_of(self._bus, event.type)):
            return {}
        try:
            return {"data": plain_event(came_out).data}
        except EventTypeError:  # it holds what no data can tell; it was emitted all the same
            return {}

    async def publish_all(self, events: Sequence[CloudEvent], principal: Principal | None) -> list[dict[str, Any]]:
        """Emit several, each whatever became of the others; return what became of each."""
        outcomes = []
        for event in events:
            outcome: dict[str, Any] = {"id": event.id, "source": event.source, "status": 202}
            try:
                await self.publish(event, principal)
            except Exception as error:  # noqa: BLE001 - each has an answer of its own
                document = _document(error, event)
                outcome |= {"status": document.status, "problem": document.to_dict()}
            outcomes.append(outcome)
        return outcomes

    async def settle(self) -> None:
        """Wait until what was emitted is on record, where that is possible; the log itself tells when it is not."""
        with suppress(PlugbusError):  # the event was emitted, and to say otherwise would have it sent again
            await self._log.flush()

    async def call(self, name: str, data: Any, principal: Principal | None) -> Any:
        """Have a request answered; return the answer as plain data.

        Raises:
            Unauthenticated: If nobody known asks.
            Forbidden: If the scope is missing; also if there is no such request, which is then not told.
            ProblemError: If there is none.
            Invalid: If the data does not fit.
            Exception: What the handler or a listener refused or failed with.
        """
        known(principal)
        if not may(principal, "call", names_of(self._bus, name)):
            raise Forbidden(f"this needs the scope 'call:{name}'", code="insufficient_scope")
        declared = self._bus.type_named(name)
        if declared is None or not declared.is_request or is_own(declared):
            raise ProblemError(404, f"there is no request {name!r} to be called", code="unknown_request")
        return self._results.plain(declared, await self._bus.acall_named(name, fields(name, data)))


def _document(error: Exception, event: CloudEvent) -> ProblemDocument:
    document = problem_of(error)
    if document is not None:
        return document
    found = new_id()
    log_failure("events", "event failed", error, id=found, cloudevent=event.id, about=event.type)
    return ProblemDocument(500, "it failed; the log has the reason under the id", "internal", facts={"id": found})
