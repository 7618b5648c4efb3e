"""What belongs together across processes: ``traceparent`` and ``x-correlation-id``, in and out.

Owns reading the headers; what is shared by all that comes of a request is kernel's ``acting_as``.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from typing import Final

from plugbus_adapters.cloudevents import trace_context

__all__ = ("CORRELATION", "correlated", "new_id")

CORRELATION: Final = b"x-correlation-id"
_GIVEN: Final = re.compile(rb"[\w.:@=+/-]{1,128}")

_prefix = ""
_count = itertools.count(1)


def _renew() -> None:
    global _prefix, _count
    _prefix, _count = os.urandom(8).hex(), itertools.count(1)


_renew()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


def new_id() -> str:
    """Return an id that nothing else has: 32 hexadecimal digits."""
    return f"{_prefix}{next(_count):016x}"


def correlated(headers: dict[bytes, bytes]) -> tuple[str, str | None, str | None]:
    """Return what a request belongs to, what it came of, and its trace; a new id where no header says so.

    ``x-correlation-id`` goes before the trace of ``traceparent`` (W3C Trace Context, section 3.2); what does not have
    the form of either is passed over. Where a tracer of OpenTelemetry has a span open for the request, as Starlette's
    middleware does, what comes of it belongs to that: a second one is not opened.
    """
    parent = headers.get(b"traceparent")
    trace = _open_span() or (None if parent is None else trace_context(parent.decode("latin-1")))
    cause = None if trace is None else trace[36:52]
    given = headers.get(CORRELATION)
    if given is not None and _GIVEN.fullmatch(given):
        return given.decode(), cause, trace
    return new_id() if trace is None else trace[3:35], cause, trace


def _open_span() -> str | None:
    """Return the trace context of the span that is open here; whoever opened one has loaded OpenTelemetry."""
    tracing = sys.modules.get("opentelemetry.trace")
    if tracing is None:
        return None
    span = tracing.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if span.is_valid else None
