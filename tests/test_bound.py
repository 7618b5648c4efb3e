"""``owner.bind(fn)``: the invoker of endpoints, jobs and schedules, made of the pieces of a subscriber's step."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, Protocol, TypedDict

import anyio
import pytest
from anyio import fail_after
from pydantic import BaseModel, SecretStr
from tests.support import virtual_time

from plugbus import (
    Bound,
    Breaker,
    BreakerOpenError,
    Clock,
    Event,
    EventBus,
    Inject,
    Kernel,
    Logger,
    Named,
    Owner,
    Plugin,
    PluginError,
    PluginGoneError,
    PluginStuckError,
    PluginTimeoutError,
    SubscriptionError,
    SyncEmitError,
    Veto,
    WiringError,
)
from plugbus.testing import FakeClock

if TYPE_CHECKING:
    from somewhere import Unknown

pytestmark = pytest.mark.anyio


class Database:
    """A service."""


class Stranger:
    """A class that nobody provides."""


class Order(BaseModel):
    number: int


class Shop(Plugin, id="shop"):
    def __init__(self, owner: Owner) -> None:
        self.owner = owner


async def started(kernel: Kernel) -> Owner:
    kernel.services.value(Database, Database(), name="db")
    return (await kernel.load(Shop)).instance.owner


# -- which parameter is what


class Colour(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int


class Shape(TypedDict):
    sides: int


@dataclass
class Line:
    start: Point
    next: Line | None = None


@dataclass
class Live:
    stranger: Stranger


class Speaks(Protocol):
    def speak(self) -> None: ...


Id = NewType("Id", int)
ARGUMENTS = [
    str, int, bytes, bool, float, Decimal, datetime, Colour, SecretStr, Order, Point, Shape, Line, Id, dict, list,
    dict[str, int], list[Order], tuple[int, ...], set[str], Literal["a"], int | None, int | str,
    Annotated[int, "positive"], list[dict[str, Line]],
]  # fmt: skip
NEITHER = [Stranger, Speaks, Live, list[Stranger], dict[str, Speaks], Callable[..., Any], int | Stranger, type[Order]]


@pytest.mark.parametrize("kind", ARGUMENTS, ids=str)
async def test_data_is_an_argument(kind: Any) -> None:
    """A scalar, a model, a dict or a list, and what is made of these."""

    def call(value): ...

    call.__annotations__["value"] = kind
    async with Kernel() as kernel:
        [parameter] = (await started(kernel)).bind(call).parameters

        assert (parameter.name, parameter.annotation) == ("value", kind)


@pytest.mark.parametrize("kind", NEITHER, ids=str)
async def test_what_is_neither_is_an_error_that_names_both_readings(kind: Any) -> None:
    def call(value): ...

    call.__annotations__["value"] = kind
    async with Kernel() as kernel:
        owner = await started(kernel)
        with pytest.raises(WiringError, match="is neither a service nor an argument") as caught:
            owner.bind(call)

        [problem] = caught.value.problems
        assert "as a service: " in problem.hint
        assert "as an argument: make it a scalar, a model, a dict or a list" in problem.hint


async def test_all_parameters_that_are_neither_are_told_at_once() -> None:
    def call(first: Stranger, second, third: Unknown, fourth: int) -> None: ...

    async with Kernel() as kernel:
        owner = await started(kernel)
        with pytest.raises(WiringError) as caught:
            owner.bind(call)

        places = [problem.where.partition("call")[2] for problem in caught.value.problems]
        assert places == ["(first: Stranger)", "(second)", "(third)"]


async def test_a_registered_type_is_a_service_whatever_it_is() -> None:
    """By type, by name, marked, optional or with a default; ``Named`` chooses."""

    def call(  # noqa: PLR0917
        text: str,
        database: Database,
        db,
        owner,
        log: Logger,
        limits: Order,
        marked: Annotated[dict, Inject],
        chosen: Annotated[int, Named("seven")],
        absent: Stranger | None,
        other: Stranger = None,
        un_annotated=3,
    ) -> tuple[object, ...]:
        return text, database, db, owner.id, limits.number, marked, chosen, absent, other, un_annotated

    async with Kernel() as kernel:
        owner = await started(kernel)
        kernel.services.value(Order, Order(number=5))
        kernel.services.value(dict, {"a": 1})
        kernel.services.value(int, 7, name="seven")
        bound = owner.bind(call)
        db = kernel.services.get(Database)

        assert [parameter.name for parameter in bound.parameters] == ["text"]
        assert await bound("tea") == ("tea", db, db, "shop", 5, {"a": 1}, 7, None, None, 3)


async def test_a_service_that_cannot_be_provided_is_an_error_at_once() -> None:
    """The whole graph below it is looked at when it is bound, and nothing is built."""
    built: list[str] = []

    def make(missing: Stranger) -> Database:
        built.append("made")
        return Database()

    async with Kernel() as kernel:
        owner = (await kernel.load(Shop)).instance.owner
        kernel.services.factory(Database, make)
        with pytest.raises(WiringError, match="nothing provides Stranger"):
            owner.bind(takes_database)

        assert built == []


def takes_database(db: Database, count: int = 1) -> Database:
    return db


async def test_what_the_caller_gives_or_calls_an_argument_is_one_whatever_its_type() -> None:
    def call(first: Stranger, second: Speaks, db: Database) -> bool:
        return isinstance(db, Database)

    async with Kernel() as kernel:
        owner = await started(kernel)
        bound = owner.bind(call, given=1, argument_types=(Speaks,))

        assert [str(parameter) for parameter in bound.parameters] == [
            "first: tests.test_bound.Stranger", "second: tests.test_bound.Speaks",
        ]  # fmt: skip
        assert await bound(Stranger(), second=object())


async def test_parameters_and_result_are_told_with_resolved_annotations() -> None:
    """Also of a method, a partial, and what has no annotations."""

    class Made:
        class Inner(BaseModel): ...

        async def call(self, one: Inner, two: list[Order] = (), *, three: int | None = None) -> Inner: ...

    async with Kernel() as kernel:
        owner = await started(kernel)
        bound = owner.bind(Shops().call)
        assert [parameter.annotation for parameter in bound.parameters] == [Shops.Inner, list[Order], int | None]
        assert [parameter.default for parameter in bound.parameters][1:] == [(), None]
        assert bound.returns is Shops.Inner

        bound = owner.bind(functools.partial(takes_database, count=3))
        assert bound.returns is Database
        assert owner.bind(lambda: None).returns is Any
        assert owner.bind(print, given=1).returns is Any


class Shops:
    class Inner(BaseModel): ...

    async def call(self, one: Inner, two: list[Order] = (), *, three: int | None = None) -> Inner: ...


# -- where it runs


async def test_async_runs_on_the_loop_and_sync_in_a_worker_thread_of_its_plugin() -> None:
    """As a subscriber does in ``aemit``; ``run_in="caller"`` stays on the loop."""

    def sync(text: str) -> tuple[str, int]:
        return text, threading.get_ident()

    async def on_loop(text: str) -> tuple[str, int]:
        return text, threading.get_ident()

    here = threading.get_ident()
    async with Kernel() as kernel:
        owner = await started(kernel)

        assert await owner.bind(on_loop)("a") == ("a", here)
        assert await owner.bind(sync, run_in="caller")("a") == ("a", here)
        text, thread = await owner.bind(sync)("a")
        assert (text, thread != here) == ("a", True)


async def test_it_takes_the_threads_of_its_plugin() -> None:
    """Never more than the plugin may have."""
    running, most = 0, 0
    lock, may_end = threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        may_end.wait(10)
        with lock:
            running -= 1

    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(work)
        limit = bound.owner.threads.limit
        with fail_after(10):
            async with anyio.create_task_group() as tasks:
                for _ in range(limit * 2):
                    tasks.start_soon(bound)
                while running < limit:
                    await anyio.lowlevel.checkpoint()
                await anyio.wait_all_tasks_blocked()
                may_end.set()

        assert most == limit


async def test_context_variables_travel_into_its_thread() -> None:
    variable: ContextVar[str] = ContextVar("variable")
    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(lambda: variable.get())
        variable.set("here")

        assert await bound() == "here"


async def test_sync_runs_in_the_calling_thread() -> None:
    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(lambda db: threading.get_ident())

        assert bound.sync() == threading.get_ident()
        assert await anyio.to_thread.run_sync(bound.sync) != threading.get_ident()


async def test_sync_reaches_the_loop_for_what_needs_it() -> None:
    """From a worker thread and from any other, through the kernel's portal; on the loop itself it is refused."""

    async def call(text: str, db: Database) -> str:
        await anyio.lowlevel.checkpoint()
        return f"{text} on {threading.current_thread().name}"

    name = threading.current_thread().name
    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(call)
        assert await anyio.to_thread.run_sync(bound.sync, "tea") == f"tea on {name}"

        got: list[str] = []

        def foreign() -> None:
            thread = threading.Thread(target=lambda: got.append(bound.sync("milk")))
            thread.start()
            thread.join(10)

        await anyio.to_thread.run_sync(foreign)
        assert got == [f"milk on {name}"]

        with pytest.raises(SyncEmitError, match=r"'call' was called with bound\.sync\(\)"):
            bound.sync("tea")


async def test_services_that_need_the_loop_are_built_with_the_first_call() -> None:
    built: list[str] = []

    async def connect() -> Database:
        built.append("connected")
        return Database()

    async with Kernel() as kernel:
        owner = (await kernel.load(Shop)).instance.owner
        kernel.services.factory(Database, connect, name="db")
        bound = owner.bind(takes_database)
        assert built == []

        assert await bound() is await bound() is bound.sync()
        assert built == ["connected"]


# -- what guards it


@virtual_time
async def test_an_async_call_that_overruns_is_cancelled() -> None:
    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(anyio.sleep_forever, timeout_seconds=5.0, name="nap")

        with pytest.raises(PluginTimeoutError, match="'shop': nap was still running after 5 s") as caught:
            await bound()
        assert (caught.value.plugin, caught.value.phase, caught.value.seconds) == ("shop", "nap", 5.0)


async def test_a_thread_that_overruns_is_abandoned_and_a_stuck_plugin_gets_no_more() -> None:
    may_end = threading.Event()
    async with Kernel() as kernel:
        owner = await started(kernel)
        seconds = 0.01
        try:
            while not owner.threads.is_stuck:
                running = owner.threads.abandoned
                bound = owner.bind(may_end.wait, timeout_seconds=seconds)
                with pytest.raises(PluginTimeoutError):
                    await bound()
                if owner.threads.abandoned == running:  # its time was up before the thread began: a loaded machine
                    seconds *= 2
            with pytest.raises(PluginStuckError):
                await bound()
        finally:
            may_end.set()


async def test_a_breaker_opens_for_failures_and_not_for_refusals() -> None:
    """The count is one for both ways of calling."""
    errors: list[Exception] = []

    def call() -> None:
        raise errors[0]

    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(call, breaker=Breaker(failures=2, cooldown_seconds=60))
        errors[:] = [Veto("no")]
        for _ in range(5):
            with pytest.raises(Veto):
                await bound()
        errors[:] = [OSError("disk full")]
        with pytest.raises(OSError, match="disk full"):
            await bound()
        with pytest.raises(OSError, match="disk full"):
            bound.sync()

        with pytest.raises(BreakerOpenError) as caught:
            await bound()
        assert caught.value.plugin == "shop"


async def test_a_cancelled_call_waits_for_its_thread() -> None:
    """And its permit is given back."""
    begun, may_end, ended = threading.Event(), threading.Event(), []

    def call() -> None:
        begun.set()
        may_end.wait(10)
        ended.append(True)

    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(call)
        with fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(bound)
                while not begun.is_set():
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
                may_end.set()

        assert ended == [True]


# -- what is refused


async def test_what_it_raises_and_returns_is_handed_on() -> None:
    error = KeyError("mine")

    async def fails() -> None:
        raise error

    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(fails)
        with pytest.raises(KeyError) as caught:
            await bound()
        assert caught.value is error


async def test_once_its_owner_left_it_is_gone() -> None:
    """However it is called, and nothing more is bound."""
    async with Kernel() as kernel:
        owner = await started(kernel)
        bound = owner.bind(takes_database)
        await bound()
        await kernel.unload("shop")

        with pytest.raises(PluginGoneError, match="'shop': takes_database was used after the plugin left"):
            await bound()
        with pytest.raises(PluginGoneError):
            bound.sync()
        with pytest.raises(PluginGoneError, match="its bind"):
            owner.bind(takes_database)


def generator() -> Iterator[int]:
    yield 1


async def agenerator() -> AsyncIterator[int]:
    yield 1


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("call", "options", "problem"),
    [
        (generator, {}, "it is a generator function"),
        (agenerator, {}, "it is a generator function"),
        (takes_database, {"run_in": "loop"}, "needs an async function"),
        (coroutine, {"run_in": "thread"}, "needs a sync function"),
        (takes_database, {"run_in": "moon"}, "is not known"),
        (takes_database, {"run_in": "process"}, "is for handlers and observers"),
        (takes_database, {"timeout_seconds": 0}, "is not above zero"),
        (takes_database, {"timeout": 1}, "there is no option 'timeout'"),
        (3, {}, "3 is not callable"),
    ],
)
async def test_what_could_never_work_is_refused_when_it_is_bound(call: Any, options: Any, problem: str) -> None:
    async with Kernel() as kernel:
        owner = await started(kernel)
        with pytest.raises(SubscriptionError, match=problem):
            owner.bind(call, **options)


async def test_a_coroutine_that_something_sync_returns_is_refused() -> None:
    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(lambda: coroutine(), name="lazy")

        for call in (bound, anyio.to_thread.run_sync):
            with pytest.raises(
                PluginError, match="lazy returned a coroutine that nobody awaits; bind the async function"
            ):
                await (call() if call is bound else call(bound.sync))


def test_an_owner_without_a_kernel_binds_nothing() -> None:
    with pytest.raises(PluginError, match="it belongs to no kernel"):
        Owner("shop").bind(takes_database)


async def test_the_host_binds_too() -> None:
    async with Kernel() as kernel:
        bound: Bound[str] = kernel.services.get(Owner).bind(lambda text, clock: text, given=1)

        assert await bound("tea") == "tea"
        assert repr(bound).endswith("of 'host'>")


class Ping(Event): ...


async def test_it_may_emit_and_a_permit_is_taken_once() -> None:
    """A sync function in its thread that emits to a sync subscriber of its plugin waits for no second thread."""
    async with Kernel() as kernel:
        owner = await started(kernel)
        heard: list[int] = []
        owner.bus.observe(Ping, lambda event: heard.append(threading.get_ident()))

        def call(clock: Clock) -> int:
            owner.bus.emit(Ping())
            return threading.get_ident()

        with fail_after(10):
            assert [await owner.bind(call)()] == heard


# -- units of work


class Session:
    """Made for each unit of work."""

    def __init__(self, trace: list[str]) -> None:
        self.trace, self.thread = trace, threading.get_ident()


def sync_session(trace: list[str]) -> Iterator[Session]:
    session = Session(trace)
    trace.append("begin")
    try:
        yield session
    except BaseException as error:
        trace.append(f"roll back: {type(error).__name__}")
        raise
    trace.append("commit")


async def async_session(trace: list[str]) -> AsyncIterator[Session]:
    session = Session(trace)
    trace.append("begin")
    try:
        yield session
    except BaseException as error:
        trace.append(f"roll back: {type(error).__name__}")
        raise
    trace.append("commit")


SESSIONS = pytest.mark.parametrize("make", [sync_session, async_session])


@pytest.fixture
def trace() -> list[str]:
    return []


async def scoped(kernel: Kernel, make: Callable[..., Any], trace: list[str]) -> Owner:
    kernel.services.factory(Session, functools.partial(make, trace), scope="call", name="session")
    return (await kernel.load(Shop)).instance.owner


async def awork(session: Session, fail: bool = False) -> Session:
    session.trace.append("work")
    if fail:
        raise OSError("no")
    return session


def work(session: Session, fail: bool = False) -> Session:
    session.trace.append("work")
    if fail:
        raise OSError("no")
    return session


@SESSIONS
@pytest.mark.parametrize("fn", [awork, work])
async def test_each_call_is_a_unit_of_work(fn: Callable[..., Any], make: Callable[..., Any], trace: list[str]) -> None:
    """What it uses is made for it, committed when it succeeds, and rolled back with its error when it fails."""
    async with Kernel() as kernel:
        bound = (await scoped(kernel, make, trace)).bind(fn)
        assert [parameter.name for parameter in bound.parameters] == ["fail"]

        assert await bound() is not await bound()
        assert trace == ["begin", "work", "commit"] * 2

        trace.clear()
        with pytest.raises(OSError, match="no"):
            await bound(fail=True)
        assert trace == ["begin", "work", "roll back: OSError"]


@SESSIONS
@pytest.mark.parametrize("fn", [awork, work])
async def test_each_sync_call_is_a_unit_of_work(
    fn: Callable[..., Any], make: Callable[..., Any], trace: list[str]
) -> None:
    """In its own thread if all of it is sync, else on the loop as a whole."""
    async with Kernel() as kernel:
        bound = (await scoped(kernel, make, trace)).bind(fn)

        await anyio.to_thread.run_sync(bound.sync)
        assert trace == ["begin", "work", "commit"]

        trace.clear()
        with pytest.raises(OSError, match="no"):
            await anyio.to_thread.run_sync(functools.partial(bound.sync, fail=True))
        assert trace == ["begin", "work", "roll back: OSError"]

        if fn is work and make is sync_session:
            assert bound.sync().thread == threading.get_ident()
        else:
            with pytest.raises(SyncEmitError):
                bound.sync()


async def test_emits_within_a_call_join_its_unit_of_work(trace: list[str]) -> None:
    """They share its services, and observers are told once it has succeeded."""

    async def call(session: Session, bus: EventBus) -> None:
        await bus.aemit(Ping())
        session.trace.append("work")

    async with Kernel() as kernel:
        owner = await scoped(kernel, async_session, trace)
        kernel.bus.observe(Ping, lambda event: trace.append("told"))

        async def use(event: Ping, session: Session) -> None:
            trace.append("used")

        kernel.bus.observe(Ping, use, inside=True)
        await owner.bind(call)()

        assert trace == ["begin", "used", "work", "commit", "told"]


async def test_a_call_within_a_unit_of_work_joins_it(trace: list[str]) -> None:
    async with Kernel() as kernel:
        bound = (await scoped(kernel, async_session, trace)).bind(awork)

        async with kernel.services.scope() as scope:
            assert await bound() is await bound() is await scope.aget(Session)
        assert trace == ["begin", "work", "work", "commit"]


@virtual_time
async def test_a_call_that_overruns_is_rolled_back(trace: list[str]) -> None:
    async def hang(session: Session) -> None:
        await anyio.sleep_forever()

    async with Kernel() as kernel:
        bound = (await scoped(kernel, async_session, trace)).bind(hang, timeout_seconds=5)

        with pytest.raises(PluginTimeoutError):
            await bound()
        assert trace == ["begin", "roll back: PluginTimeoutError"]


async def test_what_would_have_to_wait_on_the_loop_for_its_unit_is_refused(trace: list[str]) -> None:
    async with Kernel() as kernel:
        owner = await scoped(kernel, sync_session, trace)
        with pytest.raises(SubscriptionError, match="cannot wait for services of a unit of work"):
            owner.bind(work, run_in="caller")


# -- called with what it does not take


def price(item: str, db: Database, count: int = 1) -> str:
    return f"{count} {item}"


async def aprice(item: str, db: Database, count: int = 1) -> str:
    return price(item, db, count)


@pytest.mark.parametrize("function", [price, aprice])
@pytest.mark.parametrize(
    ("args", "kwargs", "passed"),
    [
        (("tea", 1, 2), {}, "3 by position"),
        ((), {}, "0 by position"),
        (("tea",), {"colour": "red"}, "1 by position, colour"),
    ],
)
async def test_arguments_that_do_not_fit_are_told_with_what_the_caller_passes(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], passed: str
) -> None:
    """Python alone would count the services, too, which the caller does not see."""
    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(function)

        with pytest.raises(TypeError) as caught:
            await bound(*args, **kwargs)

    told = f"{function.__name__!r} of plugin 'shop' takes item: str, count: int = 1 from its caller; services fill db"
    assert str(caught.value) == f"{told}; it was passed {passed}"


async def test_a_type_error_of_its_own_is_left_as_it_is() -> None:
    def fail(item: str) -> None:
        raise TypeError(f"{item} cannot be added")

    async with Kernel() as kernel:
        bound = (await started(kernel)).bind(fail)

        with pytest.raises(TypeError, match=r"^tea cannot be added$"):
            await bound("tea")
        with pytest.raises(TypeError, match="takes item: str from its caller; it was passed 0 by position"):
            await anyio.to_thread.run_sync(bound.sync)


def first(db: Database, item: str, count: int = 1) -> tuple[str, int, bool]:
    return item, count, isinstance(db, Database)


async def between(item: str, db: Database, *more: str, clock: Clock) -> tuple[str, bool, tuple[str, ...], bool]:
    return item, isinstance(db, Database), more, isinstance(clock, Clock)


async def test_what_is_passed_by_position_steps_over_services() -> None:
    """A caller who goes by ``parameters`` never meets a service, whether it stands first or between."""
    async with Kernel() as kernel:
        owner = await started(kernel)
        bound, spread = owner.bind(first), owner.bind(between)

        assert [str(parameter) for parameter in bound.parameters] == ["item: str", "count: int = 1"]
        assert await bound("tea") == ("tea", 1, True)
        assert await bound("tea", 2) == ("tea", 2, True)
        assert await bound("tea", count=2) == ("tea", 2, True)
        assert await anyio.to_thread.run_sync(bound.sync, "tea", 2) == ("tea", 2, True)
        assert await spread("tea", "milk", "sugar") == ("tea", True, ("milk", "sugar"), True)
        with pytest.raises(TypeError, match="services fill db; it was passed 3 by position"):
            await bound("tea", 1, 2)


@virtual_time
async def test_the_breaker_of_a_bound_goes_by_the_clock_of_its_kernel() -> None:
    """A fake clock moves it on."""
    clock = FakeClock()

    async def fail() -> None:
        raise ConnectionError("no bank")

    kernel = Kernel()
    kernel.services.value(Clock, clock)
    async with kernel:
        bound = (await started(kernel)).bind(fail, breaker=Breaker(failures=1, cooldown_seconds=60))
        with pytest.raises(ConnectionError):
            await bound()
        with pytest.raises(BreakerOpenError):
            await bound()
        await clock.advance(60)
        with pytest.raises(ConnectionError):
            await bound()
