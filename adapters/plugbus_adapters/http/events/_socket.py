"""The event API over WebSocket: many subscriptions and publications on one connection, as JSON frames.

Owns the frames. From the client: ``subscribe`` (``id``, ``events``, ``key``, ``since``), ``unsubscribe`` (``id``) and
``publish`` (``id``, ``event``). To the client: ``subscribed``, ``event``, ``reset``, ``unsubscribed``, ``published``
and ``error``, each with the ``id`` of what it answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, final

import anyio
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_json
from starlette.websockets import WebSocket, WebSocketDisconnect

from plugbus import EventBus, Principal, Problem
from plugbus.log import log_failure
from plugbus_adapters.cloudevents import CloudEventError, from_structured
from plugbus_adapters.http._correlation import new_id
from plugbus_adapters.http.events._publishing import Publisher
from plugbus_adapters.http.events._readers import Reader, Readers, Reset
from plugbus_adapters.http.events._selection import MAX_PATTERNS, Selection
from plugbus_adapters.http.problems import ProblemDocument, ProblemError, problem_of, problems_of

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ("SocketServer",)

MAX_SUBSCRIPTIONS: Final = 100
_GOING_AWAY: Final = 1001
_TOO_BIG: Final = 1009


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=100)


class _Subscribe(_Frame):
    type: Literal["subscribe"]
    events: list[str] = Field(default=[], max_length=MAX_PATTERNS)
    key: str | None = None
    since: str | None = None


class _Unsubscribe(_Frame):
    type: Literal["unsubscribe"]


class _Publish(_Frame):
    type: Literal["publish"]
    event: dict[str, Any]


_FRAMES: Final[TypeAdapter[_Subscribe | _Unsubscribe | _Publish]] = TypeAdapter(_Subscribe | _Unsubscribe | _Publish)


@final
class SocketServer(NamedTuple):
    """What all connections share.

    Attributes:
        bus: Knows names and aliases.
        readers: What all readers share.
        publisher: Emits what comes in.
        max_bytes: How large a frame may be.
    """

    bus: EventBus
    readers: Readers
    publisher: Publisher
    max_bytes: int

    async def serve(self, socket: WebSocket, principal: Principal) -> None:
        """Serve one connection until the client leaves, stops reading, or the server stops.

        Args:
            socket: The connection, not accepted yet.
            principal: Who it is.

        Raises:
            ProblemError: If there is no room.
        """
        await _Connection(socket, principal, self).run()


@final
class _Connection:
    """One connection that was let in."""

    def __init__(self, socket: WebSocket, principal: Principal, server: SocketServer) -> None:
        self._socket, self._principal = socket, principal
        self._bus, self._readers, self._publisher, self._max_bytes = server
        self._subscriptions: dict[str, anyio.CancelScope] = {}
        self._writing = anyio.Lock()
        self._group: TaskGroup

    async def run(self) -> None:
        """Serve it."""
        with self._readers.reading(self._principal) as reading:
            await self._socket.accept()
            async with anyio.create_task_group() as self._group:
                await self._receive_all()
                self._group.cancel_scope.cancel()
        if reading.cancelled_caught:
            with anyio.move_on_after(self._readers.limits.send_timeout_seconds), suppress(RuntimeError):
                await self._socket.close(_GOING_AWAY)

    async def _receive_all(self) -> None:
        while (message := await self._socket.receive())["type"] == "websocket.receive":
            text = message.get("text") or message.get("bytes") or b""
            if len(text) > self._max_bytes:
                await self._socket.close(_TOO_BIG)
                return
            await self._answer(text)

    async def _answer(self, text: str | bytes) -> None:
        """Do what a frame asks for; what fails is told in a frame, and the connection goes on."""
        found: str | None = None
        try:
            try:
                frame = _FRAMES.validate_json(text)
            except ValidationError as error:
                raise ProblemError(400, "no frame", code="invalid_frame", problems=problems_of(error)) from None
            found = frame.id
            if isinstance(frame, _Subscribe):
                await self._subscribe(frame)
            elif isinstance(frame, _Unsubscribe):
                await self._unsubscribe(frame)
            else:
                await self._publish(frame)
        except Exception as error:  # noqa: BLE001 - told in a frame
            await self._send({"type": "error", "id": found, "error": self._document(error).to_dict()})

    def _document(self, error: Exception) -> ProblemDocument:
        document = problem_of(error)
        if document is not None:
            return document
        found = new_id()
        log_failure("events", "frame failed", error, id=found)
        return ProblemDocument(500, "it failed; the log has the reason under the id", "internal", facts={"id": found})

    async def _send(self, frame: Mapping[str, Any]) -> None:
        await self._send_text(to_json(frame).decode())

    async def _send_text(self, text: str) -> None:
        """Send one frame after another; whoever does not take one in time is cut off."""
        message = {"type": "websocket.send", "text": text}
        async with self._writing:
            try:
                taken = await self._readers.sending(self._socket.send, message)
            except (WebSocketDisconnect, RuntimeError):  # the client has left, or is about to
                self._group.cancel_scope.cancel()
                return
            if not taken:
                self._readers.cut_off("stopped reading", "", self._principal.id)
                self._group.cancel_scope.cancel()

    async def _subscribe(self, frame: _Subscribe) -> None:
        if frame.id in self._subscriptions:
            problem = Problem("id", f"{frame.id!r} is subscribed already")
            raise ProblemError(409, "unsubscribe first", code="conflict", problems=[problem])
        if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
            raise ProblemError(400, f"at most {MAX_SUBSCRIPTIONS} subscriptions go together", code="too_many")
        selection = Selection(self._bus, self._principal, frame.events, frame.key)
        reader = Reader(self._readers, selection, self._readers.check(frame.since))
        scope = self._subscriptions[frame.id] = anyio.CancelScope()
        await self._send({"type": "subscribed", "id": frame.id, "cursor": reader.cursor})
        self._group.start_soon(self._feed, frame.id, reader, scope)

    async def _unsubscribe(self, frame: _Unsubscribe) -> None:
        scope = self._subscriptions.pop(frame.id, None)
        if scope is None:
            raise ProblemError(404, f"nothing is subscribed as {frame.id!r}", code="not_found")
        scope.cancel()
        await self._send({"type": "unsubscribed", "id": frame.id})

    async def _publish(self, frame: _Publish) -> None:
        try:
            event = from_structured(to_json(frame.event))
        except CloudEventError as error:
            told = "this is no CloudEvent"
            raise ProblemError(400, told, code="invalid_cloudevent", problems=error.problems) from None
        self._publisher.check([event], self._principal)
        await self._publisher.publish(event, self._principal)
        await self._publisher.settle()
        await self._send({"type": "published", "id": frame.id, "event": {"id": event.id, "source": event.source}})

    async def _feed(self, found: str, reader: Reader, scope: anyio.CancelScope) -> None:
        """Send what one subscription reads."""
        name = to_json(found).decode()
        with scope:
            while True:
                try:
                    events = await reader.take(self._readers.limits.heartbeat_seconds)
                except Reset as reset:
                    await self._send({"type": "reset", "id": found, "reason": reset.reason, "cursor": reset.cursor})
                    continue
                for event in events:
                    told = self._readers.render(event)
                    await self._send_text(f'{{"type":"event","id":{name},"cursor":"{event.cursor}","event":{told}}}')
