"""A plugin with an endpoint of every kind, for whoever tries them all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, Response

from plugbus import Conflict, Event, NotFound, Plugin, Request, Veto, answers
from plugbus_adapters.http import Body, Cookie, Form, Header, Http, HttpContext, Query, Upload, endpoint

__all__ = ("Everything",)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    item: Annotated[str, Field(min_length=1, max_length=20)]
    count: Annotated[int, Field(ge=1, le=99)] = 1
    price: Decimal | None = None
    tags: set[str] = set()


class Order(BaseModel):
    id: UUID
    lines: list[Line]
    placed: datetime | None = None
    kind: Literal["now", "later"] = "now"


class PlaceOrder(Request[Order], name="all.place_order"):
    id: UUID
    lines: Annotated[list[Line], Field(max_length=5)]
    kind: Literal["now", "later"] = "now"


class Rename(Request[str], name="all.rename"):
    id: int
    name: Annotated[str, Body()]


class Told(Event, name="all.told"):
    text: str
    count: int = 0


@dataclass
class Point:
    x: float
    y: float


class Everything(Plugin, id="everything"):
    events = (Told,)

    def __init__(self, http: Http) -> None:
        router = APIRouter()
        router.get("/router/{number}")(self.routed)
        http.include(router, auth="public")
        http.add_endpoint("/added/{name}", "DELETE", self.added, status=204, auth="all.delete")

    async def routed(self, number: int, factor: float = 1.0) -> dict[str, int]:
        return {"number": number}

    async def added(self, name: str) -> None:
        if name == "gone":
            raise NotFound("it is gone")

    @endpoint("POST", "/orders/{id}", status=201)
    @answers(PlaceOrder)
    async def place(self, request: PlaceOrder) -> Order:
        if not request.lines:
            raise Conflict("an order has lines")
        return Order(id=request.id, lines=request.lines, kind=request.kind)

    @endpoint("PUT", "/names/{id}")
    @answers(Rename)
    def rename(self, request: Rename) -> str:
        if request.id < 0:
            raise Veto("names below zero stay")
        return f"{request.id} {request.name}"

    @endpoint("GET", "/query", auth="public")
    async def query(  # noqa: PLR0917 - that many are what is tried
        self,
        colour: Colour,
        since: date | None = None,
        wait: timedelta | None = None,
        numbers: Annotated[list[int], Query()] = [],  # noqa: B006 - it is read, and never changed
        ratio: Annotated[float, Query(), Field(gt=0, lt=10)] = 1.0,
        exact: bool = False,
        price: Decimal | None = None,
    ) -> dict[str, Any]:
        return {"colour": colour, "since": since, "numbers": numbers, "ratio": ratio, "exact": exact, "price": price}

    @endpoint("GET", "/from/{place:path}", auth="public")
    async def headers(
        self, place: str, x_count: Annotated[int, Header()] = 0, theme: Annotated[str, Cookie()] = "plain"
    ) -> list[str | int]:
        return [place, x_count, theme]

    @endpoint("POST", "/form", auth="public")
    def form(self, name: Annotated[str, Form()], count: Annotated[int, Form()] = 1) -> dict[str, int]:
        return {name: count}

    @endpoint("POST", "/upload", auth="public")
    async def upload(self, file: Upload, note: Annotated[str, Form()] = "") -> int:
        return len(await file.read()) + len(note)

    @endpoint("POST", "/raw", auth="public")
    async def raw(self, body: Annotated[bytes, Body()]) -> int:
        return len(body)

    @endpoint("POST", "/points", auth="public")
    def points(self, points: Annotated[list[Point], Body()]) -> Point | None:
        return max(points, key=lambda point: point.x, default=None)

    @endpoint("PATCH", "/anything", auth="public", envelope=True)
    async def anything(self, body: dict[str, Any]) -> dict[str, Any]:
        return body

    @endpoint("GET", "/stream", auth="public")
    async def stream(self, count: Annotated[int, Query(), Field(ge=0, le=50)] = 3) -> AsyncIterator[str]:
        for number in range(count):
            yield f"{number}\n"

    @endpoint("GET", "/text", auth="public")
    async def text(self) -> Response:
        return PlainTextResponse("as it is")

    @endpoint("GET", "/elsewhere", auth="public", status=303)
    async def elsewhere(self, http: HttpContext) -> None:
        http.redirect("/text")

    @endpoint("GET", "/mapped/{number}", auth="public", errors={ZeroDivisionError: 422})
    def mapped(self, number: int) -> float:
        return 1 / number
