"""One OpenAPI document within another one: that of a FastAPI router which a plugin brought.

Owns names that would clash.
"""

from __future__ import annotations

from typing import Any

from plugbus_adapters.http._paths import join

__all__ = ("merged",)


def merged(document: dict[str, Any], owner: str, prefix: str, other: dict[str, Any]) -> None:
    """Add the paths and schemas of another document to one.

    Args:
        document: What is changed.
        owner: Whose the other one is; its schemas are named after it where their names are taken.
        prefix: In front of its paths.
        other: The other one.
    """
    schemas: dict[str, Any] = document["components"]["schemas"]
    own: dict[str, Any] = other.get("components", {}).get("schemas", {})
    renamed = {name: name if name not in schemas else f"{owner}.{name}" for name in own}
    for name, schema in own.items():
        schemas[renamed[name]] = _renaming(schema, renamed)
    for path, operations in other.get("paths", {}).items():
        known = document["paths"].setdefault(join(prefix, path), {})
        for method, operation in operations.items():
            found = _renaming(operation, renamed)
            # What our edge refuses by itself, such as a caller who is not known, the other document cannot know.
            found.setdefault("responses", {}).setdefault("default", {"$ref": "#/components/responses/Problem"})
            known.setdefault(method, found)


def _renaming(value: Any, renamed: dict[str, str]) -> Any:
    """Return a part of a document with its references led to where schemas are now."""
    if isinstance(value, list):
        return [_renaming(each, renamed) for each in value]
    if not isinstance(value, dict):
        return value
    found = {key: _renaming(each, renamed) for key, each in value.items()}
    reference = found.get("$ref")
    if isinstance(reference, str):
        front, _, name = reference.rpartition("/")
        found["$ref"] = f"{front}/{renamed.get(name, name)}"
    return found
