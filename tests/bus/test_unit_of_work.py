"""The unit of work: the outermost emit whose subscribers need a scoped service opens it, those within join it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import structlog.testing
from tests.bus.tools import Ask, Boom, Ping, Pong, marks

from plugbus import (
    AsyncNextFn,
    Event,
    EventBus,
    ListenerFailed,
    NextFn,
    Owner,
    Principal,
    Services,
    SubscriptionError,
    Veto,
    WiringError,
    acting_as,
    current,
    event,
)
from plugbus.errors import ServiceError, SyncEmitError

pytestmark = marks


class Trace(list[str]):
    """What happened, in order."""


class Session:
    """Made once per unit of work; knows which one it is."""

    def __init__(self, number: int) -> None:
        self.number = number


class Syncly:
    """A sync session factory, and emits from a thread without a loop of its own."""

    asynchronous = False

    def factory(self, trace: Trace, *, commit: Exception | None = None) -> Callable[[], Any]:
        count = iter(range(1, 100))

        def open_session() -> Iterator[Session]:
            session = Session(next(count))
            trace.append(f"open {session.number}")
            try:
                yield session
            except BaseException as error:
                trace.append(f"rollback {session.number}: {_name(error)}")
                raise
            if commit is not None:
                raise commit
            trace.append(f"commit {session.number}")

        return open_session


class Asyncly:
    """An async one."""

    asynchronous = True

    def factory(self, trace: Trace, *, commit: Exception | None = None) -> Callable[[], Any]:
        count = iter(range(1, 100))

        async def open_session() -> AsyncIterator[Session]:
            session = Session(next(count))
            trace.append(f"open {session.number}")
            try:
                yield session
            except BaseException as error:
                await anyio.lowlevel.checkpoint()
                trace.append(f"rollback {session.number}: {_name(error)}")
                raise
            await anyio.lowlevel.checkpoint()
            if commit is not None:
                raise commit
            trace.append(f"commit {session.number}")

        return open_session


def _name(error: BaseException) -> str:
    return "Cancelled" if type(error).__name__.startswith("Cancel") else type(error).__name__


@pytest.fixture
def trace() -> Trace:
    return Trace()


@pytest.fixture
def services() -> Services:
    return Services(clean_up_seconds=5)


@pytest.fixture
def bus(services: Services) -> EventBus:
    return EventBus(services=services)


KINDS = pytest.mark.parametrize("kind", [Syncly(), Asyncly()], ids=lambda kind: type(kind).__name__)


def subscribers(bus: EventBus, trace: Trace, *, asynchronous: bool) -> dict[str, Callable[..., Any]]:
    """Handlers and observers that use a session, sync or async."""

    def use(event: Any, session: Session) -> str:
        trace.append(f"{type(event).__name__} uses {session.number}")
        return str(session.number)

    async def ause(event: Any, session: Session) -> str:
        await anyio.lowlevel.checkpoint()
        return use(event, session)

    def nest(event: Any, session: Session) -> str:
        use(event, session)
        bus.emit(Ping())
        return "nested"

    async def anest(event: Any, session: Session) -> str:
        await ause(event, session)
        await bus.aemit(Ping())
        return "nested"

    return {"use": ause, "nest": anest} if asynchronous else {"use": use, "nest": nest}


# -- opening and joining


@KINDS
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_nested_emits_join_the_outermost_unit(
    bus: EventBus, services: Services, trace: Trace, kind: Any, asynchronous: bool
) -> None:
    """Whichever of service and subscribers are async; a unit per outermost emit, and everything is built once."""
    services.factory(Session, kind.factory(trace), scope="call")
    found = subscribers(bus, trace, asynchronous=asynchronous)
    bus.answer(Ask, found["nest"])
    bus.observe(Ping, found["use"], inside=True)

    assert await bus.acall(Ask()) == await bus.acall(Ask()) == "nested"

    one = ["open {}", "Ask uses {}", "Ping uses {}", "commit {}"]
    assert trace == [line.format(number) for number in (1, 2) for line in one]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_sync_emit_opens_one_too(bus: EventBus, services: Services, trace: Trace, asynchronous: bool) -> None:
    """In its own thread, or as a whole on the loop if a subscriber needs that."""
    services.factory(Session, Syncly().factory(trace), scope="call")
    found = subscribers(bus, trace, asynchronous=asynchronous)
    bus.answer(Ask, found["nest"])
    bus.observe(Ping, found["use"], inside=True)

    assert bus.call(Ask()) == "nested"

    assert trace == ["open 1", "Ask uses 1", "Ping uses 1", "commit 1"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_sync_emit_with_an_async_service_runs_on_the_loop(
    bus: EventBus, services: Services, trace: Trace, asynchronous: bool
) -> None:
    services.factory(Session, Asyncly().factory(trace), scope="call")
    bus.answer(Ask, subscribers(bus, trace, asynchronous=asynchronous)["use"])

    assert bus.call(Ask()) == "1"

    assert trace == ["open 1", "Ask uses 1", "commit 1"]


async def test_such_an_emit_is_refused_on_a_running_loop(bus: EventBus, services: Services, trace: Trace) -> None:
    services.factory(Session, Asyncly().factory(trace), scope="call")
    bus.answer(Ask, subscribers(bus, trace, asynchronous=False)["use"])

    with pytest.raises(SyncEmitError):
        bus.call(Ask())

    assert not trace


@KINDS
async def test_services_are_built_lazily(bus: EventBus, services: Services, trace: Trace, kind: Any) -> None:
    services.factory(Session, kind.factory(trace), scope="call")

    async def late(event: Ping, session: Session) -> None:
        trace.append("never")

    async def stop(event: Ping, next_fn: AsyncNextFn[Ping]) -> Ping:
        return event

    bus.listen(Ping, stop)
    bus.observe(Ping, late, inside=True)
    await bus.aemit(Ping())

    assert not trace


@KINDS
async def test_a_scope_by_hand_is_joined(bus: EventBus, services: Services, trace: Trace, kind: Any) -> None:
    services.factory(Session, kind.factory(trace), scope="call")
    bus.answer(Ask, subscribers(bus, trace, asynchronous=False)["use"])

    async with services.scope() as scope:
        session = await scope.aget(Session)
        assert await bus.acall(Ask()) == str(session.number)
        trace.append("end of the block")

    assert trace == ["open 1", "Ask uses 1", "end of the block", "commit 1"]


async def test_seeds_reach_subscribers(bus: EventBus, services: Services) -> None:
    services.factory(str, lambda: "nobody", scope="call", name="user")

    async def who(request: Ask, user) -> str:
        return str(user)

    bus.answer(Ask, who)
    async with services.scope({str: "ignored"}):
        assert await bus.acall(Ask()) == "nobody"


async def test_emits_of_another_kernel_are_units_of_their_own(bus: EventBus, services: Services, trace: Trace) -> None:
    other = Services()
    other_bus = EventBus(services=other)
    for each in (services, other):
        each.factory(Session, Asyncly().factory(trace), scope="call")
    bus.answer(Ask, subscribers(other_bus, trace, asynchronous=True)["nest"])
    other_bus.observe(Ping, subscribers(bus, trace, asynchronous=True)["use"], inside=True)

    await bus.acall(Ask())

    assert trace == ["open 1", "Ask uses 1", "open 1", "Ping uses 1", "commit 1", "commit 1"]


# -- success and failure


def failing(error: BaseException, *, asynchronous: bool) -> Callable[..., Any]:
    def fail(event: Any, session: Session) -> None:
        raise error

    async def afail(event: Any, session: Session) -> None:
        await anyio.lowlevel.checkpoint()
        raise error

    return afail if asynchronous else fail


@KINDS
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("error", [Boom(), Veto("no")], ids=repr)
async def test_failure_is_thrown_in(  # noqa: PLR0917 -- fixtures
    bus: EventBus, services: Services, trace: Trace, kind: Any, asynchronous: bool, error: Exception
) -> None:
    """A refusal is a failure too; a nested emit's reaches the outermost unit only if nobody catches it."""
    services.factory(Session, kind.factory(trace), scope="call")
    bus.answer(Ask, failing(error, asynchronous=asynchronous))

    with pytest.raises(type(error)) as caught:
        await bus.acall(Ask())

    assert caught.value is error
    assert trace == ["open 1", f"rollback 1: {type(error).__name__}"]


def test_failure_of_a_sync_emit_is_thrown_in(bus: EventBus, services: Services, trace: Trace) -> None:
    services.factory(Session, Syncly().factory(trace), scope="call")
    bus.answer(Ask, failing(Boom(), asynchronous=False))

    with pytest.raises(Boom):
        bus.call(Ask())

    assert trace == ["open 1", "rollback 1: Boom"]


@KINDS
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_error_while_committing_reaches_the_emitter(
    bus: EventBus, services: Services, trace: Trace, kind: Any, asynchronous: bool
) -> None:
    services.factory(Session, kind.factory(trace, commit=Boom("constraint")), scope="call")
    bus.answer(Ask, subscribers(bus, trace, asynchronous=asynchronous)["use"])
    bus.observe(Ask, lambda request: trace.append("never"))

    with pytest.raises(Boom, match="constraint"):
        await bus.acall(Ask())

    assert trace == ["open 1", "Ask uses 1"]


@KINDS
async def test_a_cancellation_is_a_failure(bus: EventBus, services: Services, trace: Trace, kind: Any) -> None:
    services.factory(Session, kind.factory(trace), scope="call")

    async def wait(request: Ask, session: Session) -> str:
        cancel.cancel()
        await anyio.sleep_forever()
        return ""

    bus.answer(Ask, wait)
    with anyio.CancelScope() as cancel:
        await bus.acall(Ask())

    assert trace == ["open 1", "rollback 1: Cancelled"]


async def test_a_cancelled_emit_with_a_sync_listener_closes_everything(
    bus: EventBus, services: Services, trace: Trace
) -> None:
    """Nothing new starts below a cancelled scope, but what is open is closed all the same."""
    services.factory(Session, Asyncly().factory(trace), scope="call")

    async def wait(request: Ask, session: Session) -> str:
        cancel.cancel()
        await anyio.sleep_forever()
        return ""

    bus.listen(Ask, lambda request, next_fn: next_fn(request))
    bus.answer(Ask, wait)
    with anyio.CancelScope() as cancel:
        await bus.acall(Ask())

    assert trace == ["open 1", "rollback 1: Cancelled"]


class Forever:
    """What never comes."""

    def __await__(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize("listens", [False, True])
async def test_an_emit_that_is_thrown_away_ends_its_unit_without_waiting(
    bus: EventBus, services: Services, trace: Trace, listens: bool
) -> None:
    """As a loop does with what is left when it ends; what was open goes with it, and nothing is committed."""

    async def open_session() -> AsyncIterator[Session]:
        try:
            yield Session(1)
            trace.append("never")
        finally:
            trace.append("gone")

    async def through(request: Ask, next_fn: AsyncNextFn[Ask, str]) -> str:
        return await next_fn(request)

    async def wait(request: Ask, session: Session) -> str:
        await Forever()
        return ""

    services.factory(Session, open_session, scope="call")
    if listens:
        bus.listen(Ask, through)
    bus.answer(Ask, wait)

    emit: Any = bus.acall(Ask())
    emit.send(None)
    emit.close()

    with pytest.raises(WiringError, match="none is open here"):
        await services.aget(Session)
    assert trace == ["gone"]


# -- observers


@KINDS
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_observers_hear_once_the_outermost_unit_has_succeeded(
    bus: EventBus, services: Services, trace: Trace, kind: Any, asynchronous: bool
) -> None:
    """Those of a nested emit wait for it too; with inside=True one is told within."""
    services.factory(Session, kind.factory(trace), scope="call")
    bus.answer(Ask, subscribers(bus, trace, asynchronous=asynchronous)["nest"])
    bus.observe(Ask, lambda event: trace.append("told of Ask"))
    bus.observe(Ping, lambda event: trace.append("told of Ping"))
    bus.observe(Ping, lambda event: trace.append("inside Ping"), inside=True)

    await bus.acall(Ask())

    assert trace == ["open 1", "Ask uses 1", "inside Ping", "commit 1", "told of Ping", "told of Ask"]


def test_observers_of_a_sync_emit_hear_after_it_too(bus: EventBus, services: Services, trace: Trace) -> None:
    services.factory(Session, Syncly().factory(trace), scope="call")
    bus.answer(Ask, subscribers(bus, trace, asynchronous=False)["nest"])
    bus.observe(Ask, lambda event: trace.append("told of Ask"))

    async def atold(event: Ping) -> None:
        trace.append("told of Ping")

    bus.observe(Ping, atold)
    bus.call(Ask())

    assert trace == ["open 1", "Ask uses 1", "commit 1", "told of Ping", "told of Ask"]


@KINDS
async def test_observers_are_not_told_of_what_failed(
    bus: EventBus, services: Services, trace: Trace, kind: Any
) -> None:
    """Not even those of a nested emit that went well."""
    services.factory(Session, kind.factory(trace), scope="call")

    async def nest_and_fail(request: Ask, session: Session) -> str:
        await bus.aemit(Ping())
        raise Boom

    bus.answer(Ask, nest_and_fail)
    bus.observe(Ping, lambda event: trace.append("never"))

    with pytest.raises(Boom):
        await bus.acall(Ask())

    assert trace == ["open 1", "rollback 1: Boom"]


@KINDS
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_each_observer_that_needs_one_has_a_unit_of_its_own(
    bus: EventBus, services: Services, trace: Trace, kind: Any, asynchronous: bool
) -> None:
    """So that one which fails undoes nobody else's work."""
    services.factory(Session, kind.factory(trace), scope="call")
    bus.observe(Ping, failing(Boom(), asynchronous=asynchronous))
    bus.observe(Ping, subscribers(bus, trace, asynchronous=asynchronous)["use"])

    with structlog.testing.capture_logs():
        await bus.aemit(Ping())

    assert trace == ["open 1", "rollback 1: Boom", "open 2", "Ping uses 2", "commit 2"]


def test_each_observer_of_a_sync_emit_has_one_too(bus: EventBus, services: Services, trace: Trace) -> None:
    services.factory(Session, Syncly().factory(trace), scope="call")
    for _ in range(2):
        bus.observe(Ping, subscribers(bus, trace, asynchronous=False)["use"])

    bus.emit(Ping())

    assert trace == ["open 1", "Ping uses 1", "commit 1", "open 2", "Ping uses 2", "commit 2"]


async def test_a_commit_that_fails_in_an_observer_is_the_observers_failure(
    bus: EventBus, services: Services, trace: Trace
) -> None:
    services.factory(Session, Asyncly().factory(trace, commit=Boom("constraint")), scope="call")
    failures: list[ListenerFailed] = []
    bus.observe(ListenerFailed, failures.append)
    bus.observe(Ping, subscribers(bus, trace, asynchronous=True)["use"])

    with structlog.testing.capture_logs():
        await bus.aemit(Ping())

    assert [str(failure.error) for failure in failures] == ["constraint"]


async def test_what_an_observer_emits_is_a_unit_of_its_own(bus: EventBus, services: Services, trace: Trace) -> None:
    services.factory(Session, Asyncly().factory(trace), scope="call")
    found = subscribers(bus, trace, asynchronous=True)
    bus.answer(Ask, found["use"])

    async def ask(event: Ping) -> None:
        await bus.acall(Ask())

    bus.observe(Ping, ask)
    bus.observe(Ping, found["use"], inside=True)
    await bus.aemit(Ping())

    assert trace == ["open 1", "Ping uses 1", "commit 1", "open 2", "Ask uses 2", "commit 2"]


async def test_failures_are_announced_whatever_becomes_of_the_unit(
    bus: EventBus, services: Services, trace: Trace
) -> None:
    """At once, and not with the observers, who may never hear."""
    services.factory(Session, Asyncly().factory(trace), scope="call")
    bus.observe(ListenerFailed, lambda failure: trace.append("announced"))
    bus.observe(Ping, lambda event: 1 / 0, inside=True)

    async def nest_and_fail(request: Ask, session: Session) -> str:
        await bus.aemit(Ping())
        raise Boom

    bus.answer(Ask, nest_and_fail)
    with structlog.testing.capture_logs(), pytest.raises(Boom):
        await bus.acall(Ask())

    assert trace == ["open 1", "announced", "rollback 1: Boom"]


@event(name="unit.sticky", sticky=True)
class Kept(Event):
    """The last one is replayed."""


async def test_a_sticky_event_is_kept_once_its_unit_has_succeeded(
    bus: EventBus, services: Services, trace: Trace
) -> None:
    services.factory(Session, Asyncly().factory(trace), scope="call")
    fails = [True]

    async def keep(request: Ask, session: Session) -> str:
        await bus.aemit(Kept())
        if fails.pop():
            raise Boom
        return ""

    bus.answer(Ask, keep)
    with pytest.raises(Boom):
        await bus.acall(Ask())
    bus.observe(Kept, lambda kept: trace.append("never"), run_in="caller").close()
    fails.append(False)
    await bus.acall(Ask())
    bus.observe(Kept, lambda kept: trace.append("replayed"), run_in="caller")

    assert trace == ["open 1", "rollback 1: Boom", "open 2", "commit 2", "replayed"]


def test_who_is_replayed_to_has_a_unit_of_its_own(bus: EventBus, services: Services, trace: Trace) -> None:
    services.factory(Session, Syncly().factory(trace), scope="call")

    def listener(event: Kept, next_fn: NextFn[Kept], session: Session) -> Kept:
        trace.append(f"listens with {session.number}")
        return next_fn(event)

    bus.emit(Kept())
    bus.observe(Kept, subscribers(bus, trace, asynchronous=False)["use"])
    bus.listen(Kept, listener)

    assert trace == ["open 1", "Kept uses 1", "commit 1", "open 2", "listens with 2", "commit 2"]


# -- retrying, and failures that are put up with


def retrying(trace: Trace, *, asynchronous: bool) -> Callable[..., Any]:
    def retry(event: Any, next_fn: Any) -> Any:
        try:
            return next_fn(event)
        except Boom:
            trace.append("again")
            return next_fn(event)

    async def aretry(event: Any, next_fn: Any) -> Any:
        try:
            return await next_fn(event)
        except Boom:
            trace.append("again")
            return await next_fn(event)

    return aretry if asynchronous else retry


class Cart(Session):
    """Another service of the unit."""


def flaky(bus: EventBus, trace: Trace, *, asynchronous: bool) -> Callable[..., Any]:
    """Fails the first time, after a nested emit."""
    fails = [False, True]

    def use(event: Any, session: Session) -> str:
        trace.append(f"uses {session.number}")
        bus.emit(Pong())
        if fails.pop():
            raise Boom
        return str(session.number)

    async def ause(event: Any, session: Session) -> str:
        trace.append(f"uses {session.number}")
        await bus.aemit(Pong())
        if fails.pop():
            raise Boom
        return str(session.number)

    return ause if asynchronous else use


@KINDS
@pytest.mark.parametrize("listener", [False, True])
@pytest.mark.parametrize("handler", [False, True])
async def test_a_retrying_listener_gets_fresh_services(  # noqa: PLR0917 -- fixtures
    bus: EventBus, services: Services, trace: Trace, kind: Any, listener: bool, handler: bool
) -> None:
    """Those opened below it are closed, with the failure, in between; observers hear of the pass that went well."""
    services.factory(Session, kind.factory(trace), scope="call")
    bus.listen(Ask, retrying(trace, asynchronous=listener))
    bus.answer(Ask, flaky(bus, trace, asynchronous=handler))
    bus.observe(Pong, lambda event: trace.append("told"))

    assert await bus.acall(Ask()) == "2"

    assert trace == ["open 1", "uses 1", "rollback 1: Boom", "again", "open 2", "uses 2", "commit 2", "told"]


def test_a_retrying_listener_of_a_sync_emit_does_too(bus: EventBus, services: Services, trace: Trace) -> None:
    services.factory(Session, Syncly().factory(trace), scope="call")
    bus.listen(Ask, retrying(trace, asynchronous=False))
    bus.answer(Ask, flaky(bus, trace, asynchronous=False))

    assert bus.call(Ask()) == "2"

    assert trace == ["open 1", "uses 1", "rollback 1: Boom", "again", "open 2", "uses 2", "commit 2"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_what_was_opened_above_a_retrying_listener_stays(
    bus: EventBus, services: Services, trace: Trace, asynchronous: bool
) -> None:
    services.factory(Session, Syncly().factory(trace), scope="call")

    async def above(event: Ask, next_fn: AsyncNextFn[Ask, str], session: Session) -> str:
        return await next_fn(event)

    bus.listen(Ask, above, priority=1)
    bus.listen(Ask, retrying(trace, asynchronous=asynchronous))
    bus.answer(Ask, flaky(bus, trace, asynchronous=False))

    assert await bus.acall(Ask()) == "1"

    assert trace == ["open 1", "uses 1", "again", "uses 1", "commit 1"]


async def test_a_retrying_listener_of_a_nested_emit_that_needs_nothing_itself_does_too(
    bus: EventBus, services: Services, trace: Trace
) -> None:
    services.factory(Session, Asyncly().factory(trace), scope="call")
    fails = [False, True]

    async def outermost(request: Ask, session: Session) -> str:
        await bus.aemit(Ping())
        return ""

    async def emits(event: Ping) -> None:
        await bus.aemit(Pong())

    async def innermost(event: Pong, cart: Cart) -> None:
        trace.append(f"uses {cart.number}")
        if fails.pop():
            raise Boom

    services.factory(Cart, Asyncly().factory(trace), scope="call")
    bus.answer(Ask, outermost)
    bus.listen(Ping, retrying(trace, asynchronous=True))
    bus.listen(Ping, lambda event, next_fn: next_fn(event))
    bus.observe(Ping, emits, inside=True, on_error="raise")
    bus.observe(Pong, innermost, inside=True, on_error="raise")

    async def boom(event: Ping, next_fn: AsyncNextFn[Ping]) -> Ping:
        try:
            return await next_fn(event)
        except ExceptionGroup as group:
            raise Boom from group

    bus.listen(Ping, boom)
    await bus.acall(Ask())

    assert trace == [
        "open 1",
        "open 1",
        "uses 1",
        "rollback 1: ExceptionGroup",
        "again",
        "open 2",
        "uses 2",
        "commit 2",
        "commit 1",
    ]


@KINDS
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_lenient_listener_that_fails_before_it_hands_on_undoes_what_it_opened(
    bus: EventBus, services: Services, trace: Trace, kind: Any, asynchronous: bool
) -> None:
    services.factory(Session, kind.factory(trace), scope="call")
    bus.listen(Ask, failing_listener(trace, hands_on=False, asynchronous=asynchronous), on_error="skip")
    bus.answer(Ask, subscribers(bus, trace, asynchronous=False)["use"])

    with structlog.testing.capture_logs():
        assert await bus.acall(Ask()) == "2"

    assert trace == ["open 1", "rollback 1: Boom", "open 2", "Ask uses 2", "commit 2"]


@KINDS
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_lenient_listener_that_fails_later_undoes_nothing(
    bus: EventBus, services: Services, trace: Trace, kind: Any, asynchronous: bool
) -> None:
    """What is below has used the same and went well; that result stands, and is committed."""
    services.factory(Session, kind.factory(trace), scope="call")
    bus.listen(Ask, failing_listener(trace, hands_on=True, asynchronous=asynchronous), on_error="skip")
    bus.answer(Ask, subscribers(bus, trace, asynchronous=False)["use"])

    with structlog.testing.capture_logs():
        assert await bus.acall(Ask()) == "1"

    assert trace == ["open 1", "Ask uses 1", "commit 1"]


def failing_listener(trace: Trace, *, hands_on: bool, asynchronous: bool) -> Callable[..., Any]:
    def listener(event: Any, next_fn: Any, session: Session) -> Any:
        if hands_on:
            next_fn(event)
        raise Boom

    async def alistener(event: Any, next_fn: Any, session: Session) -> Any:
        if hands_on:
            await next_fn(event)
        raise Boom

    return alistener if asynchronous else listener


async def test_an_observer_inside_whose_failure_is_logged_undoes_what_it_opened(
    bus: EventBus, services: Services, trace: Trace
) -> None:
    services.factory(Session, Asyncly().factory(trace), scope="call")
    bus.observe(Ping, failing(Boom(), asynchronous=True), inside=True)
    bus.observe(Ping, subscribers(bus, trace, asynchronous=False)["use"], inside=True)

    with structlog.testing.capture_logs():
        await bus.aemit(Ping())

    assert trace == ["open 1", "rollback 1: Boom", "open 2", "Ping uses 2", "commit 2"]


async def test_two_passes_at_once_have_their_own_and_one_that_fails_undoes_nothing_of_the_other(
    bus: EventBus, services: Services, trace: Trace
) -> None:
    """What both opened side by side stays apart, and both are closed at the end."""
    services.factory(Session, Asyncly().factory(trace), scope="call")
    both = anyio.Event()
    seen: list[int] = []

    async def handler(request: Ask, session: Session) -> str:
        seen.append(session.number)
        if len(seen) == 2:
            both.set()
        await both.wait()
        if request.number == 2:
            raise Boom
        return str(session.number)

    async def through(request: Ask, next_fn: AsyncNextFn[Ask, str]) -> str:
        return await next_fn(request)

    bus.listen(Ask, through)
    bus.answer(Ask, handler)

    async def ask(number: int) -> None:
        with contextlib.suppress(Boom):
            await bus.acall(Ask(number=number))

    async with services.scope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, 1)
            tasks.start_soon(ask, 2)
        assert "rollback 1: Boom" in trace or "rollback 2: Boom" in trace
        left = (await scope.aget(Session)).number
        assert f"rollback {left}: Boom" not in trace

    assert sorted(seen) == [1, 2]
    assert trace[-1] == f"commit {left}"


async def test_two_passes_at_once_that_both_succeed_are_both_committed(
    bus: EventBus, services: Services, trace: Trace
) -> None:
    services.factory(Session, Asyncly().factory(trace), scope="call")
    both = anyio.Event()
    seen: list[int] = []

    async def handler(request: Ask, session: Session) -> str:
        seen.append(session.number)
        if len(seen) == 2:
            both.set()
        await both.wait()
        return ""

    async def through(request: Ask, next_fn: AsyncNextFn[Ask, str]) -> str:
        return await next_fn(request)

    bus.listen(Ask, through)
    bus.answer(Ask, handler)

    async with services.scope(), anyio.create_task_group() as tasks:
        tasks.start_soon(bus.acall, Ask())
        tasks.start_soon(bus.acall, Ask())

    assert trace == ["open 1", "open 2", "commit 2", "commit 1"]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_observer_that_waited_knows_which_emit_it_is_told_of(
    bus: EventBus, services: Services, trace: Trace, asynchronous: bool
) -> None:
    """Its own, and not the outermost that it waited for; and who acted."""
    current()  # somebody wants to know
    services.factory(Session, Syncly().factory(trace), scope="call")

    def nest(request: Ask, session: Session) -> str:
        with acting_as(Principal("ann")):
            bus.emit(Ping())
        return ""

    def observer(event: Ping) -> None:
        now = current()
        trace.append(f"{now.event} by {now.principal.id}" if now and now.principal else "nobody knows")

    bus.answer(Ask, nest)
    bus.observe(Ping, observer)
    if asynchronous:
        await bus.acall(Ask())
    else:
        await anyio.to_thread.run_sync(bus.call, Ask())

    assert trace[-1] == "tools.ping by ann"


async def test_a_listener_that_outlives_a_scope_by_hand_tells_observers_itself(
    bus: EventBus, services: Services, trace: Trace
) -> None:
    """A task that runs on after the block has ended is in no unit any more."""
    over, told = anyio.Event(), anyio.Event()

    async def slow(event: Ping, next_fn: AsyncNextFn[Ping]) -> Ping:
        await over.wait()
        return await next_fn(event)

    async def tell(event: Ping) -> None:
        trace.append("told")
        told.set()

    bus.listen(Ping, slow)
    bus.observe(Ping, tell)
    async with anyio.create_task_group() as tasks:
        async with services.scope():
            tasks.start_soon(bus.aemit, Ping())
            await anyio.wait_all_tasks_blocked()
        assert not trace
        over.set()
        await told.wait()

    assert trace == ["told"]


# -- threads


def open_sqlite() -> Iterator[sqlite3.Connection]:
    """It refuses another thread than the one that opened it, at commit and close as well."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("create table t (x)")
    connection.execute("begin")
    try:
        yield connection
    except BaseException:
        connection.rollback()
        raise
    else:
        connection.commit()
        assert not connection.in_transaction
    finally:
        connection.close()


@pytest.mark.parametrize("fails", [False, True])
async def test_sync_services_and_who_uses_them_stay_on_one_thread(
    bus: EventBus, services: Services, fails: bool
) -> None:
    """With async steps in between, sync ones that need no service, nested emits, and other plugins."""
    services.factory(sqlite3.Connection, open_sqlite, scope="call")
    other = Owner("other")
    other_bus = bus.view(other)
    other_bus.activate(other)
    threads: list[int] = []

    def insert(connection: sqlite3.Connection) -> None:
        threads.append(threading.get_ident())
        connection.execute("insert into t values (1)")

    def listener(event: Ask, next_fn: NextFn[Ask, str], connection: sqlite3.Connection) -> str:
        insert(connection)
        result = next_fn(event)
        insert(connection)
        return result

    async def between(event: Any, next_fn: AsyncNextFn[Any, Any]) -> Any:
        await anyio.lowlevel.checkpoint()
        return await next_fn(event)

    def handler(request: Ask, connection: sqlite3.Connection) -> str:
        insert(connection)
        bus.emit(Ping())
        if fails:
            raise Boom
        return str(connection.execute("select count(*) from t").fetchone()[0])

    def observer(event: Ping, connection: sqlite3.Connection) -> None:
        insert(connection)

    bus.listen(Ask, listener)
    bus.listen(Ask, between)
    other_bus.listen(Ask, listener)
    bus.listen(Ask, lambda event, next_fn: next_fn(event))
    bus.listen(Ask, between)
    bus.answer(Ask, handler)
    bus.listen(Ping, between)
    other_bus.observe(Ping, observer, inside=True, on_error="raise")

    if fails:
        with pytest.raises(Boom):
            await bus.acall(Ask())
    else:
        assert await bus.acall(Ask()) == "4"

    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def test_in_a_sync_emit_that_is_the_emitters_thread(bus: EventBus, services: Services) -> None:
    services.factory(sqlite3.Connection, open_sqlite, scope="call")
    threads: list[int] = []

    def handler(request: Ask, connection: sqlite3.Connection) -> str:
        threads.append(threading.get_ident())
        return str(connection.execute("select count(*) from t").fetchone()[0])

    bus.answer(Ask, handler)

    assert bus.call(Ask()) == "0"
    assert threads == [threading.get_ident()]


async def test_units_side_by_side_have_a_thread_each(bus: EventBus, services: Services) -> None:
    """More of them than a plugin may have threads at once, all waiting below their sync listener."""
    services.factory(sqlite3.Connection, open_sqlite, scope="call")
    inside, go = [], anyio.Event()

    def listener(event: Ask, next_fn: NextFn[Ask, str], connection: sqlite3.Connection) -> str:
        return next_fn(event) + str(connection.execute("select 1").fetchone()[0])

    async def handler(request: Ask) -> str:
        inside.append(request.number)
        if len(inside) == 8:
            go.set()
        await go.wait()
        return "done"

    bus.listen(Ask, listener)
    bus.answer(Ask, handler)
    results: list[str] = []

    async def ask(number: int) -> None:
        results.append(await bus.acall(Ask(number=number)))

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(ask, number)

    assert results == ["done1"] * 8


def test_a_sync_unit_tells_who_needs_its_services_below_the_loop(bus: EventBus, services: Services) -> None:
    """The emitter's thread waits for the loop, so nobody can use it."""
    services.factory(Session, Syncly().factory(Trace()), scope="call")

    async def between(event: Ping, next_fn: AsyncNextFn[Ping]) -> Ping:
        return await next_fn(event)

    bus.listen(Ping, between)
    bus.observe(Ping, subscribers(bus, Trace(), asynchronous=False)["use"], inside=True, on_error="raise")

    with services.scope(), pytest.raises(ExceptionGroup) as caught:
        bus.emit(Ping())

    assert isinstance(caught.value.exceptions[0], ServiceError)
    assert "on the loop" in str(caught.value.exceptions[0])


async def test_a_sync_subscriber_that_overruns_its_time_rolls_back(
    bus: EventBus, services: Services, trace: Trace
) -> None:
    services.factory(Session, Asyncly().factory(trace), scope="call")
    go = threading.Event()

    def slow(request: Ask, session: Session) -> str:
        go.wait(5)
        return ""

    bus.answer(Ask, slow, timeout_seconds=0.05)
    try:
        with pytest.raises(Exception, match="still running after"):
            await bus.acall(Ask())
    finally:
        go.set()

    assert trace == ["open 1", "rollback 1: ListenerTimeoutError"]


# -- refusals


def test_run_in_caller_cannot_wait_for_a_service(bus: EventBus, services: Services) -> None:
    services.factory(Session, Syncly().factory(Trace()), scope="call")

    with pytest.raises(SubscriptionError, match="cannot wait for services of a unit of work"):
        bus.observe(Ping, subscribers(bus, Trace(), asynchronous=False)["use"], run_in="caller")


async def test_asking_outside_of_any_unit_says_what_to_do(bus: EventBus, services: Services) -> None:
    """A handler that asks for it by hand, where nobody needs one as a parameter."""
    services.factory(Session, Asyncly().factory(Trace()), scope="call")

    async def by_hand(request: Ask) -> str:
        return str((await services.aget(Session)).number)

    bus.answer(Ask, by_hand)

    with pytest.raises(WiringError, match="none is open here") as caught:
        await bus.acall(Ask())
    async with services.scope():
        assert await bus.acall(Ask()) == "1"

    assert "take it as a parameter of a subscriber" in str(caught.value)


def test_explain_tells_who_needs_a_unit_of_work(bus: EventBus, services: Services, trace: Trace) -> None:
    services.factory(Session, Syncly().factory(trace), scope="call")
    bus.observe(Ping, subscribers(bus, trace, asynchronous=False)["use"], inside=True)
    bus.observe(Ping, trace.append)

    assert [step.policies for step in bus.explain(Ping).steps] == [("inside", "unit of work"), ()]


# -- what nobody uses costs nothing


def test_a_bus_without_scoped_services_compiles_the_plain_chain(bus: EventBus, services: Services) -> None:
    """Until the first one is registered, or a scope opened; from then on, chains are compiled again."""
    seen: list[Ping] = []

    def see(event: Ping) -> None:
        seen.append(event)

    bus.observe(Ping, see)
    alone = EventBus()
    alone.observe(Ping, see)
    bus.emit(Ping())
    alone.emit(Ping())

    plain = compiled(alone)
    assert compiled(bus) is plain
    with services.scope():
        bus.emit(Ping())
        assert compiled(bus) is not plain
        assert len(seen) == 2
    assert len(seen) == 3


def compiled(bus: EventBus) -> object:
    """What an emit runs first."""
    return bus._core.tables.shared["emit"][Ping][0]


def test_a_bus_that_is_gone_is_not_kept_by_its_services(services: Services) -> None:
    bus: Any = EventBus(services=services)
    del bus

    services.factory(Session, Syncly().factory(Trace()), scope="call")  # tells those that are there
