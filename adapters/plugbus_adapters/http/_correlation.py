"""What belongs together across processes: ``traceparent`` and ``x-correlation-id``, in and out.

Owns reading the headers; what is shared by all that comes of a request is kernel's ``acting_as``.
"""

from __future__ import annotations

import itertools
import os
import re
from typing import Final

__all__ = ("CORRELATION", "correlated", "new_id")

CORRELATION: Final = b"x-correlation-id"
_GIVEN: Final = re.compile(rb"[\w.:@=+/-]{1,128}")
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?")
_NONE: Final = b"0" * 32

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


def correlated(headers: dict[bytes, bytes]) -> tuple[str, str | None]:
    """Return what a request belongs to, and what it came of; a new id where no header says so.

    ``x-correlation-id`` goes before the trace of ``traceparent`` (W3C Trace Context, section 3.2); what does not have
    the form of either is passed over.
    """
    parent = headers.get(b"traceparent")
    trace = None if parent is None else _TRACEPARENT.fullmatch(parent)
    cause = None if trace is None or trace[1] == _NONE else trace[2].decode()
    given = headers.get(CORRELATION)
    if given is not None and _GIVEN.fullmatch(given):
        return given.decode(), cause
    if trace is not None and cause is not None:
        return trace[1].decode(), cause
    return new_id(), None
