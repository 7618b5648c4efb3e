"""What an annotation says about where a value can come from: a scalar, many of them, or something that needs a body.

Owns the judgement on types alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterable, Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NewType, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel
from typing_extensions import is_typeddict

from plugbus_adapters.http.parameters import From
from plugbus_adapters.http.uploads import Upload

__all__ = ("admits_none", "is_many", "is_scalar", "is_stream", "marker_of", "plain_type", "takes_upload")

_SCALARS: Final = (
    bool,
    bytes,
    complex,
    date,
    Decimal,
    Enum,
    float,
    int,
    NoneType,
    PurePath,
    str,
    time,
    timedelta,
    UUID,
)


def plain_type(annotation: Any) -> Any:
    """Return a type without what ``Annotated``, ``NewType`` and ``type X = ...`` add."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            return annotation


def marker_of(annotation: Any, metadata: Collection[Any] = ()) -> From | None:
    """Return where a value comes from, if its annotation says so."""
    found = (*metadata, *(getattr(annotation, "__metadata__", ())))
    marks = (each() if isinstance(each, type) and issubclass(each, From) else each for each in found)
    return next((each for each in marks if isinstance(each, From)), None)


def _choices(annotation: Any) -> Iterator[Any]:
    plain = plain_type(annotation)
    if get_origin(plain) in {Union, UnionType}:
        for part in get_args(plain):
            yield from _choices(part)
    else:
        yield plain


def is_stream(annotation: Any) -> bool:
    """Tell whether a result comes piece by piece: an async iterator."""
    plain = get_origin(plain_type(annotation)) or plain_type(annotation)
    return isinstance(plain, type) and issubclass(plain, AsyncIterable)


def admits_none(annotation: Any) -> bool:
    """Tell whether a value may be None."""
    return any(part is NoneType or part is None for part in _choices(annotation))


def is_scalar(annotation: Any) -> bool:
    """Tell whether one text can hold a value."""
    return all(get_origin(part) is Literal or _is_scalar_class(part) for part in _choices(annotation))


def _is_scalar_class(cls: Any) -> bool:
    if cls is None:
        return True
    if not isinstance(cls, type) or get_origin(cls) is not None:
        return False
    if issubclass(cls, _SCALARS):
        return True
    structured = issubclass(cls, (BaseModel, Collection)) or dataclasses.is_dataclass(cls) or is_typeddict(cls)
    return not structured and hasattr(cls, "__get_pydantic_core_schema__")  # such as pydantic's own AnyUrl


def is_many(annotation: Any) -> bool:
    """Tell whether several texts of one name can hold a value: a list, set or tuple of scalars."""
    parts = [part for part in _choices(annotation) if part is not NoneType]
    return bool(parts) and all(_is_many_class(part) for part in parts)


def _is_many_class(cls: Any) -> bool:
    origin = get_origin(cls) or cls
    if not isinstance(origin, type) or issubclass(origin, (str, bytes, Mapping)):
        return False
    if not issubclass(origin, (list, tuple, AbstractSet)) and origin.__module__ != "collections.abc":
        return False
    return all(is_scalar(part) for part in get_args(cls) if part is not ...)


def takes_upload(annotation: Any) -> bool:
    """Tell whether a parameter is a file, or several."""
    plain = plain_type(annotation)
    return any(part is Upload for part in (plain, *getattr(plain, "__args__", ())))
