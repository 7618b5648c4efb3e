"""Marks: what a decorator notes on a function, for whoever understands it to read when the plugin boots.

Owns noting and finding them. ``@listens``, ``@provides`` and the like are marks that the kernel reads itself; how
marks of plugins meet their readers is in ``_kernel/marking.py``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import cached_property
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, final

from plugbus.errors import PluginError, SubscriptionError

if TYPE_CHECKING:
    from plugbus.bound import Bound
    from plugbus.owner import Owner

__all__ = ("Checks", "Close", "Found", "Marked", "Reads", "checks", "mark", "note", "noted", "reads")

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M")
M_co = TypeVar("M_co", covariant=True)

Close: TypeAlias = Callable[[], object | Awaitable[object]]
"""What undoes something: called once without arguments; it may be async."""

_ATTRIBUTE: Final = "__plugbus_marks__"


def mark(value: object) -> Callable[[F], F]:
    """Return a decorator that puts a mark on a function and changes nothing else.

    A package that serves plugins wraps it into a decorator of its own. It needs no import of what reads the mark.

    Args:
        value: The mark, an instance of a class of yours; frozen, because everybody who looks sees the same one.

    Raises:
        TypeError: If it is a class, or can be changed.
        SubscriptionError: On decorating, if nothing can be noted on it.

    Example:
        >>> from typing import NamedTuple
        >>> class JobMark(NamedTuple):
        ...     name: str
        >>> def job(name: str):
        ...     return mark(JobMark(name))
        >>> @job("nightly")
        ... def tidy(limit: int = 10) -> int:
        ...     return limit
        >>> tidy()
        10
    """
    if isinstance(value, type):
        raise TypeError(f"mark({value.__qualname__}): is a class; put an instance of it on the function")
    if isinstance(value, FunctionType):
        raise TypeError(f"mark({value.__qualname__}): is a function; it takes the mark, as in @mark(JobMark('tidy'))")
    try:
        hash(value)
    except TypeError:
        what = f"mark({value!r}): can be changed, and everybody sees the same one"
        raise TypeError(f"{what}; make it a NamedTuple or a frozen dataclass of hashable values") from None
    return lambda function: note(function, value)


def reads(kind: type) -> Callable[[F], F]:
    """Return a decorator for a function that is told each function with a mark of a type, and of its subclasses.

    It is called with a :class:`Marked` once for each function when its plugin boots, after its ``on_boot``, whichever
    of the two plugins came first; further parameters are services. What it returns undoes what it did: it is called
    when either of the two plugins leaves, and belongs to the plugin of the marked function.

    Args:
        kind: The class of the marks.

    Raises:
        TypeError: If it is no class.

    Example:
        >>> import anyio
        >>> from plugbus import Kernel, Marked, Plugin, mark, reads
        >>> class Job(str): ...
        >>> class Jobs(Plugin):
        ...     @reads(Job)
        ...     async def attach(self, found: Marked[Job]):
        ...         print("job", found.mark, "of", found.owner.id, "returns", await found.call())
        ...         return lambda: print("no job", found.mark)
        >>> class Shop(Plugin):
        ...     @mark(Job("tidy"))
        ...     def tidy(self) -> int:
        ...         return 7
        >>> async def main() -> None:
        ...     async with Kernel(plugins=[Shop, Jobs]):
        ...         pass
        >>> anyio.run(main)
        job tidy of shop returns 7
        no job tidy
    """
    return _of(kind, Reads, "reads")


def checks(kind: type) -> Callable[[F], F]:
    """Return a decorator for a function that looks at all marks of a type, before anything boots.

    It is called with a sequence of :class:`Marked` at each start, at each loading of a plugin, and by
    ``kernel.check()``; it returns :class:`Problem` after problem. Nothing is built yet, so in a class it is a
    ``@staticmethod`` or a ``@classmethod``, and gets no services.
    A problem that is ``fatal`` stops the start, or the loading; the others are logged.

    Args:
        kind: The class of the marks.

    Raises:
        TypeError: If it is no class.

    Example:
        >>> from plugbus import Kernel, Plugin, Problem, checks, mark
        >>> class Job(str): ...
        >>> class Jobs(Plugin):
        ...     @checks(Job)
        ...     @staticmethod
        ...     def check_names(found):
        ...         return [Problem(each.owner.id, "a job needs a name") for each in found if not each.mark]
        >>> class Shop(Plugin):
        ...     @mark(Job(""))
        ...     def tidy(self) -> None: ...
        >>> for problem in Kernel(plugins=[Shop, Jobs]).check():
        ...     print(problem)
        shop: a job needs a name
        plugin 'shop', tidy: nobody reads its mark Job (load the plugin that does; nothing happens with it until then)
    """
    return _of(kind, Checks, "checks")


def _of(kind: type, noted_as: Callable[[type], object], what: str) -> Callable[[F], F]:
    if not isinstance(kind, type):
        raise TypeError(f"{what}({kind!r}): is no class; give the class of the marks, as in @{what}(JobMark)")
    return lambda function: note(function, noted_as(kind))


@final
class Marked(Generic[M_co]):
    """A function of a plugin, with a mark on it.

    Attributes:
        mark: The mark.
        function: The function: a method of the plugin is bound to it, unless nothing is built yet.
        owner: The plugin that it belongs to.

    Example:
        >>> from plugbus import Owner
        >>> found = Marked("job", print, Owner("shop"))
        >>> found.mark, found.owner.id, str(found)
        ('job', 'shop', 'str on print')
    """

    __slots__ = ("_built", "_call", "function", "mark", "owner")

    def __init__(self, mark: M_co, function: Callable[..., Any], owner: Owner, *, built: bool = True) -> None:
        self.mark, self.function, self.owner = mark, function, owner
        self._built = built
        self._call: Bound[Any] | None = None

    @property
    def call(self) -> Bound[Any]:
        """The function, to be called with its services; ``owner.bind(function, ...)`` makes one with a time limit.

        Raises:
            WiringError: If a parameter is neither service nor argument, or a service cannot be provided.
            SubscriptionError: If it cannot be called so; see :meth:`Owner.bind`.
            PluginGoneError: If the plugin has left.
            PluginError: If it is not built yet, as for a check.
        """
        if not self._built:
            raise PluginError(self.owner.id, f"{self} was asked for its call before anything was built")
        if self._call is None:
            self._call = self.owner.bind(self.function)
        return self._call

    def __str__(self) -> str:
        return f"{type(self.mark).__qualname__} on {getattr(self.function, '__qualname__', self.function)}"

    def __repr__(self) -> str:
        return f"<Marked {self} of {self.owner.id!r}>"


class Reads(NamedTuple):
    """What ``@reads`` notes."""

    kind: type


class Checks(NamedTuple):
    """What ``@checks`` notes."""

    kind: type


class Found(NamedTuple):
    """A mark that was found: on what, and what that is called in its class, module or object."""

    mark: Any
    attribute: str
    call: Any


def note(function: F, value: object) -> F:
    """Note something on a function, behind what was noted before.

    Raises:
        SubscriptionError: If nothing can be noted on it.
    """
    try:
        setattr(function, _ATTRIBUTE, (*getattr(function, "__dict__", {}).get(_ATTRIBUTE, ()), value))
    except (AttributeError, TypeError):
        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        kind = type(function).__name__
        problem = f"a decorator can put nothing on it, since it is an object of type {kind}"
        hint = "Decorate a function of your own, or subscribe it with bus.listen(), bus.observe() or bus.answer()."
        raise SubscriptionError(name, problem, hint) from None
    return function


def noted(holder: object) -> Iterator[Found]:
    """Find all marks on what a class, module (its own, nothing imported) or object has, base classes first."""
    for name, raw in _members(holder).items():
        if isinstance(raw, (property, cached_property)):
            _refuse_marks(getattr(raw, "fget", None) or getattr(raw, "func", None), type(raw))
        carriers = (raw, raw.__func__) if isinstance(raw, (staticmethod, classmethod)) else (raw,)
        marks = [mark for carrier in carriers for mark in getattr(carrier, "__dict__", {}).get(_ATTRIBUTE, ())]
        if marks:
            call = getattr(holder, name)
            yield from (Found(mark, name, call) for mark in marks)


def _refuse_marks(getter: object, kind: type) -> None:
    if _ATTRIBUTE in getattr(getter, "__dict__", {}):
        problem = (
            f"it is a {kind.__name__}, which has a value and is not called; what is noted on it is found by nobody"
        )
        name = getattr(getter, "__qualname__", repr(getter))
        raise SubscriptionError(name, problem, "Decorate a method.")


def _members(holder: object) -> dict[str, Any]:
    if isinstance(holder, ModuleType):
        own = holder.__name__
        return {name: value for name, value in vars(holder).items() if getattr(value, "__module__", None) == own}
    members: dict[str, Any] = {}
    for base in reversed((holder if isinstance(holder, type) else type(holder)).__mro__[:-1]):
        members.update(vars(base))
    if not isinstance(holder, type):
        members.update(getattr(holder, "__dict__", {}))
    return members
