"""What goes out: results of all kinds, envelopes, and failures as problem documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    TraceFlags,
    TracerProvider,
    use_span,
)
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.opentelemetry import OpenTelemetryMiddleware
from starlette.responses import PlainTextResponse
from structlog.testing import capture_logs

from plugbus import (
    BreakerOpenError,
    Conflict,
    Invalid,
    Kernel,
    NoHandlerError,
    NotFound,
    Plugin,
    PluginTimeoutError,
    Problem,
    Refused,
    Request,
    Unavailable,
    Watched,
    answers,
    current,
    listens,
    replace,
)
from plugbus_adapters.http import Http, HttpContext, PreResponse, ProblemError, create_app, endpoint
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio


class Tea(BaseModel):
    name: str


class SecretTea(Tea):
    recipe: str


@dataclass
class Cup:
    size: int


class Shop(Plugin, id="shop"):
    @endpoint("GET", "/model", auth="public")
    async def model(self) -> Tea:
        return SecretTea(name="green", recipe="leaves")

    @endpoint("GET", "/dict", auth="public", response_model=Tea)
    async def plain(self) -> Any:
        return {"name": "green", "recipe": "leaves"}

    @endpoint("GET", "/dataclass", auth="public")
    async def cups(self) -> list[Cup]:
        return [Cup(1), Cup(2)]

    @endpoint("GET", "/response", auth="public")
    async def response(self, http: HttpContext) -> PlainTextResponse:
        http.set_cookie("seen", "1")
        return PlainTextResponse("tea", status_code=203)

    @endpoint("GET", "/redirect", auth="public")
    async def redirect(self, http: HttpContext) -> None:
        http.redirect("/model")

    @endpoint("GET", "/unfit", auth="public")
    async def unfit(self) -> Tea:
        return {"colour": "canary-7"}

    @endpoint("GET", "/lines", auth="public")
    async def lines(self) -> AsyncIterator[Cup]:
        for size in (1, 2):
            yield Cup(size)

    @endpoint("GET", "/text", auth="public")
    async def text(self) -> AsyncIterator[str]:
        async def words() -> AsyncIterator[str]:
            yield "green "
            yield "tea"

        return words()

    @endpoint("GET", "/failing-stream", auth="public")
    async def failing(self) -> AsyncIterator[str]:
        raise NotFound("no tea")
        yield "never"

    @endpoint("GET", "/wrapped", auth="public", envelope=True)
    async def wrapped(self, fail: bool = False) -> Tea:
        if fail:
            raise NotFound("no tea")
        return Tea(name="green")


async def test_results_are_told_by_the_declared_type() -> None:
    """With its fields alone, whatever the object has beside."""
    async with client(Kernel([Shop])) as http:
        assert (await http.get("/model")).json() == {"name": "green"}
        assert (await http.get("/dict")).json() == {"name": "green"}
        assert (await http.get("/dataclass")).json() == [{"size": 1}, {"size": 2}]


async def test_a_response_goes_out_as_it_is() -> None:
    """With what was set beside it."""
    async with client(Kernel([Shop])) as http:
        found = await http.get("/response")
        redirected = await http.get("/redirect")

    assert (found.status_code, found.text) == (203, "tea")
    assert found.headers["set-cookie"] == "seen=1; Path=/; Secure; HttpOnly; SameSite=Lax"
    assert (redirected.status_code, redirected.headers["location"], redirected.content) == (303, "/model", b"")


async def test_async_iterators_are_streamed() -> None:
    """Objects as lines of JSON, text as text; a failure before the first piece is one like any other."""
    async with client(Kernel([Shop])) as http:
        lines, text = await http.get("/lines"), await http.get("/text")
        failed = await http.get("/failing-stream")

    assert (lines.headers["content-type"], lines.text) == ("application/x-ndjson", '{"size":1}\n{"size":2}\n')
    assert (text.headers["content-type"], text.text) == ("text/plain; charset=utf-8", "green tea")
    assert (failed.status_code, failed.json()["detail"]) == (404, "no tea")


async def test_an_envelope_wraps_results_and_failures() -> None:
    """Per endpoint, or for a whole app."""
    async with client(Kernel([Shop])) as http:
        good, bad = await http.get("/wrapped"), await http.get("/wrapped?fail=true")
    async with client(Kernel([Shop]), envelope=True) as http:
        whole = await http.get("/model")

    assert good.json() == {"success": True, "data": {"name": "green"}, "error": None}
    assert (bad.status_code, bad.json()["success"], bad.json()["error"]["detail"]) == (404, False, "no tea")
    assert whole.json()["data"] == {"name": "green"}


class Odd(ValueError): ...


class Odder(Odd): ...


class Failing(Plugin, id="failing"):
    raising: Exception

    def __init__(self, http: Http) -> None:
        http.map_error(FileExistsError, 409)

    @endpoint("GET", "/fail", auth="public", errors={Odd: 418})
    async def fail(self) -> None:
        raise self.raising


@pytest.mark.parametrize(
    ("error", "status", "facts"),
    [
        (NotFound("no tea"), 404, {"detail": "no tea", "code": "not_found"}),
        (Conflict("twice"), 409, {"code": "conflict"}),
        (
            Invalid("odd", problems=[Problem("a.b", "is odd")]),
            422,
            {"problems": [{"where": "a.b", "message": "is odd"}]},
        ),
        (Refused("closed", code="closed"), 400, {"code": "closed"}),
        (NoHandlerError("orders.place"), 501, {"code": "no_handler"}),
        (PluginTimeoutError("shop", "fail", 1.0), 504, {"code": "timeout"}),
        (ProblemError(410, "ended", code="ended"), 410, {"code": "ended"}),
        (HTTPException(402, "pay first"), 402, {"detail": "pay first"}),
        (Odder("strange"), 418, {"detail": "strange"}),
        (FileExistsError("there"), 409, {"detail": "there"}),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_failures_are_problem_documents(error: Exception, status: int, facts: dict[str, Any]) -> None:
    """Each kind with its status, and what a caller may know of it."""
    kernel = Kernel([Failing])
    async with client(kernel) as http:
        kernel.plugins["failing"].instance.raising = error
        found = await http.get("/fail")

    assert (found.status_code, found.headers["content-type"]) == (status, "application/problem+json")
    assert facts.items() <= found.json().items()
    assert found.json()["status"] == status


@pytest.mark.parametrize("error", [Unavailable("busy", retry_after_seconds=1.2), BreakerOpenError("fail", "shop", 1.2)])
async def test_who_may_try_again_is_told_when(error: Exception) -> None:
    """In whole seconds, rounded up."""
    kernel = Kernel([Failing])
    async with client(kernel) as http:
        kernel.plugins["failing"].instance.raising = error
        found = await http.get("/fail")

    assert (found.status_code, found.headers["retry-after"]) == (503, "2")


async def test_an_unknown_failure_has_an_id_that_is_in_the_log_and_says_nothing_else() -> None:
    """Not the text of the error, which may be secret."""
    kernel = Kernel([Failing])
    async with client(kernel) as http:
        kernel.plugins["failing"].instance.raising = RuntimeError("canary-7")
        with capture_logs() as lines:
            found = await http.get("/fail")

    assert found.status_code == 500
    assert "canary-7" not in found.text
    logged = [line for line in lines if line.get("id") == found.json()["id"]]
    assert len(logged) == 1
    assert "canary-7" in logged[0]["exception"]
    assert logged[0]["correlation_id"] == found.headers["x-correlation-id"]


async def test_a_result_that_does_not_fit_is_a_failure_of_ours() -> None:
    """500, and the value does not get out."""
    async with client(Kernel([Shop])) as http:
        found = await http.get("/unfit")

    assert found.status_code == 500
    assert "canary" not in found.text


class WhoAsks(Request[dict[str, Any]], name="who.asks"): ...


class Who(Plugin, id="who"):
    @endpoint("GET", "/who", auth="public")
    @answers(WhoAsks)
    async def who(self, request: WhoAsks) -> dict[str, Any]:
        emit = current()
        return {"correlation": emit.correlation_id, "cause": emit.cause, "trace": emit.traceparent}


async def test_correlation_travels_in_and_out() -> None:
    """By its own header, or as the trace of traceparent; else it is a new one each time."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with client(Kernel([Who])) as http:
        own = await http.get("/who", headers={"x-correlation-id": "order-7"})
        traced = await http.get("/who", headers={"traceparent": parent})
        odd = await http.get("/who", headers={"x-correlation-id": 'a"b'})
        other = await http.get("/who")

    assert (own.json()["correlation"], own.headers["x-correlation-id"]) == ("order-7", "order-7")
    assert traced.json() == {"correlation": parent[3:35], "cause": parent[36:52], "trace": parent}
    assert (own.json()["trace"], other.json()["trace"]) == (None, None)
    ids = {each.headers["x-correlation-id"] for each in (odd, other)}
    assert len(ids) == 2
    assert 'a"b' not in ids


@pytest.mark.parametrize(
    "parent",
    ["", "00-1-2-3", f"00-{'0' * 32}-{'b' * 16}-01", f"ff-{'a' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'b' * 16}-01-x"],
)
async def test_what_is_no_trace_context_is_passed_over(parent: str) -> None:
    """W3C Trace Context, section 4.3: as if there were none."""
    async with client(Kernel([Who])) as http:
        answer = await http.get("/who", headers={"traceparent": parent})

    assert (answer.json()["cause"], answer.json()["trace"]) == (None, None)


class Tracer(NoOpTracer):
    """Opens spans in name alone, all with one context, and counts them."""

    def __init__(self, opened: list[str]) -> None:
        self._opened = opened

    @contextmanager
    def start_as_current_span(self, name: str, *args: Any, **options: Any) -> Iterator[Span]:
        self._opened.append(name)
        with use_span(NonRecordingSpan(SpanContext(0xA, 0xB, is_remote=False, trace_flags=TraceFlags(1)))) as span:
            yield span


class Tracers(TracerProvider):
    def __init__(self) -> None:
        self.opened: list[str] = []

    def get_tracer(self, *args: Any, **options: Any) -> Tracer:
        return Tracer(self.opened)


async def test_what_comes_of_a_traced_request_belongs_to_the_span_that_is_open() -> None:
    """Starlette's own middleware opens it, and nobody opens a second one."""
    kernel = Kernel([Who])
    app = create_app(kernel)
    tracers = Tracers()
    app.add_middleware(OpenTelemetryMiddleware, tracer_provider=tracers)
    async with kernel, client(app) as http:
        answer = await http.get("/who", headers={"traceparent": f"00-{'a' * 32}-{'c' * 16}-01"})

    assert answer.json()["trace"] == f"00-{0xA:032x}-{0xB:016x}-01"
    assert tracers.opened == ["GET"]


class Enriching(Plugin, id="enriching"):
    @listens(PreResponse, key="shop.plain")
    async def enrich(self, event: PreResponse, next_fn):
        return await next_fn(replace(event, result={"name": f"{event.result['name']} tea"}))


async def test_a_result_may_be_replaced_before_it_is_told() -> None:
    """By who listens to PreResponse of that endpoint; others are as they were."""
    async with client(Kernel([Shop, Enriching])) as http:
        assert (await http.get("/dict")).json() == {"name": "green tea"}
        assert (await http.get("/model")).json() == {"name": "green"}


class Watching:
    """Notes which results were told of."""

    def __init__(self) -> None:
        self.endpoints: list[str] = []

    def enter(self, what: Watched, event: object, /) -> None:
        if what.kind == "emit" and isinstance(event, PreResponse):
            self.endpoints.append(event.endpoint)

    def leave(self, what: Watched, token: object, error: BaseException | None, /) -> None:
        """Nothing to do."""


async def test_nobody_is_told_of_a_result_that_nobody_listens_for() -> None:
    """PreResponse is emitted for the endpoints that somebody listens to, for as long as somebody does."""
    kernel, watching = Kernel([Shop]), Watching()
    async with client(kernel) as http:
        with kernel.bus.instrument(watching):
            await http.get("/dict")
            await kernel.load(Enriching)
            told = await http.get("/dict")
            await http.get("/model")
            await kernel.unload("enriching")
            await http.get("/dict")

    assert told.json() == {"name": "green tea"}
    assert watching.endpoints == ["shop.plain"]


async def test_a_large_body_is_counted() -> None:
    """Whatever its length says."""

    class Taking(Plugin, id="taking"):
        @endpoint("POST", "/take", auth="public")
        async def take(self, data: dict[str, Any]) -> int:
            return len(data)

    async with client(Kernel([Taking])) as http:
        found = await http.post("/take", content=b"[" * 2_000_000, headers={"content-type": "application/json"})

    assert found.status_code == 413


async def test_without_its_lifespan_an_app_says_so() -> None:
    """Instead of a 404 that nobody understands."""
    async with client(create_app(Kernel([Shop]))) as http:
        found = await http.get("/model")

    assert (found.status_code, found.json()["code"]) == (503, "not_running")


async def test_head_is_get_without_a_body() -> None:
    """With the same headers."""
    async with client(Kernel([Shop])) as http:
        found = await http.head("/model")

    assert (found.status_code, found.content, found.headers["content-length"]) == (200, b"", "16")
