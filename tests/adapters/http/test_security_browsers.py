"""What browsers bring: sessions, pages of other sites, and templates that must not be left."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from plugbus import Principal
from plugbus_adapters.http import Credentials, ProblemError
from plugbus_adapters.http._slots import StreamSlots
from plugbus_adapters.http.csrf import is_cross_site
from plugbus_adapters.http.pages import Page, TemplateMissingError, Templates
from plugbus_adapters.http.sessions import SessionAuthenticator, Sessions, log_in, log_out

pytestmark = pytest.mark.anyio

ANN = Principal("ann", ["orders.*"], {"level": 1})
OLD, NEW = SecretStr("old-secret-" * 4), SecretStr("new-secret-" * 4)


# ------------------------------------------------------------------------------------------------ sessions


async def entering(request: Request) -> JSONResponse:
    log_in(request.session, ANN)
    return JSONResponse("in")


async def leaving(request: Request) -> JSONResponse:
    log_out(request.session)
    return JSONResponse("out")


async def who(request: Request) -> JSONResponse:
    found = await SessionAuthenticator().authenticate(Credentials(session=request.session))
    return JSONResponse(None if found is None else found.to_dict())


def browser(*secrets: SecretStr, secure: bool = True, seconds: int = 60) -> httpx2.AsyncClient:
    app = Starlette(routes=[Route("/in", entering), Route("/out", leaving), Route("/", who)])
    served = Sessions(app, secrets=secrets, seconds=seconds, secure=secure)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=served), base_url="https://shop.example")


async def test_a_session_says_who_logged_in_until_logout() -> None:
    async with browser(NEW) as client:
        before = (await client.get("/")).json()
        await client.get("/in")
        inside = (await client.get("/")).json()
        await client.get("/out")
        after = (await client.get("/")).json()

    assert (before, inside, after) == (None, ANN.to_dict(), None)


@pytest.mark.parametrize("secure", [True, False])
async def test_the_cookie_is_kept_from_scripts_and_other_sites(secure: bool) -> None:
    """HttpOnly and SameSite always; over HTTPS, Secure and a name that no other host of the domain can set."""
    async with browser(NEW, secure=secure) as client:
        cookie = (await client.get("/in")).headers["set-cookie"].lower()

    assert all(flag in cookie for flag in ("httponly", "samesite=lax", "path=/", "max-age=60"))
    assert ("secure" in cookie.split(";", 1)[1], cookie.startswith("__host-session="), "domain" in cookie) == (
        secure,
        secure,
        False,
    )


async def test_a_session_outlives_a_change_of_secrets() -> None:
    """The first secret signs, all are believed; once the old one is gone, so is what it signed."""
    async with browser(OLD) as client:
        await client.get("/in")
        cookies = dict(client.cookies)
    async with browser(NEW, OLD) as both, browser(NEW) as new:
        both.cookies.update(cookies)
        new.cookies.update(cookies)
        kept, gone = (await both.get("/")).json(), (await new.get("/")).json()
        both.cookies.clear()
        new.cookies.clear()
        await both.get("/in")
        new.cookies.update(dict(both.cookies))
        renewed = (await new.get("/")).json()

    assert (kept, gone, renewed) == (ANN.to_dict(), None, ANN.to_dict())


async def test_a_forged_session_is_none() -> None:
    """Another payload, another signature, another salt, no signature: nobody."""
    async with browser(NEW) as client:
        await client.get("/in")
        ((name, cookie),) = dict(client.cookies).items()
        root = base64.b64encode(
            json.dumps({"plugbus.principal": {"id": "root"}, "plugbus.since": int(time.time())}).encode()
        )
        payload, stamp, signature = cookie.split(".")
        forged = [
            f"{root.decode()}.{stamp}.{signature}", f"{payload}.{stamp}.{signature[:-2]}xx", root.decode(), "", "..",
            f"{payload}.{stamp}", "null",
        ]  # fmt: skip
        answers = []
        for each in forged:
            client.cookies.clear()
            answers.append((await client.get("/", headers={"cookie": f"{name}={each}"})).json())

    assert answers == [None] * len(forged)


async def test_a_session_ends_though_it_is_used_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many seconds after the login; one from the future is none either."""
    session: dict[str, Any] = {}
    log_in(session, ANN)
    session["cart"] = [1]
    door, now = SessionAuthenticator(seconds=100), time.time()

    async def at(seconds: float) -> Principal | None:
        monkeypatch.setattr(time, "time", lambda: now + seconds)
        return await door.authenticate(Credentials(session=session))

    assert [await at(99), await at(102), await at(-10)] == [ANN, None, None]


def test_a_login_leaves_nothing_of_the_session_before() -> None:
    """Somebody may have put it into the browser beforehand."""
    session: dict[str, Any] = {"cart": "planted"}

    log_in(session, ANN)

    assert "cart" not in session


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)))
async def test_a_session_of_another_shape_is_nobody(value: object) -> None:
    for session in ({"plugbus.principal": value}, {"plugbus.principal": {"id": "x"}, "plugbus.since": value}):
        found = await SessionAuthenticator().authenticate(Credentials(session=session))
        assert found is None


def test_sessions_without_a_secret_are_refused() -> None:
    with pytest.raises(ValueError, match="session_secrets"):
        Sessions(Starlette(), secrets=[], seconds=60)


# ------------------------------------------------------------------------------------------------ other sites


def headers(**named: str) -> list[tuple[bytes, bytes]]:
    return [
        (name.replace("_", "-").encode(), value.encode()) for name, value in {"host": "shop.example", **named}.items()
    ]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "QUERY", "post", "X"])
@pytest.mark.parametrize(
    ("sent", "crosses"),
    [
        ({}, False),
        ({"sec_fetch_site": "same-origin"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"sec_fetch_site": "cross-site"}, True),
        ({"sec_fetch_site": "same-site"}, True),
        ({"sec_fetch_site": ""}, True),
        ({"sec_fetch_site": "cross-site", "origin": "https://friend.example"}, False),
        ({"sec_fetch_site": "cross-site", "authorization": "Bearer x"}, False),
        ({"origin": "https://shop.example"}, False),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "https://sub.shop.example"}, True),
        ({"origin": "http://shop.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "https://evil.example", "authorization": "Bearer x"}, False),
    ],
    ids=str,
)
def test_what_another_site_makes_a_browser_send_is_told_apart(method, sent, crosses) -> None:
    """By what the browser says; a client that is none says nothing."""
    assert is_cross_site(method, headers(**sent), scheme="https", allowed=("https://friend.example",)) is crosses


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_changes_nothing_may_come_from_anywhere(method: str) -> None:
    """A link on another site is one."""
    assert not is_cross_site(method, headers(origin="https://evil.example"), scheme="https", allowed=())


# ------------------------------------------------------------------------------------------------ pages


class Owner(SimpleNamespace):
    """As much of an owner as templates need; unlike a namespace, it is known by identity."""

    __hash__ = object.__hash__


def owner(folder: Path | None) -> Any:
    return Owner(id="shop", folder=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "shop/templates/page.html": "<p title='{{ name }}'>{{ name }}</p>",
        "shop/templates/deep/er.html": "deeper",
        "shop/templates/text.txt": "{{ name }}",
        "shop/secret.html": "secret",
        "shop/templates.html": "secret",
        "host/page.html": "the host's",
        "host/base.html": "the host's {{ name }}",
        "other/templates/other.html": "another plugin's",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


async def test_values_are_escaped_whatever_the_template_is_called(folder: Path) -> None:
    """Jinja2 by itself escapes nothing, and its select_autoescape leaves ``.txt`` alone."""
    templates = Templates()
    hostile = "<script>'\"&"

    for name in ("page.html", "text.txt"):
        shown = await templates.render(owner(folder / "shop"), Page(name, name=hostile))
        assert b"<script>" not in shown
        assert b"&lt;script&gt;&#39;&#34;&amp;" in shown


async def test_a_plugins_own_template_comes_first(folder: Path) -> None:
    templates, shop = Templates([str(folder / "host")]), owner(folder / "shop")

    assert await templates.render(shop, Page("page.html", name="own")) == b"<p title='own'>own</p>"
    assert await templates.render(shop, Page("base.html", name=1)) == b"the host's 1"
    assert await templates.render(owner(None), Page("page.html")) == b"the host's"
    assert await templates.render(shop, Page("deep/er.html")) == b"deeper"


OUT = ["../secret.html", "deep/../../secret.html", "./../secret.html", "/etc/passwd", "..", "", ".", "..\\secret.html"]
ABSENT = [
    "deep",
    "none.html",
    "../../other/templates/other.html",
    "%2e%2e/secret.html",
    "page.html\0",
    "a" * 5000,
    "other.html",
]


@pytest.mark.parametrize("name", [*OUT, *ABSENT], ids=lambda name: ascii(name[:30]))
async def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    """It is an error that says where was looked, and shows nothing."""
    with pytest.raises(TemplateMissingError, match="looked in") as caught:
        await Templates([str(folder / "host")]).render(owner(folder / "shop"), Page(name, name="x"))

    assert caught.value.searched == (str(folder / "shop/templates"), str(folder / "host"))


async def test_a_value_that_is_missing_is_an_error(folder: Path) -> None:
    """Not an empty place in the page."""
    with pytest.raises(Exception, match="'name' is undefined"):
        await Templates().render(owner(folder / "shop"), Page("page.html"))


def test_a_page_does_not_show_its_values() -> None:
    assert repr(Page("login.html", password="canary")) == "Page('login.html', password=...)"


# ------------------------------------------------------------------------------------------------ streams


def test_streams_are_counted_and_given_back() -> None:
    """Of each, and of all; whatever ends them."""
    slots = StreamSlots()

    with slots.taken("ann", most=2, most_each=1), pytest.raises(ProblemError) as own:
        slots.taken("ann", most=2, most_each=1).__enter__()
    with slots.taken("ann", most=1, most_each=9), pytest.raises(ProblemError) as every:
        slots.taken("ben", most=1, most_each=9).__enter__()
    with pytest.raises(OSError), slots.taken("ann", most=1, most_each=1):
        raise OSError("the reader is gone")

    assert (own.value.document.status, every.value.document.status) == (429, 503)
    assert (slots.open, len(slots._of)) == (0, 0)
