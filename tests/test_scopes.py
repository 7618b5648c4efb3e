"""Units of work that are opened by hand: what is built in one, how it ends, and what it refuses."""

from __future__ import annotations

import contextlib
import pickle
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st
from tests.support import virtual_time

from plugbus import Named, Owner, Scope, ServiceError, Services, Veto, WiringError


class Trace(list[str]):
    """What happened, in order."""


class Session:
    """Made once per unit of work."""


class Cart: ...


class User:
    def __init__(self, name: str = "nobody") -> None:
        self.name = name


def closing(trace: Trace, name: str, made: Callable[[], Any], *, commit: Exception | None = None) -> Any:
    """A sync generator that tells how it ended."""

    def factory() -> Iterator[Any]:
        try:
            yield made()
        except BaseException as error:
            trace.append(f"{name} rolled back: {type(error).__name__}")
            raise
        if commit is not None:
            raise commit
        trace.append(f"{name} committed")

    return factory


def aclosing(trace: Trace, name: str, made: Callable[[], Any], *, commit: Exception | None = None) -> Any:
    """The same, async."""

    async def factory() -> AsyncIterator[Any]:
        try:
            yield made()
        except BaseException as error:
            await anyio.lowlevel.checkpoint()
            trace.append(f"{name} rolled back: {type(error).__name__}")
            raise
        await anyio.lowlevel.checkpoint()
        if commit is not None:
            raise commit
        trace.append(f"{name} committed")

    return factory


KINDS = pytest.mark.parametrize("kind", [closing, aclosing])


@pytest.fixture
def trace() -> Trace:
    return Trace()


@pytest.fixture
def services() -> Services:
    return Services(clean_up_seconds=5)


# -- once per unit of work


def test_a_service_is_built_lazily_and_once_per_unit_of_work(services: Services) -> None:
    built: list[Session] = []
    services.factory(Session, lambda: built.append(Session()) or built[-1], scope="call")

    with services.scope() as scope:
        assert not built
        first = scope.get(Session)
        assert services.get(Session) is scope.get(Session) is first
    with services.scope() as scope:
        assert scope.get(Session) is not first

    assert len(built) == 2


@pytest.mark.anyio
@KINDS
async def test_async_with_builds_both_kinds(services: Services, trace: Trace, kind: Any) -> None:
    services.factory(Session, kind(trace, "session", Session), scope="call")

    async with services.scope() as scope:
        first = await scope.aget(Session)
        assert await services.aget(Session) is scope.get(Session) is first

    assert trace == ["session committed"]


@pytest.mark.anyio
async def test_tasks_of_one_unit_share_what_is_built(services: Services) -> None:
    async def slow() -> Session:
        await anyio.wait_all_tasks_blocked()
        return Session()

    services.factory(Session, slow, scope="call")
    found: list[Session] = []

    async def ask(scope: Scope) -> None:
        found.append(await scope.aget(Session))

    async with services.scope() as scope, anyio.create_task_group() as tasks:
        tasks.start_soon(ask, scope)
        tasks.start_soon(ask, scope)

    assert len(set(found)) == 1
    assert len(found) == 2


def test_services_of_one_unit_may_need_each_other_and_what_lives_longer(services: Services) -> None:
    services.value(User, User("Ada"), name="user")
    services.factory(Session, lambda user: (user.name, Session()), scope="call", name="session")
    services.factory(list, lambda session: [session], scope="call")

    with services.scope() as scope:
        session: Any = scope.get(Session, "session")
        assert session[0] == "Ada"
        assert scope.get(list) == [session]


def test_a_scope_in_a_scope_is_a_unit_of_its_own(services: Services) -> None:
    services.factory(Session, Session, scope="call")

    with services.scope() as outer:
        with services.scope() as inner:
            assert services.get(Session) is inner.get(Session) is not outer.get(Session)
        assert services.get(Session) is outer.get(Session)


def test_units_of_two_containers_do_not_disturb_each_other(services: Services) -> None:
    other = Services()
    services.factory(Session, Session, scope="call")
    other.factory(Session, Session, scope="call")

    with services.scope() as scope, other.scope() as inner:
        assert services.get(Session) is scope.get(Session)
        assert other.get(Session) is inner.get(Session)


# -- success and failure


def end(services: Services, *, on_loop: bool, error: BaseException | None = None) -> Callable[[], Any]:
    """Ask for all, and end with an error, in one of the two worlds."""

    async def aend() -> None:
        async with services.scope() as scope:
            await scope.aget(Cart)
            if error is not None:
                raise error

    def here() -> None:
        with services.scope() as scope:
            scope.get(Cart)
            if error is not None:
                raise error

    return (lambda: anyio.run(aend)) if on_loop else here


WORLDS = pytest.mark.parametrize(("kind", "on_loop"), [(closing, False), (closing, True), (aclosing, True)])


def pair(services: Services, kind: Any, trace: Trace, **cart: Any) -> None:
    """A cart that needs a session."""
    services.factory(Session, kind(trace, "session", Session), scope="call", name="session")
    made = kind(trace, "cart", Cart, **cart)

    if kind is closing:

        def open_cart(session) -> Iterator[Cart]:
            yield from made()

        services.factory(Cart, open_cart, scope="call")
        return

    async def aopen_cart(session) -> AsyncIterator[Cart]:
        inner = made()
        cart = await anext(inner)
        try:
            yield cart
        except BaseException as error:
            await inner.athrow(error)
        else:
            await anext(inner, None)

    services.factory(Cart, aopen_cart, scope="call")


@WORLDS
def test_success_resumes_in_reverse_order(services: Services, trace: Trace, kind: Any, on_loop: bool) -> None:
    pair(services, kind, trace)

    end(services, on_loop=on_loop)()

    assert trace == ["cart committed", "session committed"]


@WORLDS
@pytest.mark.parametrize("error", [ValueError("no"), Veto("not today"), KeyboardInterrupt()], ids=repr)
def test_failure_is_thrown_in_in_reverse_order(
    services: Services, trace: Trace, kind: Any, on_loop: bool, error: BaseException
) -> None:
    """Whatever it is, and it comes out as it was; a refusal is a failure too."""
    pair(services, kind, trace)

    with pytest.raises(type(error)) as caught:
        end(services, on_loop=on_loop, error=error)()

    assert caught.value is error
    assert trace == [f"cart rolled back: {type(error).__name__}", f"session rolled back: {type(error).__name__}"]


def test_a_failure_that_python_changes_on_its_way_through_a_generator_is_still_it(
    services: Services, trace: Trace
) -> None:
    services.factory(Session, closing(trace, "session", Session), scope="call")
    failure = StopIteration()

    with pytest.raises(StopIteration) as caught, services.scope() as scope:
        scope.get(Session)
        raise failure

    assert caught.value is failure
    assert trace == ["session rolled back: StopIteration"]


@WORLDS
def test_an_error_while_committing_comes_out_and_rolls_back_the_rest(
    services: Services, trace: Trace, kind: Any, on_loop: bool
) -> None:
    pair(services, kind, trace, commit=ValueError("constraint"))

    with pytest.raises(ValueError, match="constraint") as caught:
        end(services, on_loop=on_loop)()

    assert trace == ["session rolled back: ValueError"]
    assert "while cleaning up service Cart" in caught.value.__notes__


@WORLDS
def test_an_error_while_rolling_back_does_not_hide_the_failure(
    services: Services, trace: Trace, kind: Any, on_loop: bool
) -> None:
    """It is noted on it and logged, and the rest is rolled back with the failure."""

    def broken() -> Iterator[Cart]:
        try:
            yield Cart()
        finally:
            raise OSError("gone")

    services.factory(Session, kind(trace, "session", Session), scope="call", name="session")
    services.factory(Cart, broken, scope="call")
    failure = ValueError("no")

    async def aboth() -> None:
        async with services.scope() as scope:
            await scope.aget(Annotated[Session, Named("session")])
            await scope.aget(Cart)
            raise failure

    def both() -> None:
        with services.scope() as scope:
            scope.get(Annotated[Session, Named("session")])
            scope.get(Cart)
            raise failure

    with structlog.testing.capture_logs() as logs, pytest.raises(ValueError, match="no") as caught:
        anyio.run(aboth) if on_loop else both()

    assert caught.value is failure
    assert "besides, cleaning up service Cart: OSError('gone')" in failure.__notes__
    assert [(log["event"], log["service"]) for log in logs] == [("cleaning up after a failure failed", "Cart")]
    assert trace == ["session rolled back: ValueError"]


def test_a_factory_cannot_swallow_the_failure(services: Services) -> None:
    def forgiving() -> Iterator[Session]:
        try:
            yield Session()
        except ValueError:
            return

    services.factory(Session, forgiving, scope="call")

    with pytest.raises(ValueError, match="no"), services.scope() as scope:
        scope.get(Session)
        raise ValueError("no")


def test_a_generator_that_yields_again_is_an_error(services: Services) -> None:
    def twice() -> Iterator[Session]:
        yield Session()
        yield Session()

    services.factory(Session, twice, scope="call")

    with pytest.raises(ServiceError, match="yielded a second time"), services.scope() as scope:
        scope.get(Session)


def test_a_failure_keeps_the_traceback_of_where_it_was_raised(services: Services, trace: Trace) -> None:
    services.factory(Session, closing(trace, "session", Session), scope="call")

    def culprit() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no") as caught, services.scope() as scope:
        scope.get(Session)
        culprit()

    assert [entry.name for entry in caught.traceback][-1] == "culprit"
    assert "factory" not in [entry.name for entry in caught.traceback]


@pytest.mark.anyio
@KINDS
async def test_a_cancellation_is_a_failure(services: Services, trace: Trace, kind: Any) -> None:
    services.factory(Session, kind(trace, "session", Session), scope="call")

    with anyio.CancelScope() as cancel:
        async with services.scope() as scope:
            await scope.aget(Session)
            cancel.cancel()
            await anyio.sleep_forever()

    assert len(trace) == 1
    assert trace[0].startswith("session rolled back: Cancel")


@virtual_time
@pytest.mark.anyio
async def test_clean_up_that_hangs_is_given_up_and_the_rest_rolled_back(trace: Trace) -> None:
    services = Services(clean_up_seconds=3)

    async def hanging() -> AsyncIterator[Cart]:
        yield Cart()
        await anyio.sleep_forever()

    services.factory(Session, aclosing(trace, "session", Session), scope="call")
    services.factory(Cart, hanging, scope="call")

    with pytest.raises(ServiceError, match="still running after 3 s"):
        async with services.scope() as scope:
            await scope.aget(Session)
            await scope.aget(Cart)

    assert trace == ["session rolled back: ServiceError"]


# -- what follows a success


def test_on_success_runs_after_the_commit_in_order(services: Services, trace: Trace) -> None:
    services.factory(Session, closing(trace, "session", Session), scope="call")

    with services.scope() as scope:
        scope.on_success(lambda: trace.append("first"))
        scope.get(Session)
        scope.on_success(lambda: trace.append("second"))

    assert trace == ["session committed", "first", "second"]


@pytest.mark.anyio
async def test_on_success_takes_async_functions_and_runs_sync_ones_in_a_thread(
    services: Services, trace: Trace
) -> None:
    threads: list[int] = []

    async def mail() -> None:
        await anyio.lowlevel.checkpoint()
        trace.append("mail")

    async with services.scope() as scope:
        scope.on_success(mail)
        scope.on_success(lambda: threads.append(threading.get_ident()))

    assert trace == ["mail"]
    assert threads
    assert threads != [threading.get_ident()]


@pytest.mark.parametrize("commit", [None, ValueError("constraint")], ids=repr)
def test_on_success_does_not_run_after_a_failure(services: Services, trace: Trace, commit: Exception | None) -> None:
    services.factory(Session, closing(trace, "session", Session, commit=commit), scope="call")

    with pytest.raises(ValueError), services.scope() as scope:
        scope.get(Session)
        scope.on_success(lambda: trace.append("never"))
        if commit is None:
            raise ValueError

    assert "never" not in trace


@pytest.mark.parametrize("on_loop", [False, True])
def test_what_fails_after_success_is_raised_once_the_rest_ran(services: Services, trace: Trace, on_loop: bool) -> None:
    def fail() -> None:
        raise OSError("no mail")

    async def awork() -> None:
        async with services.scope() as scope:
            scope.on_success(fail)
            scope.on_success(lambda: trace.append("rest"))

    def work() -> None:
        with services.scope() as scope:
            scope.on_success(fail)
            scope.on_success(lambda: trace.append("rest"))

    with pytest.raises(OSError, match="no mail"):
        anyio.run(awork) if on_loop else work()

    assert trace == ["rest"]


def test_a_plain_with_refuses_an_async_function_on_success(services: Services) -> None:
    async def mail() -> None: ...

    with services.scope() as scope, pytest.raises(ServiceError, match="open it with `async with`"):
        scope.on_success(mail)


# -- threads


def open_sqlite() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")  # check_same_thread is on
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


@pytest.mark.anyio
async def test_sync_services_live_on_one_thread(services: Services) -> None:
    """SQLite refuses any other; building, use in an injected function, commit and close are on one."""
    services.factory(sqlite3.Connection, open_sqlite, scope="call")
    threads: list[int] = []

    def work(statement: str, connection: sqlite3.Connection) -> None:
        threads.append(threading.get_ident())
        connection.execute(statement)

    bound = services.inject(work, given=1)
    async with services.scope() as scope:
        await scope.aget(sqlite3.Connection)
        await anyio.to_thread.run_sync(bound, "create table t (x)")
        await anyio.lowlevel.checkpoint()
        await anyio.to_thread.run_sync(bound, "insert into t values (1)")

    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def test_a_sync_unit_lives_on_the_thread_that_opened_it(services: Services) -> None:
    services.factory(sqlite3.Connection, open_sqlite, scope="call")

    with services.scope() as scope:
        scope.get(sqlite3.Connection).execute("create table t (x)")


@pytest.mark.anyio
async def test_the_thread_of_a_unit_ends_with_it(services: Services) -> None:
    services.factory(Session, Session, scope="call")

    async with services.scope() as scope:
        await scope.aget(Session)
        own = [thread for thread in threading.enumerate() if thread.name == "plugbus unit of work"]
        assert own

    for thread in own:
        await anyio.to_thread.run_sync(thread.join, 5)
        assert not thread.is_alive()


def test_a_thread_that_is_not_the_units_is_told_so(services: Services) -> None:
    services.factory(Session, Session, scope="call")
    errors: list[Exception] = []

    with services.scope() as scope:

        def ask() -> None:
            try:
                scope.get(Session)
            except ServiceError as error:
                errors.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    assert "on the loop" in str(errors[0])
    assert pickle.loads(pickle.dumps(errors[0])).problem == errors[0].problem


@pytest.mark.anyio
async def test_a_loop_never_waits_for_a_sync_service(services: Services) -> None:
    services.factory(Session, Session, scope="call")

    async with services.scope() as scope:
        with pytest.raises(ServiceError, match=r"await scope\.aget"):
            scope.get(Session)
        assert isinstance(await scope.aget(Session), Session)


@pytest.mark.anyio
async def test_a_sync_unit_refuses_an_async_service(services: Services, trace: Trace) -> None:
    services.factory(Session, aclosing(trace, "session", Session), scope="call")

    with services.scope() as scope:
        with pytest.raises(ServiceError, match=r"is async"):
            scope.get(Session)
        with pytest.raises(ServiceError, match=r"open the unit of work on the loop"):
            await scope.aget(Session)


@pytest.mark.anyio
async def test_a_failed_build_in_a_units_thread_is_not_kept(services: Services) -> None:
    attempts: list[int] = []

    def flaky() -> Session:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("refused")
        return Session()

    services.factory(Session, flaky, scope="call")

    async with services.scope() as scope:
        with pytest.raises(OSError, match="refused"):
            await scope.aget(Session)
        assert isinstance(await scope.aget(Session), Session)


# -- seeds and overrides


def test_seeds_are_there_from_the_beginning(services: Services) -> None:
    """For the unit's own services and for who asks, and for parameters without an annotation by their name."""
    services.factory(User, User, scope="call", names=("user",))
    services.factory(list, lambda user: [user.name], scope="call")

    with services.scope({User: User("Ada")}) as scope:
        assert scope.get(User).name == "Ada"
        assert services.inject(lambda user: user.name)() == "Ada"
        assert scope.get(list) == ["Ada"]
    with services.scope() as scope:
        assert scope.get(User).name == "nobody"


def test_a_seed_needs_no_provider(services: Services) -> None:
    with services.scope({User: User("Ada")}) as scope:
        assert scope.get(User).name == "Ada"


def test_seeds_are_not_closed(services: Services, trace: Trace) -> None:
    services.factory(User, closing(trace, "user", User), scope="call")

    with services.scope({User: User("Ada")}) as scope:
        scope.get(User)

    assert not trace


def test_a_seed_for_what_lives_longer_is_refused(services: Services) -> None:
    """Whoever holds it would not see the seed."""
    services.value(User, User())

    with pytest.raises(ServiceError, match=r"use services\.override"):
        services.scope({User: User("Ada")})


def test_overrides_work_inside_scopes(services: Services, trace: Trace) -> None:
    services.factory(Session, closing(trace, "session", Session), scope="call")
    fake = Session()

    with services.scope() as scope, services.override(Session, fake):
        assert scope.get(Session) is fake
    with services.override(Session, closing(trace, "fake", lambda: fake)), services.scope() as scope:
        assert scope.get(Session) is fake

    assert trace == ["fake committed"]


def test_an_override_goes_before_a_seed(services: Services) -> None:
    services.factory(User, User, scope="call")

    with services.override(User, User("fake")), services.scope({User: User("Ada")}) as scope:
        assert scope.get(User).name == "fake"


# -- injected functions


def test_an_injected_function_gets_the_services_of_the_unit_that_calls_it(services: Services) -> None:
    services.factory(Session, Session, scope="call")
    services.value(User, User("Ada"))

    def work(session: Session, user: User) -> tuple[Session, str]:
        return session, user.name

    bound = services.inject(work)
    with services.scope() as scope:
        assert bound() == (scope.get(Session), "Ada")
    with services.scope() as other:
        assert bound()[0] is other.get(Session) is not scope


@pytest.mark.anyio
async def test_an_injected_async_function_gets_them_too(services: Services, trace: Trace) -> None:
    services.factory(Session, aclosing(trace, "session", Session), scope="call")

    async def work(session: Session) -> Session:
        return session

    bound = await services.ainject(work)
    async with services.scope() as scope:
        assert await bound() is await scope.aget(Session)


def test_what_a_unit_needs_of_longer_lived_services_is_built_beforehand(services: Services) -> None:
    """So that a unit of work has nothing to do but its own."""
    built: list[str] = []
    services.factory(User, lambda: built.append("user") or User(), names=("user",))
    services.factory(Session, lambda user: Session(), scope="call")

    services.inject(lambda session: session, given=1)
    assert not built

    def work(session: Session) -> None: ...

    services.inject(work)
    assert built == ["user"]


# -- refusals


def test_asking_outside_of_a_unit_of_work_says_what_to_do(services: Services) -> None:
    services.factory(Session, Session, scope="call")

    with pytest.raises(WiringError, match=r"none is open here") as caught:
        services.get(Session)
    with pytest.raises(WiringError, match=r"none is open here"):
        services.inject(_needs_session)()

    assert "services.scope()" in str(caught.value)


def _needs_session(session: Session) -> Session:
    return session


def test_a_longer_lived_service_that_asks_for_one_is_reported_before_anything_is_built(services: Services) -> None:
    built: list[str] = []
    services.factory(Session, lambda: built.append("session"), scope="call", name="session")
    services.factory(Cart, lambda session: built.append("cart"))

    (problem,) = services.check()
    with services.scope(), pytest.raises(WiringError):
        services.get(Cart)

    assert "lives as long as the app, and asks for Session named 'session', which lives for one unit of work" in (
        problem.message
    )
    assert not built


def test_a_plugins_service_that_asks_for_one_is_reported_too(services: Services) -> None:
    services.factory(Session, Session, scope="call", name="session")
    services.factory(Cart, lambda session: Cart(), scope="plugin")

    (problem,) = services.check()

    assert "lives for one plugin" in problem.message


def test_a_host_service_of_a_unit_cannot_have_a_plugins_view(services: Services) -> None:
    services.factory(Cart, Cart, scope="plugin", name="cart")
    services.factory(Session, lambda cart: Session(), scope="call")

    (problem,) = services.check()

    assert "lives for one unit of work, and asks for Cart named 'cart', which lives for one plugin" in problem.message


def test_a_plugins_service_of_a_unit_gets_the_plugins_own_view(services: Services) -> None:
    services.factory(list, lambda owner: [owner.id], scope="plugin")
    shop = services.view(Owner("shop"))

    def open_session(mine: list) -> list:
        return ["session of", *mine]

    shop.factory(Session, open_session, scope="call")

    assert not services.check()
    with services.scope() as scope:
        assert scope.get(Session) == ["session of", "shop"]


def test_check_tells_who_asks_where_no_unit_of_work_is(services: Services) -> None:
    services.factory(Session, Session, scope="call")

    (problem,) = services.check([("on_boot", _needs_session, 0, None)])

    assert "none is open here" in problem.message
    assert not services.check([("observer", _needs_session, 0, None, True)])


def test_a_scope_is_used_once(services: Services) -> None:
    scope = services.scope()
    with pytest.raises(ServiceError, match="it is not open yet"):
        scope.get(User)
    with scope:
        pass

    with pytest.raises(ServiceError, match="it is over"):
        scope.get(User)
    with pytest.raises(ServiceError, match="opened before"), scope:
        pass


@pytest.mark.anyio
async def test_what_outlives_its_unit_is_in_none(services: Services) -> None:
    services.factory(Session, Session, scope="call")
    ended = anyio.Event()
    errors: list[Exception] = []

    async def outlive() -> None:
        await ended.wait()
        try:
            await services.aget(Session)
        except WiringError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        async with services.scope():
            tasks.start_soon(outlive)
        ended.set()

    assert len(errors) == 1


@pytest.mark.anyio
async def test_what_is_built_while_the_unit_ends_is_cleaned_up(services: Services, trace: Trace) -> None:
    going, go = anyio.Event(), anyio.Event()

    async def slow() -> AsyncIterator[Session]:
        going.set()
        await go.wait()
        yield Session()
        trace.append("cleaned up")

    services.factory(Session, slow, scope="call")

    async def ask(scope: Scope) -> None:
        with pytest.raises(ServiceError, match="the unit of work is over"):
            await scope.aget(Session)

    async with anyio.create_task_group() as tasks:
        async with services.scope() as scope:
            tasks.start_soon(ask, scope)
            await going.wait()
        go.set()

    assert trace == ["cleaned up"]


def test_a_unit_under_way_keeps_what_a_provider_built_that_left(services: Services, trace: Trace) -> None:
    registration = services.factory(Session, closing(trace, "session", Session), scope="call")

    with services.scope() as scope:
        scope.get(Session)
        registration.close()
        assert not trace

    assert trace == ["session committed"]


def test_detached_is_in_no_unit_of_work(services: Services) -> None:
    services.factory(Session, Session, scope="call")

    with services.scope():
        with services.detached(), pytest.raises(WiringError, match="none is open here"):
            services.get(Session)
        assert isinstance(services.get(Session), Session)


# -- laws


@given(kinds=st.lists(st.booleans(), max_size=8), end=st.sampled_from(["succeeds", "fails", "cannot commit"]))
@pytest.mark.parametrize("on_loop", [False, True])
def test_a_unit_ends_in_reverse_order_whatever_it_holds(on_loop: bool, kinds: list[bool], end: str) -> None:
    """All committed, or from the first failure on all rolled back; each exactly once, the newest first."""
    services, trace = Services(), Trace()
    broken = len(kinds) // 2 if end == "cannot commit" and kinds else -1
    for number, is_async in enumerate(kinds):
        commit = ValueError("constraint") if number == broken else None
        kind = aclosing if is_async and on_loop else closing
        services.factory(Session, kind(trace, str(number), Session, commit=commit), scope="call", name=f"s{number}")

    async def awork() -> None:
        async with services.scope() as scope:
            for number in range(len(kinds)):
                await scope.aget(Session, f"s{number}")
            if end == "fails":
                raise ValueError("no")

    def work() -> None:
        with services.scope() as scope:
            for number in range(len(kinds)):
                scope.get(Session, f"s{number}")
            if end == "fails":
                raise ValueError("no")

    with contextlib.suppress(ValueError):
        anyio.run(awork) if on_loop else work()

    newest_first = range(len(kinds) - 1, -1, -1)
    failed = end == "fails" or broken >= 0
    expected = {
        number: f"{number} rolled back: ValueError"
        if failed and (end == "fails" or number < broken)
        else f"{number} committed"
        for number in newest_first
    }
    expected.pop(broken, None)
    assert trace == list(expected.values())


# -- thrown away


async def within(services: Services, *asked: type) -> AsyncIterator[int]:
    """Yield in the middle of a unit of work."""
    async with services.scope() as scope:
        scope.on_success(lambda: pytest.fail("it did not succeed"))
        for each in asked:
            await scope.aget(each)
        yield 1


@pytest.mark.anyio
async def test_a_unit_in_an_async_generator_that_is_closed_is_rolled_back(services: Services, trace: Trace) -> None:
    """``aclose()`` may wait, and so does the clean-up; where sync ones live, too, and all have ended after it."""
    services.factory(Session, aclosing(trace, "basket", Session), scope="call")
    services.factory(Cart, closing(trace, "cart", Cart), scope="call")
    generator: Any = within(services, Session, Cart)
    await anext(generator)

    await generator.aclose()

    assert trace == ["cart rolled back: GeneratorExit", "basket rolled back: GeneratorExit"]


@pytest.mark.anyio
async def test_a_failing_clean_up_of_such_a_unit_is_logged_and_the_rest_closed(
    services: Services, trace: Trace
) -> None:
    """The generator is closed all the same: there is nobody to raise it to."""

    async def open_basket() -> AsyncIterator[Session]:
        try:
            yield Session()
        finally:
            raise OSError("lost")

    services.factory(Cart, closing(trace, "cart", Cart), scope="call")
    services.factory(Session, open_basket, scope="call")
    generator: Any = within(services, Cart, Session)
    await anext(generator)

    with structlog.testing.capture_logs() as logs:
        await generator.aclose()

    assert trace == ["cart rolled back: GeneratorExit"]
    assert [(line["service"], line["error"].split("\n")[0]) for line in logs] == [("Session", "OSError: lost")]


class Forever:
    """What never comes."""

    def __await__(self) -> Iterator[None]:
        yield


@pytest.mark.anyio
async def test_a_coroutine_that_is_thrown_away_rolls_back_what_need_not_be_awaited_and_tells_of_the_rest(
    services: Services, trace: Trace
) -> None:
    """Sync ones in their own thread; what has to wait is given up, and the log says so."""
    ended = threading.Event()

    def open_cart() -> Iterator[Cart]:
        thread = threading.get_ident()
        try:
            yield Cart()
        finally:
            trace.append(f"cart {threading.get_ident() == thread}")
            ended.set()

    def broken() -> Iterator[User]:
        try:
            yield User()
        finally:
            raise OSError("lost")

    async def work() -> None:
        async with services.scope() as scope:
            for each in (Cart, User, Session):
                await scope.aget(each)
            asked.set()
            await Forever()

    services.factory(Cart, open_cart, scope="call")
    services.factory(User, broken, scope="call")
    services.factory(Session, aclosing(trace, "basket", Session), scope="call")
    asked = anyio.Event()

    with structlog.testing.capture_logs() as logs:
        await thrown_away(work(), asked)
        await anyio.to_thread.run_sync(ended.wait)

    assert trace == ["cart True"]
    assert [line["service"] for line in logs] == ["Session", "User"]
    assert "cannot be awaited" in logs[0]["error"]


class Driven:
    """Drives a coroutine up to where it has got far enough, and then throws it away."""

    def __init__(self, coroutine: Any, enough: anyio.Event) -> None:
        self.coroutine, self.enough = coroutine, enough

    def __await__(self) -> Iterator[Any]:
        answer: Any = None
        while True:
            waited = self.coroutine.send(answer)
            if self.enough.is_set():
                self.coroutine.close()
                return
            answer = yield waited


async def thrown_away(coroutine: Any, enough: anyio.Event) -> None:
    await Driven(coroutine, enough)
