"""From a result to the bytes of an answer.

Owns telling results as JSON by their declared types; compiled once for each endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_json

__all__ = ("Tell", "UnfitResultError", "teller")

Tell: TypeAlias = Callable[[Any], bytes]


class UnfitResultError(Exception):
    """A result that does not fit what its endpoint declares."""


def teller(declared: Any, *, envelope: bool) -> Tell:
    """Return what tells a result as JSON, with the fields of the declared type alone.

    Args:
        declared: The type; what pydantic does not know is told by the value.
        envelope: Whether it is wrapped.
    """
    tell = _teller(declared)
    if not envelope:
        return tell
    return lambda value: b'{"success":true,"data":' + tell(value) + b',"error":null}'


def _teller(declared: Any) -> Tell:
    try:
        adapter = TypeAdapter[Any](declared)
    except (PydanticUserError, NameError):
        return _by_value
    if declared is Any:
        return _by_value
    serialize = adapter.serializer.to_json
    exact = declared if isinstance(declared, type) and issubclass(declared, BaseModel) else None

    def tell(value: Any) -> bytes:
        if type(value) is exact:
            return serialize(value, by_alias=True)
        try:
            return serialize(value, by_alias=True, warnings="error")
        except PydanticSerializationError:
            return serialize(_fitted(adapter, declared, value), by_alias=True)

    return tell


def _fitted(adapter: TypeAdapter[Any], declared: Any, value: Any) -> Any:
    try:
        return adapter.validate_python(value, from_attributes=True)
    except ValidationError as error:
        found = "; ".join(
            ": ".join((*map(str, each["loc"]), each["msg"])) for each in error.errors(include_input=False)
        )
        told = f"the result is {type(value).__name__}, which does not fit {declared!r}: {found}"
        raise UnfitResultError(told) from None


def _by_value(value: Any) -> bytes:
    try:
        return to_json(value, by_alias=True)
    except PydanticSerializationError as error:
        raise UnfitResultError(f"the result is {type(value).__name__}, which no JSON can tell: {error}") from None
