"""The service ``Http``: what plugins serve by code, at run time, and within somebody else's app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import anyio
import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from plugbus import (
    Kernel,
    KernelStartError,
    Manifest,
    Owner,
    Plugin,
    PluginError,
    Principal,
    ReloadError,
    Request,
    answers,
    observes,
    provides,
)
from plugbus_adapters.http import (
    Authenticator,
    Credentials,
    EndpointTable,
    Http,
    HttpSetup,
    HttpShutdown,
    HttpStartup,
    create_app,
    endpoint,
    lifespan,
    mount,
)
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio


class Ask(Request[str], name="ask"):
    what: str


async def hello(request: StarletteRequest) -> PlainTextResponse:
    return PlainTextResponse(f"hello {request.path_params.get('name', '')}")


class Serving(Plugin, id="serving"):
    def __init__(self, http: Http) -> None:
        self.http = http
        self.closers = [
            http.add_endpoint("/ask", "POST", Ask, auth="public"),
            http.add_endpoint("/price/{item}", "GET", self.price, auth="public", status=203),
            http.include([Route("/hello/{name}", hello)], auth="public"),
            http.include(Route("/mine", hello)),
            http.mount("/app", Starlette(routes=[Route("/x", hello)]), auth="public"),
            http.add_middleware(Stamping, value=b"1"),
        ]

    def price(self, item: str) -> int:
        return len(item)

    @answers(Ask)
    async def ask(self, request: Ask) -> str:
        return f"{request.what}?"


class Stamping:
    def __init__(self, app: Any, value: bytes) -> None:
        self.app, self.value = app, value

    async def __call__(self, scope, receive, send) -> None:
        async def stamped(message):
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-stamp", self.value)]}
            await send(message)

        await self.app(scope, receive, stamped)


async def test_functions_requests_routes_and_apps_are_served() -> None:
    """Each by a line of code; routes are for known callers unless said otherwise."""
    async with client(Kernel([Serving])) as http:
        assert (await http.post("/ask", json={"what": "tea"})).json() == "tea?"
        price = await http.get("/price/tea")
        assert (price.status_code, price.json()) == (203, 3)
        assert (await http.get("/hello/ann")).text == "hello ann"
        assert (await http.get("/app/x")).text == "hello "
        assert (await http.get("/mine")).status_code == 401
        assert price.headers["x-stamp"] == "1"


async def test_everything_leaves_with_the_plugin_and_comes_back_with_it() -> None:
    """Also what was closed by hand is gone at once."""
    kernel = Kernel([Serving])
    async with client(kernel) as http:
        kernel.plugins["serving"].instance.closers[1]()
        assert (await http.get("/price/tea")).status_code == 404
        await kernel.unload("serving")
        for path in ("/hello/ann", "/app/x", "/mine"):
            gone = await http.get(path)
            assert (gone.status_code, "x-stamp" in gone.headers) == (404, False)
        await kernel.load(Serving)
        assert (await http.get("/price/tea")).json() == 3


async def test_a_reload_swaps_endpoints_while_requests_are_under_way() -> None:
    """The old one finishes what it began, the new one takes the next."""
    made: list[Slow] = []

    class Slow(Plugin, id="slow"):
        def __init__(self) -> None:
            self.number = len(made)
            self.began, self.go = anyio.Event(), anyio.Event()
            made.append(self)

        @endpoint("GET", "/slow", auth="public")
        async def slow(self, wait: bool = False) -> int:
            if wait:
                self.began.set()
                await self.go.wait()
            return self.number

    kernel = Kernel([Slow])
    answers: list[int] = []
    async with client(kernel) as http, anyio.create_task_group() as group:
        with anyio.fail_after(10):

            async def ask() -> None:
                answers.append((await http.get("/slow?wait=true")).json())

            group.start_soon(ask)
            await made[0].began.wait()
            group.start_soon(kernel.reload, "slow")
            while (await http.get("/slow")).raise_for_status().json() != 1:
                await anyio.lowlevel.checkpoint()
            assert answers == []
            made[0].go.set()
            while not answers:
                await anyio.lowlevel.checkpoint()

    assert answers == [0]


async def test_a_reload_of_the_edge_itself_leaves_no_gap() -> None:
    """Each request in the middle of it finds its endpoint, and afterwards there is one of each."""

    class Here(Plugin, id="here"):
        @endpoint("GET", "/here", auth="public")
        async def here(self) -> str:
            return "here"

    kernel = Kernel([Here])
    async with client(kernel) as http:
        done: list[bool] = []

        async def reload() -> None:
            await kernel.reload("http")
            done.append(True)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(reload)
                while not done:
                    assert (await http.get("/here")).raise_for_status().json() == "here"
                    await anyio.lowlevel.checkpoint()
        table = await kernel.services.aget(EndpointTable)
        assert [str(each) for each in table if each.owner == "here"] == ["GET /here"]
        assert len({str(each) for each in table}) == len(table)
        assert (await http.get("/here")).json() == "here"


async def test_a_reload_of_the_edge_leaves_the_records_of_others_as_they_were() -> None:
    """What waits for requests of an endpoint is theirs once, however often the edge was reloaded."""

    class Here(Plugin, id="here"):
        @endpoint("GET", "/here", auth="public")
        async def here(self) -> str:
            return "here"

    kernel = Kernel([Here])
    async with client(kernel) as http:
        before = kernel.plugins["here"].owns
        for _ in range(2):
            await kernel.reload("http")
            assert (await http.get("/here")).json() == "here"

        assert kernel.plugins["here"].owns == before
        assert sum("requests to GET /here" in each for each in before) == 1


async def test_a_reload_that_fails_leaves_the_old_endpoints() -> None:
    """They go on as if nothing had been."""
    made: list[object] = []

    class Once(Plugin, id="once"):
        def __init__(self) -> None:
            made.append(self)

        async def on_ready(self) -> None:
            if len(made) > 1:
                raise RuntimeError("no second one")

        @endpoint("GET", "/once", auth="public")
        async def once(self) -> int:
            return made.index(self)

    kernel = Kernel([Once])
    async with client(kernel) as http:
        with pytest.raises(ReloadError):
            await kernel.reload("once")
        assert (await http.get("/once")).json() == 0
        await kernel.unload("once")
        assert (await http.get("/once")).status_code == 404


async def test_a_collision_names_both_owners() -> None:
    """The plugin that comes second is failed; a prefix for each plugin makes room."""

    class First(Plugin, id="first"):
        @endpoint("GET", "/same/{a}", auth="public")
        async def same(self, a: str) -> str:
            return "first"

    class Second(Plugin, id="second"):
        @endpoint("GET", "/same/{b}", auth="public")
        async def same(self, b: str) -> str:
            return "second"

    class Third(Plugin, id="third"):
        def __init__(self, http: Http) -> None:
            http.include(Route("/same/{c}", hello))

    kernel = Kernel([First, Second, Third])
    async with client(kernel):
        reasons = "\n".join(record.reason for record in kernel.plugins.values())
        failed = {record.id for record in kernel.plugins.values() if record.reason}
        assert len(failed) == 2
        assert "answers the same requests" in reasons
    async with client(Kernel([First, Second]), plugin_prefix="/plugins/{plugin}", prefix="/api") as http:
        assert (await http.get("/api/plugins/first/same/1")).json() == "first"
        assert (await http.get("/api/plugins/second/same/1")).json() == "second"


async def test_two_endpoints_of_one_plugin_on_one_path_stop_the_start() -> None:
    """That is known before anything boots."""

    class Twice(Plugin, id="twice"):
        @endpoint("GET", "/x")
        async def one(self) -> None: ...

        @endpoint("GET", "/x")
        async def two(self) -> None: ...

    with pytest.raises(KernelStartError, match="answers the same requests"):
        async with client(Kernel([Twice])):
            pass


def limited(limit: int = 3) -> int:
    return limit


async def test_routers_of_fastapi_are_included() -> None:
    """With their dependencies and validation; what they do not serve is left to others."""
    router = APIRouter()

    @router.get("/items/{item}")
    async def item(item: int, limit: Annotated[int, Depends(limited)]) -> dict[str, int]:
        return {"item": item, "limit": limit}

    class Old(Plugin, id="old"):
        def __init__(self, http: Http) -> None:
            http.include(router, auth="public")
            http.include(router, prefix="/v2", auth="public")
            http.add_endpoint("/other", "GET", self.other, auth="public")

        async def other(self) -> str:
            return "other"

    async with client(Kernel([Old])) as http:
        assert (await http.get("/items/7?limit=5")).json() == {"item": 7, "limit": 5}
        assert (await http.get("/v2/items/7")).json() == {"item": 7, "limit": 3}
        assert (await http.get("/items/x")).status_code == 422
        assert (await http.get("/other")).json() == "other"
        assert (await http.get("/none")).status_code == 404


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/tea.txt").write_text("green")
    (tmp_path / "secret.txt").write_text("no")
    return tmp_path / "files"


async def test_files_of_a_folder_are_served(files: Path) -> None:
    """And nothing beside it."""

    class Static(Plugin, id="static"):
        async def on_boot(self, http: Http) -> None:
            await anyio.to_thread.run_sync(lambda: http.static("/files", files, auth="public"))

    async with client(Kernel([Static])) as http:
        assert (await http.get("/files/tea.txt")).text == "green"
        assert (await http.get("/files/..%2fsecret.txt")).status_code == 404


class Chat(Plugin, id="chat"):
    def __init__(self, http: Http) -> None:
        http.add_websocket("/chat/{room}", self.chat, auth="public")
        http.add_websocket("/private", self.chat_alone)
        http.include(WebSocketRoute("/routed", self.chat_alone))

    async def chat(self, websocket: WebSocket, room: int, owner: Owner) -> None:
        await websocket.accept()
        text = await websocket.receive_text()
        await websocket.send_text(f"{room} {owner.id} {text}")
        await websocket.close()

    async def chat_alone(self, websocket: WebSocket) -> None:
        await websocket.accept()


@pytest.mark.may_block("the test client of Starlette runs the app in a thread of its own")
def test_websockets_are_served_and_refused_before_they_are_accepted() -> None:
    """With parameters and services; 403 for whom they are not for, and for what does not fit."""
    with TestClient(create_app(Kernel([Chat]))) as http:
        with http.websocket_connect("/chat/7") as websocket:
            websocket.send_text("tea")
            assert websocket.receive_text() == "7 chat tea"
        for path in ("/private", "/chat/seven", "/none"):
            with pytest.raises(WebSocketDisconnect), http.websocket_connect(path):
                pass


@pytest.mark.may_block("the test client of Starlette runs the app in a thread of its own")
@pytest.mark.parametrize(("path", "status"), [("/private", 401), ("/chat/seven", 422), ("/routed", 401)])
def test_a_refused_websocket_is_answered_as_any_request_is(path: str, status: int) -> None:
    """By a problem document, where the server knows ASGI's denial response."""
    with (
        TestClient(create_app(Kernel([Chat]))) as http,
        pytest.raises(WebSocketDenialResponse) as refused,
        http.websocket_connect(path),
    ):
        pass

    assert (refused.value.status_code, refused.value.json()["status"]) == (status, status)
    assert refused.value.headers["content-type"] == "application/problem+json"
    assert ("www-authenticate" in refused.value.headers) == (status == 401)


class Watching(Plugin, id="watching"):
    def __init__(self) -> None:
        self.told: list[str] = []

    @observes(HttpSetup)
    async def setup(self, event: HttpSetup, owner: Owner) -> None:
        self.told.append("setup")
        event.http(owner).add_endpoint("/watched", "GET", self.watched, auth="public")

    @observes(HttpStartup, HttpShutdown)
    async def note(self, event: object) -> None:
        self.told.append(type(event).__name__)

    async def watched(self) -> int:
        return len(self.told)


async def test_the_life_of_the_app_is_told() -> None:
    """Set up, with the view of who hears it; started; shut down."""
    kernel = Kernel([Watching])
    app = create_app(kernel)
    async with lifespan(kernel)(app), client(app) as http:
        watching = kernel.plugins["watching"].instance
        assert (await http.get("/watched")).json() == 2
        await kernel.unload("watching")
        assert (await http.get("/watched")).status_code == 404
    assert watching.told == ["setup", "HttpStartup"]
    kernel = Kernel([Watching])
    app = create_app(kernel)
    async with lifespan(kernel)(app):
        watching = kernel.plugins["watching"].instance
    assert watching.told == ["setup", "HttpStartup", "HttpShutdown"]


async def test_who_takes_the_app_itself_cannot_be_reloaded() -> None:
    """What it did to the app would stay; it can be unloaded."""

    class Taking(Plugin, id="taking"):
        @observes(HttpSetup)
        async def take(self, event: HttpSetup, owner: Owner) -> None:
            event.app(owner).add_route("/taken", hello)

    kernel = Kernel([Taking])
    async with client(kernel) as http:
        assert (await http.get("/taken")).text == "hello "
        with pytest.raises(ReloadError, match="took the app itself"):
            await kernel.reload("taking")
        assert str(kernel.plugins["taking"].state) == "ready"
        await kernel.unload("taking")


class Named(Plugin):
    def __init__(self, owner: Owner) -> None:
        self.id = owner.id

    @endpoint("GET", "/name", auth="public")
    async def name(self) -> str:
        return self.id


@pytest.mark.parametrize("host", [Starlette, FastAPI])
async def test_kernels_are_mounted_into_a_host(host: type) -> None:
    """Several of them, each at its path; they start and stop with the host."""
    kernels = [Kernel([type("One", (Named,), {"manifest": Manifest(id=name)})]) for name in ("one", "two")]
    app = host()
    for kernel, path in zip(kernels, ("/a", "/b"), strict=True):
        mount(app, kernel, path)
    app.add_route("/hello", hello)

    async with app.router.lifespan_context(app), client(app) as http:
        assert [(await http.get(f"/{path}/name")).json() for path in "ab"] == ["one", "two"]
        assert (await http.get("/hello")).text == "hello "
        missing = await http.get("/a/none")
        assert (missing.status_code, missing.json()["code"]) == (404, "no_route")
    with pytest.raises(PluginError):
        kernels[0].plugins.add(Named)


async def test_a_kernel_has_one_app() -> None:
    """A second one would not know which endpoints are its own."""
    kernel = Kernel()
    create_app(kernel)

    with pytest.raises(ValueError, match="has an app already"):
        create_app(kernel)


async def test_a_plugin_may_tell_who_asks() -> None:
    """Whatever provides an Authenticator is asked, as soon as it is there, and no more when it left."""

    class Sso(Plugin, id="sso"):
        @provides
        def sso(self) -> Authenticator:
            class Known:
                async def authenticate(self, credentials: Credentials) -> Principal | None:
                    return Principal("ann") if credentials.token == "t" else None

            return Known()

    class Mine(Plugin, id="mine"):
        @endpoint("GET", "/mine")
        async def mine(self, who: Principal) -> str:
            return who.id

    kernel = Kernel([Mine, Sso])
    async with client(kernel) as http:
        headers = {"authorization": "Bearer t"}
        assert (await http.get("/mine", headers=headers)).json() == "ann"
        assert (await http.get("/mine")).status_code == 401
        await kernel.unload("sso")
        assert (await http.get("/mine", headers=headers)).status_code == 401
