"""The AsyncAPI document: valid by the official schema, whatever the events."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from pydantic import BaseModel, Field, SecretStr

from plugbus import Event, EventBus, Principal, Request, event
from plugbus_adapters.http.documents.asyncapi import asyncapi_document
from plugbus_adapters.http.documents.catalogue import Catalogue

SCHEMA = Path(__file__).parents[3] / "data/asyncapi-3.0.0.json.gz"
EVERYTHING = Principal("root", ["publish:**", "subscribe:**", "call:**"])


@cache
def official() -> Draft7Validator:
    return Draft7Validator(json.loads(gzip.decompress(SCHEMA.read_bytes())))


def problems(document: dict[str, Any]) -> list[str]:
    return [f"{list(error.path)}: {error.message}"[:300] for error in official().iter_errors(document)]


class Line(BaseModel):
    item: str
    price: Decimal
    parts: list[Line] = []


class OrderPlaced(Event, name="order.placed", key="shop", aliases=["order.created"]):
    """An order came in."""

    shop: str
    lines: list[Line]
    pair: tuple[int, str] = (1, "a")
    secret: SecretStr | None = None
    total: Decimal = Field(alias="sum")


class PlaceOrder(Request[OrderPlaced], name="orders.place"):
    lines: list[Line]


class Odd(Event, name="odd.ö[int,str]/x"):
    pass


class Odder(Event, name="odd.ä[int,str]/x"):
    pass


@event(name="plain.dataclass")
@dataclass
class Plain:
    number: int


@event(name="live")
@dataclass
class Live:
    app: object
    lock: Any = None


@event(name="live.too")
@dataclass
class LiveToo:
    bus: EventBus


@pytest.fixture
def bus() -> EventBus:
    bus = EventBus()
    bus.declare(OrderPlaced, PlaceOrder, Odd, Odder, Plain, LiveToo)
    bus.observe(object, lambda _: None)
    bus.observe(Event, lambda _: None)
    return bus


def test_the_document_is_valid(bus: EventBus) -> None:
    document = asyncapi_document(
        Catalogue(bus).offered(), title="shop", version="2.0", description="d", host="shop.example:8000", path="/api"
    )

    assert problems(document) == []
    assert json.loads(json.dumps(document)) == document


def test_the_document_of_nothing_is_valid() -> None:
    assert problems(asyncapi_document([])) == []


def test_the_official_schema_refuses_what_is_wrong(bus: EventBus) -> None:
    """Or the tests above would prove nothing."""
    document = asyncapi_document(Catalogue(bus).offered())
    document["channels"]["order.placed"]["adress"] = "x"
    document["operations"]["publish-order.placed"]["action"] = "fetch"

    assert len(problems(document)) == 2


def test_every_reference_leads_somewhere(bus: EventBus) -> None:
    document = asyncapi_document(Catalogue(bus).offered())
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.extend([node["$ref"]] if "$ref" in node else [])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)
    for reference in found:
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    assert any("Line" in reference for reference in found)


def test_every_event_has_a_channel_with_both_sides_and_every_request_one_with_its_answer(bus: EventBus) -> None:
    document = asyncapi_document(Catalogue(bus).offered())

    assert [channel["address"] for channel in document["channels"].values()] == [
        "odd.ä[int,str]/x", "odd.ö[int,str]/x", "order.placed", "orders.place", None, "plain.dataclass",
    ]  # fmt: skip
    assert document["operations"]["publish-order.placed"]["action"] == "receive"
    assert document["operations"]["subscribe-order.placed"]["action"] == "send"
    assert "subscribe-plain.dataclass" not in document["operations"]  # no Event, so it is not on record
    reply = document["operations"]["call-orders.place"]["reply"]
    assert reply["channel"] == {"$ref": "#/channels/orders.place-answer"}


def test_the_schemas_hold_for_what_is_told(bus: EventBus) -> None:
    """An event as it goes out fits the schema of its message."""
    document = asyncapi_document(Catalogue(bus).offered())
    placed = OrderPlaced(shop="berlin", lines=[Line(item="tea", price=Decimal("1.5"))], sum=Decimal(3))
    told = {
        "specversion": "1.0", "id": "1", "source": "/shop", "type": "order.placed",
        "data": placed.model_dump(mode="json", by_alias=True),
    }  # fmt: skip
    payload = document["components"]["messages"]["order.placed-out"]["payload"]
    validator = Draft202012Validator({**payload, "components": document["components"]})

    assert list(validator.iter_errors(told)) == []
    assert list(validator.iter_errors({**told, "data": {"shop": 1}}))


# ------------------------------------------------------------------------------------------------ the catalogue


def test_the_catalogue_lists_what_somebody_may_do(bus: EventBus) -> None:
    entries = Catalogue(bus).entries(Principal("ann", ["subscribe:order.*", "publish:order.placed", "call:orders.*"]))

    assert [(entry.name, entry.kind, entry.key, entry.may) for entry in entries] == [
        ("order.placed", "event", "shop", ("publish", "subscribe")),
        ("orders.place", "request", None, ("call",)),
    ]
    assert entries[0].aliases == ("order.created",)
    assert entries[0].schema["properties"]["sum"]
    assert entries[1].result is not None


def test_an_alias_is_as_good_as_the_name(bus: EventBus) -> None:
    entries = Catalogue(bus).entries(Principal("ann", ["subscribe:order.created"]))

    assert [entry.name for entry in entries] == ["order.placed"]


@pytest.mark.parametrize("nobody", [None, Principal("ann"), Principal("ann", ["order.placed", "*"])])
def test_who_may_nothing_sees_nothing(bus: EventBus, nobody: Principal | None) -> None:
    assert Catalogue(bus).entries(nobody) == []


def test_what_is_the_kernels_own_and_what_is_live_is_not_offered(bus: EventBus) -> None:
    from plugbus import KernelReady, PluginBooting

    bus.declare(KernelReady, PluginBooting, Live)

    names = [entry.name for entry in Catalogue(bus).entries(EVERYTHING)]
    assert not {"kernel.ready", "plugin.booting", "live.too", "plugbus.events.Event", "builtins.object"} & set(names)


def test_a_type_that_has_left_is_listed_no_more(bus: EventBus) -> None:
    catalogue = Catalogue(bus)
    assert catalogue.offered()

    other = Catalogue(EventBus())
    assert other.offered() == []
