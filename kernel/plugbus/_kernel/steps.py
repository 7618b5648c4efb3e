"""What of a plugin is called with services, and calling it: constructors, lifecycle methods, subscribers, providers.

They are listed before anything is built, so that mistakes are found all at once. Which comes when is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_args

import anyio

from plugbus._chain.steps import is_coroutine_callable
from plugbus._context import resumed
from plugbus._errors.base import bullets
from plugbus._threads import Overrun
from plugbus.errors import PluginError, PluginTimeoutError, Refused
from plugbus.lifecycle import PluginBooting, PluginConfiguring
from plugbus.log import text_of
from plugbus.marks import Checks, Reads
from plugbus.plugin import Phase
from plugbus.subscribers import GIVEN, Listener, named_declarations

if TYPE_CHECKING:
    from plugbus._kernel.definition import Definition, Service
    from plugbus._kernel.unit import Unit


PHASES: Final[tuple[Phase, ...]] = get_args(Phase)


class Target(NamedTuple):
    """A callable that is injected: its name, itself, how many parameters are given, whether in a unit of work."""

    name: str
    call: Callable[..., Any]
    given: int
    in_unit: bool = False


def targets_of(definition: Definition) -> Iterator[Target]:
    """List what of a plugin is injected before it can provide anything itself; of a dynamic one, the way in alone."""
    if definition.register is not None:
        yield Target("register", definition.register, 1)
    holders = (definition.target, *definition.parts)
    for holder in holders:
        if isinstance(holder, type):
            yield Target(holder.__qualname__, holder, 0)
    if not definition.dynamic:
        yield from _steps(definition.target)
        for holder in holders:
            yield from _subscribers(holder)
        yield from _readers(definition)


def _steps(holder: object) -> Iterator[Target]:
    for phase in PHASES:
        call = getattr(holder, phase, None)
        if call is not None:
            yield Target(phase, call, takes_self(holder, phase) + (2 if phase == "on_settings" else 0))


def _subscribers(holder: object) -> Iterator[Target]:
    for attribute, declared in named_declarations(holder):
        call: Any = declared.call
        name = getattr(call, "__qualname__", type(call).__qualname__)
        if isinstance(call, type):
            yield Target(name, call, 0)
        elif not isinstance(call, Listener):
            yield Target(name, call, GIVEN[declared.kind] + takes_self(holder, attribute), in_unit=True)


def _readers(definition: Definition) -> Iterator[Target]:
    for holder, (mark, attribute, call) in definition.marks:
        if isinstance(mark, Reads):
            yield Target(getattr(call, "__qualname__", attribute), call, 1 + takes_self(holder, attribute))


def called_by_others(definition: Definition) -> Iterator[Target]:
    """List the marked functions, some of whose parameters may be services, and others arguments."""
    for holder, (mark, attribute, call) in definition.marks:
        if not isinstance(mark, (Reads, Checks)):
            yield Target(attribute, call, int(takes_self(holder, attribute)))


def takes_self(holder: object, attribute: str) -> bool:
    """Tell whether an attribute of a class that is not built yet is called with ``self``: it binds, as functions do."""
    if not isinstance(holder, type):
        return False
    found = inspect.getattr_static(holder, attribute, None)
    if isinstance(found, partial):
        return sys.version_info >= (3, 14)  # 3.13 has its __get__ already, but only to warn
    return hasattr(type(found), "__get__") and not isinstance(found, (staticmethod, classmethod))


def provider_of(service: Service) -> Callable[..., Any]:
    """Return a function that looks like the provider, for checking; it cannot be called before its class is built."""
    call: Callable[..., Any] = getattr(service.holder, service.attribute)
    return partial(call, None) if takes_self(service.holder, service.attribute) else call


_REFUSABLE: Final = {PluginConfiguring.__name__, PluginBooting.__name__}


def reason_of(unit: Unit, error: BaseException, phase: str) -> str:
    """Say what went wrong, for a plugin's record, without its secrets; the notes name the service and its provider."""
    if isinstance(error, PluginError):
        return unit.hide(error.reason)
    if isinstance(error, Refused) and phase in _REFUSABLE:
        return unit.hide(f"{error.reason}{bullets(error.problems)}")
    return unit.hide("; ".join((f"{phase} raised {text_of(error)}", *getattr(error, "__notes__", ()))))


async def call_step(
    unit: Unit, phase: str, call: Callable[..., Any], seconds: float, deadline: float | None = None
) -> Any:
    """Call something of a plugin's with its services: async on the loop, sync in a worker thread, within its time.

    Args:
        unit: The plugin.
        phase: What it is, for messages.
        call: What to call.
        seconds: The time it has, in seconds.
        deadline: When that ends, on the loop's clock; from now on unless given.

    Raises:
        PluginTimeoutError: If it was still running; a thread is abandoned then, and counted.
        Exception: What it raised.
    """
    end = anyio.current_time() + seconds if deadline is None else deadline
    # Nobody acts: who loads a plugin or asks how it is lends it neither name nor rights, nor to the tasks it starts.
    with resumed(None), anyio.CancelScope(deadline=end), contextlib.suppress(Overrun):
        bound = await unit.services.ainject(call)
        if is_coroutine_callable(bound):
            return await bound()
        # In a tuple, because trio takes a coroutine that comes out of a thread for a mistake.
        left = end - anyio.current_time()
        (result,) = await unit.owner.threads.run_bounded(lambda _: (bound(),), None, left)
        return await result if inspect.isawaitable(result) else result
    raise PluginTimeoutError(unit.id, phase, seconds)
