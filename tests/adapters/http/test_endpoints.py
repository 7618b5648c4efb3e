"""Endpoints on methods of plugins: through the bus or called directly."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pydantic import BaseModel

from plugbus import Kernel, NotFound, Plugin, Principal, Request, Veto, answers, listens
from plugbus_adapters.http import EndpointTable, create_app, endpoint
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio


class Product(BaseModel):
    id: int
    name: str
    price: Decimal


class CreateProduct(Request[Product], name="products.create"):
    name: str
    price: Decimal


class Products(Plugin, id="products"):
    @endpoint("POST", "/products", status=201, auth="public", tags=["products"])
    @answers(CreateProduct)
    async def create(self, request: CreateProduct) -> Product:
        """Create a product."""
        return Product(id=1, name=request.name, price=request.price)

    @endpoint("GET", "/products/{id}", auth="public")
    async def read(self, id: int, currency: str = "EUR") -> dict[str, object]:
        if id == 404:
            raise NotFound("there is no product 404")
        return {"id": id, "currency": currency}

    @endpoint("GET", "/mine")
    def mine(self) -> str:
        return "yours"

    @endpoint("DELETE", "/products/{id}", auth="products.delete", status=204)
    async def delete(self, id: int) -> None: ...


class Strict(Plugin, id="strict"):
    @listens(CreateProduct)
    async def check(self, event: CreateProduct, next_fn):
        if event.price < 0:
            raise Veto("a price below zero")
        return await next_fn(event)


async def test_an_answering_method_goes_through_the_bus() -> None:
    """So every listener applies; the body is validated, the result told by the declared type."""
    async with client(Kernel([Products, Strict])) as http:
        made = await http.post("/products", json={"name": "tea", "price": "2.50"})
        refused = await http.post("/products", json={"name": "tea", "price": "-1"})

    assert (made.status_code, made.json()) == (201, {"id": 1, "name": "tea", "price": "2.50"})
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["detail"] == "a price below zero"


async def test_another_method_is_called_directly() -> None:
    """Its parameters come from path and query, by name."""
    async with client(Kernel([Products])) as http:
        found = await http.get("/products/7?currency=USD")
        missing = await http.get("/products/404")

    assert found.json() == {"id": 7, "currency": "USD"}
    assert (missing.status_code, missing.json()["detail"]) == (404, "there is no product 404")


async def test_what_does_not_fit_is_told_field_by_field() -> None:
    """422 with each field, without the values."""
    async with client(Kernel([Products])) as http:
        body = await http.post("/products", json={"price": "dear"})
        path = await http.get("/products/seven")

    assert body.status_code == path.status_code == 422
    assert [each["where"] for each in body.json()["problems"]] == ["body.name", "body.price"]
    assert [each["where"] for each in path.json()["problems"]] == ["path.id"]
    assert "dear" not in body.text


async def test_denied_unless_allowed() -> None:
    """Nobody is 401, somebody without the scope 403."""
    kernel = Kernel([Products])
    app = create_app(kernel)
    root = Principal("root", ["products.*"])
    async with kernel, client(app) as nobody, client(app, as_=Principal("ann")) as ann, client(app, as_=root) as other:
        assert [(await each.get("/mine")).status_code for each in (nobody, ann, other)] == [401, 200, 200]
        assert [(await each.delete("/products/1")).status_code for each in (nobody, ann, other)] == [401, 403, 204]
        assert (await nobody.get("/mine")).headers["www-authenticate"].startswith("Bearer")


async def test_what_nobody_serves_is_a_problem_too() -> None:
    """404 and 405, the latter with what is allowed."""
    async with client(Kernel([Products])) as http:
        nothing, wrong = await http.get("/nothing"), await http.put("/products")

    assert (nothing.status_code, nothing.json()["code"]) == (404, "no_route")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


async def test_the_table_lists_what_is_served() -> None:
    """With method, path, plugin and types."""
    kernel = Kernel([Products])
    async with client(kernel, events=False):
        table = await kernel.services.aget(EndpointTable)
        assert {str(each): each.name for each in table if each.owner != "http"} == {
            "POST /products": "products.create",
            "GET /products/{id}": "products.read",
            "GET /mine": "products.mine",
            "DELETE /products/{id}": "products.delete",
        }
        assert next(each for each in table if each.name == "products.create").result is Product
