"""Who caused what: the last emits of a bus as trees, with who ran, for how long, and what failed."""

from plugbus_contrib.trace._plugin import TracePlugin
from plugbus_contrib.trace._span import Span
from plugbus_contrib.trace._trace import Trace

__all__ = ("Span", "Trace", "TracePlugin")
