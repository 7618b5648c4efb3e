"""A small shop for these tests: one request of each kind of answer, some events, one plugin."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, Field

from plugbus import Conflict, Event, Plugin, Request, Veto, answers, event, listens


class Product(BaseModel):
    id: int
    price: Decimal


class Secretive(Product):
    margin: Decimal = Decimal("0.3")


class CreateProduct(Request[Product], name="products.create"):
    id: int
    price: Decimal


class FindProducts(Request[list[Product]], name="products.find"):
    max_items: int = Field(default=10, alias="max-items")


class Inventory:
    """No pydantic type."""


class CountProducts(Request[Inventory], name="products.count"):
    pass


class BrokenProduct(Request[Product], name="products.broken"):
    pass


class OrderPlaced(Event, name="order.placed", aliases=["order.made"]):
    order_id: int
    total: Decimal = Decimal(0)


@event(name="order.window")
@dataclass
class OrderWindow:
    handle: object


class Shop(Plugin):
    events = (OrderPlaced, OrderWindow, BrokenProduct)

    @answers(CreateProduct)
    async def create(self, request: CreateProduct) -> Product:
        if request.id == 0:
            raise Conflict("product 0 exists", code="product_exists")
        return Secretive(id=request.id, price=request.price)

    @answers(FindProducts)
    def find(self, request: FindProducts) -> list[Product]:
        return [Product(id=number, price=Decimal(1)) for number in range(request.max_items)]

    @answers(CountProducts)
    def count(self, _: CountProducts) -> Inventory:
        return Inventory()

    @listens(BrokenProduct)
    def break_it(self, request: BrokenProduct, next_fn: object) -> object:
        return {"id": "none", "secret": "s3cret"}

    @listens(OrderPlaced)
    async def veto(self, placed: OrderPlaced, next_fn):
        if placed.total < 0:
            raise Veto("a total below zero")
        return await next_fn(placed.model_copy(update={"total": placed.total + 1}))
