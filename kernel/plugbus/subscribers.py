"""What users write to subscribe: the listener protocol, the decorators and their options.

Owns what is declared; ``bus.py`` turns a declaration into a subscription.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, ParamSpec, Protocol, cast, final, overload

from typing_extensions import TypeVar, Unpack

from plugbus._annotations import underlying
from plugbus.errors import EventTypeError
from plugbus.events import Request
from plugbus.marks import note, noted
from plugbus.options import AnswerOptions, Kind, ListenOptions, ObserveOptions, Options, Target

__all__ = (
    "AsyncNextFn",
    "Declaration",
    "Listener",
    "NextFn",
    "answers",
    "declarations",
    "listens",
    "observes",
)

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E")
R = TypeVar("R", default=E)
Q = TypeVar("Q")
E_contra = TypeVar("E_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True, default=E_contra)


GIVEN: Final[dict[Kind, int]] = {"listener": 2, "handler": 1, "observer": 1}
"""How many parameters each kind of subscriber is given; whatever else it takes is injected."""


class Subscribed(NamedTuple):
    """What the decorators of subscribers note on a function."""

    kind: Kind
    events: tuple[Target, ...]
    options: Options


class NextFn(Protocol[E_contra, R_co]):
    """The rest of the chain, as a sync listener calls it.

    Example:
        >>> def audit(event: str, next_fn: NextFn[str]) -> str:
        ...     return next_fn(event)
        >>> audit("tick", str.upper)
        'TICK'
    """

    def __call__(self, event: E_contra, /) -> R_co:
        """Run what is below with *event* and return its result."""
        ...


class AsyncNextFn(Protocol[E_contra, R_co]):
    """The rest of the chain, as an async listener awaits it.

    Example:
        >>> async def audit(event: str, next_fn: AsyncNextFn[str]) -> str:
        ...     return await next_fn(event)
    """

    def __call__(self, event: E_contra, /) -> Awaitable[R_co]:
        """Run what is below with *event*; awaiting it gives its result."""
        ...


class Listener(Generic[E, R]):
    """Base class of listeners: middleware that wraps everything below it.

    Write ``handle``, ``ahandle`` or both; the bus bridges to the other world where only one is there.

    Example:
        >>> from plugbus import Event, EventBus
        >>> class Paid(Event):
        ...     cents: int
        >>> class Audit(Listener[Paid]):
        ...     def handle(self, event: Paid, next_fn: NextFn[Paid]) -> Paid:
        ...         print("paid", event.cents)
        ...         return next_fn(event)
        >>> bus = EventBus()
        >>> subscription = bus.listen(Paid, Audit)
        >>> bus.emit(Paid(cents=5))
        paid 5
        Paid(cents=5)
    """

    def handle(self, event: E, next_fn: NextFn[E, R]) -> R:
        """Handle an event in a sync emit, or in a worker thread: call ``next_fn(event)`` and return its result."""
        return next_fn(event)

    async def ahandle(self, event: E, next_fn: AsyncNextFn[E, R]) -> R:
        """Handle an event on the event loop: ``return await next_fn(event)``."""
        return await next_fn(event)


@final
class Declaration(NamedTuple):
    """A subscriber as it was declared: what to call, for which events, how.

    Attributes:
        kind: ``"listener"``, ``"handler"`` or ``"observer"``.
        events: Event types, wire names or patterns.
        call: The function, bound method, listener class or listener.
        options: How it takes part.

    Example:
        >>> @observes("order.*", name="counter")
        ... def count(event): ...
        >>> from types import SimpleNamespace
        >>> [declaration] = declarations(SimpleNamespace(count=count))
        >>> declaration.kind, declaration.events, declaration.options.name
        ('observer', ('order.*',), 'counter')
    """

    kind: Kind
    events: tuple[Target, ...]
    call: Callable[..., Any] | Listener[Any, Any]
    options: Options


class _SameFunction(Protocol):
    def __call__(self, call: F, /) -> F: ...


class _Answering(Protocol[T]):
    @overload
    def __call__(self, call: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __call__(self, call: Callable[P, T], /) -> Callable[P, T]: ...


def listens(*events: Target | Sequence[Target], **options: Unpack[ListenOptions]) -> _SameFunction:
    """Mark a function ``(event, next_fn)`` or a :class:`Listener` class as a listener; it stays as it is.

    Args:
        *events: Event types, wire names or patterns.
        **options: As :meth:`EventBus.listen` takes them.

    Example:
        >>> @listens("order.*", priority=10)
        ... def audit(event, next_fn):
        ...     return next_fn(event)
    """
    return _declaring("listener", events, Options.of(**options))


def observes(*events: Target | Sequence[Target], **options: Unpack[ObserveOptions]) -> _SameFunction:
    """Mark a function ``(event)`` as an observer; it stays as it is.

    Args:
        *events: Event types, wire names or patterns.
        **options: As :meth:`EventBus.observe` takes them.

    Example:
        >>> @observes("order.*")
        ... def count(event): ...
    """
    return _declaring("observer", events, Options.of(**options))


def answers(request: type[Request[T]], **options: Unpack[AnswerOptions]) -> _Answering[T]:
    """Mark a function ``(request)`` as the handler of a request; it stays as it is.

    Args:
        request: The request type that it answers.
        **options: As :meth:`EventBus.answer` takes them.

    Example:
        >>> class Add(Request[int]):
        ...     left: int
        ...     right: int
        >>> @answers(Add)
        ... def add(request: Add) -> int:
        ...     return request.left + request.right
        >>> add(Add(left=1, right=2))
        3
    """
    return cast("_Answering[T]", _declaring("handler", (request,), Options.of(**options)))


def _declaring(kind: Kind, events: Sequence[Target | Sequence[Target]], options: Options) -> _SameFunction:
    targets = flatten(events)
    if not targets or not all(isinstance(target, (str, type)) for target in targets):
        what = f"{targets[0]!r}" if targets else "nothing"
        problem = f"was given to the decorator of a {kind} where event types, wire names or patterns go"
        raise EventTypeError(what, f"{problem}; use it with parentheses, as in @observes(OrderPlaced)")

    return lambda call: note(call, Subscribed(kind, targets, options))


def flatten(events: Sequence[Target | Sequence[Target]]) -> tuple[Target, ...]:
    """Return targets given one by one or as lists as one tuple, each once."""
    flat: list[Target] = []
    for item in events:
        flat.extend([item] if isinstance(item, (str, type)) or not isinstance(item, Sequence) else item)
    return tuple(dict.fromkeys(flat))


def declarations(obj: object) -> tuple[Declaration, ...]:
    """Return what the decorators declared on the functions of a module, an instance or a class.

    Args:
        obj: A module (its own functions, not imported ones), or any object.

    Returns:
        One declaration per use of a decorator, in the order of definition, base classes first.

    Example:
        >>> class Shop:
        ...     @observes("order.*")
        ...     def count(self, event): ...
        >>> [declaration.kind for declaration in declarations(Shop())]
        ['observer']
    """
    return tuple(declaration for _, declaration in named_declarations(obj))


def named_declarations(obj: object) -> Iterator[tuple[str, Declaration]]:
    """Do the same with the name of the attribute that each function is; its own name may be another."""
    for found in noted(obj):
        if isinstance(found.mark, Subscribed):
            kind, events, options = found.mark
            yield found.attribute, Declaration(kind, events, found.call, options)


def label(call: Any) -> str:
    """Return a name for a subscriber: the qualified name of its class or function, without the place it was made in."""
    named = call if isinstance(call, type) else type(call) if isinstance(call, Listener) else underlying(call)
    qualified = getattr(named, "__qualname__", None) or type(call).__qualname__
    return str(qualified).rpartition("<locals>.")[2]


def parts_of(listener: Listener[Any, Any]) -> Iterator[str]:
    """Yield which of ``handle`` and ``ahandle`` the class of a listener writes itself."""
    for part in ("handle", "ahandle"):
        if getattr(type(listener), part) is not getattr(Listener, part) or part in vars(listener):
            yield part
