"""Errors beside a running chain: of background work, of reading the log of events, of a context that leaks."""

from __future__ import annotations

from plugbus._errors.base import PlugbusError


class BackgroundFullError(PlugbusError):
    """A background observer has as many events waiting as it may, and this one was not accepted; nothing of it ran.

    Args:
        event: Name of the event.
        subscriber: The observer, or ``"bus.post"``.
        plugin: Id of its plugin.
        max_queue: How many events may wait.
        reason: Why the emitter cannot wait for room; empty where its choice is not to.

    Example:
        >>> print(BackgroundFullError("order.placed", "notify", "mail", 1000))
        'notify' of plugin 'mail' has 1000 events waiting, so 'order.placed' was not accepted.
        Hint: emit it again later, raise max_queue=..., or choose overflow="wait" or "drop_oldest".
    """

    def __init__(self, event: str, subscriber: str, plugin: str, max_queue: int, reason: str = "") -> None:
        super().__init__(event, subscriber, plugin, max_queue, reason)
        self.event, self.subscriber, self.plugin = event, subscriber, plugin
        self.max_queue, self.reason = max_queue, reason

    def _parts(self) -> tuple[str, str]:
        who = f"{self.subscriber!r} of plugin {self.plugin!r}"
        why = f"; {self.reason}" if self.reason else ""
        what = f"{who} has {self.max_queue} events waiting, so {self.event!r} was not accepted{why}."
        return what, 'emit it again later, raise max_queue=..., or choose overflow="wait" or "drop_oldest".'


class NotDeliveredError(PlugbusError):
    """An event that a background observer was to be given was dropped, or left over when time was up.

    It is not raised: ``ListenerFailed`` carries it.

    Args:
        event: Name of the event.
        subscriber: The observer, or ``"bus.post"``.
        plugin: Id of its plugin.
        reason: What became of it.

    Example:
        >>> print(NotDeliveredError("order.placed", "notify", "mail", "it was dropped, because the queue is full"))
        'notify' of plugin 'mail' was not given 'order.placed': it was dropped, because the queue is full.
        Hint: ListenerFailed has the event itself; see the options of background observers, and drain_seconds.
    """

    def __init__(self, event: str, subscriber: str, plugin: str, reason: str) -> None:
        super().__init__(event, subscriber, plugin, reason)
        self.event, self.subscriber, self.plugin, self.reason = event, subscriber, plugin, reason

    def _parts(self) -> tuple[str, str]:
        what = f"{self.subscriber!r} of plugin {self.plugin!r} was not given {self.event!r}: {self.reason}."
        return what, "ListenerFailed has the event itself; see the options of background observers, and drain_seconds."


class NotSettledError(PlugbusError):
    """Work in the background was still waiting or running when the time to settle was up.

    Args:
        seconds: How long it was waited for, in seconds.
        unsettled: What was left, each as ``subscriber of plugin: how many``.

    Example:
        >>> NotSettledError(5.0, ("notify of mail: 2 waiting",)).unsettled
        ('notify of mail: 2 waiting',)
    """

    def __init__(self, seconds: float, unsettled: tuple[str, ...]) -> None:
        super().__init__(seconds, unsettled)
        self.seconds, self.unsettled = seconds, unsettled

    def __str__(self) -> str:
        told = f"after {self.seconds:g} s there was still work in the background: {'; '.join(self.unsettled)}."
        return f"{told}\nHint: a retry waits on the clock; with a FakeClock, advance() it first."


class CursorError(PlugbusError, ValueError):
    """Something that is no cursor of a log of events was given as one.

    Args:
        cursor: What was given; cut short, because it came from outside.

    Example:
        >>> print(CursorError("yesterday"))
        'yesterday' is no cursor of an event log.
        Hint: give one back as it was received, or none to begin with what happens from now on.
    """

    def __init__(self, cursor: str) -> None:
        super().__init__(cursor[:80])
        self.cursor = cursor[:80]

    def _parts(self) -> tuple[str, str]:
        hint = "give one back as it was received, or none to begin with what happens from now on."
        return f"{self.cursor!r} is no cursor of an event log.", hint


class CursorExpiredError(PlugbusError):
    """A log of events does not reach back to a cursor, so that some events after it cannot be read any more.

    Args:
        cursor: Where somebody wanted to go on.
        reason: ``"retention"`` (events after it are gone), ``"another log"`` (this one was begun anew) or ``"ahead"``
            (this one does not reach as far, as after a backup was put back).
        newest: The cursor to go on with after what was missed.

    Example:
        >>> print(CursorExpiredError("00c0ffee-1", "retention", "00c0ffee-9"))
        the event log cannot go on after cursor '00c0ffee-1': retention.
        Hint: load the present state anew, then read on from '00c0ffee-9'.
    """

    def __init__(self, cursor: str, reason: str, newest: str) -> None:
        super().__init__(cursor, reason, newest)
        self.cursor, self.reason, self.newest = cursor, reason, newest

    def _parts(self) -> tuple[str, str]:
        what = f"the event log cannot go on after cursor {self.cursor!r}: {self.reason}."
        return what, f"load the present state anew, then read on from {self.newest!r}."


class ContextLeakError(PlugbusError):
    """An async generator yielded inside ``acting_as``, so that its consumer would act as somebody else.

    Args:
        generator: Qualified name of the generator function.

    Example:
        >>> print(ContextLeakError("rows"))
        the async generator 'rows' yielded inside acting_as(...), and its principal is not that of its consumer.
        Hint: End the block before each yield, or make a context manager of it with contextlib.asynccontextmanager.
    """

    def __init__(self, generator: str) -> None:
        super().__init__(generator)
        self.generator = generator

    def _parts(self) -> tuple[str, str]:
        what = f"the async generator {self.generator!r} yielded inside acting_as(...)"
        hint = "End the block before each yield, or make a context manager of it with contextlib.asynccontextmanager."
        return f"{what}, and its principal is not that of its consumer.", hint
