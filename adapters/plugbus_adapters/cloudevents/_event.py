"""One CloudEvent, and what the specification demands of its attributes.

Owns the checks, which both directions and every mode share: CloudEvents 1.0.2, section "Context Attributes" and
"Type System" (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, final

from plugbus import PlugbusError, Problem
from plugbus_adapters.cloudevents._trace import trace_context

__all__ = ("KNOWN", "MAX_TEXT", "CloudEvent", "CloudEventError", "parse_time", "told_time")

KNOWN: Final = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
MAX_TEXT: Final = 4096
"""Characters of an attribute; ours, so that logs and headers stay within bounds."""

_NAME: Final = re.compile(r"[a-z0-9]{1,64}", re.ASCII)
_TYPE: Final = re.compile(r"[^.\s*]+(\.[^.\s*]+)*")
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+\s*(;.*)?", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
# What "String" leaves out: control characters, halves of pairs, and code points that are no characters.
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_PLANE_END: Final = 0xFFFE
_URI: Final = re.compile(r"""[^\s<>"{}|\\^`]*""")
_FORMS: Final = (
    ("type", _TYPE, "must be a wire name: segments joined by dots, without spaces or '*'"),
    ("source", _URI, "must be a URI reference"),
    ("dataschema", _URI, "must be a URI reference"),
    ("datacontenttype", _MEDIA_TYPE, "must be a media type, such as application/json"),
)
_INT32: Final = range(-(2**31), 2**31)


class CloudEventError(PlugbusError, ValueError):
    """Something is no CloudEvent, or none that is accepted here.

    Args:
        problems: What is wrong, each with its attribute.

    Attributes:
        problems: Likewise.

    Example:
        >>> print(CloudEventError([Problem("id", "is missing")]))
        no CloudEvent: id: is missing
        Hint: see the attributes of CloudEvents 1.0, https://cloudevents.io.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def _parts(self) -> tuple[str, str]:
        told = "; ".join(map(str, self.problems))
        return f"no CloudEvent: {told}", "see the attributes of CloudEvents 1.0, https://cloudevents.io."


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """An event as CloudEvents 1.0 knows it; whatever one is made of has been checked.

    Args:
        type: Wire name of the event.
        source: Who tells of it, a URI reference.
        id: Its own, within its source.
        data: Its content: plain data, text, or bytes.
        subject: What it is about; the value of its key field.
        time: When it happened, aware of its time zone.
        datacontenttype: Media type of *data*; JSON unless given.
        dataschema: Where its schema is, a URI.
        extensions: Further attributes, by name: text, integers of 32 bits, booleans.

    Raises:
        CloudEventError: If an attribute is not as the specification wants it; it lists all of them.

    Example:
        >>> placed = CloudEvent(type="order.placed", source="/shop", id="7", data={"order_id": 1}, subject="berlin")
        >>> placed.subject, placed.correlation_id
        ('berlin', None)
        >>> CloudEvent(type="order.*", source="/shop", id="")
        Traceback (most recent call last):
        plugbus_adapters.cloudevents._event.CloudEventError: no CloudEvent: id: must be text, and not empty; type: ...
    """

    type: str
    source: str
    id: str
    data: Any = None
    subject: str | None = None
    time: datetime | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: Mapping[str, str | int | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = [Problem(name, message) for name, message in _problems(self)]
        if problems:
            raise CloudEventError(problems)
        object.__setattr__(self, "extensions", MappingProxyType(dict(self.extensions)))

    def __hash__(self) -> int:
        return hash((self.source, self.id))  # which is what tells one from another, says the specification

    @property
    def correlation_id(self) -> str | None:
        """The extension ``correlationid``: what all that belongs together shares."""
        found = self.extensions.get("correlationid")
        return found if isinstance(found, str) and found else None

    @property
    def traceparent(self) -> str | None:
        """The extension ``traceparent``, a W3C trace context; one that is none is left out, as W3C demands."""
        found = self.extensions.get("traceparent")
        return trace_context(found) if isinstance(found, str) else None


def _problems(event: CloudEvent) -> Iterator[tuple[str, str]]:
    for name in ("id", "source", "type"):
        yield from _text(name, getattr(event, name))
    for name in ("subject", "datacontenttype", "dataschema"):
        if getattr(event, name) is not None:
            yield from _text(name, getattr(event, name))
    for name, form, told in _FORMS:
        value = getattr(event, name)
        if isinstance(value, str) and value and not form.fullmatch(value):
            yield name, told
    if event.time is not None and not (isinstance(event.time, datetime) and event.time.tzinfo):
        yield "time", "must be a time with its time zone"
    yield from _extension_problems(event.extensions)


def _extension_problems(extensions: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in extensions.items():
        told = repr(name)[:80]
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield told, "is no name of an attribute: lower-case letters and digits"
        elif name in {*KNOWN, "data"}:
            yield name, "is no extension"
        elif isinstance(value, str):
            yield from _text(name, value, may_be_empty=True)
        elif not isinstance(value, int) or value not in _INT32:
            yield name, "must be text, an integer of 32 bits, or a boolean"


def _text(name: str, value: object, *, may_be_empty: bool = False) -> Iterator[tuple[str, str]]:
    if not isinstance(value, str) or not (value or may_be_empty):
        yield name, "must be text, and not empty"
    elif len(value) > MAX_TEXT:
        yield name, f"must not be longer than {MAX_TEXT} characters"
    elif _FORBIDDEN.search(value) or any(ord(found) & _PLANE_END == _PLANE_END for found in value):
        yield name, "must not hold control characters, or what is no character"


def parse_time(text: object) -> datetime:
    """Return a time from RFC 3339 text.

    Raises:
        CloudEventError: If it is none.
    """
    if isinstance(text, str) and _TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text.upper())
        except ValueError:  # such as the 30th of February
            pass
    raise CloudEventError([Problem("time", "must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z")])


def told_time(time: datetime) -> str:
    """Return a time as RFC 3339 text."""
    text = time.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text
