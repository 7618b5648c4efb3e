"""Subscribers with ``run_in="process"`` or ``"interpreter"``: who can be one, and what the bus calls in its place.

Owns the pools of worker processes, one for each plugin that has such a subscriber.
"""

from __future__ import annotations

import inspect
import pickle
import sys
import threading
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from plugbus._chain.targets import view_of
from plugbus._context import carried
from plugbus._services.parameters import parameters_of
from plugbus.errors import EventDataError, Refused, SubscriptionError, WorkerProcessError
from plugbus.event_types import event_type

if TYPE_CHECKING:
    from plugbus._workers.pool import Pool
    from plugbus.options import RunIn
    from plugbus.owner import Owner
    from plugbus.subscription import Subscription

_pools: Final[WeakKeyDictionary[Owner, Pool]] = WeakKeyDictionary()
_HINT: Final = "Make it a function of a module, or a @staticmethod of the plugin's class."


def check_outside(name: str, call: Callable[..., Any], types: Iterable[type], run_in: RunIn | None) -> None:
    """Refuse a subscriber that could not run outside of this interpreter.

    Args:
        name: Its name, for the message.
        call: The callable.
        types: What it is given, as far as that is known.
        run_in: Where it is to run.

    Raises:
        SubscriptionError: If it is no function that can be imported, or takes more than the event, or if a type cannot
            be imported there.
    """
    bound = getattr(call, "__self__", None)
    if not inspect.isroutine(call) or not (bound is None or isinstance(bound, ModuleType)):
        raise SubscriptionError(name, f"run_in={run_in!r} takes a function alone, which it is not", _HINT)
    if problem := _unreachable(call):
        raise SubscriptionError(name, f"run_in={run_in!r} imports it by its name, and {problem}", _HINT)
    wanted = [parameter.name for parameter in parameters_of(call, 1) if not parameter.has_default]
    if wanted:
        hint = "Let it take the event alone, and put what it needs there into the event."
        raise SubscriptionError(name, f"run_in={run_in!r} takes no services along: {', '.join(wanted)}", hint)
    for cls in types:
        if problem := _unreachable(cls):
            raise SubscriptionError(name, f"run_in={run_in!r} imports {cls.__qualname__} by its name, and {problem}")
        if run_in == "interpreter" and issubclass(cls, BaseModel):
            hint = "Use run_in='process', or an event that is a dataclass in a module without pydantic."
            raise SubscriptionError(name, f"pydantic, and so {cls.__qualname__}, loads in no subinterpreter", hint)


def _unreachable(thing: Any) -> str:
    """Say why another process could not import something; nothing if it could."""
    module = thing.__module__ or "builtins"
    if module == "__main__":
        return "it is in __main__, which is another module there"
    if "<" in thing.__qualname__:
        return "it was made inside of a function"
    if not _findable(module.partition(".")[0]):
        return f"there is no module {module!r} to be found by its name"
    try:
        pickle.dumps(thing)
    except Exception as error:  # noqa: BLE001 - pickle raises whatever comes in the way
        return f"pickle says: {error}"
    return ""


def _findable(package: str) -> bool:
    folders = sys.modules.get("plugbus._kernel.folders")
    if folders is not None and package in folders.places():
        return True
    return any(finder.find_spec(package, None) for finder in sys.meta_path if hasattr(finder, "find_spec"))


def enter(subscription: Subscription) -> None:
    """Have a subscriber that is on the bus run where it asked for; others are left as they are."""
    if subscription.options.run_in == "process":
        pool = _pool_of(subscription.owner)
        pool.users += 1
        subscription.call, subscription.acall = None, _in_process(subscription, pool)
    elif subscription.options.run_in == "interpreter":
        subscription.call, subscription.acall = None, _in_interpreter(subscription)


def leave(subscription: Subscription) -> None:
    """Let go of the processes of a plugin that has no subscriber for them any more; a thread waits for their end."""
    pool = _pools.get(subscription.owner) if subscription.options.run_in == "process" else None
    if pool is not None:
        pool.users -= 1
        if not pool.users:
            threading.Thread(target=pool.close_idle, name=f"plugbus ends workers of {subscription.plugin}").start()


def _pool_of(owner: Owner) -> Pool:
    from plugbus._workers.pool import Pool  # what starts processes is imported by those who do

    pool = _pools.get(owner)
    if pool is None:
        pool = Pool(owner.id)
        owner.own(pool.aclose, what="worker processes")
        _pools[owner] = pool
    return pool


def _in_process(subscription: Subscription, pool: Pool) -> Callable[[Any], Any]:
    from plugbus._workers.child import imported
    from plugbus._workers.process import Lost

    call, view = subscription.call, subscription.view

    async def worked(event: Any) -> Any:
        name = event_type(type(event)).name
        try:
            given, facts = event if view is None else view_of(event, view), carried()
            request, warm_up = (
                pickle.dumps(it) for it in ((call, given, facts), (imported, (call, type(given)), facts))
            )
        except Exception as error:
            raise EventDataError(name, (f"it cannot be pickled for a worker process: {error}",)) from error
        try:
            reply, pid = await pool.ask(request, warm_up)
        except Lost as lost:
            raise WorkerProcessError(name, subscription.name, subscription.plugin, lost.args[0]) from None
        done, value, text = pickle.loads(reply)  # noqa: S301 - from our own child, through a pipe that only it has
        if done:
            return value
        if not isinstance(value, Refused):
            value.add_note(f"in worker process {pid}:\n{text}")
        raise value

    return worked


def _in_interpreter(subscription: Subscription) -> Callable[[Any], Any]:
    from anyio import to_interpreter

    call = subscription.call
    assert call is not None

    async def worked(event: Any) -> Any:
        return await to_interpreter.run_sync(call, event)

    return worked
