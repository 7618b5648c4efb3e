"""The OpenAPI document: valid, complete, and always of what is served at that moment."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Annotated, Any

import pytest
from fastapi import APIRouter
from pydantic import BaseModel
from starlette.applications import Starlette
from tests.adapters.http.everything import Everything

from plugbus import Conflict, Kernel, Plugin, Principal, Request, answers
from plugbus_adapters.http import Form, Header, Http, Upload, endpoint, mount
from plugbus_adapters.http.documents.openapi import openapi_document
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio

ANN = Principal("ann")


@cache
def official() -> Any:
    """The validator of the official schema of OpenAPI 3.1, as schemathesis has it."""
    from schemathesis.specs.openapi import definitions

    return definitions.OPENAPI_31_VALIDATOR


@pytest.fixture(autouse=True)
def prepared() -> None:
    official()  # importing it reads files, which a test on the loop must not


class Line(BaseModel):
    item: str


class Order(BaseModel):
    id: int
    lines: list[Line]


class Place(Request[Order], name="orders.place"):
    shop: str
    lines: list[Line]
    dry_run: bool = False


class Orders(Plugin, id="orders"):
    @endpoint(
        "POST", "/shops/{shop}/orders", status=201, auth=["orders.write"], errors={Conflict: 409}, tags=["orders"]
    )
    @answers(Place)
    async def place(self, request: Place) -> Order:
        """Place an order.

        It is sent at once.
        """
        raise NotImplementedError

    @endpoint("GET", "/orders/{id}", auth="public", envelope=True)
    async def read(self, id: int, x_trace: Annotated[str | None, Header()] = None) -> Order:
        raise NotImplementedError

    @endpoint("GET", "/files/{name:path}", auth="public")
    async def file(self, name: str) -> object: ...

    @endpoint("POST", "/files", auth="public", status=204)
    async def upload(self, title: Annotated[str, Form()], upload: Upload) -> None: ...


async def document(http: Any) -> dict[str, Any]:
    answer = await http.get("/openapi.json")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    official().validate(found)
    return found


def references(value: Any) -> set[str]:
    return set(re.findall(r'"\$ref": "#/components/(?:schemas|responses)/([^"]+)"', json.dumps(value)))


async def test_the_document_is_valid_and_its_references_lead_somewhere() -> None:
    """By the official schema of OpenAPI 3.1."""
    async with client(Kernel([Orders]), as_=ANN, title="shop", version="2.1.0") as http:
        found = await document(http)

    assert (found["openapi"], found["info"]) == ("3.1.0", {"title": "shop", "version": "2.1.0"})
    assert references(found) <= {*found["components"]["schemas"], *found["components"]["responses"]}


async def test_an_operation_says_all_that_is_known_of_its_endpoint() -> None:
    """What it takes and from where, what it answers, who may, how it fails."""
    async with client(Kernel([Orders]), as_=ANN) as http:
        paths = (await document(http))["paths"]

    place = paths["/shops/{shop}/orders"]["post"]
    assert (place["operationId"], place["tags"]) == ("orders.place", ["orders"])
    assert (place["summary"], place["description"]) == ("Place an order.", "It is sent at once.")
    assert place["security"] == [{"bearer": ["orders.write"]}]
    assert [(each["name"], each["in"], each["required"]) for each in place["parameters"]] == [("shop", "path", True)]
    body = place["requestBody"]["content"]["application/json"]["schema"]
    assert (set(body["properties"]), body["required"]) == ({"lines", "dry_run"}, ["lines"])
    assert place["responses"]["201"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Order"}
    assert {"409", "default"} <= set(place["responses"])
    read = paths["/orders/{id}"]["get"]
    assert (read["security"], [each["name"] for each in read["parameters"]]) == ([], ["id", "x-trace"])
    wrapped = read["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    assert wrapped["data"] == {"$ref": "#/components/schemas/Order"}
    assert "content" not in paths["/files"]["post"]["responses"]["204"]
    form = paths["/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert (set(form["properties"]), form["required"]) == ({"title", "upload"}, ["title", "upload"])
    assert "/files/{name}" in paths


async def test_every_kind_of_endpoint_is_told() -> None:
    """References lead somewhere, where a type reads otherwise than it is told, too; no text is null; 303 is empty."""
    async with client(Kernel([Everything]), as_=ANN) as http:
        found = await document(http)

    paths = found["paths"]
    assert references(found) <= {*found["components"]["schemas"], *found["components"]["responses"]}
    body = paths["/orders/{id}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["lines"]["items"] == {"$ref": "#/components/schemas/Line-Input"}
    since = next(each for each in paths["/query"]["get"]["parameters"] if each["name"] == "since")
    assert (since["required"], since["schema"]) == (False, {"type": "string", "format": "date"})
    assert "content" not in paths["/elsewhere"]["get"]["responses"]["303"]
    assert "required" not in paths["/raw"]["post"]["requestBody"]
    assert "default" in paths["/router/{number}"]["get"]["responses"]
    assert {"202", "207"} < set(paths["/events"]["post"]["responses"])
    ready = paths["/health/ready"]["get"]["responses"]
    assert ready["503"]["content"] == ready["200"]["content"]


class Buy(Request[int], name="orders.buy"):
    shop: str
    item: Annotated[str, Form()]


class Buying(Plugin, id="buying"):
    @endpoint("POST", "/shops/{shop}/purchases", auth="public")
    @answers(Buy)
    async def buy(self, request: Buy) -> int:
        raise NotImplementedError


async def test_a_request_that_may_be_a_form_is_told_with_each_media_type() -> None:
    """Each has the same fields, which the path does not have."""
    async with client(Kernel([Buying]), docs="public") as http:
        body = (await document(http))["paths"]["/shops/{shop}/purchases"]["post"]["requestBody"]

    media = {"application/json", "application/x-www-form-urlencoded", "multipart/form-data"}
    assert set(body["content"]) == media
    assert {tuple(each["schema"]["properties"]) for each in body["content"].values()} == {("item",)}


async def test_the_document_follows_who_comes_and_goes() -> None:
    """Each plugin brings its part and takes it away."""
    kernel = Kernel([Orders])
    async with client(kernel, as_=ANN) as http:
        assert "/orders/{id}" in (await document(http))["paths"]
        await kernel.unload("orders")
        assert "/orders/{id}" not in (await document(http))["paths"]
        await kernel.load(Orders)
        assert "/orders/{id}" in (await document(http))["paths"]


async def test_documents_of_fastapi_routers_are_merged() -> None:
    """With their schemas under other names where theirs are taken."""
    router = APIRouter()

    @router.get("/old/{id}")
    async def old(id: int) -> Line:
        raise NotImplementedError

    class Old(Plugin, id="old"):
        def __init__(self, http: Http) -> None:
            http.include(router, prefix="/v1", auth="public")

    async with client(Kernel([Orders, Old]), as_=ANN) as http:
        found = await document(http)

    assert found["paths"]["/v1/old/{id}"]["get"]["parameters"][0]["name"] == "id"
    assert references(found) <= {*found["components"]["schemas"], *found["components"]["responses"]}
    assert "old.Line" in found["components"]["schemas"]


async def test_documents_are_for_whoever_is_known_and_the_page_is_for_all() -> None:
    """Unless the host says that all may have them, or nobody."""
    async with client(Kernel([Orders])) as http:
        assert (await http.get("/openapi.json")).status_code == 401
        page = await http.get("/docs")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "orders" not in page.text
        assert [(await http.get(f"/docs/page.{kind}")).status_code for kind in ("js", "css")] == [200, 200]
    async with client(Kernel([Orders]), docs="public") as http:
        assert (await http.get("/openapi.json")).status_code == 200
    async with client(Kernel([Orders]), docs=False) as http:
        assert [(await http.get(path)).status_code for path in ("/openapi.json", "/docs")] == [404, 404]


async def test_the_page_asks_no_other_server() -> None:
    """It works offline, and under the policy of content that forbids scripts within pages."""
    async with client(Kernel()) as http:
        texts = [(await http.get(path)).text for path in ("/docs", "/docs/page.js", "/docs/page.css")]

    assert not [text for text in texts if "http://" in text or "https://" in text]
    assert "<script>" not in texts[0]
    assert "innerHTML" not in texts[1]


async def test_a_mounted_app_says_where_it_is() -> None:
    """So that whoever reads its document sends requests to the right place."""
    app = Starlette()
    mount(app, Kernel([Orders]), "/shop", docs="public")

    async with app.router.lifespan_context(app), client(app) as http:
        found = (await http.get("/shop/openapi.json")).json()

    assert found["servers"] == [{"url": "/shop"}]
    assert "/orders/{id}" in found["paths"]


def test_two_of_one_name_have_ids_of_their_own() -> None:
    """As OpenAPI demands."""
    from plugbus_adapters.http import Endpoint

    found = openapi_document([Endpoint("GET", "/a", "p", "p.x"), Endpoint("PUT", "/a", "p", "p.x")])

    assert {each["operationId"] for each in found["paths"]["/a"].values()} == {"p.x", "p.x_2"}
