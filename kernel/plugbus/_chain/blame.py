"""Who did it: notes on errors and loops of emits, found afterwards, so that an emit that goes well pays nothing."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from plugbus._annotations import underlying
from plugbus._route import ROUTE, most_visited
from plugbus.errors import EmitLoopError, Refused
from plugbus.event_types import event_type

if TYPE_CHECKING:
    from plugbus.subscription import Subscription

EMITTERS: Final[set[CodeType]] = set()
"""The code of the methods that emit; ``bus.py`` enters its own."""

LOOP: Final = 10
"""How many emits of one event, each within the one before, are taken for a loop once the stack is full."""


LOOP_OF_HOPS: Final = 4
"""The same for emits that led through worker threads, each of which has a stack of its own."""


def add_note(error: Exception, event: object, subscriptions: Iterable[Subscription]) -> None:
    """Note on an error which subscriber raised it; a refusal, or one that says so itself, is left as it is."""
    if isinstance(error, Refused) or hasattr(error, "subscriber"):
        return
    culprit = _culprit(error, tuple(subscriptions))
    who = f"{culprit.kind} {culprit.name!r} of plugin {culprit.plugin!r}" if culprit else "the chain"
    note = f"in {who}, given {event_type(type(event)).name!r}"
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


def _culprit(error: Exception, subscriptions: tuple[Subscription, ...]) -> Subscription | None:
    """Return the innermost subscriber of this emit that the traceback went through."""
    left = list(subscriptions)
    culprit: Subscription | None = None
    for frame in _own_frames(error.__traceback__):
        for index, subscription in enumerate(left):
            if _runs(frame, subscription):
                culprit = left.pop(index)
                break
    return culprit


def _own_frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    """Yield the frames of an emit, without those of emits within it."""
    emits = 0
    while traceback is not None:
        frame = traceback.tb_frame
        emits += frame.f_code in EMITTERS
        if emits > 1:
            return
        yield frame
        traceback = traceback.tb_next


def _runs(frame: FrameType, subscription: Subscription) -> bool:
    for call in (subscription.call, subscription.acall):
        if call is None or getattr(underlying(call), "__code__", None) is not frame.f_code:
            continue
        bound = getattr(call, "__self__", None)
        if bound is not None and frame.f_code.co_argcount:
            return frame.f_locals.get(frame.f_code.co_varnames[0]) is bound
        return _same_closure(frame, underlying(call))
    return False


def _same_closure(frame: FrameType, function: Any) -> bool:
    """Tell apart functions that one factory made, by the variables that they hold on to."""
    held = zip(frame.f_code.co_freevars, function.__closure__ or (), strict=False)
    try:
        return all(frame.f_locals.get(name) is cell.cell_contents for name, cell in held)
    except ValueError:  # a variable that has no value yet
        return False


def in_loop() -> bool:
    """Tell whether emits of one event, each within the one before, led here, on this stack or over threads."""
    return _loops(sys._getframe(1))  # noqa: SLF001 - the one way to see the stack


def loop_error() -> EmitLoopError | None:
    """Return the error for a stack that overflowed, if a loop of emits is what filled it."""
    frame = sys._getframe(1)  # noqa: SLF001 - the one way to see the stack
    if not _loops(frame):
        return None
    types = [type(event) for event in _emitted(frame)]
    last = types[0]
    between = list(itertools.takewhile(lambda cls: cls is not last, types[1:]))
    if not between or last not in types[1:]:  # the rest of the loop may be on other stacks
        between = list(dict.fromkeys(stage.event for stage in ROUTE.get() if stage.event is not last))[::-1]
    return EmitLoopError(tuple(event_type(cls).name for cls in (last, *reversed(between))))


def _loops(frame: FrameType | None) -> bool:
    counts: dict[type, int] = {}
    for event in _emitted(frame):
        cls = type(event)
        counts[cls] = count = counts.get(cls, 0) + 1  # not a Counter: there may be little stack left
        if count >= LOOP:
            return True
    return most_visited(ROUTE.get()) >= LOOP_OF_HOPS


def _emitted(frame: FrameType | None) -> Iterator[Any]:
    while frame is not None:
        if frame.f_code in EMITTERS:
            yield frame.f_locals.get("event")
        frame = frame.f_back
