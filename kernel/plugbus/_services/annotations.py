"""Annotations, read one by one: one that cannot be resolved here does not break the others."""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType, UnionType
from typing import Annotated, Any, Final, ForwardRef, Union, final, get_args, get_origin

from plugbus._services.keys import Inject, Named

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
