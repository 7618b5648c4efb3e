"""Sticky events: the last of each type is kept, and replayed to those who subscribe later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError as FutureCancelledError
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, final

import anyio
import anyio.from_thread
import anyio.lowlevel

from plugbus._chain.policies import PROOF
from plugbus._chain.steps import Step, Surroundings, step_for
from plugbus._chain.units import after_success
from plugbus._threads import loop_is_running
from plugbus.event_types import event_type
from plugbus.options import ABSENT

if TYPE_CHECKING:
    from plugbus._chain.links import Entry
    from plugbus._services.container import Container

    Call = Callable[..., Any]
    from plugbus._core import Core
    from plugbus.owner import Owner
    from plugbus.subscription import Subscription


@final
class Sticky:
    """The last event of each sticky type."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[type, Any] = {}

    def remembering(self, entry: Entry, container: Container | None, *, is_async: bool) -> Entry:
        """Keep what comes out of a chain that succeeded, and its unit of work with it."""
        return (self._aremember if is_async else self._remember, (*entry, container))

    def _remember(self, event: Any, rest: tuple[Call, Any, Container | None]) -> Any:
        result = rest[0](event, rest[1])
        after_success(rest[2], partial(self._last.__setitem__, type(event), result))
        return result

    async def _aremember(self, event: Any, rest: tuple[Call, Any, Container | None]) -> Any:
        result = await rest[0](event, rest[1])
        after_success(rest[2], partial(self._last.__setitem__, type(event), result))
        return result

    def last(self, types: Iterable[type]) -> list[Any]:
        """Return what is kept of these types."""
        return [self._last[cls] for cls in types if cls in self._last]

    def forget(self, cls: type) -> None:
        """Drop what is kept of a type."""
        self._last.pop(cls, None)


def replay(core: Core, subscription: Subscription) -> None:
    """Replay to a new subscription from a thread; one that waits for its plugin gets them when that has booted."""
    if not subscription.active or subscription.kind == "handler":
        return
    for event in _kept(core, subscription):
        step = _step(core, subscription, event)
        if step.call is not None:
            _tell(core, step, event)
        elif not loop_is_running():
            core.bridge.through_loop(lambda event, step=step: _atell(core, step, event), event)  # type: ignore[misc]
        else:
            _start_soon(_atell, core, step, event)


async def areplay(core: Core, owner: Owner) -> None:
    """Replay to all subscriptions of an owner, on the loop."""
    for subscription in core.book.of(owner):
        if subscription.kind != "handler":
            for event in _kept(core, subscription):
                await _atell(core, _step(core, subscription, event), event)


def _start_soon(function: Callable[..., Any], *args: Any) -> None:
    """Start work on the running loop from a function on it that cannot wait: through a thread that can."""
    token, context = anyio.lowlevel.current_token(), copy_context()

    def start() -> None:
        with suppress(
            anyio.RunFinishedError, FutureCancelledError
        ):  # the loop has ended, and whoever subscribed with it
            anyio.from_thread.run(function, *args, token=token)

    threading.Thread(target=context.run, args=(start,), name="plugbus replay", daemon=True).start()


def _kept(core: Core, subscription: Subscription) -> list[Any]:
    kept = core.sticky.last(core.heard_by(subscription))
    key = subscription.options.key
    return [
        event for event in kept if key is ABSENT or key == getattr(event, event_type(type(event)).key or "", ABSENT)
    ]


def _step(core: Core, subscription: Subscription, event: Any) -> Step:
    around = Surroundings(event_type(type(event)), core.checked, core.instruments, core.failures, alone=True)
    return step_for(subscription, around)


def _same(event: Any) -> Any:
    return event


async def _asame(event: Any) -> Any:
    return event


def _tell(core: Core, step: Step, event: Any) -> None:
    try:
        if not step.wants(event):
            return
        step.expect_call()(event, *([_same] if step.subscription.kind == "listener" else []))
    except Exception as error:
        if isinstance(error, PROOF):
            raise
        core.failures.report(step.subscription, event, error)


async def _atell(core: Core, step: Step, event: Any) -> None:
    below = step.subscription.kind == "listener"
    try:
        if not step.wants(event):
            return
        if step.acall is not None:
            await step.acall(event, *([_asame] if below else []))
        else:
            call = step.expect_call()
            await step.threads.run(lambda event: call(event, *([_same] if below else [])), event)
    except Exception as error:
        if isinstance(error, PROOF):
            raise
        await core.failures.areport(step.subscription, event, error)
