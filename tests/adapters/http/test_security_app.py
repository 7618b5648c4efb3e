"""A whole app: who gets in, what it lets in, and what it lets out."""

from __future__ import annotations

import io
import json
import traceback
from pathlib import Path
from typing import Any

import httpx2
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr
from starlette.requests import Request as WebRequest

from plugbus import Kernel, Plugin, Plugins, Principal, Request, answers, provides
from plugbus_adapters.http import (
    Authenticator,
    BearerTokens,
    Credentials,
    EndpointTable,
    HttpContext,
    Page,
    create_app,
    endpoint,
    log_in,
    log_out,
)
from plugbus_adapters.http._tokens import hash_of, new_token
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio

CANARY = "canary-" + "7f3a9" * 8
TOKEN = new_token()


class Order(BaseModel):
    number: int
    price: float = 0.0
    notes: object = None


class Place(Request[int], name="orders.place"):
    number: int
    price: float = 0.0
    notes: object = None


class Shop(Plugin, id="shop"):
    @endpoint("GET", "/open", auth="public")
    async def open(self) -> str:
        return "open"

    @endpoint("GET", "/me")
    async def me(self, http: HttpContext) -> str:
        return http.principal.id

    @endpoint("GET", "/orders/{number}", auth="orders.read")
    async def read(self, number: int) -> int:
        return number

    @endpoint("POST", "/orders", auth="public")
    async def order(self, order: Order) -> int:
        return order.number

    @endpoint("POST", "/through", auth="public")
    @answers(Place)
    async def place(self, request: Place) -> int:
        return request.number

    @endpoint("POST", "/data", auth="public")
    async def data(self, data: dict[str, float | list[float]]) -> int:
        return len(data)

    @endpoint("POST", "/fail", auth="public")
    async def fail(self, order: Order) -> None:
        password = CANARY
        raise RuntimeError(f"cannot log in with {password}")

    @endpoint("POST", "/in", auth="public")
    async def enter(self, request: WebRequest) -> None:
        log_in(request.session, Principal("ann", ["orders.read"]))

    @endpoint("POST", "/out")
    async def leave(self, request: WebRequest) -> None:
        log_out(request.session)

    @endpoint("GET", "/page", auth="public")
    async def page(self, name: str = "") -> Page:
        return Page("hello.html", name=name)

    @endpoint("GET", "/header", auth="public")
    async def header(self, http: HttpContext, value: str) -> None:
        http.set_header("x-value", value)


def shop(**settings: Any) -> Kernel:
    return Kernel([Shop], config={"plugins": {"http": settings}})


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


# ------------------------------------------------------------------------------------------------ who


async def test_a_token_of_the_settings_lets_in() -> None:
    tokens = {"ci": {"hash": hash_of(TOKEN), "scopes": ["orders.*"]}}
    async with client(shop(tokens=tokens)) as http:
        answers = [await http.get(path, headers=bearer()) for path in ("/me", "/orders/7")]
        other = await http.get("/me", headers=bearer(new_token()))

    assert [answer.json() for answer in answers] == ["ci", 7]
    assert (other.status_code, other.headers["www-authenticate"][:6]) == (401, "Bearer")


async def test_a_scope_that_is_missing_is_403() -> None:
    async with client(shop(), auth=BearerTokens({TOKEN: ["stock.read"]})) as http:
        answer = await http.get("/orders/7", headers=bearer())

    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")


async def test_every_route_but_the_public_ones_is_401_without_credentials() -> None:
    """All that the table of endpoints has, and whatever else the app routes."""
    kernel = shop(tokens={"ci": {"hash": hash_of(TOKEN)}})
    app = create_app(kernel)
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as http, kernel:
        table = [each for each in kernel.services.get(EndpointTable) if each.method != "WEBSOCKET"]
        statuses = {
            (each.method, each.path, each.auth == "public"): (
                await http.request(each.method, each.path.replace("{number}", "7"))
            ).status_code
            for each in table
        }

    assert len([each for each in table if each.owner == "shop"]) == 11
    assert {"http", "events"} < {each.owner for each in table}
    assert {key for key, status in statuses.items() if key[2] == (status == 401)} == set()


async def test_tokens_change_while_it_runs() -> None:
    """A token that leaked is taken out, and no more believed with the next request."""
    kernel = shop()
    async with client(kernel) as http:
        await kernel.plugins.configure("http", {"tokens": {"ci": {"hash": hash_of(TOKEN)}}})
        before = (await http.get("/me", headers=bearer())).status_code
        await kernel.plugins.configure("http", {"tokens": {}})
        after = (await http.get("/me", headers=bearer())).status_code

    assert (before, after) == (200, 401)


async def test_a_plugin_may_tell_who_asks() -> None:
    class Sso(Plugin, id="sso"):
        @provides
        def door(self) -> Authenticator:
            class Door:
                async def authenticate(self, credentials: Credentials) -> Principal | None:
                    return Principal("sso") if credentials.cookies.get("sso") == "1" else None

            return Door()

    async with client(Kernel([Shop, Sso])) as http:
        assert (await http.get("/me", headers={"cookie": "sso=1"})).json() == "sso"
        assert (await http.get("/me", headers={"cookie": "sso=2"})).status_code == 401


# ------------------------------------------------------------------------------------------------ sessions and sites


async def test_a_session_is_a_way_in_and_out() -> None:
    async with client(shop(session_secrets=[CANARY], secure_cookies=False)) as http:
        before = (await http.get("/me")).status_code
        await http.post("/in")
        inside = [(await http.get("/me")).json(), (await http.get("/orders/7")).status_code]
        await http.post("/out")
        after = (await http.get("/me")).status_code

    assert (before, inside, after) == (401, ["ann", 200], 401)


async def test_another_sites_page_cannot_use_the_session() -> None:
    """Its requests are refused before they reach the plugin; so is a login in somebody else's name."""
    async with client(shop(session_secrets=[CANARY], secure_cookies=False)) as http:
        await http.post("/in", headers={"sec-fetch-site": "same-origin"})
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
            for path in ("/out", "/in", "/orders"):
                answer = await http.post(path, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
        assert (await http.get("/me")).status_code == 200


async def test_no_other_site_reads_an_answer_unless_the_settings_say_so() -> None:
    """CORS is closed: neither a preflight nor an answer allows anything; one that is named is allowed what it needs."""
    asked = {"origin": "https://friend.example", "access-control-request-method": "POST",
             "access-control-request-headers": "authorization, content-type"}  # fmt: skip
    for settings, allowed in (({}, None), ({"cors_origins": ["https://friend.example"]}, "https://friend.example")):
        async with client(shop(**settings)) as http:
            preflight = await http.options("/orders", headers=asked)
            answer = await http.get("/open", headers={"origin": "https://friend.example"})
            other = await http.get("/open", headers={"origin": "https://evil.example"})

        assert [a.headers.get("access-control-allow-origin") for a in (preflight, answer, other)] == [
            allowed,
            allowed,
            None,
        ]
        assert (preflight.status_code == 200) is (allowed is not None)
        assert "access-control-allow-credentials" not in answer.headers


# ------------------------------------------------------------------------------------------------ pages


@pytest.fixture
def pages(tmp_path: Path) -> str:
    (tmp_path / "hello.html").write_text("<p>{{ name }}</p>")
    return str(tmp_path)


async def test_a_page_is_html_that_may_load_nothing_from_elsewhere(pages: str) -> None:
    async with client(shop(template_folders=[pages])) as http:
        answer = await http.get("/page", params={"name": "<script>"})

    assert (answer.status_code, answer.text) == (200, "<p>&lt;script&gt;</p>")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_a_template_that_is_missing_shows_no_folder(tmp_path: Path) -> None:
    async with client(shop(template_folders=[str(tmp_path)])) as http:
        answer = await http.get("/page")

    assert (answer.status_code, str(tmp_path) in answer.text) == (500, False)


@pytest.mark.parametrize("value", ["a\r\nset-cookie: x=1", "a\nb", "a\0b"])
async def test_what_breaks_a_header_reaches_nobody(value: str) -> None:
    async with client(shop()) as http:
        answer = await http.get("/header", params={"value": value})

    assert (answer.status_code, "set-cookie" in answer.headers, "x-value" in answer.headers) == (500, False, False)


# ------------------------------------------------------------------------------------------------ bodies

PATHS = ("/orders", "/through", "/data")
DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"nul", b'{"number": 1', b'{"number": NaN}', b'{"number": 1, "price": NaN}',
        b'{"number": 1, "price": Infinity}', b'{"number": 1, "price": -Infinity}', b'{"number": 1, "price": 1e999}',
        b'{"number": 1, "notes": 1e999}', b'{"number": 1, "notes": NaN}', b'{"a": 1e999}', DEEP,
        b'{"number": 1, "notes": ' + DEEP + b"}",
        b'{"number": 1, "notes": ' + b"[" * 100 + b"]" * 100 + b"}", b'{"number": ' + b"9" * 5000 + b"}",
        b'{"number": ' + b"9" * 101 + b"}", b'{"number": "' + b"9" * 5000 + b'"}x', b'{"number": 1, "\xff": 1}',
        b'{"number": 1, "notes": "\\ud800"}', b'{"number": 1, "notes": "\x00"}', b"\xff\xfe", b"\x00" * 100,
    ],
    ids=lambda body: ascii(f"{body[:30]} {len(body)}"),
)  # fmt: skip
async def test_an_odd_body_is_the_callers_mistake(path: str, body: bytes) -> None:
    """4xx with a problem document, never 500, however the endpoint reads it."""
    async with client(shop()) as http:
        answer = await http.post(path, content=body, headers={"content-type": "application/json"})

    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


@given(
    body=st.binary(max_size=80) | st.text('{}[]":,number pice0123456789.-eE\\uNaNIfity', max_size=80).map(str.encode)
)
async def test_no_body_makes_it_fail(body: bytes) -> None:
    async with client(shop()) as http:
        for path in PATHS:
            answer = await http.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code < 500


async def test_a_body_over_the_limit_is_refused_and_the_limit_changes_while_it_runs() -> None:
    kernel = shop()
    body = json.dumps({"number": 1, "notes": "x" * 2000}).encode()
    async with client(kernel) as http:
        await kernel.plugins.configure("http", {"max_body_bytes": 1000})
        before = await http.post("/orders", content=body, headers={"content-type": "application/json"})
        await kernel.plugins.configure("http", {"max_body_bytes": 5000})
        after = await http.post("/orders", content=body, headers={"content-type": "application/json"})

    assert (before.status_code, before.json()["code"], after.status_code) == (413, "too_large", 200)


# ------------------------------------------------------------------------------------------------ secrets


async def test_secrets_appear_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Planted in credentials, cookies, bodies, settings and variables; looked for in answers, logs and reprs."""
    out = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(out))
    tokens = BearerTokens({CANARY: []})
    kernel = shop(session_secrets=[CANARY], tokens={"ci": {"hash": hash_of(CANARY)}})
    told: list[str] = []
    async with client(kernel, auth=tokens) as http:
        headers = {"authorization": f"Bearer {CANARY}x", "cookie": f"session={CANARY}", "x-key": CANARY}
        for method, path, content in (
            ("GET", "/me", b""), ("POST", "/orders", f'{{"number": "{CANARY}"}}'.encode()), ("GET", "/nothing", b""),
            ("POST", "/orders", CANARY.encode()), ("POST", "/fail", b'{"number": 1}'), ("PUT", "/orders", b""),
            ("POST", "/orders", f'{{"number": 1, "{CANARY}": NaN}}'.encode()),
        ):  # fmt: skip
            answer = await http.request(
                method, path, content=content, headers={**headers, "content-type": "application/json"}
            )
            told.append(answer.text + str(answer.headers))
            assert answer.status_code >= 400
        settings = kernel.services.get(Plugins)["http"]
        told += [repr(tokens), repr(kernel), repr(settings), str(kernel.explain())]

    assert "request failed" in out.getvalue()  # the log was looked at
    assert CANARY not in "".join(told)
    assert CANARY not in out.getvalue().replace(f"cannot log in with {CANARY}", "")  # what a plugin itself writes
    assert CANARY not in caplog.text
    try:
        raise ValueError(SecretStr(CANARY))
    except ValueError:
        assert CANARY not in traceback.format_exc()
