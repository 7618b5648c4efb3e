"""What is in force and has to be watched: in emits that began before anybody asked, and within async generators.

An emit that began early tells nobody when it ends, so what was found is looked for again before it is believed.
A generator shares the context of whoever iterates it. So what a block in it puts in force notes where it began, and
whoever asks who acts in an ``async for`` while that generator waits at a ``yield`` gets an error. Tasks and threads of
the block may ask. Who takes the one step to a ``yield`` by hand (fixtures, dependencies) wants what is in force there.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from inspect import CO_ASYNC_GENERATOR
from opcode import opmap
from types import FrameType
from typing import Final, TypeAlias, final

import anyio

from plugbus._chain.blame import EMITTERS
from plugbus._context import HERE, Current, Here, began, wire_name
from plugbus._route import ROUTE, Stage
from plugbus.errors import ContextLeakError
from plugbus.event_types import event_type

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
    watched = Lent(here.principal, here.correlation_id, here.cause, here.emit, here.traceparent, within=here.within)
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


STEPS: Final[set[object]] = set()
"""What an emit begins with if it carries a context; ``_chain/running.py`` enters its own."""

Key: TypeAlias = tuple[int, int] | Stage


class _Cell:
    """Word of the emits that wait for a loop, as long as they do; the innermost first."""

    __slots__ = ("frames",)

    def __init__(self, frames: list[FrameType]) -> None:
        self.frames = frames


_found: Final[dict[Key, Current]] = {}
"""Those that were asked in, so that all who ask get one answer: no more than ran when it was switched on."""

_CROSSED: Final[ContextVar[_Cell | None]] = ContextVar("plugbus_crossed", default=None)


@final
class Crossing:
    """A block in which the emits on this stack wait for a loop of its own, where nothing else tells of them."""

    __slots__ = ("_cell", "_token")

    def __enter__(self) -> None:
        self._cell = _Cell(_under_way(sys._getframe(1)))  # noqa: SLF001 - the one way to see the stack
        self._token = _CROSSED.set(self._cell)

    def __exit__(self, *_: object) -> None:
        _CROSSED.reset(self._token)
        if any(_key(frame) in _found for frame in self._cell.frames):
            asked_within(HERE.get())
        self._cell.frames = []


def _under_way(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of the emits that led here, the innermost first."""
    found: list[FrameType] = []
    while frame is not None:
        if frame.f_code in EMITTERS:
            found.append(frame)
        frame = frame.f_back
    cell = _CROSSED.get()
    return found if cell is None else [*found, *cell.frames]


def _has_context(frame: FrameType) -> bool:
    return frame.f_locals.get("first") in STEPS


def _key(frame: FrameType) -> Key:
    """Name an emit without holding on to it, so that nothing of it stays once it has ended."""
    return id(frame), id(frame.f_locals["event"])


@final
class Early(Here):
    """What is in force in an emit that began early, from the first question in it.

    It stays in the context when that emit ends, for nobody takes it out; so each look at it looks at the stack, too.
    """

    __slots__ = ("before", "key")

    def __init__(self, key: Key, current: Current, before: Here | None) -> None:
        super().__init__(current.principal, current.correlation_id, current.id, current, current.traceparent)
        self.key, self.before = key, before

    def lasts(self) -> bool:
        """Tell whether the emit has not ended."""
        if isinstance(self.key, Stage):
            return self.key.active and self.key in ROUTE.get()
        # What has a context began later, maybe where a frame and an event that have gone were.
        under_way = _under_way(sys._getframe(1))  # noqa: SLF001
        return any(_key(frame) == self.key and not _has_context(frame) for frame in under_way)


def settled(here: Here | None) -> Here | None:
    """Return what is in force, once the emits that began early and have ended are taken out.

    Raises:
        ContextLeakError: If it is that of an async generator which has yielded.
    """
    if type(here) is Lent:
        return settled(found) if (found := here.settle()) is not here else here
    if not isinstance(here, Early):
        return here
    while isinstance(here, Early) and not here.lasts():
        here = here.before
    HERE.set(here)
    return here


def asked_within(here: Here | None, *, first: bool = False) -> Here | None:
    """Give a context to the emits without one that the question is asked in.

    Args:
        here: What is in force.
        first: Whether nobody has asked before, so that a hop without a context may well be that of an emit.

    Returns:
        What is in force now.
    """
    here = settled(here)
    known = here.key if isinstance(here, Early) else None
    new: list[FrameType] = []
    for frame in _under_way(sys._getframe(1)):  # noqa: SLF001
        if _has_context(frame) or _key(frame) == known:
            break  # it knows what is around it
        new.append(frame)
    if first and not new:
        here = _of_hop(here)
    for frame in reversed(new):
        here = _of_frame(frame, here)
    if isinstance(here, Early):
        HERE.set(here)
    return here


def _of_frame(frame: FrameType, around: Here | None) -> Early:
    """Give a context to an emit on this stack: when it began is not known."""
    key, names = _key(frame), frame.f_locals
    current = _found.get(key)
    if current is None:
        bus = names["self"]
        core, owner = bus._core, bus._owner  # noqa: SLF001 - the halves of one thing
        current = began(wire_name(names["event"]), core.clock.now(), owner.id, around)
    return Early(key, _found.setdefault(key, current), around)


def _of_hop(around: Here | None) -> Here | None:
    """Do so for the emit that waits for this thread: who emitted it is on a stack that cannot be seen from here."""
    from plugbus.bound import Given  # who is bound emits nothing

    for stage in reversed(ROUTE.get()):
        if stage.active and stage.threads is not None and stage.event is not Given:
            return Early(stage, began(event_type(stage.event).name, datetime.now(UTC), "", around), around)
    return around
