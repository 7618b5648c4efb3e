"""Answers that come piece by piece: the unit of work around them, and who cuts them off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from plugbus import Kernel, Plugin, Request, answers, provides
from plugbus_adapters.http import ProblemError, create_app, endpoint
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio

SECONDS = 10


class Session:
    """What a unit of work provides."""

    def __init__(self) -> None:
        self.open = True


class Database(Plugin, id="database"):
    def __init__(self) -> None:
        self.ends: list[str] = []
        self.fails = False

    @provides(scope="call")
    async def session(self) -> AsyncIterator[Session]:
        session = Session()
        try:
            yield session
        except BaseException as error:
            self.ends.append(f"rolled back: {type(error).__name__}")
            raise
        else:
            if self.fails:
                raise OSError("disk full")
            self.ends.append("committed")
        finally:
            session.open = False


class Export(Request[AsyncIterator[str]], name="export"):
    pass


class Shop(Plugin, id="shop"):
    def __init__(self) -> None:
        self.began = anyio.Event()

    @endpoint("GET", "/lines", auth="public")
    async def lines(self, session: Session, wrong: bool = False) -> AsyncIterator[str]:
        for number in range(3):
            assert session.open
            yield f"{number}\n"
            if wrong and number:
                raise RuntimeError("no more")

    @endpoint("GET", "/returned", auth="public")
    async def returned(self, session: Session) -> AsyncIterator[str]:
        return self.lines(session)

    @endpoint("POST", "/exports", auth="public")
    @answers(Export)
    async def export(self, request: Export, session: Session) -> AsyncIterator[str]:
        return self.lines(session)

    @endpoint("GET", "/endless", auth="public")
    async def endless(self, session: Session) -> AsyncIterator[str]:
        while session.open:
            yield "x"
            self.began.set()
            await anyio.sleep_forever()


class Connection:
    """One request to an app, without a server: a client that can go away, and all that it was sent."""

    def __init__(self, app: Any, path: str, query: bytes = b"") -> None:
        self._app, self._path, self._query = app, path, query
        self.gone = anyio.Event()
        self.sent: list[Any] = []

    async def run(self) -> None:
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": self._path, "raw_path": self._path.encode(),
            "query_string": self._query, "headers": [], "scheme": "http", "root_path": "", "client": ("127.0.0.1", 1),
            "server": ("testserver", 80), "state": {},
        }  # fmt: skip
        await self._app(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.sent.append(message)

    @property
    def ended(self) -> bool:
        return any(each["type"] == "http.response.body" and not each.get("more_body") for each in self.sent)


@pytest.mark.parametrize(("method", "path"), [("GET", "/lines"), ("GET", "/returned"), ("POST", "/exports")])
async def test_a_unit_of_work_lasts_until_the_stream_has_ended(method: str, path: str) -> None:
    """Of a generator, of a function that returns one, and of a request of the bus; then it commits."""
    kernel = Kernel([Shop, Database])
    async with client(kernel) as http:
        found = await http.request(method, path, json={} if method == "POST" else None)

        assert found.text == "0\n1\n2\n"
        assert kernel.plugins["database"].instance.ends == ["committed"]


async def test_an_error_in_the_middle_of_a_stream_rolls_back() -> None:
    """The connection is broken off, and what the unit of work provides sees the error."""
    kernel = Kernel([Shop, Database])
    app = create_app(kernel)
    async with kernel:
        connection = Connection(app, "/lines", b"wrong=true")
        with pytest.raises(RuntimeError, match="no more"):
            await connection.run()
        assert not connection.ended
        assert kernel.plugins["database"].instance.ends == ["rolled back: RuntimeError"]


async def test_a_stream_whose_commit_fails_has_no_end() -> None:
    """Nobody takes it for complete."""
    kernel = Kernel([Shop, Database])
    app = create_app(kernel)
    async with kernel:
        kernel.plugins["database"].instance.fails = True
        connection = Connection(app, "/lines")
        with pytest.raises(OSError, match="disk full"):
            await connection.run()

    assert (b"".join(each.get("body", b"") for each in connection.sent), connection.ended) == (b"0\n1\n2\n", False)


async def test_a_client_that_goes_away_has_the_unit_of_work_rolled_back() -> None:
    """Without a line in the server's log: that is what clients do."""
    kernel = Kernel([Shop, Database])
    app = create_app(kernel)
    async with kernel:
        connection = Connection(app, "/endless")
        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(connection.run)
                await kernel.plugins["shop"].instance.began.wait()
                connection.gone.set()

        assert kernel.plugins["database"].instance.ends == ["rolled back: DisconnectedError"]
        assert not connection.ended


@pytest.mark.parametrize("how", ["unload", "reload"])
async def test_a_stream_is_cut_off_when_its_plugin_leaves(how: str) -> None:
    """It could go on for ever: the plugin does not wait for it, and its reader sees a connection that breaks off."""
    kernel = Kernel([Shop, Database])
    app = create_app(kernel)
    failures: list[ProblemError] = []
    async with kernel:
        connection = Connection(app, "/endless")

        async def read() -> None:
            with pytest.raises(ProblemError, match="left") as caught:
                await connection.run()
            failures.append(caught.value)

        with anyio.fail_after(SECONDS):
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                await kernel.plugins["shop"].instance.began.wait()
                await (kernel.unload if how == "unload" else kernel.reload)("shop")
        assert [each.document.code for each in failures] == ["gone"]
        assert kernel.plugins["database"].instance.ends == ["rolled back: ProblemError"]
        assert not connection.ended
