"""Running the factories of a plan, in the world of the caller: a thread, or a task.

Each service is built once, whoever asks at the same time. A build that failed leaves nothing: no instance, no
half-open generator, nobody waiting.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, final

from plugbus._services.homes import OPEN_ON_LOOP
from plugbus._services.planning import Step
from plugbus._services.providers import needs_loop, open_async, open_sync
from plugbus._services.stores import ABSENT, Claim
from plugbus.errors import ServiceError

if TYPE_CHECKING:
    from plugbus._services.container import Container

_under_way: ContextVar[tuple[Claim, ...]] = ContextVar("plugbus_building", default=())


def build_sync(container: Container, order: list[Step]) -> None:
    """Build what a plan lists, in this thread, or wait for the thread or task that builds it already.

    Raises:
        ServiceError: If one of them needs the loop; nothing is built then.
    """
    for step in order:
        if step.provider.needs_loop:
            raise needs_loop(step.provider, order[-1].provider.label)
    for step in order:
        while not _has_or_begins(step):
            _refuse_deadlock(step, blocking=True)
            step.claim.wait()
            step.claim.raise_error()
        if step.instance is ABSENT:
            _run_sync(container, step)


async def build_async(container: Container, order: list[Step]) -> None:
    """Build what a plan lists, in this task, or wait for the task or thread that builds it already."""
    for step in order:
        while not _has_or_begins(step):
            _refuse_deadlock(step, blocking=False)
            await step.claim.wait_async()
            step.claim.raise_error()
        if step.instance is ABSENT:
            await _run_async(container, step)


def _has_or_begins(step: Step) -> bool:
    """Get the instance, or the right to build it; False while somebody else builds it."""
    step.instance, claim, mine = step.store.claim(step.provider)
    if claim is not None:
        step.claim = claim
    return mine or claim is None


def _run_sync(container: Container, step: Step) -> None:
    home = step.store.home
    with _Building(step):
        if home is None:
            _make(container, step)
        else:
            home.run(_make, container, step)


def _make(container: Container, step: Step) -> None:
    instance, exit_ = open_sync(step.provider, step.arguments())
    try:
        container.keep(step, instance, exit_)
    except BaseException:
        if exit_ is not None:
            exit_.close_now()
        raise


async def _run_async(container: Container, step: Step) -> None:
    home = step.store.home
    with _Building(step):
        if home is not None and not step.provider.needs_loop:
            await home.arun(_make, container, step)
            return
        if home is not None and not home.is_async:
            raise needs_loop(step.provider, hint=OPEN_ON_LOOP)
        instance, exit_ = await open_async(step.provider, step.arguments())
        try:
            container.keep(step, instance, exit_)
        except BaseException:
            if exit_ is not None:
                await exit_.close(container.clean_up_seconds)
            raise


def _refuse_deadlock(step: Step, *, blocking: bool) -> None:
    if step.claim in _under_way.get():
        problem, hint = "its factory asks for it again while it builds it", "let the factory take it as a parameter"
    elif blocking and step.claim.thread == threading.get_ident():
        problem, hint = (
            "is being built on this very thread, which would wait for ever",
            "use `await services.aget(...)`",
        )
    else:
        return
    raise ServiceError(step.provider.label, problem, hint)


@final
class _Building:
    """One build under way: whoever asks meanwhile waits for its end."""

    __slots__ = ("_mark", "_step")

    def __init__(self, step: Step) -> None:
        self._step = step
        self._mark: Token[tuple[Claim, ...]]

    def __enter__(self) -> None:
        self._mark = _under_way.set((*_under_way.get(), self._step.claim))

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        _under_way.reset(self._mark)
        shared = error if isinstance(error, Exception) else None
        if shared is not None:
            provider = self._step.provider
            shared.add_note(f"while building service {provider.label} with {provider.place}")
        self._step.store.end(self._step.provider, shared)
