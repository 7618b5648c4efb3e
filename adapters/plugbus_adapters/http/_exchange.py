"""One request and what is known of its answer, while it is served.

Owns the parts of a request as they are read; nothing here needs a web framework.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Any, Final, TypeAlias, final
from urllib.parse import parse_qs

from plugbus_adapters.http.problems import ProblemError

if TYPE_CHECKING:
    from plugbus import Principal

__all__ = ("EXCHANGE", "DisconnectedError", "Exchange", "Message", "Receive", "Scope", "Send")

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
MAX_QUERY_FIELDS: Final = 1000


class DisconnectedError(Exception):
    """The client went away before its request was complete; nobody is there to be told."""


@final
class Exchange:
    """One request, and the headers that its answer will have.

    Attributes:
        scope: The ASGI scope.
        headers: Headers of the request by lower-case name; of several of one name the last.
        values: Values of the path's parameters, in the order of the template.
        principal: Who asks.
        entry: What serves it.
        correlation_id: What all that comes of it shares.
        cause: What it came of.
        traceparent: The W3C trace context that it belongs to.
        started: Whether the answer has begun, so that no other one can be given.
        form: The form that was read.
        status: Of the answer, if somebody set it.
        out: Headers of the answer that somebody set.
    """

    __slots__ = (
        "_body", "_query", "_request", "cause", "correlation_id", "entry", "form", "headers", "out",
        "principal", "receive", "scope", "started", "status", "traceparent", "values",
    )  # fmt: skip

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope, self.receive = scope, receive
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.values: tuple[str, ...] = ()
        self.principal: Principal | None = None
        self.entry: Any = None
        self.status: int | None = None
        self.out: list[tuple[bytes, bytes]] | None = None
        self._body: bytes | None = None
        self._query: dict[str, list[str]] | None = None
        self.correlation_id = ""
        self.cause: str | None = None
        self.traceparent: str | None = None
        self.started = False
        self.form: Any = None
        self._request: Any = None

    async def body(self, max_bytes: int) -> bytes:
        """Read the whole body; its size is counted, whatever its headers say.

        Raises:
            ProblemError: If it is too large.
            DisconnectedError: If the client went away.
        """
        if self._body is not None:
            return self._body
        message = await self.receive()
        body: bytes = message.get("body", b"")
        if message["type"] != "http.request":
            raise DisconnectedError
        if message.get("more_body", False):
            body = await self._rest(body, max_bytes)
        if len(body) > max_bytes:
            raise too_large(max_bytes)
        self._body = body
        return body

    async def _rest(self, first: bytes, max_bytes: int) -> bytes:
        parts, size = [first], len(first)
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise DisconnectedError
            part: bytes = message.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                raise too_large(max_bytes)
            if not message.get("more_body", False):
                return b"".join(parts)

    def framework_request(self) -> Any:
        """Return the request as the web framework sees it; a body that was read is in it."""
        if self._request is None:
            from starlette.requests import Request

            self._request = Request(self.scope, self._again if self._body is not None else self.receive)
        return self._request

    def given_as(self, request: Any) -> None:
        """Have this be what the web framework sees."""
        self._request = request

    async def _again(self) -> Message:
        return {"type": "http.request", "body": self._body or b"", "more_body": False}

    async def read_form(self, max_bytes: int) -> None:
        """Read the body as a form.

        Raises:
            ProblemError: If it is none, or too large.
        """
        from plugbus_adapters.http._forms import form_of

        self.form = await form_of(self, max_bytes)

    @property
    def query(self) -> dict[str, list[str]]:
        """The query's parameters, each with all its values.

        Raises:
            ProblemError: If it has too many, or is no text.
        """
        if self._query is None:
            try:
                text = self.scope["query_string"].decode("ascii")
                self._query = parse_qs(text, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS, errors="strict")
            except (ValueError, UnicodeError) as error:
                raise ProblemError(400, "the query cannot be read", code="bad_query") from error
        return self._query

    def header(self, name: bytes) -> str | None:
        """Return a header of the request; the values of several of one name joined by commas."""
        if name not in self.headers:
            return None
        return ", ".join(value.decode("latin-1") for key, value in self.scope["headers"] if key == name)

    def cookie(self, name: str) -> str | None:
        """Return a cookie of the request; what cannot be read as cookies is none."""
        found = SimpleCookie()
        for key, value in self.scope["headers"]:
            if key == b"cookie":
                for each in value.decode("latin-1").split(";"):
                    try:
                        found.load(each.strip())
                    except CookieError:
                        continue
        return found[name].value if name in found else None


def too_large(max_bytes: int) -> ProblemError:
    """Return what refuses a body that is too large."""
    return ProblemError(413, f"the body is larger than {max_bytes} bytes", code="too_large")


EXCHANGE: Final[ContextVar[Exchange | None]] = ContextVar("plugbus_http_exchange", default=None)
"""The request that is being served; threads and tasks get a copy of it."""
