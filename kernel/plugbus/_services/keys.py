"""What a service is asked for by: an annotation, read alone so that one that cannot be resolved does not break others.

Owns the markers for ``Annotated``, and how services and callables are called in messages.
"""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType, MethodType, UnionType
from typing import Annotated, Any, Final, ForwardRef, NamedTuple, Union, final, get_args, get_origin


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


Scopes = tuple[Mapping[str, Any], ...]


@final
class _ByName:
    """The type of a parameter that has none: it is found by its name."""

    def __repr__(self) -> str:
        return "BY_NAME"


BY_NAME: Final = _ByName()
_NONE: Final = type(None)


class UnresolvedError(Exception):
    """An annotation that cannot be evaluated here."""


def scopes_of(cls: type | None, call: Callable[..., Any]) -> Scopes:
    """The namespaces that an annotation was written in: the class (the most derived first), then the module."""
    names = getattr(inspect.unwrap(call), "__globals__", None)
    if names is None:
        names = vars(sys.modules.get(getattr(call, "__module__", None) or "", builtins))
    return (names,) if cls is None else (*(vars(base) for base in cls.__mro__[:-1]), names)


def read(annotation: Any, scopes: Scopes = ()) -> tuple[Any, str | None, bool, bool]:
    """Take an annotation apart: the type, its ``Named``, whether None is allowed, whether ``Inject`` marks it."""
    named, optional, marked = None, False, False
    while not isinstance(annotation, type):
        origin = get_origin(annotation)
        if isinstance(annotation, (str, ForwardRef)):
            annotation = _resolve(annotation, scopes)
        elif origin is Annotated:
            named = next((mark.name for mark in annotation.__metadata__ if isinstance(mark, Named)), named)
            marked = marked or any(mark is Inject or isinstance(mark, Inject) for mark in annotation.__metadata__)
            annotation = annotation.__origin__
        elif origin is Union or origin is UnionType:
            others = tuple(argument for argument in get_args(annotation) if argument is not _NONE)
            if len(others) == len(get_args(annotation)):
                break
            optional, annotation = True, Union[others]  # noqa: UP007 -- made at run time
        elif hasattr(annotation, "__value__"):  # a type alias, of typing or of typing_extensions
            annotation = annotation.__value__
        else:
            break
    return (BY_NAME if annotation is Any else annotation), named, optional, marked


def _resolve(annotation: str | ForwardRef, scopes: Scopes) -> Any:
    text = annotation if isinstance(annotation, str) else annotation.__forward_arg__
    if text.isidentifier():
        found = _look_up(text, scopes)
        if found is BY_NAME:
            raise UnresolvedError
        return found
    try:
        code = _compiled(text)
        names = {name: found for name in code.co_names if (found := _look_up(name, scopes)) is not BY_NAME}
        return eval(code, names)  # noqa: S307 -- the program's own source, as typing.get_type_hints evaluates it
    except Exception as error:  # whatever it is: the annotation tells us nothing
        raise UnresolvedError from error


@functools.lru_cache(maxsize=1024)
def _compiled(text: str) -> CodeType:
    return compile(text, "<annotation>", "eval")


def _look_up(name: str, scopes: Scopes) -> Any:
    for scope in (*scopes, vars(builtins)):
        found = scope.get(name)
        # A method may be called as a type is, and a base class may hold None where a derived one nests a class.
        if found is not None and not isinstance(found, FunctionType):
            return found
    return BY_NAME
