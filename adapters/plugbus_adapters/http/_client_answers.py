"""What a client makes of an answer: results, refusals that are raised again as themselves, and faults.

Owns reading problem documents (RFC 9457) and what of them an error may tell; it trusts nothing that comes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn, final

import httpx2
from pydantic_core import from_json

from plugbus import (
    Conflict,
    CursorError,
    EventTypeError,
    Forbidden,
    Invalid,
    NoHandlerError,
    NotFound,
    Problem,
    Refused,
    Unavailable,
    UnknownEventError,
    Veto,
)
from plugbus_adapters.cloudevents import CloudEvent, CloudEventError, from_structured
from plugbus_adapters.http._client_errors import RemoteError
from plugbus_adapters.http.security import Unauthenticated

__all__ = ("OK", "PROBLEM", "Answer", "Answers", "Asked")

OK: Final = 200
PROBLEM: Final = "application/problem+json"
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # what drives a terminal
_MOST_TEXT: Final = 4096
_MOST_PROBLEMS: Final = 1000
_REFUSALS: Final[dict[str, type[Refused]]] = {
    "refused": Refused,
    "veto": Veto,
    "forbidden": Forbidden,
    "not_found": NotFound,
    "conflict": Conflict,
    "invalid": Invalid,
    "unavailable": Unavailable,
    "unauthenticated": Unauthenticated,
}


@final
class Asked(NamedTuple):
    """A request as it goes out.

    Attributes:
        doing: What it is about, for errors.
        name: Wire name of what it is about.
        method: HTTP method.
        path: Below the server's URL.
        headers: Beside the credentials.
        body: Content.
        query: Names and values.
    """

    doing: str
    name: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    query: Sequence[tuple[str, str]] = ()


@final
class Answer(NamedTuple):
    """What came back, as a whole.

    Attributes:
        status: HTTP status.
        headers: Those of the answer.
        body: Content.
    """

    status: int
    headers: httpx2.Headers
    body: bytes


@final
class Answers:
    """Reads what one server answers.

    Args:
        url: The server.
        token: What no error may tell.
    """

    __slots__ = ("_server", "_token", "_url")

    def __init__(self, url: httpx2.URL, token: str | None) -> None:
        self._url, self._token = url, token
        self._server = str(url).rstrip("/")

    def result(self, asked: Asked, answer: Answer) -> Any:
        """Return the answer of a request.

        Raises:
            PlugbusError: What it was refused with, or failed of.
        """
        if answer.status != OK:
            self.refuse(asked, answer)
        return self._json(asked, answer, answer.body)

    def published(self, asked: Asked, answer: Answer) -> Any:
        """Return what came out of the chain of an event; None where the server keeps that to itself.

        Raises:
            PlugbusError: What it was refused with, or failed of.
        """
        if answer.status not in {OK, 202}:
            self.refuse(asked, answer)
        match self._json(asked, answer, answer.body):
            case {"events": [{**outcome}]}:
                return outcome.get("data")
        raise self.bad(asked, answer.status, "it does not say what became of the event")

    def refuse(self, asked: Asked, answer: Answer) -> NoReturn:
        """Raise what an answer other than a result says."""
        document = self._document(answer)
        reason, code = self.clean(document.get("detail")), self.clean(document.get("code"))
        listed = document.get("problems")
        problems = [
            Problem(self.clean(each.get("where")), self.clean(each.get("message")))
            for each in (listed if isinstance(listed, list) else [])[:_MOST_PROBLEMS]
            if isinstance(each, dict)
        ]
        after = _seconds(document.get("retry_after_seconds"), answer.headers.get("retry-after"))
        kind = _REFUSALS.get(str(document.get("refusal")))
        if kind is not None:
            raise kind(reason, code=code, problems=problems, retry_after_seconds=after)
        if answer.status == 401:  # noqa: PLR2004 - whoever says so, a proxy too
            raise Unauthenticated(reason or "the server does not know these credentials")
        _raise_known(asked, code, reason)
        found = self.clean(document.get("id")) or None
        detail = reason or self._elsewhere(answer)
        raise RemoteError(
            self._server,
            asked.doing,
            answer.status,
            detail,
            code=code,
            id=found,
            problems=problems,
            retry_after_seconds=after,
        )

    def bad(self, asked: Asked, status: int, detail: str) -> RemoteError:
        """Return the error for what no plugbus answers."""
        return RemoteError(self._server, asked.doing, status, self.clean(detail), code="bad_answer")

    def check_stream(self, asked: Asked, headers: httpx2.Headers) -> None:
        """Refuse an answer that is no stream of events.

        Raises:
            RemoteError: Then.
        """
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "text/event-stream":
            raise self.bad(asked, OK, f"it is no stream of events but {media_type[:80]!r}")
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise self.bad(asked, OK, "it is compressed, which was not asked for")

    def event(self, asked: Asked, data: str) -> CloudEvent:
        """Return an event of a stream.

        Raises:
            RemoteError: If it is none.
        """
        try:
            return from_structured(data)
        except CloudEventError as error:
            raise self.bad(asked, 200, f"an event of the stream is no CloudEvent: {error.problems[0]}") from None

    def _document(self, answer: Answer) -> dict[str, Any]:
        if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != PROBLEM:
            return {}
        try:
            found = from_json(answer.body, allow_inf_nan=False)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def _json(self, asked: Asked, answer: Answer, body: bytes) -> Any:
        try:
            return from_json(body, allow_inf_nan=False)
        except ValueError:
            raise self.bad(asked, answer.status, "its body is no JSON") from None

    def _elsewhere(self, answer: Answer) -> str:
        """Tell where a redirection leads, without following it: a token is for one server."""
        location = answer.headers.get("location")
        if location is None or not 300 <= answer.status <= 399:  # noqa: PLR2004 - RFC 9110, section 15.4
            return ""
        try:
            target = self._url.join(location)
        except httpx2.InvalidURL:
            return "it redirects, which is not followed"
        to = f"{target.scheme}://{target.netloc.decode('ascii', 'replace')}{target.path}"
        return self.clean(f"it redirects to {to}, which is not followed; give that URL, if you trust it")

    def clean(self, found: object) -> str:
        """Return text from outside as an error may tell it: cut short, without the token, should it be echoed."""
        text = _UNSAFE.sub(" ", found) if isinstance(found, str) else ""
        if self._token is not None:
            text = text.replace(self._token, "***")
        return text[:_MOST_TEXT]


def _seconds(exact: object, header: str | None) -> float | None:
    """Return a time to wait; only what is a sane number of seconds."""
    if isinstance(exact, int | float) and 0 <= exact < 10**9:
        return float(exact)
    return float(header) if header is not None and re.fullmatch(r"[0-9]{1,9}", header) else None


def _raise_known(asked: Asked, code: str, reason: str) -> None:
    """Raise the faults of a caller that have a class of their own."""
    if code in {"unknown_event", "unknown_request"}:
        raise UnknownEventError(asked.name)
    if code == "no_handler":
        raise NoHandlerError(asked.name)
    if code == "wrong_kind":
        raise EventTypeError(asked.name, reason)
    if code == "invalid_cursor":
        raise CursorError(asked.headers.get("last-event-id", ""))
