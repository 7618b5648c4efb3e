"""What a callable wants: its parameters, and the service that each of them names.

Annotations are resolved one by one, in the namespaces of the class and the module that wrote them, so that one
import under TYPE_CHECKING does not break the others. The answer is kept on the callable itself, because a table
of ours would keep the modules of unloaded plugins alive.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any, Final, NamedTuple, final

from plugbus._services.keys import BY_NAME, Scopes, UnresolvedError, label, read, scopes_of, underlying

_KEPT: Final = "__plugbus_parameters__"


@final
class Parameter(NamedTuple):
    """One parameter of a callable, as the container sees it.

    Attributes:
        name: Its name; without a usable annotation, also what its service is found by.
        type: The type of the service, ``X`` for ``X | None``; ``BY_NAME`` without a usable annotation.
        named: The name in ``Annotated[X, Named(...)]``, or None.
        optional: Whether it may be None (``X | None``).
        has_default: Whether the callable has a default for it.
        marked: Whether ``Annotated[X, Inject]`` says that it is a service.
        unresolved: The annotation that could not be resolved, as it was written, or None.
        positional_only: Whether it cannot be passed by name, so that it cannot be injected.
        keyword_only: Whether it can be passed by name alone.

    Example:
        >>> from plugbus import Services
        >>> def handle(event: str, log, retries: int = 3) -> None: ...
        >>> [parameter.name for parameter in Services().parameters(handle, given=1)]
        ['log', 'retries']
    """

    name: str
    type: Any = BY_NAME
    named: str | None = None
    optional: bool = False
    has_default: bool = False
    marked: bool = False
    unresolved: str | None = None
    positional_only: bool = False
    keyword_only: bool = False

    def __str__(self) -> str:
        wanted = "" if self.type is BY_NAME else label(self.type, self.named)
        return ": ".join(filter(None, (self.name, wanted)))


def parameters_of(call: Callable[..., Any], given: int = 0) -> tuple[Parameter, ...]:
    """Return the parameters beyond the first *given* positional ones; ``*args`` and ``**kwargs`` are none."""
    parameters = _all_parameters(call)
    if not given:
        return parameters
    positional = sum(not parameter.keyword_only for parameter in parameters)
    return parameters[min(given, positional) :]


def wanted(type_: Any, name: str | None) -> Parameter:
    """A type as code asks for it, as if it were a parameter without a name."""
    if isinstance(type_, type):
        return Parameter("", type_, name)
    type_, named, optional, marked = read(type_)
    return Parameter("", type_, name or named, optional, marked=marked)


def _all_parameters(call: Callable[..., Any]) -> tuple[Parameter, ...]:
    if isinstance(call, functools.partial):
        return _of_partial(call)
    if isinstance(call, FunctionType):
        return _kept(call.__dict__, call, 0, None)
    if isinstance(call, MethodType):
        cls = call.__self__ if isinstance(call.__self__, type) else type(call.__self__)
        return _of_member(cls, call.__func__, call)
    if isinstance(call, type):
        init: object = call.__init__  # type: ignore[misc]
        new: object = call.__new__
        plain = new is object.__new__ and not hasattr(call, "__signature__")
        return _of_member(call, init if plain else None, call)
    method = underlying(call)
    return _of_signature(call, ()) if method is call else _all_parameters(method)


def _of_partial(call: functools.partial[Any]) -> tuple[Parameter, ...]:
    """A partial takes away what it binds; what follows a bound name can only be passed by name."""
    left: list[Parameter] = []
    by_name = False
    for parameter in parameters_of(call.func, len(call.args)):
        if parameter.name in call.keywords:
            by_name = True
        else:
            left.append(parameter._replace(keyword_only=True) if by_name else parameter)
    return tuple(left)


def _of_member(cls: type, function: object, call: Callable[..., Any]) -> tuple[Parameter, ...]:
    """A constructor or a bound method: what it says is read in the namespace of the class that it is called for."""
    if not isinstance(function, FunctionType):
        return () if function is object.__init__ else _of_signature(call, scopes_of(cls, call))
    kept = cls.__dict__.get(_KEPT)
    if kept is None:
        kept = {}
        with contextlib.suppress(AttributeError, TypeError):  # a class that cannot be written to is analysed each time
            setattr(cls, _KEPT, kept)
    return _kept(kept, function, 1, cls)


def _kept(kept: dict[Any, Any], function: FunctionType, skip: int, cls: type | None) -> tuple[Parameter, ...]:
    """Analyse once; a function's own attributes are copied by ``functools.wraps``, so look whose they are."""
    key: object = function if cls else _KEPT
    found = kept.get(key)
    if found is not None and found[0] is function.__code__:
        parameters: tuple[Parameter, ...] = found[1]
        return parameters
    scopes = scopes_of(cls, function)
    if "__wrapped__" in function.__dict__ or "__signature__" in function.__dict__:
        parameters = _of_signature(function, scopes)[skip:]
    else:
        parameters = _of_code(function, skip, scopes)
    if all(parameter.unresolved is None for parameter in parameters):  # else it may be resolvable later
        kept[key] = (function.__code__, parameters)
    return parameters


def _of_code(function: FunctionType, skip: int, scopes: Scopes) -> tuple[Parameter, ...]:
    """Read a plain function; ``inspect.signature`` takes five times as long, for each class of each plugin."""
    code = function.__code__
    positional, total = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
    if total <= skip:
        return ()
    first_default = positional - len(function.__defaults__ or ())
    keyword_defaults = function.__kwdefaults__ or {}
    annotations = _annotations_of(function)
    return tuple(
        _parameter(
            name,
            annotations.get(name, BY_NAME),
            scopes,
            has_default=first_default <= index < positional or name in keyword_defaults,
            positional_only=index < code.co_posonlyargcount,
            keyword_only=index >= positional,
        )
        for index, name in enumerate(code.co_varnames[:total])
        if index >= skip
    )


def _of_signature(call: Callable[..., Any], scopes: Scopes) -> tuple[Parameter, ...]:
    """Read whatever else can be called; what has no signature (some of C) has no parameters that we could fill."""
    try:
        found = _signature(call).parameters.values()
    except (TypeError, ValueError):
        return ()
    if not scopes:
        scopes = scopes_of(None, inspect.unwrap(call))
    return tuple(
        _parameter(
            parameter.name,
            BY_NAME if parameter.annotation is parameter.empty else parameter.annotation,
            scopes,
            has_default=parameter.default is not parameter.empty,
            positional_only=parameter.kind is parameter.POSITIONAL_ONLY,
            keyword_only=parameter.kind is parameter.KEYWORD_ONLY,
        )
        for parameter in found
        if parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
    )


if sys.version_info >= (3, 14):  # pragma: no cover -- one name under TYPE_CHECKING would fail all annotations
    import annotationlib

    def _annotations_of(function: FunctionType) -> Mapping[str, Any]:
        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)

    def _signature(call: Callable[..., Any]) -> inspect.Signature:
        return inspect.signature(call, annotation_format=annotationlib.Format.FORWARDREF)

else:

    def _annotations_of(function: FunctionType) -> Mapping[str, Any]:
        return function.__annotations__

    _signature = inspect.signature


def _parameter(name: str, annotation: Any, scopes: Scopes, **facts: Any) -> Parameter:
    if isinstance(annotation, type):  # the common case, without the rest
        return Parameter(name, annotation, **facts)
    try:
        type_, named, optional, marked = read(annotation, scopes)
        hash(type_)
    except (UnresolvedError, TypeError):
        written = str(getattr(annotation, "__forward_arg__", annotation))
        optional = written.endswith("| None") or written.startswith(("None |", "Optional[", "typing.Optional["))
        return Parameter(name, unresolved=written, optional=optional, **facts)
    return Parameter(name, type_, named, optional, marked=marked, **facts)
