"""What a service is found by, and how it is called in messages.

Owns the markers for ``Annotated``; what they mean is decided in ``parameters.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple, final, get_args, get_origin


@final
class Named(NamedTuple):
    """Choose one of several services of a type: ``Annotated[Database, Named("replica")]``.

    Args:
        name: The name that it was registered with.

    Example:
        >>> from typing import Annotated
        >>> from plugbus import Services
        >>> services = Services()
        >>> _ = services.value(str, "db-1"), services.value(str, "db-2", name="replica")
        >>> def connect(url: Annotated[str, Named("replica")]) -> str:
        ...     return url
        >>> services.inject(connect)()
        'db-2'
    """

    name: str


@final
class Inject:
    """Say that a parameter is a service and no argument: ``Annotated[Limits, Inject]``.

    Needed only where a reader, or an endpoint, could take the type for data.

    Example:
        >>> from typing import Annotated
        >>> from plugbus import Services
        >>> services = Services()
        >>> _ = services.value(dict, {"max_items": 9})
        >>> def show(limits: Annotated[dict, Inject]) -> dict:
        ...     return limits
        >>> services.inject(show)()
        {'max_items': 9}
    """


def label(type_: Any, name: str | None = None) -> str:
    """Return a type as people write it, without its module, and its name if it has one."""
    if name is not None:
        return f"{label(type_)} named {name!r}"
    origin = get_origin(type_)
    if origin is not None and isinstance(origin, type):
        return f"{label(origin)}[{', '.join(label(argument) for argument in get_args(type_))}]"
    written = getattr(type_, "__qualname__", None) or getattr(type_, "__name__", None) or repr(type_)
    return str(written).rpartition("<locals>.")[2]


def underlying(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return what a callable runs in the end: the function of a partial, the method of a callable object."""
    while isinstance(call, functools.partial):
        call = call.func
    method = getattr(call, "__call__", None)  # noqa: B004 -- the method itself is wanted
    return method if isinstance(method, MethodType) and not isinstance(call, (type, MethodType)) else call


def place(call: Callable[..., Any]) -> str:
    """Return where a callable was written: its module and qualified name."""
    while isinstance(call, functools.partial):
        call = call.func
    if not hasattr(call, "__qualname__"):
        call = type(call)
    return ".".join(filter(None, (call.__module__, call.__qualname__)))
