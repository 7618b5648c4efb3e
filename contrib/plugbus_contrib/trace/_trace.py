"""Watching a bus through its instrument interface, and asking what was seen.

Owns who is whose child: within an emit the subscriber around, by a context variable; across emits the public context.
"""

from __future__ import annotations

import itertools
import threading
import uuid
from contextlib import suppress
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, Self, final

from plugbus import Clock, Closing, Current, EventBus, Refused, SystemClock, Watched, current
from plugbus_contrib.trace._records import Emit, End, Records, Run
from plugbus_contrib.trace._span import Span

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ("Trace",)

_MAX_TEXT: Final = 500
_CANCELLED: Final = frozenset({"Cancelled", "CancelledError", "EmitCancelled"})


@final
class Trace:
    """Keeps the last emits of a bus as trees: who caused what, for how long, in which plugin, and what failed.

    Nested emits stand below the subscriber that emitted them, in whatever thread it runs; what runs in the background,
    or was posted, stands below the emit that it came of. While it does not watch, the chains of the bus are compiled
    without it. It begins with :meth:`resume`, or at the beginning of a ``with`` block.

    Args:
        bus: Which bus; all views of it are one.
        keep: How many emits, in all trees together; the oldest go first.
        data: Keep the events and the messages of errors as text, too; either may hold secrets.
        clock: Measures how long things take.

    Raises:
        ValueError: If *keep* is not above zero.

    Example:
        >>> from plugbus import Event, EventBus
        >>> class Placed(Event, name="order.placed"): ...
        >>> class Mailed(Event, name="mail.sent"): ...
        >>> bus = EventBus()
        >>> subscription = bus.observe(Placed, lambda placed: bus.emit(Mailed()), name="mail")
        >>> with Trace(bus) as trace:
        ...     _ = bus.emit(Placed())
        >>> print(trace.recent()[0])
        emit order.placed [host]     ... ms
          observer mail [host]       ... ms
            emit mail.sent [host]    ... ms
    """

    def __init__(self, bus: EventBus, *, keep: int = 200, data: bool = False, clock: Clock | None = None) -> None:
        self._bus, self._records = bus, Records(_checked(keep))
        self._recorder = _Recorder(self._records, clock or SystemClock(), data=data)
        self._lock = threading.Lock()
        self._watching: Closing | None = None

    @property
    def watching(self) -> bool:
        """Whether it watches."""
        return self._watching is not None

    def resume(self) -> None:
        """Watch, from the emits on that begin now; again does nothing.

        Raises:
            PermissionDeniedError: If the bus is the view of a plugin that may not hear everything.
        """
        with self._lock:
            if self._watching is None:
                current()  # switches the context of emits on, before the first one is watched
                self._watching = self._bus.instrument(self._recorder)

    def pause(self) -> None:
        """Stop watching, and keep what was seen; again does nothing."""
        with self._lock:
            watching, self._watching = self._watching, None
        if watching is not None:
            watching.close()

    def adjust(self, *, keep: int, data: bool) -> None:
        """Keep more or fewer emits from now on, with or without their data; the oldest go first.

        Args:
            keep: How many emits, in all trees together.
            data: Keep the events and the messages of errors as text, too; either may hold secrets.

        Raises:
            ValueError: If *keep* is not above zero.
        """
        self._records.resize(_checked(keep))
        self._recorder.keeps_data = data

    def recent(self, *, correlation_id: str | None = None) -> tuple[Span, ...]:
        """Return the trees that are kept, the oldest first; one whose cause is not kept any more is a tree of its own.

        So is an emit 200 levels down, below whatever it came of: its ``cause`` says what that was.

        Args:
            correlation_id: Only those that begin with it, as a log line has it.
        """
        tops, _ = self._records.trees()
        return tuple(top for top in tops if correlation_id in {None, top.correlation_id})

    def tree(self, id: str) -> Span:
        """Return one emit, and all that came of it.

        Args:
            id: The id of the emit, as ``plugbus.current().id``.

        Raises:
            LookupError: If it is not kept.
        """
        _, emits = self._records.trees()
        if id not in emits:
            raise LookupError(f"trace: no emit {id!r} is kept; it is older than the last ones, or nobody watched")
        return emits[id]

    def clear(self) -> None:
        """Forget what was seen so far."""
        self._records.clear()

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.pause()

    def __repr__(self) -> str:
        return f"<Trace {'watching' if self.watching else 'paused'}>"


def _checked(keep: int) -> int:
    if keep < 1:
        raise ValueError(f"Trace(keep={keep!r}): must be above zero; pause() it to keep nothing")
    return keep


class _Entered(NamedTuple):
    run: Run
    token: Token[Run | None]


@final
class _Recorder:
    """The instrument: notes what begins and ends."""

    def __init__(self, records: Records, clock: Clock, *, data: bool) -> None:
        self._records, self._monotonic, self.keeps_data = records, clock.monotonic, data
        self._numbers = itertools.count(1)
        self._above: ContextVar[Run | None] = ContextVar("plugbus_trace", default=None)

    def enter(self, what: Watched, event: object, /) -> _Entered | None:
        """Note what begins, below what it came of."""
        now, above = current(), self._above.get()
        if what.kind == "emit":
            emit = _emit_of(what, now)
            parent = above.number if above is not None and above.emit.within == emit.cause else None
            self._keep_data(emit, event)
        elif above is not None and above.emit.within == (now.id if now else None):
            emit, parent = above.emit, above.number
        else:
            emit, parent = self._joined(what, now)
            if parent is None:
                self._keep_data(emit, event)
        run = Run(next(self._numbers), emit, parent, what.kind, self._monotonic())
        run.subscriber = what.subscriber
        run.plugin = what.plugin or (now.emitter if now else "")
        return _Entered(run, self._above.set(run)) if self._records.add(run) else None

    def _joined(self, what: Watched, now: Current | None) -> tuple[Emit, int | None]:
        """Return the emit that a subscriber belongs to which runs later or elsewhere; or one of its own."""
        emit = self._records.find(now.id) if now else None
        if emit is not None:
            return emit, emit.runs[0].number
        apart = _apart(what, now)
        return apart, None

    def _keep_data(self, emit: Emit, event: object) -> None:
        if self.keeps_data:
            emit.data = _text(event)

    def leave(self, what: Watched, token: object, error: BaseException | None, /) -> None:
        """Note how it ended."""
        del what
        if isinstance(token, _Entered):
            run = token.run
            run.end = End(self._monotonic() - run.began, self._told(error))
            with suppress(ValueError):  # a coroutine that was never finished is thrown away in another context
                self._above.reset(token.token)

    def _told(self, error: BaseException | None) -> str:
        if error is None:
            return ""
        name = type(error).__name__
        if name in _CANCELLED:
            return "cancelled"
        if isinstance(error, Refused):  # its reason is for those who asked
            return f"{name}: {error.reason}"
        return f"{name}: {_text(error, of=str)}" if self.keeps_data else name


def _emit_of(what: Watched, now: Current | None) -> Emit:
    if now is None:
        return _apart(what, None)
    return Emit(now.id, now.event, now.time, now.correlation_id, now.cause)


def _apart(what: Watched, now: Current | None) -> Emit:
    """Make a tree of its own for what runs outside of any emit that is kept."""
    id = uuid.uuid4().hex
    if now is None:
        emit = Emit(id, what.event, datetime.now(UTC), id, None)
    else:
        emit = Emit(id, now.event, now.time, now.correlation_id, now.id)
    emit.within = now.id if now else None
    return emit


def _text(value: object, of: type[str] | None = None) -> str:
    """Return a value on one line, cut short."""
    try:
        text = " ".join((of or repr)(value).split())
    except Exception as error:  # noqa: BLE001 - an instrument must not fail, and anybody's __repr__ may
        return f"<no text: {type(error).__name__}>"
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."
