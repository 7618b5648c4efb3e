"""How a sync emit gets to a loop when a subscriber needs one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from typing import TYPE_CHECKING, Any, final

import anyio

from plugbus._early import Crossing
from plugbus._services.homes import away
from plugbus._threads import back_to_loop, in_worker_thread, outcome
from plugbus.errors import EmitCancelled
from plugbus.event_types import event_type

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal


@final
class Bridge:
    """The way from a thread to a loop: the one it works for, the kernel's, or one made for this emit.

    The last takes about a millisecond; a kernel's portal saves it.
    """

    __slots__ = ("portal",)

    def __init__(self) -> None:
        self.portal: BlockingPortal | None = None

    def through_loop(self, acall: Callable[[Any], Any], event: Any) -> Any:
        """Run an async call and wait for it.

        Raises:
            EmitCancelled: If it was cancelled on the kernel's loop.
        """
        return away(self._through_loop, acall, event)

    def _through_loop(self, acall: Callable[[Any], Any], event: Any) -> Any:
        if in_worker_thread():
            return back_to_loop(acall, event)
        with Crossing():
            return self._cross(acall, event)

    def _cross(self, acall: Callable[[Any], Any], event: Any) -> Any:
        if self.portal is None:
            return anyio.run(_awaiting, acall, event)
        try:
            done, value = self.portal.call(outcome, acall, event)
        except FutureCancelledError:
            raise EmitCancelled(event_type(type(event)).name) from None
        if done:
            return value
        raise value


async def _awaiting(acall: Callable[[Any], Any], event: Any) -> Any:
    """Await a call; what it returns need not be a coroutine."""
    return await acall(event)
