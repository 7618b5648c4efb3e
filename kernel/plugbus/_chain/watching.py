"""What is around a subscriber while somebody watches: an instrument's callbacks, the checks of ``checked=True``.

Compiled in for those who ask alone. Each check names the subscriber that broke the contract.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import is_dataclass
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from plugbus.errors import ChainContractError
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


def checked(call: Call, subscription: Subscription, declared: EventType) -> Call:
    """Check what a sync subscriber does with its event, its ``next_fn`` and its result."""

    def checked_call(event: Any, *next_fn: Call) -> Any:
        watch = _Watch(subscription, declared, event)
        try:
            result = call(event, *(watch.guarded(below) for below in next_fn))
        finally:
            watch.ended = True
        watch.check(result)
        return result

    return checked_call


def achecked(call: Call, subscription: Subscription, declared: EventType) -> Call:
    """Check what an async subscriber does; as :func:`checked`."""

    async def checked_call(event: Any, *next_fn: Call) -> Any:
        watch = _Watch(subscription, declared, event)
        try:
            result = await call(event, *(watch.guarded(below) for below in next_fn))
        finally:
            watch.ended = True
        watch.check(result)
        return result

    return checked_call


@final
class _Watch:
    """One call of one subscriber, and what it must not do."""

    __slots__ = ("_before", "_declared", "_event", "_subscription", "ended")

    def __init__(self, subscription: Subscription, declared: EventType, event: Any) -> None:
        self._subscription, self._declared, self._event = subscription, declared, event
        self._before = _content(event)
        self.ended = False

    def guarded(self, next_fn: Call) -> Call:
        def guarded_next(event: Any) -> Any:
            if self.ended:
                raise self._broken("it called next_fn after it had returned")
            if not isinstance(event, self._declared.cls):
                raise self._broken(
                    f"it called next_fn with {_kind(event)} where {self._declared.cls.__qualname__} goes"
                )
            return next_fn(event)

        return guarded_next

    def check(self, result: Any) -> None:
        if iscoroutine(result) or (isawaitable(result) and not isinstance(result, self._declared.cls)):
            if iscoroutine(result):
                result.close()  # or Python warns that nobody awaited it, long after we said who
            raise self._broken("it returned something that was never awaited")
        if self._before is not None and _content(self._event) != self._before:
            raise self._broken("it changed the event under way; return or pass on replace(event, ...)")
        if self._subscription.kind != "observer":
            self._check_type(result)

    def _check_type(self, result: Any) -> None:
        wanted = self._declared.result if self._declared.is_request else self._declared.cls
        if not _fits(result, wanted):
            hint = "; is a return missing?" if result is None else ""
            goes = wanted.__qualname__ if isinstance(wanted, type) else wanted
            raise self._broken(f"it returned {_kind(result)} where {goes} goes{hint}")

    def _broken(self, problem: str) -> ChainContractError:
        return ChainContractError(self._declared.name, self._subscription.name, self._subscription.plugin, problem)


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__qualname__}"


def _content(event: Any) -> Any:
    """Return what an event holds, to be compared later; None where that cannot be told."""
    try:
        return _snapshot(getattr(event, "__dict__", None))
    except RecursionError:  # it holds itself
        return None


def _snapshot(value: Any) -> Any:
    """Copy what data is made of; a live object stands for itself, since a copy of it may be no object that works."""
    if isinstance(value, dict):
        return {key: _snapshot(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, deque)):
        return [_snapshot(item) for item in value]
    if isinstance(value, (set, bytearray)):
        return value.copy()
    if isinstance(value, BaseModel) or (is_dataclass(value) and hasattr(value, "__dict__")):
        return value, _snapshot(vars(value))
    return value


def _fits(result: Any, wanted: Any) -> bool:
    if wanted is Any:
        return True
    if isinstance(wanted, type):
        return isinstance(result, wanted)
    try:
        TypeAdapter(wanted, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(result, strict=True)
    except ValidationError:
        return False
    except (PydanticSchemaGenerationError, TypeError):  # a type that pydantic has no check for
        return True
    return True
