"""What becomes of an error that an emit does not raise: logged, counted, announced.

Owns the counts; what counts as such an error is decided by ``policies.py`` and ``observers.py``.
"""

from __future__ import annotations

import dataclasses
import threading
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, final

from plugbus._context import HERE, wire_name
from plugbus._services.units import detached
from plugbus.errors import NotDeliveredError
from plugbus.event_types import event
from plugbus.log import named_logger

if TYPE_CHECKING:
    from plugbus.owner import Owner
    from plugbus.subscription import Subscription

Failure = tuple["Subscription", Exception]


class Failing(Protocol):
    """Who failed: a subscription, or the queue of what is done in the background."""

    @property
    def name(self) -> str: ...
    @property
    def owner(self) -> Owner: ...
    @property
    def plugin(self) -> str: ...


@event(name="plugbus.listener_failed")
@final
@dataclasses.dataclass(frozen=True)
class ListenerFailed:
    """Announced when a subscriber failed and its error policy kept that from the emitter.

    Attributes:
        event: The event that it was given.
        subscriber: Name of the subscriber.
        plugin: Id of its plugin.
        attempt: Which attempt failed, from 1; 0 if a background observer never was given the event.
        error: What it raised.
        correlation_id: What all that came of one first request shares, as the log line of the failure says it; None
            if nobody in the process has asked for the context of an emit, or used ``acting_as``.

    Example:
        >>> import structlog.testing
        >>> from plugbus import Event, EventBus
        >>> class Tick(Event): ...
        >>> bus = EventBus()
        >>> failed = bus.observe(ListenerFailed, lambda failure: print(failure.subscriber, failure.error))
        >>> ticks = bus.observe(Tick, lambda tick: 1 / 0, name="broken")
        >>> with structlog.testing.capture_logs():
        ...     _ = bus.emit(Tick())
        broken division by zero
    """

    event: object
    subscriber: str
    plugin: str
    attempt: int
    error: Exception
    correlation_id: str | None = None


@final
class Failures:
    """Logs, counts and announces failures of subscribers.

    Args:
        announce: Emits the announcement from a thread; may be told to wait for the loop.
        aannounce: Emits it on the loop.
    """

    __slots__ = ("_aannounce", "_announce", "_counts", "_lock")

    def __init__(
        self, announce: Callable[[ListenerFailed], object], aannounce: Callable[[ListenerFailed], Awaitable[object]]
    ) -> None:
        self._announce, self._aannounce = announce, aannounce
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def by_plugin(self) -> dict[str, int]:
        """Return how many failures each plugin's subscribers had."""
        with self._lock:
            return dict(self._counts)

    def report(self, subscription: Failing, event: Any, error: Exception, attempt: int = 1) -> None:
        """Report one failure from a thread."""
        announcement = self._note(subscription, event, error, attempt)
        if announcement is not None:
            try:
                with detached():  # what is told of a failure does not depend on whether the rest succeeds
                    self._announce(announcement)
            except Exception as failure:  # noqa: BLE001 - the failure of a report must not become the emitter's
                _log("announcing a failure failed", subscription, event, failure)

    async def areport(self, subscription: Failing, event: Any, error: Exception, attempt: int = 1) -> None:
        """Report one failure on the loop."""
        announcement = self._note(subscription, event, error, attempt)
        if announcement is not None:
            try:
                with detached():
                    await self._aannounce(announcement)
            except Exception as failure:  # noqa: BLE001 - as above
                _log("announcing a failure failed", subscription, event, failure)

    @staticmethod
    def tell_of_retry(subscription: Failing, event: Any, error: Exception, attempt: int, seconds: float) -> None:
        """Log a failure that is not the last word: the subscriber will be given the event again."""
        facts = {"attempt": attempt, "retry_in_seconds": seconds}
        _log("subscriber will be tried again", subscription, event, error, level="warning", **facts)

    def _note(self, subscription: Failing, event: Any, error: Exception, attempt: int) -> ListenerFailed | None:
        if isinstance(event, ListenerFailed):
            _part(error, event.error)
        lost = {"lost": repr(event)} if isinstance(error, NotDeliveredError) else {}
        _log("subscriber failed", subscription, event, error, attempt=attempt, **lost)
        with self._lock:
            self._counts[subscription.plugin] += 1
        if isinstance(event, ListenerFailed):  # or one broken observer of failures would announce itself for ever
            return None
        told = here.told() if (here := HERE.get()) is not None else {}
        return ListenerFailed(event, subscription.name, subscription.plugin, attempt, error, told.get("correlation_id"))

    def settle(self, event: Any, failed: Iterable[Failure]) -> None:
        """Report the failures of observers that log; raise those of observers that raise, as one group."""
        for subscription, error in (raised := _Raised(failed)).logged:
            self.report(subscription, event, error)
        raised.throw(event)

    async def asettle(self, event: Any, failed: Iterable[Failure]) -> None:
        """Do the same on the loop."""
        for subscription, error in (raised := _Raised(failed)).logged:
            await self.areport(subscription, event, error)
        raised.throw(event)


@final
class _Raised:
    """Failures sorted by the policy of their observers."""

    __slots__ = ("errors", "logged")

    def __init__(self, failed: Iterable[Failure]) -> None:
        self.logged: list[Failure] = []
        self.errors: list[Exception] = []
        for subscription, error in failed:
            if subscription.options.on_error == "raise":
                error.add_note(f"in observer {subscription.name!r} of plugin {subscription.plugin!r}")
                self.errors.append(error)
            else:
                self.logged.append((subscription, error))

    def throw(self, event: Any) -> None:
        if self.errors:
            raise ExceptionGroup(f"observers of {wire_name(event)!r} failed", self.errors)


def _part(error: BaseException, told: BaseException) -> None:
    """Take out of a failure's context what it was told of: that is another's, and so are the secrets in its words."""
    while error.__context__ is not None and error.__context__ is not told:
        error = error.__context__
    error.__context__ = None


def _log(
    message: str, subscription: Failing, event: Any, error: Exception, *, level: str = "error", **facts: object
) -> None:
    hide = subscription.owner.hide
    getattr(named_logger("plugbus"), level)(
        message,
        plugin=subscription.plugin,
        subscriber=subscription.name,
        event_type=wire_name(event),
        error=hide("".join(traceback.format_exception_only(error)).strip()),  # works for one that cannot print itself
        exception=hide("".join(traceback.format_exception(error))),  # without the values of variables, maybe secret
        **facts,
    )
