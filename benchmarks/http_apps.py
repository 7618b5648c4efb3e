"""What the HTTP rows compare: one endpoint, served by us, by bare Starlette and by FastAPI, with the same models.

The bare route does by hand what the endpoint is made for: it validates, answers 422, and serialises.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from plugbus import Kernel, Plugin, Principal, answers
from plugbus import Request as BusRequest
from plugbus_adapters.http import BearerTokens, create_app, endpoint

TOKEN = "benchmarks-only-and-long-enough"
DIGEST = hashlib.sha256(TOKEN.encode()).digest()
BODY = (
    b'{"customer":"ann","shop":"berlin","express":false,"lines":['
    b'{"sku":"tea","count":2,"price":"2.50"},{"sku":"cup","count":1,"price":"7.25"},'
    b'{"sku":"pot","count":1,"price":"31.00"}]}'
)
ANSWER = b'{"order_id":4,"customer":"ann","total":"43.25","lines":3}'


class Line(BaseModel):
    sku: str
    count: int
    price: Decimal


class Order(BaseModel):
    customer: str
    shop: str
    express: bool
    lines: list[Line]


class Receipt(BaseModel):
    order_id: int
    customer: str
    total: Decimal
    lines: int


class PlaceOrder(BusRequest[Receipt], name="benchmarks.orders.place"):
    customer: str
    shop: str
    express: bool
    lines: list[Line]


def receipt_of(order: Any) -> Receipt:
    """Do the work of every side."""
    total = sum((line.count * line.price for line in order.lines), Decimal(0))
    return Receipt(
        order_id=sum(line.count for line in order.lines), customer=order.customer, total=total, lines=len(order.lines)
    )


class Orders(Plugin, id="orders"):
    """Ours: called directly, for known callers only, and through the bus."""

    @endpoint("POST", "/orders", auth="public")
    async def place(self, order: Order) -> Receipt:
        return receipt_of(order)

    @endpoint("POST", "/private/orders", auth="orders.write")
    async def place_known(self, order: Order) -> Receipt:
        return receipt_of(order)

    @endpoint("POST", "/bus/orders", auth="public")
    @answers(PlaceOrder)
    async def place_on_bus(self, request: PlaceOrder) -> Receipt:
        return receipt_of(request)


def ours() -> Starlette:
    return create_app(Kernel([Orders]), auth=BearerTokens({TOKEN: Principal("ann", ["orders.write"])}))


def bare() -> Starlette:
    return Starlette(
        routes=[
            Route("/orders", bare_place, methods=["POST"]),
            Route("/bus/orders", bare_place, methods=["POST"]),
            Route("/private/orders", bare_place_known, methods=["POST"]),
        ]
    )


async def bare_place(request: Request) -> Response:
    try:
        order = Order.model_validate_json(await request.body())
    except ValidationError as error:
        return Response(error.json(include_url=False), 422, media_type="application/json")
    return Response(receipt_of(order).model_dump_json(), media_type="application/json")


async def bare_place_known(request: Request) -> Response:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(hashlib.sha256(token.encode()).digest(), DIGEST):
        return Response(b'{"title":"Unauthorized"}', 401, media_type="application/json")
    return await bare_place(request)


def fastapi() -> Starlette:
    from fastapi import Depends, FastAPI, HTTPException
    from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

    app, bearer = FastAPI(), HTTPBearer()

    @app.post("/orders")
    async def place(order: Order) -> Receipt:
        return receipt_of(order)

    # The annotation is an object that lives here alone, so it is given as one and not as text.
    async def place_known(order, credentials):  # type: ignore[no-untyped-def]
        if not hmac.compare_digest(hashlib.sha256(credentials.credentials.encode()).digest(), DIGEST):
            raise HTTPException(401)
        return receipt_of(order)

    known = Annotated[HTTPAuthorizationCredentials, Depends(bearer)]
    place_known.__annotations__ = {"order": Order, "credentials": known, "return": Receipt}
    app.post("/private/orders")(place_known)
    return app


APPS: dict[str, Callable[[], Any]] = {"ours": ours, "bare": bare, "fastapi": fastapi}
"""Every app by the name under which a server process finds it."""
