"""A function of a plugin, ready to be called by somebody else: what endpoints, jobs and schedules need.

Owns no way of running of its own: a ``Bound`` is the bottom of a chain, made of the pieces that a handler's step is
made of (``_chain/steps.py``), with the arguments of the call where the event goes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar, final

from plugbus._annotations import UNRESOLVED, namespaces, resolve, underlying
from plugbus._chain.compile import unless_on_loop
from plugbus._chain.links import Entry, here
from plugbus._chain.policies import BreakerState
from plugbus._chain.steps import (
    Guards,
    check_place,
    check_waiting,
    guarded,
    is_coroutine_callable,
    link_of,
    refuse_generator,
    without_coroutine,
)
from plugbus._chain.units import aopened, building_first, opened, opened_on_loop
from plugbus._services.late import Late
from plugbus.errors import PluginError, PluginGoneError, PluginTimeoutError, SubscriptionError
from plugbus.options import OUTSIDE, Options
from plugbus.subscribers import label

if TYPE_CHECKING:
    from plugbus._services.container import Container
    from plugbus.owner import Home, Owner
    from plugbus.services import Parameter

__all__ = ("Bound",)

R = TypeVar("R")
Call: TypeAlias = Callable[..., Any]


class Given(NamedTuple):
    """What one call was given: it goes where the event of a handler goes."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@final
class Bound(Generic[R]):
    """A function of a plugin with its services, its threads, its time limit and breaker; ``owner.bind(fn)`` makes it.

    ``await bound(...)`` runs it as the bus runs a subscriber in ``aemit``: async on the loop, sync in a worker thread
    of its plugin. ``bound.sync(...)`` runs it as ``emit`` does: here, or through the loop if it needs one.
    The services are had with the first call. If one of them is made for each unit of work, each call is a unit,
    unless it is within one.

    Attributes:
        name: What it is called in errors.
        function: The function itself.
        owner: Whose it is.
        parameters: What its caller passes, with resolved annotations; services fill the others.

    Example:
        >>> import anyio
        >>> from plugbus import Clock, Kernel, Owner, Plugin
        >>> class Shop(Plugin):
        ...     def __init__(self, owner: Owner) -> None:
        ...         self.bound = owner.bind(self.price)
        ...
        ...     async def price(self, item: str, clock: Clock, count: int = 1) -> int:
        ...         return count * len(item)
        >>> async def main() -> None:
        ...     async with Kernel(plugins=[Shop]) as kernel:
        ...         bound = kernel.plugins["shop"].instance.bound
        ...         print(*bound.parameters, sep="; ")
        ...         print(await bound("tea", count=2))
        >>> anyio.run(main)
        item: str; count: int = 1
        6
    """

    __slots__ = (
        "_core", "_flights", "_options", "_services", "_wanted", "_ways", "function", "name", "owner", "parameters",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - called from one place
        self,
        function: Callable[..., Any],
        owner: Owner,
        home: Home,
        given: int,
        argument_types: Collection[object],
        options: Options,
    ) -> None:
        self.name = options.name or label(function)
        self.function, self.owner = function, owner
        self._services, self._options = home.services, options
        self._flights = owner.flights or nullcontext()  # those whom a reload waits for
        self._core = home.bus._core  # noqa: SLF001 - it shares clock and bridge with the chains
        options.check(self.name, "handler")
        if options.run_in in OUTSIDE:
            problem = f"run_in={options.run_in!r} is for handlers and observers"
            raise SubscriptionError(self.name, problem, "Use run_in='thread'.")
        if not callable(function):
            raise SubscriptionError(self.name, f"{function!r} is not callable")
        refuse_generator(self.name, function)
        is_async = is_coroutine_callable(function)
        check_place(self.name, options.run_in, has_sync=not is_async, has_async=is_async)
        found = home.services.divide(function, given=given, argument_types=argument_types)
        if found.scoped and not is_async:
            check_waiting(self.name, options.run_in)
        self._wanted = found.services
        self.parameters = _parameters(function, found.services)
        self._ways: tuple[Call, Entry] | None = None

    @property
    def returns(self) -> Any:
        """What its return annotation says; ``Any`` if it says nothing, or nothing that can be resolved here."""
        function = underlying(self.function)
        annotation = getattr(function, "__annotations__", {}).get("return", UNRESOLVED)
        found = resolve(annotation, *namespaces(function))
        return Any if found is UNRESOLVED else found

    async def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call it from the loop; this suspends as it does, and a cancelled call waits for its thread.

        Args:
            args: Positional arguments, in the order of :attr:`parameters`: services between them are stepped over.
            kwargs: Arguments by name.

        Raises:
            PluginGoneError: If its owner has left.
            PluginTimeoutError: If it took longer than its time.
            BreakerOpenError: If its breaker is open.
            PluginStuckError: If too many threads of its plugin overran their time.
            Exception: What it raised.
        """
        self._insist()
        with self._flights:
            if self._ways is None:
                taking = _taking_given(self)
                self._ways = self._compiled(await self._services.ainject(taking, parameters=self._wanted))
            result: R = await self._ways[0](Given(args, kwargs))
        return result

    def sync(self, *args: Any, **kwargs: Any) -> R:
        """Call it from sync code, in this thread as far as it is sync itself; raises as calling does.

        Args:
            args: Positional arguments.
            kwargs: Arguments by name.

        Raises:
            SyncEmitError: If it needs the loop, and this thread's own loop is running.
            ServiceError: If a service has to be built that needs the loop.
        """
        self._insist()
        with self._flights:
            if self._ways is None:
                taking = _taking_given(self)
                self._ways = self._compiled(self._services.inject(taking, parameters=self._wanted))
            first, rest = self._ways[1]
            result: R = first(Given(args, kwargs), rest)
        return result

    def _insist(self) -> None:
        if self.owner.gone:
            raise PluginGoneError(self.owner.id, self.name)

    def _compiled(self, bound: Call) -> tuple[Call, Entry]:
        """Return what a call from the loop runs, and what a call from sync code runs."""
        options, owner, through_loop = self._options, self.owner, self._core.bridge.through_loop
        monotonic = lambda: self._core.clock.monotonic()  # noqa: E731, PLW0108 - a kernel that starts brings another
        breaker = options.breaker and BreakerState(options.breaker, monotonic, self.name, owner.id)
        guards = Guards(options.timeout_seconds, breaker, owner.threads, self._overrun)
        container = bound.container if isinstance(bound, Late) else None
        call, acall = guarded(*self._ways_of(bound), guards)
        link = partial(link_of, call, acall, owner.threads, in_caller=options.run_in == "caller")
        run = link(in_hop=True).acall
        entry = here((), link(in_hop=False), through_loop)
        if container is not None:  # each call is a unit of work, unless it is within one
            run = partial(_opened, (container, _run, run))
            if call is not None:
                entry = (opened, (container, *entry))
            else:
                entry = (opened_on_loop, (container, entry, through_loop, run))
        if call is None:
            entry = unless_on_loop(entry, "", self.name)
        return run, entry

    def _ways_of(self, bound: Call) -> tuple[Call | None, Call | None]:
        if is_coroutine_callable(bound):
            return None, bound
        if isinstance(bound, Late) and bound.needs_loop:
            return None, building_first(bound, self.owner.threads, self._options.timeout_seconds)
        return without_coroutine(bound, self._unawaited), None

    def _overrun(self, _: Given) -> PluginTimeoutError:
        return PluginTimeoutError(self.owner.id, self.name, self._options.timeout_seconds or 0.0)

    def _unawaited(self) -> PluginError:
        problem = f"{self.name} returned a coroutine that nobody awaits; bind the async function itself"
        return PluginError(self.owner.id, problem)

    def __repr__(self) -> str:
        return f"<Bound {self.name!r} of {self.owner.id!r}>"


def _taking_given(bound: Bound[Any]) -> Call:
    """Return a function of what one call was given, beside the services; async stays async."""
    function = bound.function
    places = _places(function, bound.parameters)

    def call(given: Given, /, **services: Any) -> Any:
        args, others = _around(places, given.args, services)
        try:
            return function(*args, **{**others, **given.kwargs})
        except TypeError as error:
            _raise_misfit(bound, given, services, error, (args, others))
            raise

    async def acall(given: Given, /, **services: Any) -> Any:
        return await call(given, **services)

    return wraps(function)(acall if is_coroutine_callable(function) else call)


def _places(function: Call, passed: tuple[inspect.Parameter, ...]) -> tuple[tuple[int, str], ...]:
    """Return where services stand among the positional parameters."""
    if not passed:
        return ()
    everyone = inspect.signature(function).parameters.values()
    positional = [item.name for item in everyone if item.kind in {item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD}]
    names = {item.name for item in passed}
    return tuple((index, name) for index, name in enumerate(positional) if name not in names)


def _around(
    places: tuple[tuple[int, str], ...], args: tuple[Any, ...], services: dict[str, Any]
) -> tuple[Sequence[Any], dict[str, Any]]:
    """Put services where they stand between what is passed by position; the others stay as they are, by name."""
    if not args or not places:
        return args, services
    placed, others = list(args), dict(services)
    for index, name in places:
        if index > len(placed) or name not in others:
            break
        placed.insert(index, others.pop(name))
    return placed, others


def _raise_misfit(
    bound: Bound[Any],
    given: Given,
    services: dict[str, Any],
    error: TypeError,
    together: tuple[Sequence[Any], dict[str, Any]],
) -> None:
    """Say what the caller passes and what it passed, if that is what is wrong; its own TypeErrors are its own."""
    args, others = together
    try:
        inspect.signature(bound.function).bind(*args, **{**others, **given.kwargs})
    except TypeError:
        takes = ", ".join(map(str, bound.parameters)) or "no arguments"
        passed = ", ".join([f"{len(given.args)} by position", *given.kwargs])
        filled = f"; services fill {', '.join(services)}" if services else ""
        told = f"{bound.name!r} of plugin {bound.owner.id!r} takes {takes} from its caller{filled}"
        raise TypeError(f"{told}; it was passed {passed}") from error
    except ValueError:  # some builtins do not say what they take
        return


def _run(given: Given, call: Call) -> Any:
    return call(given)


def _opened(rest: tuple[Container, Call, Call], given: Given) -> Any:
    return aopened(given, rest)


def _parameters(function: Call, filled: tuple[Parameter, ...]) -> tuple[inspect.Parameter, ...]:
    """Return the parameters that services do not fill, with resolved annotations."""
    services = {parameter.name for parameter in filled}
    try:
        everyone = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins do not say what they take
        return ()
    scopes = namespaces(underlying(function))
    return tuple(
        item.replace(annotation=resolve(item.annotation, *scopes)) for item in everyone if item.name not in services
    )
