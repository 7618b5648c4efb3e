"""Units of work among plugins: who provides their services, who uses them, and what stands apart from them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import pytest

from plugbus import (
    Event,
    EventBus,
    Kernel,
    Owner,
    Plugin,
    Problem,
    Request,
    Services,
    Tasks,
    answers,
    observes,
    provides,
)
from plugbus_adapters.inprocess import InProcess, SyncInProcess

pytestmark = pytest.mark.anyio


class Stored(Event, name="units.stored"):
    text: str


class Store(Request[int], name="units.store"):
    text: str


class Twice(Request[int], name="units.twice"):
    text: str


class Log(list[str]):
    """What happened."""


LOG = Log()


@pytest.fixture(autouse=True)
def log() -> Log:
    LOG.clear()
    return LOG


class Storage(Plugin):
    """Provides a transaction on a database of its own."""

    @provides(scope="call")
    def connection(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(":memory:")
        connection.execute("create table notes (text)")
        LOG.append("begin")
        try:
            yield connection
        except BaseException:
            LOG.append("rollback")
            raise
        else:
            connection.commit()
            LOG.append("commit")
        finally:
            connection.close()


class Notes(Plugin):
    """Uses it."""

    def __init__(self, bus: EventBus) -> None:
        self.bus = bus

    @answers(Store)
    def store(self, request: Store, connection: sqlite3.Connection) -> int:
        connection.execute("insert into notes values (?)", (request.text,))
        self.bus.emit(Stored(text=request.text))
        return int(connection.execute("select count(*) from notes").fetchone()[0])

    @answers(Twice)
    async def twice(self, request: Twice) -> int:
        await self.bus.acall(Store(text=request.text))
        return await self.bus.acall(Store(text=request.text))

    @observes(Stored)
    async def tell(self, event: Stored) -> None:
        LOG.append(f"told of {event.text}")


async def test_plugins_share_a_unit_of_work() -> None:
    """One provides the connection, the other one uses it; sync code of both stays on its thread."""
    async with Kernel(plugins=[Notes, Storage]) as kernel:
        assert await kernel.bus.acall(Store(text="a")) == 1
        assert await kernel.bus.acall(Twice(text="b")) == 1  # each call is the outermost that needs one

        async with kernel.services.scope():
            assert await kernel.bus.acall(Twice(text="c")) == 2

    assert [
        *("begin", "commit", "told of a"),
        *("begin", "commit", "told of b", "begin", "commit", "told of b"),
        *("begin", "commit", "told of c", "told of c"),
    ] == LOG


def test_sync_code_has_them_too() -> None:
    with Kernel(plugins=[Notes, Storage]).portal() as kernel:
        assert kernel.bus.call(Store(text="a")) == 1

        with kernel.services.scope():
            assert kernel.bus.call(Store(text="b")) == 1
            assert kernel.bus.call(Store(text="c")) == 2

    assert LOG == ["begin", "commit", "told of a", "begin", "commit", "told of b", "told of c"]


async def test_in_process_calls_are_units_of_work_of_their_own() -> None:
    """As they would be in another process."""
    async with Kernel(plugins=[Notes, Storage]) as kernel, kernel.services.scope():
        await kernel.bus.acall(Store(text="a"))
        calls, sync_calls = InProcess(kernel), SyncInProcess(kernel)

        assert await calls.call("units.store", {"text": "b"}) == 1
        assert await anyio.to_thread.run_sync(partial(sync_calls.call, "units.store", {"text": "c"})) == 1

        await calls.emit("units.stored", {"text": "d"})
        await anyio.to_thread.run_sync(partial(sync_calls.emit, "units.stored", {"text": "e"}))
        LOG.append("end of the block")

    assert [
        *("begin", "begin", "commit", "told of b", "begin", "commit", "told of c", "told of d", "told of e"),
        *("end of the block", "commit", "told of a"),
    ] == LOG


async def test_a_constructor_cannot_have_a_service_of_a_unit() -> None:
    """It is told before anything is built, and so are lifecycle methods; subscribers are fine."""

    class Greedy(Plugin):
        def __init__(self, connection: sqlite3.Connection) -> None:
            raise AssertionError

    class Early(Plugin):
        async def on_boot(self, connection: sqlite3.Connection) -> None:
            raise AssertionError

    kernel = Kernel(plugins=[Storage, Notes, Greedy, Early])

    problems: list[Problem] = kernel.check()
    assert len(problems) == 2
    assert all("none is open here" in problem.message for problem in problems)
    assert [text in problem.where for text, problem in zip(("Greedy", "on_boot"), problems, strict=True)] == [True] * 2
    async with kernel:
        assert {id: record.state.value for id, record in kernel.plugins.items()} == {
            "storage": "ready",
            "notes": "ready",
            "greedy": "failed",
            "early": "failed",
        }
    assert not LOG


async def test_a_task_is_in_no_unit_of_work() -> None:
    """It outlives the one that it was started in."""
    seen: list[str] = []

    class Starter(Plugin):
        def __init__(self, tasks: Tasks, services: Services) -> None:
            self.tasks, self.services = tasks, services

        @answers(Twice)
        async def start(self, request: Twice, connection: sqlite3.Connection) -> int:
            await self.tasks.start(self.look).wait()
            return 0

        async def look(self) -> None:
            try:
                await self.services.aget(sqlite3.Connection)
            except Exception as error:
                seen.append(str(error))

    async with Kernel(plugins=[Starter, Storage]) as kernel:
        await kernel.bus.acall(Twice(text=""))

    assert "none is open here" in seen[0]


# -- Bound


def add(text: str, connection: sqlite3.Connection) -> int:
    connection.execute("insert into notes values (?)", (text,))
    if text == "bad":
        raise ValueError(text)
    return int(connection.execute("select count(*) from notes").fetchone()[0])


class AsyncStorage(Plugin):
    """The same with a factory that needs the loop, for something that any thread may use."""

    @provides(scope="call")
    async def connection(self) -> AsyncIterator[sqlite3.Connection]:
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.execute("create table notes (text)")
        LOG.append("begin")
        try:
            yield connection
        except BaseException:
            LOG.append("rollback")
            raise
        else:
            LOG.append("commit")
        finally:
            connection.close()


async def aadd(text: str, connection: sqlite3.Connection) -> int:
    return add(text, connection)


class Binder(Plugin):
    def __init__(self, owner: Owner) -> None:
        self.owner = owner


@pytest.mark.may_block("an in-memory database on the loop")
@pytest.mark.parametrize(("storage", "function"), [(Storage, add), (AsyncStorage, add), (AsyncStorage, aadd)])
async def test_a_bound_call_is_a_unit_of_work(storage: type[Plugin], function: Callable[..., Any]) -> None:
    """Or joins the one that is open."""
    async with Kernel(plugins=[storage, Binder]) as kernel:
        bound = kernel.plugins["binder"].instance.owner.bind(function)

        assert [parameter.name for parameter in bound.parameters] == ["text"]
        assert await bound("a") == await bound(text="b") == 1
        with pytest.raises(ValueError, match="bad"):
            await bound("bad")
        assert await anyio.to_thread.run_sync(bound.sync, "c") == 1
        async with kernel.services.scope():
            assert await bound("d") == 1
            assert await bound("e") == 2
            assert await anyio.to_thread.run_sync(bound.sync, "f") == 3

    assert LOG == ["begin", "commit", "begin", "commit", "begin", "rollback", "begin", "commit", "begin", "commit"]
