"""CloudEvents over HTTP: attributes in headers and data in the body (binary mode), or whichever mode a message is in.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from pydantic_core import to_json

from plugbus import Problem
from plugbus_adapters.cloudevents._event import CloudEvent, CloudEventError
from plugbus_adapters.cloudevents._json import (
    BATCH,
    STRUCTURED,
    attributes_of,
    from_attributes,
    from_batch,
    from_structured,
    is_json,
    parse_json,
)

__all__ = ("from_binary", "from_http", "to_binary")

_PREFIX: Final = "ce-"
_SAFE: Final = "".join(character for character in map(chr, range(0x21, 0x7F)) if character not in '"%')
_ESCAPED: Final = re.compile(r"\\(.)")


def from_http(headers: Iterable[tuple[str, str]], body: bytes, *, max_events: int = 1000) -> list[CloudEvent]:
    """Return the CloudEvents of an HTTP message in any of the three modes; its content type says which.

    Args:
        headers: Names and values, as they came.
        body: The content.
        max_events: How many a batch may hold.

    Raises:
        CloudEventError: If it is none.

    Example:
        >>> headers = [("ce-specversion", "1.0"), ("ce-type", "tick"), ("ce-source", "/clock"), ("ce-id", "1")]
        >>> [event.data for event in from_http([*headers, ("content-type", "application/json")], b"5")]
        [5]
    """
    headers = list(headers)
    found = next((value for name, value in headers if name.lower() == "content-type"), "")
    media_type = found.partition(";")[0].strip().lower()
    if media_type == STRUCTURED:
        return [from_structured(body)]
    if media_type == BATCH:
        return from_batch(body, max_events=max_events)
    if media_type.startswith("application/cloudevents"):
        raise CloudEventError([Problem("content-type", f"must be {STRUCTURED}, {BATCH} or that of the data")])
    return [from_binary(headers, body)]


def from_binary(headers: Iterable[tuple[str, str]], body: bytes) -> CloudEvent:
    """Return the CloudEvent of an HTTP message in binary mode.

    Args:
        headers: Names and values, as they came.
        body: The data; JSON is parsed, other text is text, and the rest stays bytes.

    Raises:
        CloudEventError: If it is none; also if an attribute stands there twice.
    """
    attributes: dict[str, Any] = {}
    problems: list[Problem] = []
    for header, value in headers:
        name = header.lower()
        known = "datacontenttype" if name == "content-type" else name.removeprefix(_PREFIX)
        if known == name or (known == "datacontenttype" and name != "content-type"):
            continue
        if known in attributes:
            problems.append(Problem(known, "stands there twice"))
        attributes[known] = value if name == "content-type" else _decoded(known, value, problems)
    if problems:
        raise CloudEventError(problems)
    return from_attributes(attributes, _parsed(body, attributes.get("datacontenttype")))


def _decoded(name: str, value: str, problems: list[Problem]) -> str:
    """Undo quotes (RFC 9110, section 5.6.4) and then percent-encoding, once each."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeError:
        problems.append(Problem(name, "must be UTF-8, percent-encoded"))
        return ""


def _parsed(body: bytes, media_type: str | None) -> Any:
    if not body:
        return None
    if is_json(media_type):
        return parse_json(body, "body")
    if str(media_type).lower().startswith("text/"):
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise CloudEventError([Problem("body", "must be text in UTF-8")]) from None
    return body


def to_binary(event: CloudEvent) -> tuple[list[tuple[str, str]], bytes]:
    """Return the headers and the body that tell of a CloudEvent in binary mode.

    Args:
        event: What to tell.

    Raises:
        CloudEventError: If no JSON can tell its data.

    Example:
        >>> headers, body = to_binary(CloudEvent(type="tick", source="/clock", id="1", data=5))
        >>> dict(headers)["ce-type"], body
        ('tick', b'5')
    """
    attributes = attributes_of(event)
    media_type = attributes.pop("datacontenttype", None)
    told = ((name, str(value).lower() if value is True or value is False else str(value))
            for name, value in attributes.items())  # fmt: skip
    headers = [(f"{_PREFIX}{name}", quote(value, safe=_SAFE)) for name, value in told]
    if media_type is not None or event.data is not None:
        headers.append(("content-type", media_type or "application/json"))
    return headers, _body(event.data, media_type)


def _body(data: Any, media_type: str | None) -> bytes:
    if data is None:
        return b""
    if isinstance(data, bytes):
        return data
    if isinstance(data, str) and not is_json(media_type):
        return data.encode()
    try:
        return to_json(data, inf_nan_mode="null")
    except ValueError as error:
        raise CloudEventError([Problem("data", f"cannot be told as JSON: {error}")]) from None
