"""Annotations, resolved one by one.

``typing.get_type_hints`` fails as a whole on one name under TYPE_CHECKING; here each annotation stands for itself.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, ForwardRef


class _Unresolved:
    """What an annotation is that cannot be resolved here and now."""

    def __repr__(self) -> str:
        return "UNRESOLVED"


UNRESOLVED: Final = _Unresolved()


def resolve(annotation: Any, *scopes: Mapping[str, Any]) -> Any:
    """Evaluate one annotation in the given namespaces, innermost first; ``UNRESOLVED`` where a name is missing."""
    if isinstance(annotation, ForwardRef):  # as a NamedTuple keeps them
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return annotation
    names: dict[str, Any] = {}
    for scope in reversed(scopes):
        names.update(scope)
    try:
        return eval(annotation, names)  # noqa: S307 - source code of the program itself, as typing.get_type_hints does
    except Exception:  # noqa: BLE001 - whatever it is, the annotation says nothing to us
        return UNRESOLVED


def class_hints(cls: type) -> dict[str, Any]:
    """Return the annotations of a class and its bases, each resolved in the namespace of the class that wrote it."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        scopes = (vars(base), vars(sys.modules.get(base.__module__, object)))
        for name, annotation in inspect.get_annotations(base).items():
            hints[name] = resolve(annotation, scopes[0], scopes[1])
    return hints


def underlying(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function below partials, bound methods, wrappers and callable objects."""
    while True:
        if isinstance(call, functools.partial):
            call = call.func
        elif inspect.ismethod(call):
            call = call.__func__
        elif not isinstance(call, type) and inspect.isfunction(of_class := vars(type(call)).get("__call__")):
            call = of_class
        else:
            unwrapped: Callable[..., Any] = inspect.unwrap(call)
            return unwrapped


def namespaces(function: Callable[..., Any]) -> tuple[Mapping[str, Any], ...]:
    """Return the namespaces that a function's annotations were written in, innermost first."""
    return vars(owner_class(function) or object), getattr(function, "__globals__", {})


def owner_class(function: Callable[..., Any]) -> type | None:
    """Return the class in whose body a function was written, if it can be found by its qualified name."""
    found: Any = sys.modules.get(getattr(function, "__module__", None) or "")
    for part in getattr(function, "__qualname__", "").split(".")[:-1]:
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None
