"""What is checked when somebody subscribes: who cannot work is refused, before anything has changed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Union, get_args, get_origin

from plugbus._annotations import UNRESOLVED, namespaces, resolve, underlying
from plugbus._chain.steps import check_place, check_waiting, is_coroutine_callable, refuse_generator
from plugbus._chain.targets import is_view, viewing
from plugbus._chain.units import building_first
from plugbus._services.late import Late
from plugbus.errors import SubscriptionError
from plugbus.options import OUTSIDE, Kind, Options
from plugbus.subscribers import GIVEN, Listener, label, parts_of

if TYPE_CHECKING:
    from pydantic import BaseModel

    from plugbus._services.container import Container
    from plugbus.event_types import EventType
    from plugbus.owner import Owner
    from plugbus.services import Services

Call = Callable[..., Any]

_SHAPES = {"listener": "(event, next_fn)", "handler": "(request)", "observer": "(event)"}


class Prepared(NamedTuple):
    """A subscriber that can work: what references mean, and its sync and async callable."""

    target: Any
    call: Call | None
    acall: Call | None
    view: type[BaseModel] | None = None
    container: Container | None = None
    """Whose unit of work it needs, if any."""
    suspect: bool = False
    """Whether it is sync, and its code names an async function: it may return a coroutine."""


def prepare(  # noqa: PLR0917 - called from one place
    kind: Kind, call: Any, known: Sequence[EventType], options: Options, owner: Owner, services: Services | None
) -> Prepared:
    """Check a subscriber and make it callable without further parameters.

    Raises:
        SubscriptionError: If it cannot work, and why.
    """
    name = options.name or label(call)
    options.check(name, kind)
    if isinstance(call, type):
        call = _built(call, kind, name, owner, services)
    if isinstance(call, Listener):
        return _prepare_listener(call, kind, name, known, options)
    if not callable(call):
        raise SubscriptionError(name, f"{call!r} is not callable")
    annotation = _check_signature(call, kind, name, known)
    view = annotation if kind == "observer" and is_view(annotation, known) else None
    outside = options.run_in in OUTSIDE
    if outside:
        from plugbus._workers.placing import check_outside  # and pickle, for those who ask for it

        check_outside(name, call, [item.cls for item in known] if view is None else [view], options.run_in)
    ready = call if outside else _injected(call, kind, name, owner, services)
    is_async = is_coroutine_callable(ready)
    _check_place(name, options, has_sync=not is_async, has_async=is_async, kind=kind)
    container = ready.container if isinstance(ready, Late) else None
    if isinstance(ready, Late) and not is_async:
        ready, is_async = _in_unit(ready, name, options, owner)
    if view is not None and not outside:
        ready = viewing(ready, view, is_async=is_async)
    if is_async:
        return Prepared(call, None, ready, view, container)
    return Prepared(call, ready, None, view, container, suspect=_names_async(call))


def _in_unit(late: Late, name: str, options: Options, owner: Owner) -> tuple[Call, bool]:
    """Return how a sync subscriber gets services of a unit of work, and whether that is async."""
    check_waiting(name, options.run_in)
    return (building_first(late, owner.threads, options.timeout_seconds), True) if late.needs_loop else (late, False)


def _built(cls: type, kind: Kind, name: str, owner: Owner, services: Services | None) -> Any:
    if kind != "listener" or not issubclass(cls, Listener):
        raise SubscriptionError(name, f"it is a class where {_SHAPES[kind]} goes", "Pass a function, or an instance.")
    if services is not None:
        return services.inject(cls, owner=owner)()
    try:
        return cls()
    except TypeError as error:
        raise SubscriptionError(
            name, f"a bus without services cannot build it: {error}", "Pass an instance."
        ) from error


def _prepare_listener(
    listener: Listener[Any, Any], kind: Kind, name: str, known: Sequence[EventType], options: Options
) -> Prepared:
    if kind != "listener":
        raise SubscriptionError(name, f"a Listener is no {kind}", "Use bus.listen().")
    parts = {part: getattr(listener, part) for part in parts_of(listener)}
    if not parts:
        raise SubscriptionError(name, "it has neither handle nor ahandle")
    for call in parts.values():
        _check_signature(call, kind, name, known)
    if "ahandle" in parts and not inspect.iscoroutinefunction(parts["ahandle"]):
        raise SubscriptionError(name, "its ahandle is not an async function")
    if "handle" in parts and inspect.iscoroutinefunction(parts["handle"]):
        raise SubscriptionError(name, "its handle is an async function", "Call it ahandle.")
    _check_place(name, options, has_sync="handle" in parts, has_async="ahandle" in parts, kind=kind)
    acall = None if options.run_in == "thread" else parts.get("ahandle")
    return Prepared(listener, parts.get("handle"), acall)


def _check_place(name: str, options: Options, *, has_sync: bool, has_async: bool, kind: Kind) -> None:
    check_place(name, options.run_in, has_sync=has_sync, has_async=has_async)
    if options.run_in == "caller" and kind == "listener":
        raise SubscriptionError(name, "a sync listener cannot wait for next_fn on the loop", "Make it async.")


def _check_signature(call: Call, kind: Kind, name: str, known: Sequence[EventType]) -> Any:
    """Check the number of parameters and the annotations; return the annotation of the first."""
    function = underlying(call)
    refuse_generator(name, call)
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):  # some builtins do not say what they take
        return UNRESOLVED
    positional = [
        item
        for item in signature.parameters.values()
        if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)
    ]
    variadic = any(item.kind is item.VAR_POSITIONAL for item in signature.parameters.values())
    if len(positional) < GIVEN[kind] and not variadic:
        raise SubscriptionError(name, f"it takes {len(positional)} parameters where {_SHAPES[kind]} are given")
    scopes = namespaces(function)
    annotation = resolve(positional[0].annotation, *scopes) if positional else UNRESOLVED
    for declared in known:
        if not (_fits(declared.cls, annotation) or (kind == "observer" and is_view(annotation, known))):
            raise SubscriptionError(
                name, f"its first parameter is {_text(annotation)}, and the event {declared.cls.__qualname__}"
            )
        if kind == "handler":
            _check_result(name, declared, resolve(signature.return_annotation, *scopes))
    return annotation


def _check_result(name: str, declared: EventType, annotation: Any) -> None:
    wanted = declared.result
    if wanted is Any or annotation in (inspect.Signature.empty, Any):  # a class of its own, from Python 3.11 on
        return
    if not (isinstance(wanted, type) and isinstance(annotation, type)):
        return
    if not issubclass(annotation, wanted):
        raise SubscriptionError(
            name, f"it returns {_text(annotation)}, and {declared.cls.__qualname__} is answered with {_text(wanted)}"
        )


def _fits(cls: type, annotation: Any) -> bool:
    if annotation in (UNRESOLVED, inspect.Parameter.empty, Any, object):
        return True
    origin = get_origin(annotation)
    if origin is Annotated:
        return _fits(cls, get_args(annotation)[0])
    if origin in (Union, UnionType):
        return any(_fits(cls, part) for part in get_args(annotation))
    annotation = origin or annotation
    return not isinstance(annotation, type) or getattr(annotation, "_is_protocol", False) or issubclass(cls, annotation)


def _text(annotation: Any) -> str:
    return getattr(annotation, "__qualname__", None) or str(annotation)


def _injected(call: Call, kind: Kind, name: str, owner: Owner, services: Services | None) -> Call:
    if services is not None:
        return services.inject(call, given=GIVEN[kind], owner=owner)
    try:
        extra = list(inspect.signature(call).parameters.values())[GIVEN[kind] :]
    except (TypeError, ValueError):
        return call
    needed = [
        item.name
        for item in extra
        if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
    ]
    if needed:
        problem = f"it takes more than {_SHAPES[kind]}: {', '.join(needed)}"
        raise SubscriptionError(name, problem, "A bus of a kernel injects services; EventBus(services=...) does too.")
    return call


def _names_async(call: Call) -> bool:
    """Tell whether the code of a function names an async one, or a method of something it names that is async.

    What it returns is only known when it has run; looking at each result would cost every sync emit.
    """
    function: Any = underlying(call)
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & inspect.CO_COROUTINE:
        return False
    holders = [getattr(call, "__self__", None), *map(function.__globals__.get, code.co_names)]
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a cell that is filled later
            holders.append(cell.cell_contents)
    kinds = [found if isinstance(found, (ModuleType, type)) else type(found) for found in holders]
    named = [*holders, *(getattr(kind, name, None) for kind in kinds for name in code.co_names)]
    return any(inspect.iscoroutinefunction(found) for found in named)
