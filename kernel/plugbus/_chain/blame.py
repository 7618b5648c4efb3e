"""Who did it: notes on errors and loops of emits, found afterwards, so that an emit that goes well pays nothing."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from types import CodeType, FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from plugbus._annotations import underlying
from plugbus.errors import EmitLoopError, Refused
from plugbus.event_types import event_type

if TYPE_CHECKING:
    from plugbus.subscription import Subscription

__all__ = ("EMITTERS", "add_note", "loop_error", "loop_in_stack")

EMITTERS: Final[set[CodeType]] = set()
"""The code of the methods that emit; ``bus.py`` enters its own."""

LOOP: Final = 10
"""How many emits of one event, each within the one before, are taken for a loop once the stack is full."""


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
    return all(frame.f_locals.get(name) is cell.cell_contents for name, cell in held)


def loop_in_stack() -> bool:
    """Tell whether this thread's stack is full of emits of one event."""
    return _most_emitted(sys._getframe(1)) is not None  # noqa: SLF001 - the one way to see the stack


def loop_error() -> EmitLoopError | None:
    """Return the error for a stack that overflowed, if a loop of emits is what filled it."""
    frame = sys._getframe(1)  # noqa: SLF001 - as above
    if _most_emitted(frame) is None:
        return None
    names = (event_type(type(emitted)).name for emitted in _emitted(frame))
    last = next(names)
    between = list(itertools.takewhile(lambda name: name != last, names))
    return EmitLoopError((last, *reversed(between)))


def _most_emitted(frame: FrameType | None) -> type | None:
    counts = Counter(type(event) for event in _emitted(frame))
    for cls, count in counts.most_common(1):
        if count >= LOOP:
            return cls
    return None


def _emitted(frame: FrameType | None) -> Iterator[Any]:
    while frame is not None:
        if frame.f_code in EMITTERS:
            yield frame.f_locals.get("event")
        frame = frame.f_back
