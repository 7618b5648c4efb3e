"""Calling something of a plugin's at a point of its life, and saying what went wrong there.

Owns where it runs and how long; which step comes when is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import anyio

from plugbus._chain.invoking import is_coroutine_callable
from plugbus._context import resumed
from plugbus._errors.base import bullets
from plugbus._threads import Overrun
from plugbus.errors import PluginError, PluginTimeoutError, Refused
from plugbus.lifecycle import PluginBooting, PluginConfiguring
from plugbus.log import text_of

if TYPE_CHECKING:
    from plugbus._kernel.unit import Unit

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
