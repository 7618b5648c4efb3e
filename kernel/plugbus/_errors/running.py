"""Errors of a running chain: emits, calls and streams."""

from __future__ import annotations

from plugbus._errors.base import PlugbusError


class NoHandlerError(PlugbusError, LookupError):
    """A request came to the bottom of its chain, and nobody answers it.

    Args:
        event: Name of the request.
        key: Its key value, when its handlers are chosen by key.

    Example:
        >>> print(NoHandlerError("orders.place"))
        request 'orders.place' has no handler.
        Hint: register one with bus.answer() or @answers, or enable the plugin that answers it.
    """

    def __init__(self, event: str, key: object = None) -> None:
        super().__init__(event, key)
        self.event, self.key = event, key

    def _parts(self) -> tuple[str, str]:
        keyed = "" if self.key is None else f" for key {self.key!r}"
        hint = "register one with bus.answer() or @answers, or enable the plugin that answers it."
        return f"request {self.event!r} has no handler{keyed}.", hint


class ChainContractError(PlugbusError):
    """A subscriber broke a rule of the chain; ``checked=True`` found out which.

    Args:
        event: Name of the event.
        subscriber: The culprit.
        plugin: Id of its plugin.
        problem: What it did, and what it should do.

    Example:
        >>> print(ChainContractError("order.placed", "audit", "shop", "returned None; return what next_fn returned"))
        'audit' of plugin 'shop', on event 'order.placed': returned None; return what next_fn returned
    """

    def __init__(self, event: str, subscriber: str, plugin: str, problem: str) -> None:
        super().__init__(event, subscriber, plugin, problem)
        self.event, self.subscriber, self.plugin, self.problem = event, subscriber, plugin, problem

    def _parts(self) -> tuple[str, str]:
        return f"{self.subscriber!r} of plugin {self.plugin!r}, on event {self.event!r}: {self.problem}", ""


class EmitLoopError(PlugbusError):
    """Emits that cause each other without end.

    Not a ``RecursionError``, which isolation of observers would swallow.

    Args:
        loop: Names of the events, in the order in which each caused the next.

    Example:
        >>> print(EmitLoopError(("order.changed", "stock.changed")))
        events emit each other in a loop: 'order.changed' -> 'stock.changed' -> 'order.changed'.
        Hint: let one of their subscribers stop when there is nothing left to do.
    """

    def __init__(self, loop: tuple[str, ...]) -> None:
        super().__init__(loop)
        self.loop = loop

    def _parts(self) -> tuple[str, str]:
        path = " -> ".join(map(repr, (*self.loop, *self.loop[:1])))
        hint = "let one of their subscribers stop when there is nothing left to do."
        return f"events emit each other in a loop: {path}.", hint


class NoPrincipalError(PlugbusError):
    """Somebody asked who acts, or which emit runs, and cannot do without; and there is none.

    Args:
        where: Who asked.
        wanted: What for: ``Principal`` or ``Current``.

    Example:
        >>> print(NoPrincipalError("shop.pay", "Principal"))
        shop.pay asks for a Principal, and nobody acts.
        Hint: Emit within `with acting_as(principal):`, or ask for `Principal | None`.
    """

    def __init__(self, where: str, wanted: str) -> None:
        super().__init__(where, wanted)
        self.where, self.wanted = where, wanted

    def _parts(self) -> tuple[str, str]:
        if self.wanted == "Principal":
            hint = "Emit within `with acting_as(principal):`, or ask for `Principal | None`."
            return f"{self.where} asks for a Principal, and nobody acts.", hint
        return f"{self.where} asks for the {self.wanted} emit, and none is running.", f"Ask for `{self.wanted} | None`."


class SyncEmitError(PlugbusError):
    """A sync emit or call on the event loop's own thread met an async subscriber; nothing ran.

    Args:
        event: Name of the event; empty for ``bound.sync()``, which calls one function.
        subscriber: The first subscriber that needs the loop; or that function.

    Example:
        >>> print(SyncEmitError("order.placed", "notify"))
        emit of 'order.placed' needs the event loop for 'notify', on the thread that runs it; nothing ran.
        Hint: await bus.aemit(...), bus.acall(...) or bound(...) here, or do it from a worker thread.
    """

    def __init__(self, event: str, subscriber: str) -> None:
        super().__init__(event, subscriber)
        self.event, self.subscriber = event, subscriber

    def _parts(self) -> tuple[str, str]:
        what = f"emit of {self.event!r} needs the event loop for {self.subscriber!r}, on the thread that runs it"
        if not self.event:
            what = f"{self.subscriber!r} was called with bound.sync() on the thread of the event loop, which it needs"
        return (
            f"{what}; nothing ran.",
            "await bus.aemit(...), bus.acall(...) or bound(...) here, or do it from a worker thread.",
        )


class ListenerTimeoutError(PlugbusError):
    """A subscriber was still running when its time was up.

    Args:
        event: Name of the event.
        subscriber: The listener, handler or observer.
        plugin: Id of its plugin.
        seconds: The time it had, in seconds.

    Example:
        >>> print(ListenerTimeoutError("order.placed", "notify", "mail", 2.0))
        'notify' of plugin 'mail' was still running after 2 s, on event 'order.placed'.
        Hint: allow more with timeout_seconds=..., or make the slow part quicker.
    """

    def __init__(self, event: str, subscriber: str, plugin: str, seconds: float) -> None:
        super().__init__(event, subscriber, plugin, seconds)
        self.event, self.subscriber, self.plugin, self.seconds = event, subscriber, plugin, seconds

    def _parts(self) -> tuple[str, str]:
        who = f"{self.subscriber!r} of plugin {self.plugin!r}"
        what = f"{who} was still running after {self.seconds:g} s, on event {self.event!r}."
        return what, "allow more with timeout_seconds=..., or make the slow part quicker."


class WorkerProcessError(PlugbusError):
    """The worker process of a subscriber ended before it answered; a new one takes the next event.

    Args:
        event: Name of the event.
        subscriber: The handler or observer.
        plugin: Id of its plugin.
        exit_status: Of the process; below zero, the signal that ended it.

    Example:
        >>> print(WorkerProcessError("order.placed", "draw", "invoices", -9))
        'draw' of plugin 'invoices' lost its worker process on event 'order.placed': SIGKILL (exit status -9).
        Hint: -9 is often the system out of memory, -11 a crash in C code; it may have done part of its work.
    """

    def __init__(self, event: str, subscriber: str, plugin: str, exit_status: int) -> None:
        super().__init__(event, subscriber, plugin, exit_status)
        self.event, self.subscriber, self.plugin, self.exit_status = event, subscriber, plugin, exit_status

    def _parts(self) -> tuple[str, str]:
        from signal import Signals  # only for those who read it

        try:
            ended = f"{Signals(-self.exit_status).name} (exit status {self.exit_status})"
        except ValueError:
            ended = f"exit status {self.exit_status}"
        who = f"{self.subscriber!r} of plugin {self.plugin!r}"
        what = f"{who} lost its worker process on event {self.event!r}: {ended}."
        return what, "-9 is often the system out of memory, -11 a crash in C code; it may have done part of its work."


class BreakerOpenError(PlugbusError):
    """A subscriber failed too often and gets no work until its breaker closes again.

    Args:
        subscriber: The subscriber behind the breaker.
        plugin: Id of its plugin.
        retry_after_seconds: Time until the next attempt is let through, in seconds.

    Example:
        >>> print(BreakerOpenError("notify", "mail", 12.5))
        the breaker of 'notify' of plugin 'mail' is open after repeated failures.
        Hint: it lets a trial through in 12.5 s; the log has the failures that opened it.
    """

    def __init__(self, subscriber: str, plugin: str, retry_after_seconds: float) -> None:
        super().__init__(subscriber, plugin, retry_after_seconds)
        self.subscriber, self.plugin, self.retry_after_seconds = subscriber, plugin, retry_after_seconds

    def _parts(self) -> tuple[str, str]:
        what = f"the breaker of {self.subscriber!r} of plugin {self.plugin!r} is open after repeated failures."
        hint = f"it lets a trial through in {self.retry_after_seconds:g} s; the log has the failures that opened it."
        return what, hint


class StreamOverflowError(PlugbusError):
    """A stream's reader lagged behind until its buffer was full.

    Args:
        events: What the stream reads.
        max_buffer: How many events may wait.

    Example:
        >>> print(StreamOverflowError("order.*", 1000))
        the reader of stream 'order.*' fell more than 1000 events behind.
        Hint: read faster, raise max_buffer=..., or choose overflow="drop_oldest".
    """

    def __init__(self, events: str, max_buffer: int) -> None:
        super().__init__(events, max_buffer)
        self.events, self.max_buffer = events, max_buffer

    def _parts(self) -> tuple[str, str]:
        what = f"the reader of stream {self.events!r} fell more than {self.max_buffer} events behind."
        return what, 'read faster, raise max_buffer=..., or choose overflow="drop_oldest".'


class PermissionDeniedError(PlugbusError):
    """A plugin did what neither its manifest nor the operator allows.

    Args:
        plugin: Id of the plugin.
        action: What it tried: ``publish``, ``subscribe`` or ``use``.
        what: The event, pattern or permission it tried it on.

    Example:
        >>> print(PermissionDeniedError("shop", "publish", "user.deleted"))
        plugin 'shop' may not publish 'user.deleted'.
        Hint: declare it in the manifest of 'shop' (publishes=[...]), and check the operator's grants.
    """

    def __init__(self, plugin: str, action: str, what: str) -> None:
        super().__init__(plugin, action, what)
        self.plugin, self.action, self.what = plugin, action, what

    def _parts(self) -> tuple[str, str]:
        field = {"publish": "publishes", "subscribe": "subscribes"}.get(self.action, "permissions")
        hint = f"declare it in the manifest of {self.plugin!r} ({field}=[...]), and check the operator's grants."
        return f"plugin {self.plugin!r} may not {self.action} {self.what!r}.", hint


class EmitCancelled(BaseException):
    """The emit that a thread works for was cancelled.

    Seen from a thread without an event loop of its own, where no cancellation class of one exists.
    Let it pass: like every cancellation it is no ``Exception``, so that no error policy swallows it.

    Args:
        event: Name of the event; empty when unknown.

    Example:
        >>> print(EmitCancelled("order.placed"))
        the emit of 'order.placed' was cancelled; let this pass.
    """

    def __init__(self, event: str = "") -> None:
        super().__init__(event)
        self.event = event

    def __str__(self) -> str:
        return f"the emit{f' of {self.event!r}' if self.event else ''} was cancelled; let this pass."
