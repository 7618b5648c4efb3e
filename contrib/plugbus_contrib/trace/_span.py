"""What a tree of emits is made of, for those who read it.

Owns how a tree looks as text and as plain data; a tree may be deep, so nothing here recurses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, TypeAlias, final

__all__ = ("Kind", "Span")

Kind: TypeAlias = Literal["emit", "listener", "handler", "observer"]


@final
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Span:
    """One emit, or the run of one of its subscribers, and all that came of it; ``str()`` is a tree for people.

    A line has what it is, its plugin in brackets, how long it took in milliseconds, and behind ``!`` what it raised.

    Attributes:
        kind: ``"emit"``, or the kind of the subscriber.
        event: Wire name of the event.
        subscriber: Name of the subscriber; empty for an emit.
        plugin: Id of the subscriber's plugin, or of the plugin that emitted; ``"host"`` for the service itself.
        id: Id of the emit, as ``plugbus.current().id``.
        correlation_id: What all that belongs together shares; log lines have it.
        cause: Id of the emit that this one came of, whether it is still kept or not.
        time: When the emit began.
        seconds: How long it took, what it waited for included, in seconds; None as long as it runs.
        error: What it raised: the name of its type, and of a refusal the reason; empty if nothing.
        data: The event as text, if the trace keeps data; empty otherwise.
        skipped: How many further runs of subscribers were not kept, because one emit had too many.
        children: What ran in it, and what came of it, in the order in which they began.

    Example:
        >>> from plugbus import Event, EventBus
        >>> from plugbus_contrib.trace import Trace
        >>> class Tick(Event, name="tick"): ...
        >>> bus = EventBus()
        >>> subscription = bus.observe(Tick, lambda tick: None, name="clock")
        >>> with Trace(bus) as trace:
        ...     _ = bus.emit(Tick())
        >>> print(trace.recent()[0])
        emit tick [host]           ... ms
          observer clock [host]    ... ms
    """

    kind: Kind
    event: str
    subscriber: str
    plugin: str
    id: str
    correlation_id: str
    cause: str | None
    time: datetime
    seconds: float | None
    error: str
    data: str
    skipped: int
    children: tuple[Span, ...]

    def walk(self) -> Iterator[tuple[int, Span]]:
        """Go through the tree from the top, and give each span with its depth, from 0.

        Example:
            >>> from plugbus import EventBus
            >>> from plugbus_contrib.trace import Trace
            >>> bus = EventBus()
            >>> with Trace(bus) as trace:
            ...     _ = bus.emit_named("tick", {})
            >>> [(depth, span.event) for depth, span in trace.recent()[0].walk()]
            [(0, 'tick')]
        """
        waiting: list[tuple[int, Span]] = [(0, self)]
        while waiting:
            depth, span = waiting.pop()
            yield depth, span
            waiting += [(depth + 1, child) for child in reversed(span.children)]

    def as_dict(self) -> dict[str, Any]:
        """Return the tree as plain data: the attributes, the time in ISO format, the children as dictionaries."""
        path: list[dict[str, Any]] = []
        for depth, span in self.walk():
            plain = {field.name: getattr(span, field.name) for field in fields(span)}
            plain |= {"time": span.time.isoformat(), "children": []}
            del path[depth:]
            if path:
                path[-1]["children"].append(plain)
            path.append(plain)
        return path[0]

    def __str__(self) -> str:
        rows = [("  " * depth + _title(span), _outcome(span)) for depth, span in self.walk()]
        width = max(len(title) for title, _ in rows)
        return "\n".join(f"{title:{width}}{outcome}" for title, outcome in rows)

    def __repr__(self) -> str:
        return f"<Span {_title(self)}>"


def _title(span: Span) -> str:
    return f"{span.kind} {span.subscriber or span.event} [{span.plugin}]"


def _outcome(span: Span) -> str:
    took = "  running" if span.seconds is None else f"{span.seconds * 1000:9.2f} ms"
    failed = f"  ! {span.error}" if span.error else ""
    data = f"  {span.data}" if span.data else ""
    skipped = f"  ({span.skipped} runs not kept)" if span.skipped else ""
    return f"{took}{failed}{data}{skipped}"
