"""What a client says: URLs, headers, CloudEvents.

Owns the wire format of requests, without sending any; what is made of answers is ``_client_answers.py``'s job.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import httpx2
from pydantic_core import to_json

from plugbus import CursorError, EventTypeError, Invalid, Problem, UnknownEventError, carried
from plugbus.registry import is_pattern
from plugbus_adapters.cloudevents import STRUCTURED, CloudEvent, CloudEventError, to_structured
from plugbus_adapters.http._client_answers import PROBLEM, Answers, Asked
from plugbus_adapters.http._correlation import new_id
from plugbus_adapters.inprocess._plain import fields

__all__ = ("Wire", "cursor_of", "names_of", "server_url")

_JSON: Final = "application/json"
_NAME: Final = re.compile(r"[^.\s*/?#%\x00-\x1f]{1,200}(\.[^.\s*/?#%\x00-\x1f]{1,200}){0,50}")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_CURSOR: Final = re.compile(r"[\x21-\x7e]{1,256}")
_CORRELATION: Final = re.compile(r"[\w.:@=+/-]{1,128}", re.ASCII)  # what a plugbus takes in


def server_url(url: str) -> httpx2.URL:
    """Return the URL of a server, ending in a slash.

    Raises:
        ValueError: If it is none that a client can use; what it says tells no credentials.
    """
    told = "RemoteBus(url=...)"
    try:
        found = httpx2.URL(url)
    except (httpx2.InvalidURL, TypeError):
        raise ValueError(f"{told}: must be a URL such as https://shop.example/api") from None
    if found.userinfo:
        raise ValueError(f"{told}: has credentials in it, which would get into logs; give token=... instead")
    if found.scheme not in {"http", "https"} or not found.host or re.search(r"\s", url):
        raise ValueError(f"{told}: must begin with http:// or https:// and name a host, not {url[:80]!r}")
    if found.query or found.fragment or "?" in url or "#" in url:
        raise ValueError(f"{told}: must end with its path, without a query or a fragment")
    return found.copy_with(path=f"{found.path.rstrip('/')}/")


@final
class Wire:
    """What is said to one server.

    Args:
        url: The server.
        token: Bearer token (RFC 6750), if it wants one.
        source: CloudEvents source of what is published.
        carry_unknown: Whether the server is to carry names that no type has.

    Attributes:
        answers: Reads what it answers.
        url: Where it is.

    Raises:
        ValueError: If the URL is none, or the token cannot stand in a header.
    """

    __slots__ = ("_prefer", "_source", "_token", "answers", "url")

    def __init__(self, url: str, token: str | None, source: str, *, carry_unknown: bool) -> None:
        self.url = server_url(url)
        if token is not None and not _TOKEN.fullmatch(token):
            raise ValueError("RemoteBus(token=...): must be visible ASCII, without spaces")
        self._token, self._source = token, source
        self.answers = Answers(self.url, token)
        # RFC 7240, sections 4.2 and 4.4
        self._prefer = "return=representation" if carry_unknown else "return=representation, handling=strict"

    @property
    def server(self) -> str:
        """The server as errors and logs tell it."""
        return str(self.url).rstrip("/")

    def url_of(self, asked: Asked) -> httpx2.URL:
        """Return where a request goes."""
        url = self.url.copy_with(path=f"{self.url.path}{asked.path}")
        return url.copy_merge_params(list(asked.query)) if asked.query else url

    # What goes out

    def call(self, name: str, data: Mapping[str, Any] | None) -> Asked:
        """Return what asks for a request to be answered.

        Raises:
            UnknownEventError: If no type can have such a name.
            Invalid: If the data cannot be told as JSON.
        """
        _checked(name)
        headers = {"content-type": _JSON, "accept": f"{_JSON}, {PROBLEM}"}
        return Asked(f"call {name!r}", name, "POST", f"requests/{name}", self._with(headers), _body(name, data))

    def emit(self, name: str, data: Mapping[str, Any] | None) -> Asked:
        """Return what publishes an event; raises as :meth:`call`."""
        _checked(name)
        body = _body(name, data)
        correlation, trace = _here()
        extensions = {"correlationid": correlation, "traceparent": trace}
        told = {each: value for each, value in extensions.items() if value is not None}
        try:
            event = CloudEvent(type=name, source=self._source, id=new_id(), datacontenttype=_JSON, extensions=told)
        except CloudEventError as error:
            raise Invalid(f"{name!r} is no CloudEvent", problems=error.problems) from None
        content = to_structured(event)[:-1] + b',"data":' + body + b"}"
        headers = {"content-type": STRUCTURED, "accept": f"{_JSON}, {PROBLEM}", "prefer": self._prefer}
        return Asked(f"emit {name!r}", name, "POST", "events", self._with(headers), content)

    def stream(self, events: Sequence[str], key: str | None, cursor: str | None) -> Asked:
        """Return what subscribes; after a cursor, if there is one."""
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if cursor:
            headers["last-event-id"] = cursor
        query = [("type", each) for each in events] + ([] if key is None else [("key", key)])
        told = ", ".join(events)
        return Asked(f"stream {told!r}", told, "GET", "events/stream", self._with(headers), query=query)

    def _with(self, headers: dict[str, str]) -> dict[str, str]:
        correlation, trace = _here()
        if correlation is not None:
            headers["x-correlation-id"] = correlation
        if trace is not None:
            headers["traceparent"] = trace
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        # What comes compressed could be any size, once it is not.
        return {**headers, "accept-encoding": "identity"}


def names_of(events: str | Sequence[str]) -> tuple[str, ...]:
    """Return wire names and patterns, checked.

    Raises:
        EventTypeError: If something is neither, or there are none.
    """
    names = (events,) if isinstance(events, str) else tuple(events)
    if not names:
        raise EventTypeError("", "is nothing to read; give wire names or patterns, '**' for all")
    for name in names:
        is_pattern(name)
    return names


def cursor_of(since: str) -> str:
    """Return a cursor that can go in a header.

    Raises:
        CursorError: If it is none.
    """
    if not _CURSOR.fullmatch(since):
        raise CursorError(since)
    return since


def _checked(name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UnknownEventError(str(name)[:200])


def _body(name: str, data: Mapping[str, Any] | None) -> bytes:
    """Return fields as JSON; NaN and infinity go as text, which a float field takes."""
    try:
        return to_json(fields(name, data), by_alias=True, inf_nan_mode="strings")
    except ValueError as error:
        raise Invalid(f"{name!r} does not fit its type", problems=[Problem("event", f"is no JSON: {error}")]) from None


def _here() -> tuple[str | None, str | None]:
    """Return the correlation id in force, if it can be told in a header, and the W3C trace context."""
    here = carried()
    if here is None:
        return None, None
    correlation = here.correlation_id or (here.emit and here.emit.correlation_id)
    return correlation if correlation and _CORRELATION.fullmatch(correlation) else None, here.traceparent
