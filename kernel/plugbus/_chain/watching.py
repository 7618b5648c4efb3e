"""An instrument's callbacks around one callable; compiled in only while somebody watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from plugbus.instrument import Instrument, Watched

if TYPE_CHECKING:
    from plugbus.event_types import EventType
    from plugbus.subscription import Subscription

Call = Callable[..., Any]


def watched(call: Call, instrument: Instrument, subscription: Subscription | None, declared: EventType) -> Call:
    """Report start and end of a sync callable."""
    what = _what(subscription, declared)

    def watched_call(event: Any, *rest: Any) -> Any:
        token = instrument.enter(what, event)
        try:
            result = call(event, *rest)
        except BaseException as error:
            instrument.leave(what, token, error)
            raise
        instrument.leave(what, token, None)
        return result

    return watched_call


def awatched(call: Call, instrument: Instrument, subscription: Subscription | None, declared: EventType) -> Call:
    """Report start and end of an async callable."""
    what = _what(subscription, declared)

    async def watched_call(event: Any, *rest: Any) -> Any:
        token = instrument.enter(what, event)
        try:
            result = await call(event, *rest)
        except BaseException as error:
            instrument.leave(what, token, error)
            raise
        instrument.leave(what, token, None)
        return result

    return watched_call


def _what(subscription: Subscription | None, declared: EventType) -> Watched:
    if subscription is None:
        return Watched("emit", declared.name)
    return Watched(subscription.kind, declared.name, subscription.name, subscription.plugin)
