"""Replaying sticky events to those who subscribe after them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelledError
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.lowlevel

from plugbus._chain.policies import PROOF
from plugbus._chain.steps import Step, Surroundings, step_for
from plugbus._threads import loop_is_running
from plugbus.event_types import event_type
from plugbus.options import ABSENT

if TYPE_CHECKING:
    from plugbus._core import Core
    from plugbus.owner import Owner
    from plugbus.subscription import Subscription


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
