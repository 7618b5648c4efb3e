"""Errors of background work: no room in a queue, and events that were accepted and not delivered."""

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
