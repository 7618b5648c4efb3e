"""Async generators that yield inside ``acting_as``: their consumer would act as somebody it never asked to be.

A generator shares the context of whoever iterates it. So what such a block puts in force notes where it began, and
whoever asks who acts in an ``async for`` while that generator waits at a ``yield`` gets an error. Tasks and threads of
the block may ask. Who takes the one step to a ``yield`` by hand (fixtures, dependencies) wants what is in force there.
"""

from __future__ import annotations

import sys
from inspect import CO_ASYNC_GENERATOR
from opcode import opmap
from types import FrameType
from typing import Final, final

import anyio

from plugbus._context import HERE, Here
from plugbus.errors import ContextLeakError

_BETWEEN: Final = {"contextlib", "plugbus.context", "plugbus.scope"}
_GET_ANEXT: Final = opmap["GET_ANEXT"]


@final
class Lent(Here):
    """What a block within an async generator has put in force."""

    __slots__ = ("before", "frame", "task")

    def settle(self) -> Here | None:
        """Return what is in force here: this, or what was before it where its block has ended without taking it out.

        Raises:
            ContextLeakError: If its generator has yielded to whoever asks.
        """
        if self.task != _task():
            return self
        if not self.active:
            HERE.set(self.before)
            return self.before
        # A frame that is not on the stack of its own task waits at a yield: an await would keep the task waiting, too.
        if self.frame is not None and self.frame.f_back is None:
            raise ContextLeakError(self.frame.f_code.co_qualname)
        return self

    before: Here | None
    frame: FrameType | None
    task: int | None


def lent(here: Here, before: Here | None) -> Here:
    """Return what to put in force for a block, by where that is: within an async generator it has to be watched.

    Context managers made of a generator are meant to have it in force beyond their ``yield``.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - the one way to see the stack
    while (outer := frame.f_back) is not None and frame.f_globals.get("__name__") in _BETWEEN:
        frame = outer
    if not frame.f_code.co_flags & CO_ASYNC_GENERATOR:
        return here
    watched = Lent(here.principal, here.correlation_id, here.cause, here.emit, here.within)
    watched.before, watched.frame, watched.task = before, frame if _in_async_for(outer) else None, _task()
    return watched


def _in_async_for(driver: FrameType | None) -> bool:
    """Tell whether what iterates a generator is a loop, and not somebody's own ``anext``; wrapping generators aside."""
    while driver is not None and driver.f_code.co_flags & CO_ASYNC_GENERATOR:
        driver = driver.f_back
    # It waits in the SEND of GET_ANEXT, LOAD_CONST (with EXTENDED_ARG before it at times), SEND.
    return driver is not None and _GET_ANEXT in driver.f_code.co_code[max(driver.f_lasti - 6, 0) : driver.f_lasti : 2]


def _task() -> int | None:
    try:
        return anyio.get_current_task().id
    except RuntimeError:
        return None
