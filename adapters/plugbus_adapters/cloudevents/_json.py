"""CloudEvents as JSON: one (structured mode), or a list of them (batched mode).

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic_core import from_json, to_json

from plugbus import LoggedEvent, Problem
from plugbus_adapters.cloudevents._event import KNOWN, CloudEvent, CloudEventError, parse_time, told_time

__all__ = (
    "BATCH",
    "STRUCTURED",
    "from_batch",
    "from_structured",
    "is_json",
    "logged_to_json",
    "parse_json",
    "to_batch",
    "to_structured",
)

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"

_JSON: Final = re.compile(r"(application|text)/([\w.+-]+\+)?json\s*(;.*)?", re.ASCII | re.IGNORECASE)
_SUBJECT: Final = re.compile("[\x20-\x7e\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd]{1,4096}")


def is_json(media_type: str | None) -> bool:
    """Tell whether data of a media type is JSON; it is where none is given."""
    return media_type is None or _JSON.fullmatch(media_type) is not None


def parse_json(text: str | bytes, where: str) -> Any:
    """Return what JSON says; NaN and infinity are none, and what is nested too deeply is refused.

    Raises:
        CloudEventError: If it is none.
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise CloudEventError([Problem(where, f"is no JSON: {error}")]) from None


def from_structured(text: str | bytes) -> CloudEvent:
    """Return the CloudEvent that JSON text is.

    Args:
        text: One JSON object.

    Raises:
        CloudEventError: If it is none; it lists what is wrong.

    Example:
        >>> from_structured('{"specversion": "1.0", "type": "tick", "source": "/clock", "id": "1", "data": 5}').data
        5
    """
    return _from_object(parse_json(text, "body"))


def from_batch(text: str | bytes, *, max_events: int = 1000) -> list[CloudEvent]:
    """Return the CloudEvents of a JSON array; one that is wrong refuses all.

    Args:
        text: A JSON array of objects.
        max_events: How many there may be.

    Raises:
        CloudEventError: If any is none; each problem says which one of them (``[2].id``).
    """
    listed = parse_json(text, "body")
    if not isinstance(listed, list):
        raise CloudEventError([Problem("body", "must be a JSON array of CloudEvents")])
    if len(listed) > max_events:
        raise CloudEventError([Problem("body", f"holds {len(listed)} CloudEvents; at most {max_events} go together")])
    events: list[CloudEvent] = []
    problems: list[Problem] = []
    for index, item in enumerate(listed):
        try:
            events.append(_from_object(item))
        except CloudEventError as error:
            problems.extend(Problem(f"[{index}].{problem.where}", problem.message) for problem in error.problems)
    if problems:
        raise CloudEventError(problems)
    return events


def _from_object(found: object) -> CloudEvent:
    if not isinstance(found, dict):
        raise CloudEventError([Problem("body", "must be a JSON object")])
    given = {name: value for name, value in found.items() if value is not None or name == "data"}
    data = _data_of(given)
    return from_attributes(given, data)


def _data_of(given: dict[str, Any]) -> Any:
    if "data_base64" not in given:
        return given.pop("data", None)
    encoded = given.pop("data_base64")
    if given.pop("data", None) is not None:
        raise CloudEventError([Problem("data_base64", "must not stand beside data")])
    try:
        return base64.b64decode(encoded.encode("ascii"), validate=True)
    except (AttributeError, UnicodeError, binascii.Error):
        raise CloudEventError([Problem("data_base64", "must be text in Base64")]) from None


def from_attributes(given: Mapping[str, Any], data: Any) -> CloudEvent:
    """Return a CloudEvent from its attributes by name.

    Raises:
        CloudEventError: If it is none.
    """
    missing = [Problem(name, "is missing") for name in ("specversion", "id", "source", "type") if name not in given]
    if missing:
        raise CloudEventError(missing)
    if given["specversion"] != "1.0":
        raise CloudEventError([Problem("specversion", "must be '1.0'")])
    known = {name: given[name] for name in KNOWN if name in given and name not in {"specversion", "time"}}
    time = parse_time(given["time"]) if "time" in given else None
    extensions = {name: value for name, value in given.items() if name not in KNOWN}
    return CloudEvent(**known, time=time, data=data, extensions=extensions)


def attributes_of(event: CloudEvent) -> dict[str, Any]:
    """Return the attributes that an event has, by name."""
    named = {
        name: getattr(event, name) for name in ("type", "source", "id", "subject", "datacontenttype", "dataschema")
    }
    attributes = {"specversion": "1.0", **{name: value for name, value in named.items() if value is not None}}
    if event.time is not None:
        attributes["time"] = told_time(event.time)
    return {**attributes, **event.extensions}


def to_structured(event: CloudEvent) -> bytes:
    """Return a CloudEvent as JSON.

    Args:
        event: Its data is what JSON can tell, or bytes.

    Raises:
        CloudEventError: If no JSON can tell its data.

    Example:
        >>> to_structured(CloudEvent(type="tick", source="/clock", id="1", data=[5]))
        b'{"specversion":"1.0","type":"tick","source":"/clock","id":"1","data":[5]}'
    """
    told = attributes_of(event)
    if isinstance(event.data, bytes):
        told["data_base64"] = base64.b64encode(event.data).decode()
    elif event.data is not None:
        told["data"] = event.data
    try:
        return to_json(told, inf_nan_mode="null")
    except ValueError as error:
        raise CloudEventError([Problem("data", f"cannot be told as JSON: {error}")]) from None


def to_batch(events: Iterable[CloudEvent]) -> bytes:
    """Return CloudEvents as one JSON array; raises as :func:`to_structured`."""
    return b"[%s]" % b",".join(map(to_structured, events))


def logged_to_json(event: LoggedEvent, source: str) -> str:
    """Return an event of a log as a CloudEvent in JSON, without parsing what the log holds; one line.

    Args:
        event: Its key becomes the subject; ``correlationid``, ``causationid`` and ``traceparent`` are extensions.
        source: Of events that no message brought in.

    Example:
        >>> from datetime import UTC, datetime
        >>> tick = LoggedEvent("tick", "5", "1", datetime(2026, 1, 1, tzinfo=UTC))
        >>> from_structured(logged_to_json(tick, "/clock")).data
        5
    """
    extensions = {"correlationid": event.correlation_id, "causationid": event.cause, "traceparent": event.traceparent}
    told: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": event.source or source,
        "type": event.name,
        "time": told_time(event.time),
        "datacontenttype": "application/json",
    }
    if event.key is not None and _SUBJECT.fullmatch(event.key):  # a key may be any text, and a subject may not
        told["subject"] = event.key
    told.update((name, value) for name, value in extensions.items() if value is not None)
    return f'{to_json(told).decode()[:-1]},"data":{event.json}}}'
