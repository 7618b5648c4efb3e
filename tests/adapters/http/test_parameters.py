"""Where parameters come from: by name and type, or as ``Annotated`` says."""

from __future__ import annotations

from datetime import date
from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field
from starlette.requests import Request as StarletteRequest

from plugbus import Clock, Kernel, Manifest, Plugin, Principal, Request, answers
from plugbus_adapters.http import Body, Cookie, Form, Header, HttpContext, Query, Upload, endpoint
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio


class Colour(Enum):
    RED = "red"


class Line(BaseModel):
    item: str
    count: int = Field(gt=0)


class Place(Request[dict[str, Any]], name="orders.place"):
    shop: str
    dry_run: bool = False
    lines: tuple[Line, ...] = ()
    note: Annotated[str | None, Header("X-Note")] = None


class Replace(Request[list[int]], name="numbers.replace"):
    id: int
    numbers: Annotated[list[int], Body()]


class Buy(Request[dict[str, Any]], name="orders.buy"):
    shop: str
    item: Annotated[str, Form()]
    count: int = 1
    tags: tuple[str, ...] = ()


class Shop(Plugin, id="shop"):
    @endpoint("POST", "/shops/{shop}/orders", auth="public")
    @answers(Buy)
    async def buy(self, request: Buy) -> dict[str, Any]:
        return request.model_dump()

    @endpoint("GET", "/scalars/{day}", auth="public")
    async def scalars(self, day: date, colour: Colour, tags: list[str], limit: int = 10, q: str | None = None) -> Any:
        return [day, colour, tags, limit, q]

    @endpoint("POST", "/said", auth="public")
    async def said(
        self,
        numbers: Annotated[list[int], Body()],
        ids: Annotated[set[int], Query("id")],
        x_token: Annotated[str, Header()],
        session: Annotated[str | None, Cookie()] = None,
    ) -> Any:
        return [numbers, sorted(ids), x_token, session]

    @endpoint("POST", "/files", auth="public")
    async def files(self, title: Annotated[str, Form()], upload: Upload) -> Any:
        return [title, upload.filename, (await upload.read()).decode()]

    @endpoint("POST", "/raw", auth="public")
    def raw(self, content: Annotated[bytes, Body()]) -> int:
        return len(content)

    @endpoint("POST", "/everything", auth="public")
    async def everything(
        self, line: Line, request: StarletteRequest, clock: Clock, http: HttpContext, who: Principal | None
    ) -> Any:
        return [line.item, request.url.path, http.method, clock.now() is not None, who, len(await request.body())]

    @endpoint("PUT", "/shops/{shop}/orders", auth="public")
    @answers(Place)
    async def place(self, request: Place) -> dict[str, Any]:
        return request.model_dump()

    @endpoint("PUT", "/numbers/{id}", auth="public")
    @answers(Replace)
    async def replace(self, request: Replace) -> list[int]:
        return [request.id, *request.numbers]


async def test_scalars_come_from_path_and_query_by_name() -> None:
    """Each validated by its type; a list is given several times."""
    async with client(Kernel([Shop])) as http:
        found = await http.get("/scalars/2026-01-31?colour=red&tags=a&tags=b&q=")
        wrong = await http.get("/scalars/soon?colour=blue&limit=many")

    assert found.json() == ["2026-01-31", "red", ["a", "b"], 10, ""]
    told = {each["where"] for each in wrong.json()["problems"]}
    assert told == {"path.day", "query.colour", "query.tags", "query.limit"}


async def test_annotated_says_where_from() -> None:
    """Body, query, header and cookie; names of headers have dashes."""
    async with client(Kernel([Shop])) as http:
        headers = {"X-Token": "t", "Cookie": "a=1; session=s7"}
        found = await http.post("/said?id=2&id=1", json=[1, 2], headers=headers)
        wrong = await http.post("/said", json=["x"])

    assert found.json() == [[1, 2], [1, 2], "t", "s7"]
    assert {each["where"] for each in wrong.json()["problems"]} == {"query.id", "header.x-token"}


async def test_forms_bring_fields_and_files() -> None:
    """And nothing but a form will do."""
    async with client(Kernel([Shop])) as http:
        files = {"upload": ("tea.txt", b"green", "text/plain")}
        found = await http.post("/files", data={"title": "teas"}, files=files)
        wrong = await http.post("/files", json={})
        missing = await http.post("/files", data={"title": "teas"})

    assert found.json() == ["teas", "tea.txt", "green"]
    assert wrong.status_code == 415
    assert [each["where"] for each in missing.json()["problems"]] == ["form.upload"]


async def test_a_request_of_the_bus_is_filled_from_a_form_or_from_json() -> None:
    """Where a field says Form(); the path goes before both, and what does not fit is told by its field."""
    fields = {"item": "tea", "count": "2", "tags": ["a", "b"], "shop": "rome"}
    async with client(Kernel([Shop])) as http:
        coded = await http.post("/shops/oslo/orders", data=fields)
        parts = (("item", "tea"), ("count", "2"), ("tags", "a"), ("tags", "b"))
        lines = (f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts)
        media = {"content-type": "multipart/form-data; boundary=x"}
        multipart = await http.post("/shops/oslo/orders", content=f"{''.join(lines)}--x--\r\n".encode(), headers=media)
        json = await http.post("/shops/oslo/orders", json={**fields, "count": 2})
        wrong = await http.post("/shops/oslo/orders", data={"count": "many"})
        other = await http.post("/shops/oslo/orders", content=b"item=tea", headers={"content-type": "text/plain"})

    for found in (coded, multipart, json):
        assert found.json() == {"shop": "oslo", "item": "tea", "count": 2, "tags": ["a", "b"]}
    assert {each["where"] for each in wrong.json()["problems"]} == {"body.item", "body.count"}
    assert other.status_code == 415


async def test_bytes_are_the_body_as_it_came() -> None:
    """Whatever its media type."""
    async with client(Kernel([Shop])) as http:
        assert (await http.post("/raw", content=b"\x00\x01\x02")).json() == 3


async def test_services_context_and_request_are_handed_in() -> None:
    """Beside the body, which the request of the web framework has too."""
    async with client(Kernel([Shop])) as http:
        found = await http.post(
            "/everything", content=b'{"item":"tea","count":1}', headers={"content-type": "application/json"}
        )

    assert found.json() == ["tea", "/everything", "POST", True, None, 24]


async def test_path_and_query_fill_fields_and_the_body_is_the_rest() -> None:
    """A field of the body never overrides the path."""
    async with client(Kernel([Shop])) as http:
        body = {"shop": "rome", "lines": [{"item": "tea", "count": 2}]}
        found = await http.put("/shops/berlin/orders?dry_run=true", json=body, headers={"x-note": "quick"})
        empty = await http.put("/shops/berlin/orders")
        wrong = await http.put("/shops/berlin/orders?dry_run=perhaps", json={"lines": [{"item": "tea", "count": 0}]})

    assert found.json() == {"shop": "berlin", "dry_run": True, "lines": [{"item": "tea", "count": 2}], "note": "quick"}
    assert empty.json()["shop"] == "berlin"
    told = {each["where"] for each in wrong.json()["problems"]}
    assert told == {"query.dry_run", "body.lines.0.count"}


async def test_one_field_may_be_the_whole_body() -> None:
    """As ``Annotated[..., Body()]`` says."""
    async with client(Kernel([Shop])) as http:
        assert (await http.put("/numbers/7", json=[1, 2])).json() == [7, 1, 2]
        assert (await http.put("/numbers/7")).status_code == 422


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"item": NaN, "count": 1}', 400),
        (b'{"item": "a", "count": 1' + b"0" * 5000 + b"}", 400),
        (b'{"item": "\xff\xfe", "count": 1}', 400),
        (b'{"item": "\\ud800", "count": 1}', 400),
        (b"null", 422),
        (b"", 400),
        (b"\x00", 400),
    ],
    ids=["cut", "deep", "nan", "huge", "utf-8", "surrogate", "null", "empty", "nul"],
)
async def test_malformed_bodies_are_refused(content: bytes, status: int) -> None:
    """4xx, never 500, whatever comes; both for functions and for requests of the bus."""
    headers = {"content-type": "application/json"}
    async with client(Kernel([Shop])) as http:
        found = await http.post("/everything", content=content, headers=headers)
        bus = await http.put("/shops/berlin/orders", content=content or b"{", headers=headers)

    assert found.status_code == status, found.text
    assert 400 <= bus.status_code < 500 or b'"item"' in content, bus.text


async def test_a_body_has_to_say_that_it_is_json() -> None:
    """A form of another site could send it otherwise."""
    async with client(Kernel([Shop])) as http:
        for media in ("text/plain", "application/x-www-form-urlencoded", ""):
            headers = {"content-type": media} if media else {}
            found = await http.post("/everything", content=b'{"item":"tea","count":1}', headers=headers)
            assert found.status_code == 415
        fine = {"content-type": "Application/Vnd.tea+JSON; charset=utf-8"}
        assert (await http.post("/everything", content=b'{"item":"tea","count":1}', headers=fine)).status_code == 200


async def test_a_query_that_cannot_be_read_is_refused() -> None:
    """Bytes that are no text, and more fields than anybody needs."""
    async with client(Kernel([Shop])) as http:
        assert (await http.get("/scalars/2026-01-31?colour=%ff")).status_code == 400
        assert (await http.get("/scalars/2026-01-31?" + "a=1&" * 2000)).status_code == 400


async def two_bodies(self: Any, first: Line, second: Line) -> None: ...


async def many(self: Any, numbers: list[int]) -> None: ...


async def no_parameter(self: Any) -> None: ...


async def body_of_get(self: Any, line: Line) -> None: ...


@pytest.mark.parametrize(
    ("method", "path", "function", "told"),
    [
        ("POST", "/x", two_bodies, "each of 'first', 'second' reads as the body"),
        ("POST", "/x", many, "reads as a parameter of the query that is given several times, and as a list"),
        ("GET", "/x/{id}", no_parameter, "its path has {id}, and the function no parameter for it"),
        ("GET", "/x", body_of_get, "reads as the body, which GET does not have, and as fields of the query"),
    ],
)
async def test_what_reads_in_two_ways_is_an_error_at_boot(method: str, path: str, function: Any, told: str) -> None:
    """It names both readings, and the plugin."""
    function.__dict__.clear()  # marks of the run before this one
    found = type("Odd", (Plugin,), {"manifest": Manifest(id="odd"), "serve": endpoint(method, path)(function)})
    kernel = Kernel([found])

    async with client(kernel):
        assert str(kernel.plugins["odd"].state) == "failed"
        assert told in kernel.plugins["odd"].reason
        assert "plugin 'odd'" in kernel.plugins["odd"].reason
