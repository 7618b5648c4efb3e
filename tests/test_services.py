"""The container: built on first use and once, cleaned up in reverse, overridden in tests, owned by plugins."""

from __future__ import annotations

import functools
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import virtual_time

from plugbus._services.providers import Provider
from plugbus._services.stores import Store
from plugbus.errors import PluginGoneError, ServiceError, WiringError
from plugbus.owner import Owner
from plugbus.services import Named, Services


class Database:
    def __init__(self, url: str = "real") -> None:
        self.url = url


class Fake:
    """Not even a subclass."""


class Repository:
    def __init__(self, db: Database) -> None:
        self.db = db


class Cache: ...


class Trace(list[str]):
    """What was opened and closed, in order."""

    def generator(self, name: str, fail: BaseException | None = None) -> Callable[[], Iterator[Any]]:
        def opened() -> Iterator[str]:
            self.append(f"+{name}")
            yield name
            self.append(f"-{name}")
            if fail:
                raise fail

        return opened

    def async_generator(self, name: str, fail: BaseException | None = None) -> Callable[[], AsyncIterator[Any]]:
        async def opened() -> AsyncIterator[str]:
            await anyio.lowlevel.checkpoint()
            self.append(f"+{name}")
            yield name
            await anyio.lowlevel.checkpoint()
            self.append(f"-{name}")
            if fail:
                raise fail

        return opened


@pytest.fixture
def trace() -> Trace:
    return Trace()


# -- providing


def test_a_value_is_handed_out_as_it_is() -> None:
    database, services = Database(), Services()
    services.value(Database, database)

    assert services.get(Database) is database


def test_a_factory_runs_on_first_use_and_once() -> None:
    built: list[Database] = []
    services = Services()
    services.factory(Database, lambda: built.append(Database()) or built[-1])
    assert built == []

    assert services.get(Database) is services.get(Database) is built[0]


def test_a_factory_gets_what_it_wants() -> None:
    services = Services()
    services.factory(Repository, Repository)
    services.value(Database, Database("here"))

    assert services.get(Repository).db.url == "here"


def test_a_factory_may_return_nothing() -> None:
    """None is a service like any other."""
    built: list[int] = []
    services = Services()
    services.factory(Cache, lambda: built.append(1))

    assert (services.get(Cache), services.get(Cache), built) == (None, None, [1])


def test_a_service_can_be_had_by_its_name() -> None:
    services = Services()
    services.value(Database, Database("main"))
    services.value(Database, Database("copy"), name="replica")

    assert services.get(Database, "replica").url == "copy"
    assert services.get(Annotated[Database, Named("replica")]).url == "copy"


def test_what_may_be_none_is_none_when_nothing_provides_it() -> None:
    assert Services().get(Database | None) is None


def test_has_tells_whether_a_service_is_provided() -> None:
    services = Services()
    services.value(Database, Database(), name="replica")

    assert (services.has(Database), services.has(Database, "replica"), services.has(Database, "main")) == (
        True,
        True,
        False,
    )


def test_a_missing_service_says_where_it_was_asked_for() -> None:
    with pytest.raises(WiringError, match=r"services.get\(Database\): nothing provides Database.*@provides"):
        Services().get(Database)


def test_a_registration_names_its_service_and_its_source() -> None:
    registration = Services(owner=Owner("shop")).factory(Database, functools.partial(Database, "here"), name="db")

    assert "Database named 'db' from" in repr(registration)
    assert "Database of 'shop'" in repr(registration)


@pytest.mark.parametrize("scope", ["request", ""])
def test_an_unknown_scope_is_refused(scope: Any) -> None:
    """With those that there are, and nothing registered."""
    services = Services()

    with pytest.raises(ValueError, match="must be one of"):
        services.factory(Database, Database, scope=scope)
    assert not services.has(Database)


def test_a_factory_must_be_callable() -> None:
    with pytest.raises(TypeError, match=r"services.value takes values"):
        Services().factory(Database, Database())  # type: ignore[arg-type]


def test_names_must_be_several() -> None:
    """A single text would become one name per letter."""
    with pytest.raises(TypeError, match=r"such as \('db',\)"):
        Services().value(Database, Database(), names="db")


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_clean_up_needs_time(seconds: float) -> None:
    with pytest.raises(ValueError, match="clean_up_seconds"):
        Services(clean_up_seconds=seconds)


# -- kinds of factory


class AsyncFactory:
    async def __call__(self) -> Database:
        return Database("async object")


async def open_async() -> Database:
    await anyio.lowlevel.checkpoint()
    return Database("async")


async def open_async_generator() -> AsyncIterator[Database]:
    yield Database("async generator")


def open_generator() -> Iterator[Database]:
    yield Database("generator")


KINDS: dict[str, Callable[..., Any]] = {
    "async": open_async,
    "async partial": functools.partial(open_async),
    "async object": AsyncFactory(),
    "async lambda": lambda: open_async(),
    "async generator": open_async_generator,
    "generator": open_generator,
    "class": Database,
}


@pytest.mark.anyio
@pytest.mark.parametrize("kind", KINDS)
async def test_aget_runs_every_kind_of_factory(kind: str) -> None:
    async with Services() as services:
        services.factory(Database, KINDS[kind])

        assert isinstance(await services.aget(Database), Database)


@pytest.mark.anyio
async def test_aget_hands_out_values_too() -> None:
    services = Services()
    services.value(int, 7)

    assert await services.aget(int) == 7


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("async")])
def test_get_refuses_what_needs_the_loop(kind: str) -> None:
    """It says what to use instead."""
    services = Services()
    services.factory(Database, KINDS[kind])

    with pytest.raises(ServiceError, match="is async") as caught:
        services.get(Database)

    assert "aget" in caught.value.hint


def test_get_refuses_before_it_builds_anything() -> None:
    built: list[str] = []
    services = Services()
    services.factory(Cache, lambda: built.append("cache"), name="cache")
    services.factory(Database, open_async, name="db")
    services.factory(list, lambda cache, db: [cache, db])

    with pytest.raises(ServiceError, match=r"Database named 'db'.*list needs it"):
        services.get(list)

    assert built == []


@pytest.mark.anyio
async def test_get_hands_out_what_aget_has_built() -> None:
    services = Services()
    services.factory(Database, open_async)

    assert await services.aget(Database) is services.get(Database)


@pytest.mark.anyio
async def test_ainject_builds_what_needs_the_loop() -> None:
    services = Services()
    services.factory(Database, open_async)

    bound = await services.ainject(Repository)

    assert bound().db.url == "async"


@pytest.mark.anyio
async def test_ainject_leaves_alone_what_wants_nothing() -> None:
    assert await Services().ainject(Cache) is Cache


@pytest.mark.anyio
async def test_sync_factories_run_in_their_caller() -> None:
    """On the loop's own thread, in aget."""
    services = Services()
    services.factory(int, threading.get_ident)

    assert await services.aget(int) == threading.get_ident()


def _empty() -> Iterator[Database]:
    yield from ()


async def _async_empty() -> AsyncIterator[Database]:
    for nothing in ():
        yield nothing


@pytest.mark.anyio
@pytest.mark.parametrize("factory", [_empty, _async_empty])
async def test_a_generator_that_yields_nothing_is_an_error(factory: Callable[..., Any]) -> None:
    services = Services()
    services.factory(Database, factory)

    with pytest.raises(ServiceError, match="without a yield"):
        await services.aget(Database)


def _twice() -> Iterator[int]:
    yield 1
    yield 2


async def _async_twice() -> AsyncIterator[int]:
    yield 1
    yield 2


@pytest.mark.anyio
@pytest.mark.parametrize("factory", [_twice, _async_twice])
async def test_a_generator_that_yields_twice_is_an_error_of_its_clean_up(factory: Callable[..., Any]) -> None:
    services = Services()
    services.factory(int, factory)
    await services.aget(int)

    (error,) = await services.aclose()

    assert "yielded a second time" in str(error)


# -- failing to build


@pytest.mark.anyio
async def test_a_failed_build_is_not_kept() -> None:
    outcomes: list[Any] = [OSError("no route"), Database()]

    def connect() -> Database:
        outcome = outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    services = Services()
    services.factory(Database, connect)
    with pytest.raises(OSError, match="no route") as caught:
        await services.aget(Database)
    assert "while building service Database with" in caught.value.__notes__[0]

    assert isinstance(services.get(Database), Database)


@pytest.mark.anyio
async def test_a_cancelled_build_is_not_kept() -> None:
    attempts: list[anyio.Event] = []

    async def connect() -> Database:
        attempts.append(anyio.Event())
        if len(attempts) == 1:
            await attempts[0].wait()
        return Database()

    services = Services()
    services.factory(Database, connect)
    with anyio.move_on_after(0.01):
        await services.aget(Database)

    with anyio.fail_after(5):
        assert isinstance(await services.aget(Database), Database)
    assert len(attempts) == 2


@pytest.mark.anyio
async def test_what_a_failed_build_needed_stays(trace: Trace) -> None:
    """It was built well, and is cleaned up with the rest."""

    def broken(cache: Cache) -> Database:
        raise OSError("no route")

    services = Services()
    services.factory(Cache, trace.generator("cache"))
    services.factory(Database, broken)
    with pytest.raises(OSError, match="no route"):
        await services.aget(Database)

    assert await services.aclose() == []
    assert trace == ["+cache", "-cache"]


# -- built once, whoever asks


@pytest.mark.anyio
async def test_tasks_that_ask_at_once_share_one_build() -> None:
    built, got = [], []
    may_end = anyio.Event()

    async def connect() -> Database:
        built.append(1)
        await may_end.wait()
        return Database()

    services = Services()
    services.factory(Database, connect)

    async def ask() -> None:
        got.append(await services.aget(Database))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            may_end.set()

    assert (len(built), len(got), len(set(got))) == (1, 10, 1)


@pytest.mark.anyio
async def test_those_who_wait_share_the_failure_too() -> None:
    """A hundred who ask a dead server wait for one time-out, not for a hundred."""
    built, errors = [], []
    may_end = anyio.Event()

    async def connect() -> Database:
        built.append(1)
        await may_end.wait()
        raise OSError("no route")

    services = Services()
    services.factory(Database, connect)

    async def ask() -> None:
        try:
            await services.aget(Database)
        except OSError as error:
            errors.append(error)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            may_end.set()

    assert (len(built), len(errors)) == (1, 5)
    assert errors[0].__notes__ == [f"while building service Database with {__name__}.{connect.__qualname__}"]


@pytest.mark.anyio
async def test_those_who_wait_take_over_from_one_who_was_cancelled() -> None:
    built: list[int] = []
    got: list[Database] = []

    async def connect() -> Database:
        built.append(1)
        if len(built) == 1:
            await anyio.Event().wait()
        return Database()

    services = Services()
    services.factory(Database, connect)

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            got.append(await services.aget(Database))

    first = anyio.CancelScope()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(ask, first)
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                group.start_soon(ask, anyio.CancelScope())
            await anyio.wait_all_tasks_blocked()
            first.cancel()

    assert (len(built), len(got), len(set(got))) == (2, 3, 1)


@pytest.mark.anyio
async def test_who_waits_can_be_cancelled() -> None:
    may_end = anyio.Event()

    async def connect() -> Database:
        await may_end.wait()
        return Database()

    services = Services()
    services.factory(Database, connect)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(services.aget, Database)
            await anyio.wait_all_tasks_blocked()
            with anyio.move_on_after(0.01) as scope:
                await services.aget(Database)
            may_end.set()

    assert scope.cancelled_caught
    assert services.get(Database) is await services.aget(Database)


def test_threads_that_ask_at_once_share_one_build() -> None:
    built: list[int] = []
    started = threading.Barrier(8)

    def connect() -> Database:
        built.append(1)
        threading.Event().wait(0.02)  # let the others come and wait
        return Database()

    services = Services()
    services.factory(Database, connect)

    def ask() -> Database:
        started.wait(10)
        return services.get(Database)

    with ThreadPoolExecutor(8) as pool:
        got = {future.result(10) for future in [pool.submit(ask) for _ in range(8)]}

    assert (len(built), len(got)) == (1, 1)


@pytest.mark.anyio
async def test_a_task_waits_for_a_thread_that_builds() -> None:
    """Without blocking its loop."""
    building, may_end = threading.Event(), threading.Event()

    def connect() -> Database:
        building.set()
        may_end.wait(10)
        return Database()

    services = Services()
    services.factory(Database, connect)
    got: list[Database] = []

    async def ask() -> None:
        got.append(await services.aget(Database))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, services.get, Database)
            await anyio.to_thread.run_sync(building.wait, 10)
            group.start_soon(ask)
            await anyio.lowlevel.checkpoint()
            may_end.set()

    assert got == [services.get(Database)]


@pytest.mark.anyio
async def test_a_thread_waits_for_a_task_that_builds() -> None:
    building, may_end = anyio.Event(), anyio.Event()
    asked = threading.Event()
    got: list[Database] = []

    async def connect() -> Database:
        building.set()
        await may_end.wait()
        return Database()

    services = Services()
    services.factory(Database, lambda: connect())

    def ask() -> None:
        asked.set()
        got.append(services.get(Database))

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(services.aget, Database)
            await building.wait()
            group.start_soon(anyio.to_thread.run_sync, ask)
            await anyio.to_thread.run_sync(asked.wait, 10)
            may_end.set()

    assert got == [services.get(Database)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_loops_in_several_threads_share_one_build(backend: str) -> None:
    built: list[int] = []
    together = threading.Barrier(4)

    async def connect() -> Database:
        built.append(1)
        await anyio.sleep(0.02)  # let the others come and wait
        return Database()

    services = Services()
    services.factory(Database, connect)

    def ask() -> Database:
        together.wait(10)
        return anyio.run(services.aget, Database, backend=backend)

    with ThreadPoolExecutor(4) as pool:
        got = {future.result(10) for future in [pool.submit(ask) for _ in range(4)]}

    assert (len(built), len(got)) == (1, 1)


def test_a_loop_that_ended_while_it_waited_disturbs_nobody() -> None:
    """The build goes on; who is gone is not told."""
    building, may_end = threading.Event(), threading.Event()

    def connect() -> Database:
        building.set()
        may_end.wait(10)
        return Database()

    services = Services()
    services.factory(Database, connect)

    async def give_up() -> None:
        with anyio.move_on_after(0.01):
            await services.aget(Database)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(services.get, Database)
        building.wait(10)
        anyio.run(give_up)
        may_end.set()

        assert future.result(10) is services.get(Database)


def test_providers_come_and_go_while_others_ask() -> None:
    """Copy on write: who asks sees a provider or none, and never half of one."""
    services, rounds, wrong = Services(), 300, []
    done = threading.Event()

    def come_and_go(number: int) -> None:
        for _ in range(rounds):
            registration = services.factory(Repository, Repository, name=f"r{number}")
            database = services.factory(Database, Database, name=f"d{number}")
            services.check()
            database.close()
            registration.close()

    def ask(number: int) -> None:
        while not done.is_set():
            try:
                services.get(Repository, f"r{number}")
            except (WiringError, ServiceError):
                continue
            except Exception as error:
                wrong.append(error)

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask, number) for number in range(3)]
        for coming in [pool.submit(come_and_go, number) for number in range(3)]:
            coming.result(30)
        done.set()
        for asked in asking:
            asked.result(30)

    assert wrong == []
    assert (services.has(Repository), services.has(Database), services.check()) == (False, False, [])


@pytest.mark.anyio
async def test_who_comes_to_wait_too_late_does_not_wait() -> None:
    """Between the look at a build and the wait for it, it may have ended."""
    store = Store()
    _, claim, mine = store.claim(provider := Provider(int, None, (), factory=int))
    assert claim is not None
    assert mine
    store.end(provider, None)

    with anyio.fail_after(5):
        await claim.wait_async()
        claim.wait()


def test_a_factory_that_asks_for_itself_is_refused() -> None:
    """It would wait for itself."""
    services = Services()
    services.factory(Database, lambda services: services.get(Database))

    with pytest.raises(ServiceError, match="asks for it again while it builds it"):
        services.get(Database)


@pytest.mark.anyio
async def test_an_async_factory_that_asks_for_itself_is_refused() -> None:
    async def connect(services: Services) -> Database:
        return await services.aget(Database)

    services = Services()
    services.factory(Database, connect)

    with anyio.fail_after(5), pytest.raises(ServiceError, match="asks for it again"):
        await services.aget(Database)


@pytest.mark.anyio
async def test_get_never_blocks_a_loop_that_builds() -> None:
    """The task that builds could not go on, and the two would wait for ever."""
    may_end = anyio.Event()

    async def connect() -> Database:
        await may_end.wait()
        return Database()

    services = Services()
    services.factory(Database, lambda: connect())

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(services.aget, Database)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(ServiceError, match="being built on this very thread"):
                services.get(Database)
            may_end.set()


# -- closing


@pytest.mark.anyio
async def test_clean_up_is_in_reverse_order_of_building(trace: Trace) -> None:
    services = Services()
    services.factory(str, trace.async_generator("a"), name="a")
    services.factory(str, lambda a: trace.generator("b")(), name="c")
    services.factory(str, trace.generator("b"), name="b")
    await services.aget(str, "a")
    await services.aget(str, "b")

    assert await services.aclose() == []
    assert trace == ["+a", "+b", "-b", "-a"]


@given(kinds=st.lists(st.sampled_from(["sync", "async", "fails", "async fails", "value"]), max_size=8))
def test_closing_mirrors_building(kinds: list[str]) -> None:
    """Whatever was built, in whatever order and failing or not, is cleaned up once and in reverse."""
    trace = Trace()
    services = Services()

    async def main() -> list[Exception]:
        for number, kind in enumerate(kinds):
            name, fail = str(number), OSError(str(number)) if "fails" in kind else None
            if kind == "value":
                services.value(str, "", name=name)
            else:
                make = trace.async_generator if kind.startswith("async") else trace.generator
                services.factory(str, make(name, fail), name=name)
        for number in range(len(kinds)):
            await services.aget(str, str(number))
        return await services.aclose()

    failures = anyio.run(main)

    opened = [entry[1:] for entry in trace if entry[0] == "+"]
    assert opened == [str(number) for number, kind in enumerate(kinds) if kind != "value"]
    assert trace == [f"+{name}" for name in opened] + [f"-{name}" for name in reversed(opened)]
    failing = [str(number) for number, kind in enumerate(kinds) if "fails" in kind]
    assert [str(failure) for failure in failures] == failing[::-1]


@pytest.mark.anyio
async def test_one_failure_names_its_service_and_stops_nothing(trace: Trace) -> None:
    services = Services()
    services.factory(str, trace.generator("a"), name="a")
    services.factory(str, trace.generator("b", OSError("disk full")), name="b")
    services.factory(str, trace.async_generator("c", ValueError("no")), name="c")
    for name in "abc":
        await services.aget(str, name)

    failures = await services.aclose()

    assert [str(failure) for failure in failures] == ["no", "disk full"]
    assert failures[1].__notes__ == ["while cleaning up service str named 'b'"]
    assert trace[-1] == "-a"


@pytest.mark.anyio
@virtual_time
async def test_clean_up_that_hangs_is_given_up(trace: Trace) -> None:
    """After its time the next one has its turn."""

    async def hang() -> AsyncIterator[Cache]:
        yield Cache()
        await anyio.sleep_forever()

    services = Services(clean_up_seconds=5)
    services.factory(str, trace.generator("a"), name="a")
    services.factory(Cache, hang)
    await services.aget(str, "a")
    await services.aget(Cache)

    before = anyio.current_time()
    (failure,) = await services.aclose()

    assert "was still running after 5 s" in str(failure)
    assert anyio.current_time() - before == pytest.approx(5)
    assert trace[-1] == "-a"


@pytest.mark.anyio
async def test_clean_up_runs_although_the_caller_is_cancelled(trace: Trace) -> None:
    services = Services()
    services.factory(str, trace.async_generator("a"))
    await services.aget(str)

    with anyio.CancelScope() as scope:
        scope.cancel()
        await services.aclose()

    assert trace == ["+a", "-a"]


@pytest.mark.anyio
async def test_what_a_thread_opened_hangs_in_a_thread(trace: Trace) -> None:
    """A sync clean-up that never ends is left to itself, and the rest goes on."""
    release = threading.Event()

    def hang() -> Iterator[Cache]:
        yield Cache()
        release.wait(10)

    services = Services(clean_up_seconds=0.05)
    services.factory(str, trace.generator("a"))
    services.factory(Cache, hang)
    await anyio.to_thread.run_sync(services.get, str)
    await anyio.to_thread.run_sync(services.get, Cache)

    try:
        (failure,) = await services.aclose()
    finally:
        release.set()

    assert "was still running after 0.05 s" in str(failure)
    assert trace == ["+a", "-a"]


@pytest.mark.anyio
async def test_what_this_thread_opened_is_cleaned_up_in_it() -> None:
    """SQLite refuses any other."""
    threads: list[int] = []

    def connect() -> Iterator[Cache]:
        yield Cache()
        threads.append(threading.get_ident())

    services = Services()
    services.factory(Cache, connect)
    services.get(Cache)
    await services.aclose()

    assert threads == [threading.get_ident()]


class Interrupt(BaseException):
    """As KeyboardInterrupt, which pytest would take for its own."""


@pytest.mark.anyio
async def test_an_interrupt_in_clean_up_is_raised_after_the_rest(trace: Trace) -> None:
    services = Services()
    services.factory(str, trace.generator("a", OSError("also")), name="a")
    services.factory(str, trace.async_generator("b", Interrupt()), name="b")
    await services.aget(str, "a")
    await services.aget(str, "b")

    with pytest.raises(Interrupt) as caught:
        await services.aclose()

    assert trace[-1] == "-a"
    assert caught.value.__notes__ == ["while cleaning up service str named 'b'", "besides: OSError('also')"]


@pytest.mark.anyio
async def test_nothing_is_built_after_closing() -> None:
    services = Services()
    services.factory(Database, Database)
    await services.aclose()

    with pytest.raises(ServiceError, match="the container is closed"):
        services.get(Database)


@pytest.mark.anyio
async def test_closing_twice_cleans_up_once(trace: Trace) -> None:
    services = Services()
    services.factory(str, trace.generator("a"))
    services.get(str)

    assert await services.aclose() == await services.aclose() == []
    assert trace == ["+a", "-a"]


@pytest.mark.anyio
async def test_what_is_built_while_the_container_closes_is_cleaned_up(trace: Trace) -> None:
    """A build that ends too late hands out nothing and leaves nothing open."""
    may_end = anyio.Event()

    async def connect() -> AsyncIterator[str]:
        trace.append("+late")
        await may_end.wait()
        yield "late"
        trace.append("-late")

    services = Services()
    services.factory(str, connect)

    async def ask() -> None:
        with pytest.raises(ServiceError, match="is closed"):
            await services.aget(str)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await services.aclose()
            may_end.set()

    assert trace == ["+late", "-late"]


def test_a_sync_build_that_ends_too_late_is_cleaned_up(trace: Trace) -> None:
    services = Services()

    def connect(services: Services) -> Iterator[str]:
        trace.append("+late")
        services.close()
        yield "late"
        trace.append("-late")

    services.factory(str, connect)

    with pytest.raises(ServiceError, match="is closed"):
        services.get(str)
    assert trace == ["+late", "-late"]


def test_a_late_build_without_clean_up_is_dropped() -> None:
    services = Services()
    services.factory(Cache, lambda services: services.close())

    with pytest.raises(ServiceError, match="is closed"):
        services.get(Cache)


@pytest.mark.anyio
async def test_a_late_async_build_without_clean_up_is_dropped() -> None:
    services = Services()
    services.factory(Cache, lambda services: services.aclose())

    with pytest.raises(ServiceError, match="is closed"):
        await services.aget(Cache)


def test_a_sync_container_is_closed_by_with(trace: Trace) -> None:
    with Services() as services:
        services.factory(str, trace.generator("a"))
        services.get(str)

    assert trace == ["+a", "-a"]


def test_with_raises_what_clean_up_raised(trace: Trace) -> None:
    """One error as it is, several as a group."""
    with pytest.raises(OSError, match="one"), Services() as services:
        services.factory(str, trace.generator("a", OSError("one")))
        services.get(str)

    with pytest.raises(ExceptionGroup, match="failed to clean up") as caught, Services() as services:
        services.factory(str, trace.generator("a", OSError("one")), name="a")
        services.factory(str, trace.generator("b", OSError("two")), name="b")
        services.get(str, "a")
        services.get(str, "b")

    assert [str(error) for error in caught.value.exceptions] == ["two", "one"]


@pytest.mark.anyio
async def test_a_sync_close_leaves_async_clean_up_due(trace: Trace) -> None:
    """It says so, and ``aclose`` does it."""
    services = Services()
    services.factory(str, trace.async_generator("a"))
    await services.aget(str)

    with pytest.raises(ServiceError, match="its clean-up is async, and still due"):
        services.close()

    assert (trace, await services.aclose(), trace) == (["+a", "-a"], [], ["+a", "-a"])


# -- taking a provider out


@pytest.mark.anyio
async def test_a_closed_registration_provides_nothing(trace: Trace) -> None:
    services = Services()
    registration = services.factory(str, trace.async_generator("a"), name="text")
    await services.aget(str)

    await registration.aclose()

    assert (registration.closed, services.has(str), trace) == (True, False, ["+a", "-a"])
    with pytest.raises(WiringError):
        services.inject(lambda text: text)


@pytest.mark.anyio
async def test_closing_a_registration_again_does_nothing(trace: Trace) -> None:
    services = Services()
    registration = services.factory(str, trace.generator("a"))
    services.get(str)

    registration.close()
    registration.close()
    await registration.aclose()

    assert trace == ["+a", "-a"]


@pytest.mark.anyio
async def test_a_sync_close_of_a_registration_leaves_async_clean_up_to_the_container(trace: Trace) -> None:
    services = Services()
    registration = services.factory(str, trace.async_generator("a"))
    await services.aget(str)

    registration.close()
    assert trace == ["+a"]

    await services.aclose()
    assert trace == ["+a", "-a"]


def test_closing_one_of_two_leaves_the_other() -> None:
    """The second registration is what remains, and the doubt is gone."""
    services = Services()
    first = services.value(str, "first", name="text")
    services.value(str, "second", name="text")

    first.close()

    assert services.get(str, "text") == services.inject(lambda text: text)() == "second"


def test_a_registration_closed_while_it_is_built_hands_out_nothing() -> None:
    services = Services()
    registration = services.factory(Cache, lambda: registration.close())

    with pytest.raises(ServiceError, match="its registration was taken out"):
        services.get(Cache)


def test_a_new_registration_builds_its_own() -> None:
    """What an earlier one of the same type built is not handed out for it."""
    services = Services()
    registration = services.factory(Database, lambda: Database("old"))
    services.get(Database)
    registration.close()

    services.factory(Database, lambda: Database("new"))

    assert services.get(Database).url == "new"


def test_a_registration_that_fails_to_clean_up_says_so(trace: Trace) -> None:
    services = Services()
    registration = services.factory(str, trace.generator("a", OSError("disk full")))
    services.get(str)

    with pytest.raises(OSError, match="disk full"):
        registration.close()
    assert registration.closed


# -- overriding


@pytest.fixture
def services() -> Services:
    services = Services()
    services.value(Database, Database(), name="db")
    services.factory(Repository, Repository)
    return services


def test_an_override_stands_in_inside_with(services: Services) -> None:
    fake = Fake()

    with services.override(Database, fake):
        inside = services.get(Database), services.get(Database, "db"), services.inject(lambda db: db)()

    assert inside == (fake, fake, fake)
    assert services.get(Database).url == "real"


def test_an_override_reaches_what_was_built_before(services: Services) -> None:
    services.factory(Cache, Cache)
    before = services.get(Cache)
    fake = Fake()

    with services.override(Cache, fake):
        assert services.get(Cache) is fake
    assert services.get(Cache) is before


def test_a_consumer_that_was_built_before_keeps_what_it_got(services: Services) -> None:
    repository = services.get(Repository)

    with services.override(Database, Database("fake")):
        assert repository.db.url == "real"


def test_a_consumer_asked_for_inside_is_built_with_the_override(services: Services) -> None:
    """Whether it was built before or not; and afterwards the old one is back."""
    before = services.get(Repository)

    with services.override(Database, Database("fake")):
        inside = services.get(Repository)
        assert (inside.db.url, services.get(Repository)) == ("fake", inside)

    assert services.get(Repository) is before


def test_what_does_not_need_the_override_is_built_for_good(services: Services) -> None:
    services.factory(Cache, Cache)

    with services.override(Database, Fake()):
        inside = services.get(Cache)

    assert services.get(Cache) is inside


def test_overrides_nest(services: Services) -> None:
    with services.override(Database, Database("outer")):
        outer = services.get(Repository)
        with services.override(Database, Database("inner")):
            assert services.get(Repository).db.url == "inner"
        assert services.get(Repository) is outer
    assert services.get(Repository).db.url == "real"


def test_overrides_may_end_in_any_order(services: Services) -> None:
    first, second = services.override(Database, Fake()), services.override(Database, Database("second"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)

    assert services.get(Repository).db.url == "second"
    second.__exit__(None, None, None)
    assert services.get(Repository).db.url == "real"


def test_overrides_of_several_services_work_together(services: Services) -> None:
    services.factory(list, lambda db, cache: [db, cache])
    services.factory(Cache, Cache, name="cache")

    with services.override(Database, "a"), services.override(Cache, "b"):
        assert services.get(list) == ["a", "b"]


@pytest.mark.parametrize(
    "replacement", [Fake, lambda: Fake(), functools.partial(Fake)], ids=["class", "def", "partial"]
)
def test_an_override_may_be_a_factory(services: Services, replacement: Any) -> None:
    with services.override(Database, replacement):
        assert isinstance(services.get(Database), Fake)
        assert services.get(Database) is services.get(Database)


def test_an_override_is_injected_like_any_factory(services: Services) -> None:
    services.value(str, "from services")

    def fake(url: str) -> Database:
        return Database(url)

    with services.override(Database, fake):
        assert services.get(Database).url == "from services"


def test_an_override_cleans_up_when_it_ends(services: Services, trace: Trace) -> None:
    with services.override(Database, trace.generator("fake")):
        services.get(Database)

    assert trace == ["+fake", "-fake"]


@pytest.mark.anyio
async def test_an_async_override_cleans_up_when_it_ends(services: Services, trace: Trace) -> None:
    async with services.override(Database, trace.async_generator("fake")):
        await services.aget(Database)

    assert trace == ["+fake", "-fake"]


@pytest.mark.anyio
async def test_a_sync_override_leaves_async_clean_up_to_the_container(services: Services, trace: Trace) -> None:
    with services.override(Database, trace.async_generator("fake")):
        await services.aget(Database)
    assert trace == ["+fake"]

    await services.aclose()
    assert trace == ["+fake", "-fake"]


@pytest.mark.anyio
async def test_closing_inside_an_override_closes_all(services: Services, trace: Trace) -> None:
    with services.override(Database, trace.generator("fake")):
        services.get(Database)
        await services.aclose()
        with pytest.raises(ServiceError, match="closed"):
            services.get(Repository)

    assert trace == ["+fake", "-fake"]


def test_a_missing_service_can_be_overridden() -> None:
    services = Services()

    with services.override(Database, Database("fake"), name="db"):
        assert services.get(Database, "db").url == services.inject(lambda db: db.url)() == "fake"
    assert not services.has(Database)


def test_one_of_several_can_be_overridden(services: Services) -> None:
    services.value(Database, Database("copy"), name="replica")

    with services.override(Annotated[Database, Named("replica")], Database("fake")):
        assert (services.get(Database, "replica").url, services.get(Database, "db").url) == ("fake", "real")


def test_an_override_of_a_plugins_service_is_made_for_each(services: Services) -> None:
    services.factory(Cache, lambda owner: f"cache of {owner.id}", scope="plugin")
    view = services.view(Owner("shop"))
    before = view.get(Cache)

    with services.override(Cache, lambda owner: f"fake of {owner.id}"):
        assert view.get(Cache) == "fake of shop"
    assert view.get(Cache) is before


def test_closing_a_registration_reaches_what_an_override_built(services: Services, trace: Trace) -> None:
    def connect(db: Database) -> Iterator[Cache]:
        trace.append("+")
        yield Cache()
        trace.append("-")

    registration = services.factory(Cache, connect)
    with services.override(Database, Fake()):
        services.get(Cache)
        registration.close()

        assert trace == ["+", "-"]


# -- owners


def make_cache(trace: Trace) -> Callable[..., Any]:
    def connect(owner: Owner) -> Iterator[str]:
        trace.append(f"+{owner.id}")
        yield owner.id
        trace.append(f"-{owner.id}")

    return connect


def test_a_plugin_service_is_made_once_for_each_who_asks(trace: Trace) -> None:
    services = Services()
    services.factory(Cache, make_cache(trace), scope="plugin")
    shop, mail = services.view(Owner("shop")), services.view(Owner("mail"))

    assert (shop.get(Cache), mail.get(Cache), shop.get(Cache)) == ("shop", "mail", "shop")
    assert trace == ["+shop", "+mail"]


@pytest.mark.anyio
async def test_a_plugin_service_is_closed_with_who_asked(trace: Trace) -> None:
    services, shop, mail = Services(), Owner("shop"), Owner("mail")
    services.factory(Cache, make_cache(trace), scope="plugin")
    services.view(shop).get(Cache)
    services.view(mail).get(Cache)
    assert shop.owns == ("the services made for it", "service Cache")

    assert await shop.aclose() == []
    assert trace == ["+shop", "+mail", "-shop"]

    assert await services.aclose() == []
    assert (trace[-1], mail.owns) == ("-mail", ("the services made for it",))


@pytest.mark.anyio
async def test_a_plugin_service_that_fails_to_close_is_a_failure_of_its_owner(trace: Trace) -> None:
    services, shop = Services(), Owner("shop")
    services.factory(str, trace.async_generator("a", OSError("disk full")), scope="plugin")
    await services.view(shop).aget(str)

    (failure,) = await shop.aclose()

    assert str(failure) == "disk full"


@pytest.mark.anyio
async def test_a_plugin_service_leaves_with_who_provided_it(trace: Trace) -> None:
    """And is no longer in the list of who asked."""
    services, admin, shop = Services(), Owner("admin"), Owner("shop")
    services.view(admin).factory(Cache, make_cache(trace), scope="plugin")
    services.view(shop).get(Cache)

    assert await admin.aclose() == []

    assert (trace, shop.owns) == (["+shop", "-shop"], ("the services made for it",))
    assert not services.has(Cache)


@pytest.mark.anyio
async def test_what_a_plugin_registered_leaves_with_it(trace: Trace) -> None:
    services, shop = Services(), Owner("shop")
    services.view(shop).value(int, 7)
    services.view(shop).factory(str, trace.async_generator("a"))
    await services.aget(str)
    assert shop.owns == ("service int", "service str")

    assert await shop.aclose() == []

    assert (services.has(int), services.has(str), trace) == (False, False, ["+a", "-a"])


def test_a_registration_closed_early_is_no_longer_owned() -> None:
    services, shop = Services(), Owner("shop")

    services.view(shop).value(int, 7).close()

    assert shop.owns == ()


@pytest.mark.anyio
async def test_nothing_is_built_for_a_plugin_that_left_meanwhile(trace: Trace) -> None:
    """What its late build opened is closed again."""
    services, shop = Services(), Owner("shop")
    may_end = anyio.Event()

    async def connect(owner: Owner) -> AsyncIterator[str]:
        trace.append("+late")
        await may_end.wait()
        yield owner.id
        trace.append("-late")

    services.factory(str, connect, scope="plugin")

    async def ask() -> None:
        with pytest.raises(ServiceError, match="'shop', for whom it would be built, has left"):
            await services.view(shop).aget(str)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            await shop.aclose()
            may_end.set()

    assert trace == ["+late", "-late"]


class Leaving:
    """An owner that leaves between the look at ``gone`` and the nth thing that it is to own."""

    id, gone = "shop", False

    def __init__(self, owns: int) -> None:
        self.owns = owns

    def own(self, close: object, *, what: str) -> Callable[[], None]:
        self.owns -= 1
        if self.owns < 0:
            raise PluginGoneError("shop", what)
        return lambda: None


@pytest.mark.parametrize("owns", [0, 1])
def test_an_owner_that_leaves_just_now_gets_nothing(trace: Trace, owns: int) -> None:
    services = Services()
    services.factory(Cache, make_cache(trace), scope="plugin")
    leaving: Any = Leaving(owns)

    with pytest.raises(PluginGoneError, match="'shop'"):
        services.view(leaving).get(Cache)

    assert trace == ["+shop", "-shop"] * owns


@pytest.mark.anyio
async def test_nothing_of_an_unloaded_plugin_is_left() -> None:
    """Neither its owner, nor its classes, after any number of rounds."""
    services = Services()
    services.factory(Cache, lambda owner: Cache(), scope="plugin")

    async def load_and_unload() -> weakref.ref[type]:
        class Plugin:
            class Settings: ...

            def __init__(self, cache: Cache, settings: Settings) -> None: ...

        owner = Owner("shop")
        view = services.view(owner)
        view.value(Plugin.Settings, Plugin.Settings())
        view.inject(Plugin)()
        await owner.aclose()
        return weakref.ref(Plugin)

    gone = [await load_and_unload() for _ in range(20)]
    gc.collect()

    assert [ref() for ref in gone] == [None] * 20
