"""The wire against software of others: CloudEvents' own SDK sends, sseclient-py reads, over a real server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings import http as sdk
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from tests.adapters.http.events.tools import ANN, SECONDS, Shop, live, server_sent

from plugbus import Kernel, Principal
from plugbus_adapters.http import BearerTokens, create_app

TOKEN = "a-token-that-is-long-enough"
AUTH = {"authorization": f"Bearer {TOKEN}"}
WHEN = datetime(2026, 11, 21, 16, 30, 1, 250_000, tzinfo=UTC)
SCOPES = [*ANN.scopes, "publish:till.**", "subscribe:**"]


@pytest.fixture
def url() -> Iterator[str]:
    app = create_app(Kernel([Shop]), auth=BearerTokens({TOKEN: Principal("ann", SCOPES)}))
    with live(app) as address:
        yield f"http://{address}"


def sent(kind: str, number: int, data: Any, **attributes: Any) -> CloudEvent:
    """An event with every attribute that one can have, in other scripts, too."""
    given = {
        "type": kind, "source": "https://till.example/kasse/3?strasse=l%C3%A4ngs", "id": f"{kind} \N{SNOWMAN} {number}",
        "subject": "berlin \N{EM DASH} \N{GREEK SMALL LETTER OMEGA}", "time": WHEN, "comexampletill": "3", **attributes,
    }  # fmt: skip
    return CloudEvent(given, data)


def read(url: str, events: list[CloudEvent], post: Any) -> list[BaseCloudEvent]:
    """Open a stream, post, and return what comes out of it, as the SDK reads it."""
    with (
        httpx2.Client(timeout=SECONDS, headers=AUTH) as client,
        client.stream("GET", f"{url}/events/stream") as response,
    ):
        found: list[BaseCloudEvent] = []
        post(client)
        for event in server_sent(response):
            found.append(JSONFormat().read(None, event.data.encode()))
            if len(found) == len(events):
                break
        return found


def facts(event: BaseCloudEvent) -> dict[str, Any]:
    """What goes through the bus: extensions of others and the subject do not, for an event of the bus has no such."""
    kept = ("type", "source", "id", "time")
    return {**{name: event.get_attributes().get(name) for name in kept}, "data": event.get_data()}


EVENTS = [
    sent("order.placed", 1, {"shop": "berlin", "order_id": 1}, datacontenttype="application/json"),
    sent(
        "till.opened",
        2,
        {"by": "\N{CJK UNIFIED IDEOGRAPH-5B57}", "n": [1, 2.5, None, True]},
        datacontenttype="application/json",
    ),
    sent("till.closed", 3, None),
]


@pytest.mark.parametrize("mode", [sdk.to_structured_event, sdk.to_binary_event], ids=["structured", "binary"])
def test_what_the_sdk_sends_comes_out_as_it_was(url: str, mode: Any) -> None:
    """In either mode, whatever its attributes and data, of a type that the bus knows or not."""

    def post(client: httpx2.Client) -> None:
        for event in EVENTS:
            message = mode(event)
            answer = client.post(f"{url}/events", headers=message.headers, content=message.body)
            assert answer.status_code == 202, answer.text

    found = read(url, EVENTS, post)

    assert [facts(event) for event in found] == [facts(event) for event in EVENTS]


def test_a_batch_of_the_sdk_is_taken_whole(url: str) -> None:
    """The SDK writes each event; a batch is a list of them (CloudEvents JSON format, section 4)."""
    body = b"[" + b",".join(JSONFormat().write(event) for event in EVENTS) + b"]"

    def post(client: httpx2.Client) -> None:
        headers = {"content-type": "application/cloudevents-batch+json; charset=utf-8"}
        answer = client.post(f"{url}/events", headers=headers, content=body)
        assert (answer.status_code, [each["id"] for each in answer.json()["events"]]) == (
            202,
            [event.get_id() for event in EVENTS],
        )

    found = read(url, EVENTS, post)

    assert [facts(event) for event in found] == [facts(event) for event in EVENTS]
