"""The OpenAPI 3.1 document of an app: every endpoint that is served at this moment.

https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any, Final, NamedTuple, final

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError, PydanticUserError
from pydantic.json_schema import JsonSchemaMode

from plugbus_adapters.http.documents._merging import merged
from plugbus_adapters.http.endpoints import Endpoint, EndpointParameter
from plugbus_adapters.http.security import Access

__all__ = ("openapi_document",)

_SCHEMAS: Final = "#/components/schemas/"
_NO_SCHEMA: Final = (PydanticUserError, PydanticSchemaGenerationError, PydanticInvalidForJsonSchema, NameError)
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "stable, for programs"},
        "id": {"type": "string", "description": "of an unknown failure, as it stands in the log"},
        "problems": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["where", "message"],
                "properties": {"where": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


@final
class _Key(NamedTuple):
    endpoint: int
    part: str


def openapi_document(
    endpoints: Iterable[Endpoint],
    *,
    title: str = "plugbus",
    version: str = "1.0.0",
    description: str = "",
    server: str = "/",
    others: Iterable[tuple[str, str, dict[str, Any]]] = (),
) -> dict[str, Any]:
    """Return the document as plain data.

    Args:
        endpoints: What is served.
        title: Of the app.
        version: Of the app.
        description: What it does.
        server: What stands before all paths, where the app is mounted.
        others: Documents of apps that plugins brought: their plugin, the prefix of their paths, and themselves.

    Example:
        >>> document = openapi_document([Endpoint("GET", "/price", "shop", "shop.price", result=int)])
        >>> document["paths"]["/price"]["get"]["responses"]["200"]["content"]
        {'application/json': {'schema': {'type': 'integer'}}}
    """
    served = [each for each in endpoints if each.method != "WEBSOCKET"]
    schemas, components = _schemas(served)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, **({"description": description} if description else {})},
        "servers": [{"url": server}],
        "paths": {},
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": _answer("It failed", "application/problem+json", {"$ref": f"{_SCHEMAS}Problem"})},
        },
    }
    names: set[str] = set()
    for number, each in enumerate(served):
        own = {key.part: schema for key, schema in schemas.items() if key.endpoint == number}
        operation = _operation(each, own, components)
        operation["operationId"] = _unique(each.name, names)
        path = document["paths"].setdefault(each.path.replace(":path}", "}"), {})
        path[each.method.lower()] = operation
    for owner, prefix, other in others:
        merged(document, owner, prefix, other)
    return document


def _unique(name: str, names: set[str]) -> str:
    found, number = name, 2
    while found in names:
        found, number = f"{name}_{number}", number + 1
    names.add(found)
    return found


# Schemas


def _parts(endpoint: Endpoint) -> Iterator[tuple[str, Any, JsonSchemaMode]]:
    for each in endpoint.parameters:
        yield f"parameter {each.name}", each.annotation, "validation"
    if endpoint.body is not None:
        yield "body", endpoint.body, "validation"
    yield "result", endpoint.result, "serialization"


def _schemas(endpoints: list[Endpoint]) -> tuple[dict[_Key, dict[str, Any]], dict[str, Any]]:
    """Return the schema of each part of each endpoint, and those that they refer to; all together, so names differ."""
    inputs: list[tuple[_Key, JsonSchemaMode, TypeAdapter[Any]]] = []
    for number, endpoint in enumerate(endpoints):
        for part, annotation, mode in _parts(endpoint):
            try:
                adapter = TypeAdapter[Any](annotation)
                adapter.json_schema(mode=mode)
            except _NO_SCHEMA:
                continue  # a type that no schema can tell; the document says nothing of it
            inputs.append((_Key(number, part), mode, adapter))
    found, rest = TypeAdapter.json_schemas(inputs, ref_template=_SCHEMAS + "{model}")
    components = {re.sub(r"[^\w.\-]", "_", name): schema for name, schema in rest.get("$defs", {}).items()}
    return {key: schema for (key, _), schema in found.items()}, components


# Operations


def _operation(
    endpoint: Endpoint, schemas: dict[str, dict[str, Any]], components: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    access = Access.of(endpoint.auth)
    operation: dict[str, Any] = {"tags": list(endpoint.tags or (endpoint.owner,))}
    if endpoint.summary:
        operation["summary"] = endpoint.summary
    if endpoint.description:
        operation["description"] = endpoint.description
    parameters = [_parameter(each, schemas) for each in endpoint.parameters if each.source not in {"form", "body"}]
    if parameters:
        operation["parameters"] = parameters
    if (body := _body(endpoint, schemas, components)) is not None:
        operation["requestBody"] = body
    operation["responses"] = _responses(endpoint, schemas.get("result", {}))
    operation["security"] = [] if access.public else [{"bearer": list(access.scopes)}]
    return operation


def _parameter(each: EndpointParameter, schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    required = each.required or each.source == "path"
    told = {"name": each.alias, "in": each.source, "required": required}
    return {**told, "schema": _as_text(schemas.get(f"parameter {each.name}", {}))}


def _as_text(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave null out of the schema of a parameter, which is absent then: no text means null."""
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) == len(schema.get("anyOf", ())):
        return schema
    rest = {key: each for key, each in schema.items() if key != "anyOf" and not (key == "default" and each is None)}
    return {**rest, **choices[0]} if len(choices) == 1 else {**rest, "anyOf": choices}


def _body(
    endpoint: Endpoint, schemas: dict[str, dict[str, Any]], components: dict[str, dict[str, Any]]
) -> dict[str, Any] | None:
    if endpoint.body_is == "form":
        fields = [each for each in endpoint.parameters if each.source == "form"]
        properties = {each.alias: schemas.get(f"parameter {each.name}", {}) for each in fields}
        needed = [each.alias for each in fields if each.required]
        form = {"type": "object", "properties": properties, **({"required": needed} if needed else {})}
        return {"required": bool(needed), "content": {"multipart/form-data": {"schema": form}}}
    if endpoint.body is None:
        return None
    if endpoint.body_is == "bytes":
        return {"content": {"*/*": {}}}  # an empty body is one, too
    schema: dict[str, Any] = schemas.get("body", {})
    if endpoint.request is endpoint.body and endpoint.parameters:
        schema = _without(endpoint, components.get(str(schema.get("$ref")).removeprefix(_SCHEMAS), schema))
    media = ["application/json"]
    if endpoint.body_is == "json or form":
        media += ["application/x-www-form-urlencoded", "multipart/form-data"]
    return {"required": endpoint.body_required, "content": {each: {"schema": schema} for each in media}}


def _without(endpoint: Endpoint, schema: dict[str, Any]) -> dict[str, Any]:
    """Return what of the schema of a request is left for the body: the fields that nothing else fills."""
    assert endpoint.request is not None
    assert issubclass(endpoint.request, BaseModel)
    elsewhere = {each.name for each in endpoint.parameters}
    fields = endpoint.request.model_fields
    gone = {described.alias or name for name, described in fields.items() if name in elsewhere}
    left = {key: each for key, each in schema.items() if key not in {"title", "required"}}
    left["properties"] = {name: each for name, each in schema.get("properties", {}).items() if name not in gone}
    required = [name for name in schema.get("required", ()) if name not in gone]
    return {**left, **({"required": required} if required else {})}


def _answer(description: str, media: str | None, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, **({} if media is None else {"content": {media: {"schema": schema}}})}


def _responses(endpoint: Endpoint, schema: dict[str, Any]) -> dict[str, Any]:
    if endpoint.envelope:
        properties = {"success": {"type": "boolean"}, "data": schema, "error": {"type": "null"}}
        schema = {"type": "object", "required": ["success", "data", "error"], "properties": properties}
    described = HTTPStatus(endpoint.status).phrase
    if endpoint.status in {204, 205} or endpoint.status >= 300:  # noqa: PLR2004 - RFC 9110, section 15.4
        good = _answer(described, None, {})
    else:
        known = schema or endpoint.envelope
        good = _answer(described, "application/json" if known else "*/*", schema)
    failed: dict[str, Any] = {"$ref": "#/components/responses/Problem"}
    if endpoint.envelope:
        properties = {"success": {"const": False}, "data": {"type": "null"}, "error": {"$ref": f"{_SCHEMAS}Problem"}}
        failed = _answer("It failed", "application/json", {"type": "object", "properties": properties})
    others = {str(status): {**good, "description": HTTPStatus(status).phrase} for status in endpoint.statuses}
    errors = {str(status): failed for _, status in endpoint.errors}
    return {str(endpoint.status): good, **others, **errors, "default": failed}
