"""Asking what runs and who acts, and saying who acts.

Owns the two functions; what is known, and how it travels, is in ``_context.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from plugbus._context import HERE, WANTED, Current, Here, in_force
from plugbus._early import asked_within, lent, settled

if TYPE_CHECKING:
    from plugbus.principal import Principal

__all__ = ("acting_as", "current", "will_ask")


def current() -> Current | None:
    """Return the emit that is running, or None where none is.

    The first question switches it on for every bus of the process; before, an emit pays nothing for it.

    Example:
        >>> from plugbus import EventBus, Principal, Request
        >>> class WhoAmI(Request[str]): ...
        >>> bus = EventBus()
        >>> handler = bus.answer(WhoAmI, lambda request: current().principal.id)
        >>> with acting_as(Principal("ann")):
        ...     bus.call(WhoAmI())
        'ann'
        >>> current() is None
        True
    """
    here = HERE.get()
    if WANTED.on and type(here) is Here and (found := here.running()) is not None:
        return found
    here = asked_within(here, first=WANTED.turn_on())
    return None if here is None else here.running()


@contextmanager
def acting_as(
    principal: Principal | None,
    *,
    correlation_id: str | None = None,
    cause: str | None = None,
    traceparent: str | None = None,
) -> Iterator[None]:
    """Say who acts in a block: what is emitted there, and all that comes of it, knows.

    Edges use it around what they received; it holds for threads and tasks that the block starts.
    An async generator that is iterated by ``async for`` may not ``yield`` inside the block, because its consumer would
    act as *principal*: the first to emit there, or to ask, gets a ``ContextLeakError``. Fixtures, dependencies and
    what ``contextlib`` makes a context manager of may.

    Args:
        principal: Who acts; None for nobody.
        correlation_id: What all that belongs together shares, as it was received; the one in force unless given,
            else the id of each outermost emit.
        cause: Id of the message that this came of, as it was received.
        traceparent: The W3C trace context that this belongs to (https://www.w3.org/TR/trace-context/), as it was
            received, once it was seen to be one; the one in force unless given.

    Raises:
        ContextLeakError: If an async generator that has yielded to an ``async for`` says who acts here.

    Example:
        >>> from plugbus import Principal, carried
        >>> with acting_as(Principal("ann"), correlation_id="7f"):
        ...     carried().principal
        Principal('ann', [])
    """
    outer = settled(HERE.get())
    if outer is None:
        here = Here(principal, correlation_id, cause, traceparent=traceparent)
    else:
        emit = outer.running()
        correlation_id, traceparent = correlation_id or outer.correlation_id, traceparent or outer.traceparent
        if emit is not None:
            known = correlation_id or emit.correlation_id
            emit = emit._replace(principal=principal, correlation_id=known, traceparent=traceparent)
        within = emit and (outer.within or outer)
        here = Here(principal, correlation_id, cause or outer.cause, emit, traceparent, within=within)
    with in_force(lent(here, outer)):
        yield


def will_ask(subscriber: object) -> bool:
    """Tell whether a subscriber may well ask: the module that it is written in has imported ``current``.

    Then it is switched on before the first emit, and not in the middle of one.
    """
    module = sys.modules.get(getattr(subscriber, "__module__", None) or "")
    return getattr(module, "current", None) is current
