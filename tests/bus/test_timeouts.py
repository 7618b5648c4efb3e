"""timeout_seconds: async work is cancelled, a thread is abandoned, counted and capped."""

from __future__ import annotations

import threading

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
from tests.bus.tools import (
    SECONDS,
    Ask,
    Boom,
    Gate,
    Ping,
    Pong,
    clock_by_hand,
    coloured,
    failures,
    marks,
    noting,
    opening,
    pass_time,
    plugin,
    tracer,
    virtual_time,
)

from plugbus import EventBus, ListenerTimeoutError, PluginStuckError

pytestmark = marks


async def forever(message, next_fn=None):
    await anyio.sleep_forever()


async def slow_listener(message, next_fn):
    await anyio.sleep(10)
    return await next_fn(message)


@virtual_time
async def test_an_async_handler_that_overruns_is_cancelled(bus: EventBus) -> None:
    trace: list[str] = []
    _, shop = plugin(bus, "shop")

    async def slow(request):
        try:
            await anyio.sleep_forever()
        finally:
            trace.append("cancelled")

    shop.answer(Ask, slow, timeout_seconds=60, name="slow")
    start = anyio.current_time()

    with pytest.raises(ListenerTimeoutError, match="60") as caught:
        await bus.acall(Ask())

    error = caught.value
    assert (error.event, error.plugin, error.seconds) == ("tools.ask", "shop", 60)
    assert error.subscriber.rpartition(".")[2] == "slow"
    assert trace == ["cancelled"]
    assert anyio.current_time() - start == pytest.approx(60)


@virtual_time
async def test_a_listeners_time_includes_what_it_wraps(bus: EventBus) -> None:
    async def listener(message, next_fn):
        return await next_fn(message)

    bus.listen(Ask, listener, timeout_seconds=5, name="outer")
    bus.answer(Ask, forever)

    with pytest.raises(ListenerTimeoutError) as caught:
        await bus.acall(Ask())

    assert caught.value.subscriber.rpartition(".")[2] == "outer"


@virtual_time
async def test_within_its_time_nothing_happens(bus: EventBus) -> None:
    async def quick(request):
        await anyio.sleep(4.9)
        return "in time"

    bus.answer(Ask, quick, timeout_seconds=5)

    assert await bus.acall(Ask()) == "in time"


@virtual_time
async def test_of_two_limits_the_shorter_one_counts(bus: EventBus) -> None:
    async def listener(message, next_fn):
        return await next_fn(message)

    bus.listen(Ask, listener, timeout_seconds=50, name="outer")
    bus.answer(Ask, forever, timeout_seconds=5, name="inner")

    with pytest.raises(ListenerTimeoutError) as caught:
        await bus.acall(Ask())

    assert caught.value.subscriber.rpartition(".")[2] == "inner"


@virtual_time
async def test_an_observer_that_overruns_is_a_failed_observer(bus: EventBus) -> None:
    trace: list[str] = []
    seen = failures(bus)
    bus.observe(Ping, forever, timeout_seconds=5, name="slow")
    bus.observe(Ping, noting("next", trace, asynchronous=True))
    ping = Ping()

    assert await bus.aemit(ping) is ping

    assert trace == ["next"]
    assert [type(failure.error) for failure in seen] == [ListenerTimeoutError]


@virtual_time
async def test_a_lenient_listener_that_overruns_before_next_fn_is_bypassed(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, slow_listener, timeout_seconds=5, on_error="skip")
    bus.listen(Ping, tracer("below", trace, asynchronous=True))

    await bus.aemit(Ping())

    assert trace == [">below", "<below"]


@virtual_time
async def test_a_lenient_listener_that_overruns_in_next_fn_fails_with_its_own_error(bus: EventBus) -> None:
    """Its next_fn was cancelled, which decides nothing: the time-out is the listener's own error."""
    runs: list[str] = []

    async def listener(message, next_fn):
        return await next_fn(message)

    async def below(request):
        runs.append("below")
        await anyio.sleep_forever()

    bus.listen(Ask, listener, timeout_seconds=5, on_error="skip")
    bus.answer(Ask, below)

    with pytest.raises(ListenerTimeoutError):
        await bus.acall(Ask())

    assert runs == ["below"]


@virtual_time
async def test_a_lenient_listener_that_overruns_after_next_fn_leaves_the_result(bus: EventBus) -> None:
    async def dawdles(request, next_fn):
        await next_fn(request)
        await anyio.sleep_forever()

    bus.listen(Ask, dawdles, timeout_seconds=5, on_error="skip")
    bus.answer(Ask, coloured(lambda request: "answer", asynchronous=True))

    assert await bus.acall(Ask()) == "answer"


@virtual_time
async def test_a_time_out_inside_the_subscriber_is_its_own(bus: EventBus) -> None:
    """A TimeoutError that the subscriber raised is not mistaken for ours."""

    async def own(request):
        with anyio.fail_after(1):
            await anyio.sleep_forever()

    bus.answer(Ask, own, timeout_seconds=60)

    with pytest.raises(TimeoutError) as caught:
        await bus.acall(Ask())

    assert not isinstance(caught.value, ListenerTimeoutError)


@virtual_time
async def test_an_error_wins_over_the_time_that_is_left(bus: EventBus) -> None:
    async def fails(request):
        await anyio.sleep(1)
        raise Boom

    bus.answer(Ask, fails, timeout_seconds=60)

    with pytest.raises(Boom):
        await bus.acall(Ask())


# ------------------------------------------------------------------------------------------------ threads


def stuck(bus: EventBus, id: str) -> int:
    """How many abandoned threads of a plugin still run."""
    return bus.statistics().plugins[id].threads_abandoned


async def overrun(bus: EventBus, gate: Gate) -> BaseException | str:
    """Call, let the thread come to the gate, let its time pass there; returns how the call ended."""
    ends: list[BaseException | str] = []

    async def call() -> None:
        try:
            ends.append(await bus.acall(Ask()))
        except Exception as error:
            ends.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        if not ends:
            await gate.wait_for_arrivals()
            pass_time(6)
    return ends[0]


@clock_by_hand
async def test_a_thread_that_overruns_is_abandoned_and_counted(bus: EventBus) -> None:
    gate = Gate()
    _, shop = plugin(bus, "shop")
    shop.answer(Ask, lambda request: gate.wait() or "late", timeout_seconds=5, name="slow")

    with opening(gate):
        error = await overrun(bus, gate)

        assert isinstance(error, ListenerTimeoutError)
        assert (error.plugin, error.seconds) == ("shop", 5)
        assert error.subscriber.rpartition(".")[2] == "slow"
        assert gate.arrivals == 1, "the thread did start"
        assert stuck(bus, "shop") == 1


@clock_by_hand
async def test_an_abandoned_thread_keeps_its_permit_until_it_ends(bus: EventBus) -> None:
    """Otherwise every overrun would add a thread beyond the plugin's limit."""
    gate, seen = Gate(), []
    _, shop = plugin(bus, "shop", thread_limit=2)
    shop.answer(Ask, lambda request: gate.wait() or "late", timeout_seconds=5)
    shop.observe(Ping, lambda message: seen.append("ran"))
    shop.listen(Pong, lambda message, next_fn: second.wait() or next_fn(message))
    second = Gate()

    with opening(gate), opening(second):
        assert isinstance(await overrun(bus, gate), ListenerTimeoutError)
        async with anyio.create_task_group() as group:
            group.start_soon(bus.aemit, Pong())
            await second.wait_for_arrivals()
            group.start_soon(bus.aemit, Ping())
            await anyio.wait_all_tasks_blocked()
            assert seen == [], "of two permits one is with the abandoned thread, one in use"
            gate.open()
            while not seen:
                await anyio.lowlevel.checkpoint()
            second.open()

    assert seen == ["ran"]


@clock_by_hand
async def test_what_an_abandoned_thread_does_later_has_no_effect(bus: EventBus) -> None:
    """It wakes up, calls next_fn and returns: nothing runs below, nobody is told, the error stands."""
    gate, trace = Gate(), []
    ended = anyio.Event()
    token = anyio.lowlevel.current_token()
    _, shop = plugin(bus, "shop")

    def sleeper(request, next_fn):
        gate.wait()
        try:
            return next_fn(request)
        except BaseException as error:
            trace.append(f"refused by {type(error).__name__}")
            raise
        finally:
            anyio.from_thread.run_sync(ended.set, token=token)

    shop.listen(Ask, sleeper, timeout_seconds=5)
    shop.answer(Ask, noting("handler", trace, asynchronous=True))
    shop.observe(Ask, noting("told", trace))

    with opening(gate):
        assert isinstance(await overrun(bus, gate), ListenerTimeoutError)
    await ended.wait()

    assert len(trace) == 1
    assert trace[0].startswith("refused by")


@clock_by_hand
async def test_past_a_limit_a_stuck_plugin_gets_no_new_work_and_the_others_do(bus: EventBus) -> None:
    """Before its abandoned threads hold all its permits, and everybody who comes waits for ever."""
    gate = Gate()
    _, shop = plugin(bus, "shop", thread_limit=4)
    _, other = plugin(bus, "other")
    seen: list[str] = []
    shop.answer(Ask, lambda request: gate.wait() or "late", timeout_seconds=5)
    other.observe(Ping, noting("other", seen))

    with opening(gate):
        ends = [await overrun(bus, gate)]
        while isinstance(ends[-1], ListenerTimeoutError):
            ends.append(await overrun(bus, gate))
        await bus.aemit(Ping())

        error = ends[-1]
        assert isinstance(error, PluginStuckError)
        assert error.plugin == "shop"
        assert error.abandoned == gate.arrivals == stuck(bus, "shop")
        assert error.limit <= 4
        assert seen == ["other"]


@clock_by_hand
async def test_a_plugin_whose_threads_came_back_gets_work_again(bus: EventBus) -> None:
    gate = Gate()
    _, shop = plugin(bus, "shop", thread_limit=1)

    def handler(request):
        if request.number == 0:
            gate.wait()
        return "answer"

    shop.answer(Ask, handler, timeout_seconds=5)

    with opening(gate):
        assert isinstance(await overrun(bus, gate), ListenerTimeoutError)
        gate.open()
        while stuck(bus, "shop"):
            await anyio.lowlevel.checkpoint()

    assert await bus.acall(Ask(number=1)) == "answer"


@virtual_time
async def test_a_thread_whose_time_is_up_before_it_began_does_not_begin(bus: EventBus) -> None:
    """The clock jumps while the thread is still being woken: either it was abandoned running, or it never runs."""
    gate = Gate()
    _, shop = plugin(bus, "shop")
    shop.answer(Ask, lambda request: gate.wait() or "late", timeout_seconds=5)

    with opening(gate):
        for _ in range(4):
            with pytest.raises((ListenerTimeoutError, PluginStuckError)):
                await bus.acall(Ask())
        for _ in range(20):  # time for threads that should not have begun
            await anyio.to_thread.run_sync(lambda: None)
        assert gate.arrivals == stuck(bus, "shop")


async def test_a_sync_observer_that_is_quick_enough_needs_no_grace(bus: EventBus) -> None:
    seen: list[object] = []
    bus.observe(Ping, seen.append, timeout_seconds=SECONDS)

    await bus.aemit(Ping())

    assert seen == [Ping()]


@pytest.mark.may_block
async def test_a_given_up_thread_starts_nothing_even_where_the_loop_lags(bus: EventBus) -> None:
    """The thread asks for the loop before its time is up, and the loop comes to it after: nothing below runs."""
    ran: list[str] = []
    asking, asked = threading.Event(), threading.Event()

    def slow(request, next_fn):
        asking.set()
        return next_fn(request)

    bus.listen(Ask, slow, timeout_seconds=0.05)
    bus.answer(Ask, noting("below", ran, asynchronous=True))

    async def lag() -> None:
        while not asking.is_set():
            await anyio.lowlevel.checkpoint()
        asked.wait(0.2)  # holds the loop past the deadline, as a blocking call of somebody's would

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(lag)
            try:
                await bus.acall(Ask())
            except ListenerTimeoutError:
                ran.append("refused")
            else:
                ran.append("answered")

        while stuck(bus, "host"):
            await anyio.lowlevel.checkpoint()

    assert ran in (["refused"], ["below", "refused"], ["below", "answered"]), "nothing after the refusal"
