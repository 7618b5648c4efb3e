"""The AsyncAPI 3.0 document of an app: every event and request as a channel, told as CloudEvents.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from plugbus_adapters.http.documents.catalogue import Offered

__all__ = ("asyncapi_document",)

_SCHEMAS: Final = "#/components/schemas/"
_NOT_IN_A_KEY: Final = re.compile(r"[^\w.\-]", re.ASCII)
_ENVELOPE: Final[dict[str, Any]] = {
    "type": "object",
    "description": "CloudEvents 1.0, JSON format",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "subject": {"type": "string", "description": "the value of the key field"},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"type": "string"},
        "correlationid": {"type": "string", "description": "what all that belongs together shares"},
        "causationid": {"type": "string", "description": "what this came of"},
        "traceparent": {"type": "string", "description": "W3C trace context"},
    },
}


def asyncapi_document(
    offered: Iterable[Offered],
    *,
    title: str = "plugbus",
    version: str = "1.0.0",
    description: str = "",
    host: str | None = None,
    path: str = "",
    secure: bool = True,
) -> dict[str, Any]:
    """Return the document as plain data.

    Args:
        offered: What is offered; see :class:`Catalogue`.
        title: Of the app.
        version: Of the app.
        description: What it does.
        host: Where it is served, such as ``shop.example:8000``; no server is listed unless given.
        path: What stands before the paths of the event API.
        secure: Whether it is served by TLS.

    Example:
        >>> from plugbus import Event, EventBus
        >>> from plugbus_adapters.http.documents.catalogue import Catalogue
        >>> class OrderPlaced(Event, name="order.placed"):
        ...     order_id: int
        >>> bus = EventBus()
        >>> bus.declare(OrderPlaced)
        >>> document = asyncapi_document(Catalogue(bus).offered())
        >>> sorted(document["operations"])
        ['publish-order.placed', 'subscribe-order.placed']
    """
    named = list(_named(offered))
    schemas, definitions = _schemas(named)
    document: dict[str, Any] = {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version, **({"description": description} if description else {})},
        "defaultContentType": "application/cloudevents+json",
        "channels": {},
        "operations": {},
        "components": {"schemas": {"CloudEvent": _ENVELOPE, **definitions}, "messages": {}},
    }
    if host is not None:
        document["servers"] = _servers(host, path, secure=secure)
    for key, each in named:
        (_add_request if each.declared.is_request else _add_event)(document, key, each, schemas)
    return document


def _named(offered: Iterable[Offered]) -> Iterable[tuple[str, Offered]]:
    """Give each a key of its own, of the characters that keys of components may have."""
    taken: set[str] = set()
    for each in offered:
        key = base = _NOT_IN_A_KEY.sub("_", each.declared.name)
        number = 2
        while key in taken:
            key, number = f"{base}-{number}", number + 1
        taken.add(key)
        yield key, each


def _schemas(named: Iterable[tuple[str, Offered]]) -> tuple[dict[tuple[str, JsonSchemaMode], Any], dict[str, Any]]:
    """Return the schema of each content and result, and what they share; names that clash are told apart."""
    inputs: list[tuple[str, JsonSchemaMode, TypeAdapter[Any]]] = []
    for key, each in named:
        inputs.append((key, "validation", each.content))
        if each.result is None:
            inputs.append((key, "serialization", each.content))
        else:
            inputs.append((key, "serialization", each.result))
    schemas, shared = TypeAdapter.json_schemas(inputs, ref_template=f"{_SCHEMAS}{{model}}")
    return {(str(key), mode): schema for (key, mode), schema in schemas.items()}, shared.get("$defs", {})


def _servers(host: str, path: str, *, secure: bool) -> dict[str, Any]:
    return {
        "http": {
            "host": host,
            "pathname": f"{path}/events",
            "protocol": "https" if secure else "http",
            "description": "POST publishes; GET stream subscribes by server-sent events.",
        },
        "websocket": {"host": host, "pathname": f"{path}/events/ws", "protocol": "wss" if secure else "ws"},
    }


def _cloud_event(name: str, data: Any) -> dict[str, Any]:
    told = {"type": "object", "properties": {"type": {"const": name}, "data": data}}
    return {"allOf": [{"$ref": f"{_SCHEMAS}CloudEvent"}, told]}


def _channel(document: dict[str, Any], key: str, address: str | None, messages: dict[str, Any]) -> None:
    for name, message in messages.items():
        document["components"]["messages"][name] = message
    refs = {name: {"$ref": f"#/components/messages/{name}"} for name in messages}
    document["channels"][key] = {"address": address, "messages": refs}


def _operation(action: str, channel: str, message: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
    }


def _add_event(document: dict[str, Any], key: str, each: Offered, schemas: dict[tuple[str, Any], Any]) -> None:
    """Add a channel with what may be published to it, and what is read from it; the app's side decides the verb."""
    name = each.declared.name
    messages = {
        f"{key}-in": {"name": name, "payload": _cloud_event(name, schemas[key, "validation"])},
        f"{key}-out": {"name": name, "payload": _cloud_event(name, schemas[key, "serialization"])},
    }
    _channel(document, key, name, messages)
    document["operations"][f"publish-{key}"] = _operation("receive", key, f"{key}-in")
    if "subscribe" in each.actions:
        document["operations"][f"subscribe-{key}"] = _operation("send", key, f"{key}-out")


def _add_request(document: dict[str, Any], key: str, each: Offered, schemas: dict[tuple[str, Any], Any]) -> None:
    name, media_type = each.declared.name, "application/json"
    asked = {"name": name, "contentType": media_type, "payload": schemas[key, "validation"]}
    answer = {"name": f"{name} (answer)", "contentType": media_type, "payload": schemas[key, "serialization"]}
    _channel(document, key, name, {f"{key}-in": asked})
    _channel(document, f"{key}-answer", None, {f"{key}-answer": answer})
    operation = _operation("receive", key, f"{key}-in")
    reply = _operation("send", f"{key}-answer", f"{key}-answer")
    document["operations"][f"call-{key}"] = {
        **operation,
        "reply": {"channel": reply["channel"], "messages": reply["messages"]},
    }
