"""CloudEvents 1.0 in and out, for every edge: structured, batched and binary, with nothing but plugbus."""

from plugbus_adapters.cloudevents._binary import from_binary, from_http, to_binary
from plugbus_adapters.cloudevents._event import CloudEvent, CloudEventError
from plugbus_adapters.cloudevents._json import (
    BATCH,
    STRUCTURED,
    from_batch,
    from_structured,
    logged_to_json,
    to_batch,
    to_structured,
)
from plugbus_adapters.cloudevents._trace import trace_context

__all__ = (
    "BATCH",
    "STRUCTURED",
    "CloudEvent",
    "CloudEventError",
    "from_batch",
    "from_binary",
    "from_http",
    "from_structured",
    "logged_to_json",
    "to_batch",
    "to_binary",
    "to_structured",
    "trace_context",
)
