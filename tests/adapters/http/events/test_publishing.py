"""POST /events and /requests: who may, what is validated, what became of each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import structlog
from cloudevents.core.bindings import http as sdk
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from jsonschema import Draft202012Validator
from tests.adapters.http.events.tools import ANN, OrderPlaced, Shop, structured, told

from plugbus import Kernel, NamedEvent, Principal, current
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio
ROOT = Principal("root", ["**", "publish:**", "subscribe:**", "call:**"])


@pytest.fixture
def kernel() -> Kernel:
    return Kernel([Shop])


@pytest.fixture
def heard(kernel: Kernel) -> list[Any]:
    """Events that came onto the bus, with who told them."""
    found: list[Any] = []

    def note(event: Any) -> None:
        emit = current()
        assert emit is not None
        found.append((event, emit.principal and emit.principal.id, emit.correlation_id, emit.cause))

    kernel.bus.observe(["order.*", "unknown.*"], note)
    return found


@pytest.fixture
async def http(kernel: Kernel, heard: list[Any]) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(kernel, as_=ANN) as found:
        yield found


async def test_one_event_in_structured_mode(http: httpx2.AsyncClient, heard: list[Any]) -> None:
    answer = await http.post("/events", **structured(told(7, correlationid="c-1")))

    assert (answer.status_code, answer.json()) == (202, {"events": [{"id": "m-7", "source": "/x", "status": 202}]})
    assert heard == [(OrderPlaced(shop="berlin", order_id=7), "ann", "c-1", "m-7")]


async def test_an_event_of_the_official_sdk_in_either_mode(http: httpx2.AsyncClient, heard: list[Any]) -> None:
    event = SdkEvent({"type": "order.placed", "source": "/sdk", "id": "1"}, {"shop": "oslo", "order_id": 3})

    for message in (sdk.to_binary_event(event), sdk.to_structured_event(event)):
        answer = await http.post("/events", headers=message.headers, content=message.body)
        assert answer.status_code == 202, answer.text

    assert [found[0] for found in heard] == [OrderPlaced(shop="oslo", order_id=3)] * 2


async def test_a_type_that_nobody_knows_passes_as_plain_data(http: httpx2.AsyncClient, heard: list[Any]) -> None:
    answer = await http.post("/events", **structured(told(type="unknown.thing", data=[1, 2])))

    assert answer.status_code == 202
    assert heard[0][0] == NamedEvent("unknown.thing", [1, 2])


async def test_an_alias_is_as_good_as_the_name(http: httpx2.AsyncClient, heard: list[Any]) -> None:
    assert (await http.post("/events", **structured(told(type="order.created")))).status_code == 202
    assert heard[0][0] == OrderPlaced(shop="berlin", order_id=1)


async def test_a_batch_that_is_accepted_as_a_whole(http: httpx2.AsyncClient, heard: list[Any]) -> None:
    answer = await http.post("/events", **structured(told(1), told(2)))

    assert (answer.status_code, [each["id"] for each in answer.json()["events"]]) == (202, ["m-1", "m-2"])
    assert [found[0].order_id for found in heard] == [1, 2]


async def test_an_empty_batch_is_accepted(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/events", **structured())

    assert (answer.status_code, answer.json()) == (202, {"events": []})


async def test_a_batch_of_which_some_fail_says_which_and_why(http: httpx2.AsyncClient, heard: list[Any]) -> None:
    """What fits is emitted all the same; nothing internal is told."""
    with structlog.testing.capture_logs() as lines:
        answer = await http.post("/events", **structured(told(1), told(13), told(2, data={}), told(500), told(3)))

    outcomes = answer.json()["events"]
    assert answer.status_code == 207
    assert [each["status"] for each in outcomes] == [202, 403, 422, 500, 202]
    assert outcomes[1]["problem"]["detail"] == "not today"
    assert {each["where"] for each in outcomes[2]["problem"]["problems"]} == {"shop", "order_id"}
    assert "s3cret" not in answer.text
    assert [line["id"] for line in lines if "id" in line] == [outcomes[3]["problem"]["id"]]
    assert [found[0].order_id for found in heard] == [1, 3]


@pytest.mark.parametrize(("number", "status"), [(13, 403), (500, 500)])
async def test_a_failure_of_one_event_is_a_problem_document(http: httpx2.AsyncClient, number: int, status: int) -> None:
    with structlog.testing.capture_logs():
        answer = await http.post("/events", **structured(told(number)))

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert "s3cret" not in answer.text


@pytest.mark.parametrize(
    ("request_", "status", "where"),
    [
        (structured(told(id="")), 400, ["id"]),
        (structured(told(), told(type="order.*")), 400, ["[1].type"]),
        (structured(told(data={"shop": 1})), 422, ["shop", "order_id"]),
        (structured(told(data=5)), 422, ["event"]),
        (structured(told(type="orders.place", data={"order_id": 1})), 403, ["[0].type"]),
        ({"content": b"{}"}, 400, ["specversion", "id", "source", "type"]),
        ({"headers": {"content-type": "application/cloudevents+json"}, "content": b"[" * 50_000}, 400, ["body"]),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_refused_with_each_point(
    http: httpx2.AsyncClient, heard: list[Any], request_: dict[str, Any], status: int, where: list[str]
) -> None:
    answer = await http.post("/events", **request_)

    assert answer.status_code == status, answer.text
    assert [each["where"] for each in answer.json()["problems"]] == where
    assert heard == []


async def test_nobody_publishes_beyond_its_scopes(http: httpx2.AsyncClient, heard: list[Any]) -> None:
    """Nor a part of a batch: nothing of it is emitted then."""
    answer = await http.post("/events", **structured(told(1), told(2, type="secret.told", data={"word": "x"})))

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    assert [each["where"] for each in answer.json()["problems"]] == ["[1].type"]
    assert heard == []


@pytest.mark.parametrize("name", ["kernel.ready", "kernel.stopping", "plugin.failed", "plugin.configuring"])
async def test_what_the_kernel_tells_nobody_else_may_tell(kernel: Kernel, name: str) -> None:
    """Whatever its scopes: a plugin would take it for true."""
    async with client(kernel, as_=ROOT) as http:
        answer = await http.post("/events", **structured(told(type=name, data={})))

    assert (answer.status_code, answer.json()["problems"][0]["where"]) == (422, "type")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/events"), ("GET", "/events"), ("GET", "/events/stream"), ("POST", "/requests/orders.place"),
     ("GET", "/asyncapi.json")],
)  # fmt: skip
async def test_without_credentials_nothing_is_served(kernel: Kernel, method: str, path: str) -> None:
    async with client(kernel) as http:
        assert (
            await http.request(method, path, **(structured(told()) if path == "/events" else {}))
        ).status_code == 401


async def test_without_the_event_api_there_is_none(kernel: Kernel) -> None:
    async with client(kernel, as_=ROOT, events=False) as http:
        assert (await http.get("/events")).status_code == 404
    assert kernel.bus.event_log is None


# ------------------------------------------------------------------------------------------------ requests


async def test_a_request_is_answered(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/requests/orders.place", json={"order_id": 7})

    assert (answer.status_code, answer.json()) == (200, {"order_id": 7})


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("orders.place", {"order_id": 404}, 404),
        ("orders.place", {"order_id": "x"}, 422),
        ("orders.place", None, 422),
        ("orders.unknown", {}, 404),
        ("staff.fire", {"who": "ann"}, 403),
        ("nobody.knows", {}, 403),
    ],
)
async def test_a_request_that_fails_says_why(http: httpx2.AsyncClient, name: str, body: Any, status: int) -> None:
    """Whether there is one that the caller may not call is not told."""
    answer = await http.post(f"/requests/{name}", **({} if body is None else {"json": body}))

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["plugin.booting", "order.placed"])
async def test_neither_events_nor_what_is_the_kernels_own_can_be_called(kernel: Kernel, name: str) -> None:
    async with client(kernel, as_=ROOT) as http:
        answer = await http.post(f"/requests/{name}", json={"plugin": "shop"})

    assert answer.status_code == 404


# ------------------------------------------------------------------------------------------------ documents


async def test_the_catalogue_holds_what_the_caller_may_do(http: httpx2.AsyncClient) -> None:
    answer = (await http.get("/events")).json()

    assert [(each["name"], each["kind"], each["key"], each["may"]) for each in answer["events"]] == [
        ("order.paid", "event", "shop", ["publish", "subscribe"]),
        ("order.placed", "event", "shop", ["publish", "subscribe"]),
        ("orders.place", "request", None, ["call"]),
    ]
    for each in answer["events"]:
        Draft202012Validator.check_schema(each["schema"])
    assert answer["cursor"]


async def test_the_asyncapi_document_tells_what_the_caller_may_know(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/asyncapi.json")).json()

    assert (document["asyncapi"], document["servers"]["http"]["host"]) == ("3.0.0", "testserver")
    assert document["servers"]["http"]["pathname"] == "/events"
    assert {name.partition(".")[0] for name in document["channels"]} == {"order", "orders"}
    assert "secret" not in json.dumps(document)
