"""A W3C trace context goes in with a request or a message, along with all that comes of it, and out to readers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.adapters.http.events.tools import ANN, OrderPaid, OrderPlaced, Shop, reading, told

from plugbus import EventBus, Kernel, Logger, Plugin, observes
from plugbus_adapters.http import create_app
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio
OUTER, INNER = (f"00-{digit * 32}-{'e' * 16}-01" for digit in "ab")
STRUCTURED = "application/cloudevents+json"


class Till(Plugin, id="till"):
    def __init__(self, bus: EventBus, log: Logger) -> None:
        self._bus, self._log = bus, log

    @observes(OrderPlaced)
    async def pay(self, event: OrderPlaced) -> None:
        self._log.info("paid")
        await self._bus.aemit(OrderPaid(shop=event.shop))


def binary(**headers: str) -> tuple[dict[str, str], str]:
    event = told()
    named = {f"ce-{name}": event[name] for name in ("specversion", "id", "source", "type")}
    return {**named, "content-type": "application/json", **headers}, json.dumps(event["data"])


@pytest.mark.parametrize(
    ("message", "trace"),
    [
        (({"content-type": STRUCTURED}, json.dumps(told())), None),
        (({"content-type": STRUCTURED, "traceparent": OUTER}, json.dumps(told())), OUTER),
        (({"content-type": STRUCTURED}, json.dumps(told(traceparent=INNER))), INNER),
        (({"content-type": STRUCTURED, "traceparent": OUTER}, json.dumps(told(traceparent=INNER))), INNER),
        (binary(traceparent=OUTER), OUTER),
        (binary(traceparent=OUTER, **{"ce-traceparent": INNER}), INNER),
        (binary(**{"ce-traceparent": "no-trace"}), None),
    ],
)
async def test_a_message_and_what_comes_of_it_belong_to_its_trace(message: Any, trace: str | None) -> None:
    """That of the event goes before that of the request which brought it; the log's lines say which."""
    headers, body = message
    kernel = Kernel([Shop, Till])
    app = create_app(kernel)
    async with kernel, client(app, as_=ANN) as http, reading(app) as stream:
        with capture_logs() as lines:
            answer = await http.post("/events", headers=headers, content=body)
        events = {data["type"]: data for _, _, data in [await stream.next(), await stream.next()]}

    assert answer.status_code == 202
    assert [events[name].get("traceparent") for name in ("order.placed", "order.paid")] == [trace, trace]
    [paid] = [line for line in lines if line["event"] == "paid"]
    assert paid.get("trace_id") == (trace and trace[3:35])
