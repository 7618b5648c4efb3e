"""on_error="skip": the last call of next_fn decides, and nothing runs a second time."""

from __future__ import annotations

import contextlib
import threading

import anyio
import pytest
from tests.bus.tools import (
    SECONDS,
    Ask,
    Boom,
    Gate,
    Ping,
    World,
    coloured,
    in_every_world,
    in_worlds,
    marks,
    noting,
    opening,
    raising,
    raising_listener,
    sync_or_async,
    tracer,
)

from plugbus import EventBus, replace

pytestmark = marks


@in_every_world
@sync_or_async
def test_a_failure_before_next_fn_bypasses_the_listener(bus: EventBus, world: World, asynchronous: bool) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("above", trace))
    bus.listen(Ping, raising_listener(Boom(), asynchronous=asynchronous), on_error="skip")
    bus.listen(Ping, tracer("below", trace))
    bus.observe(Ping, noting("seen", trace))
    ping = Ping(number=5)

    assert world.emit(bus, ping) is ping
    assert trace == [">above", ">below", "<below", "<above", "seen"]


@in_every_world
@sync_or_async
def test_a_failure_after_next_fn_leaves_the_result_standing(bus: EventBus, world: World, asynchronous: bool) -> None:
    trace: list[str] = []
    bus.listen(Ask, raising_listener(Boom(), after=True, asynchronous=asynchronous), on_error="skip")
    bus.listen(Ask, tracer("below", trace))
    bus.answer(Ask, lambda request: trace.append("handler") or "answer")
    bus.observe(Ask, noting("seen", trace))

    assert world.call(bus, Ask()) == "answer"
    assert trace == [">below", "handler", "<below", "seen"]


@in_every_world
@sync_or_async
def test_a_failure_below_passes_through_untouched(bus: EventBus, world: World, asynchronous: bool) -> None:
    boom = Boom("from below")
    calls: list[object] = []

    def handler(request):
        calls.append(request)
        raise boom

    bus.listen(Ask, tracer("lenient", [], asynchronous=asynchronous), on_error="skip")
    bus.answer(Ask, handler)

    with pytest.raises(Boom) as caught:
        world.call(bus, Ask())

    assert caught.value is boom
    assert len(calls) == 1


@in_every_world
@pytest.mark.parametrize("colours", ["sync sync", "sync async", "async sync", "async async"])
def test_two_lenient_listeners_above_a_failing_one_run_it_once(bus: EventBus, world: World, colours: str) -> None:
    boom = Boom("from below")
    runs: list[str] = []

    def fails(message):
        runs.append("failing")
        raise boom
        yield

    for number, colour in enumerate(colours.split()):
        lenient = tracer(str(number), runs, asynchronous=colour == "async")
        bus.listen(Ping, lenient, on_error="skip")
    bus.listen(Ping, coloured(fails, asynchronous=False))

    with pytest.raises(Boom) as caught:
        world.emit(bus, Ping())

    assert caught.value is boom
    assert runs == [">0", ">1", "failing"]


@in_worlds
@sync_or_async
def test_an_error_made_of_an_error_from_below_is_forgotten(bus: EventBus, world: World, asynchronous: bool) -> None:
    """The error from below passes; what the lenient listener made of it does not count."""

    def masks(message):
        try:
            yield message
        except Boom:
            raise KeyError("masked") from None

    boom = Boom("from below")
    bus.listen(Ask, coloured(masks, asynchronous=asynchronous), on_error="skip")
    bus.answer(Ask, raising(boom))

    with pytest.raises(Boom) as caught:
        world.call(bus, Ask())

    assert caught.value is boom


@in_worlds
@sync_or_async
def test_an_error_from_below_that_it_handled_stays_handled(bus: EventBus, world: World, asynchronous: bool) -> None:
    def handles(request):
        try:
            return (yield request)
        except Boom:
            return "fallback"

    bus.listen(Ask, coloured(handles, asynchronous=asynchronous), on_error="skip")
    bus.answer(Ask, raising(Boom()))

    assert world.call(bus, Ask()) == "fallback"


@in_worlds
@sync_or_async
@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (["fails", "first"], "first"),
        (["first", "second"], "second"),
    ],
)
def test_the_last_of_several_calls_decides(
    bus: EventBus, world: World, asynchronous: bool, handler: list[str], expected: str
) -> None:
    answers = iter(handler)

    def answer(request):
        if (text := next(answers)) == "fails":
            raise Boom
        return text

    def twice_then_fail(request):
        with contextlib.suppress(Boom):
            yield request
        yield request
        raise KeyError("its own")

    bus.listen(Ask, coloured(twice_then_fail, asynchronous=asynchronous), on_error="skip")
    bus.answer(Ask, answer)

    assert world.call(bus, Ask()) == expected
    assert next(answers, "all used") == "all used"


@in_worlds
@sync_or_async
def test_when_the_last_of_several_calls_failed_that_error_passes(
    bus: EventBus, world: World, asynchronous: bool
) -> None:
    answers = iter(["first", "fails"])

    def answer(request):
        if (text := next(answers)) == "fails":
            raise Boom("second call")
        return text

    def twice_then_fail(request):
        yield request
        try:
            yield request
        except Boom:
            raise KeyError("its own") from None

    bus.listen(Ask, coloured(twice_then_fail, asynchronous=asynchronous), on_error="skip")
    bus.answer(Ask, answer)

    with pytest.raises(Boom, match="second call"):
        world.call(bus, Ask())


@in_worlds
@sync_or_async
def test_a_bypassed_listener_passes_on_the_event_that_it_got(bus: EventBus, world: World, asynchronous: bool) -> None:
    seen: list[int] = []
    bus.listen(Ping, lambda message, next_fn: next_fn(replace(message, number=2)))
    bus.listen(Ping, raising_listener(Boom(), asynchronous=asynchronous), on_error="skip")
    bus.observe(Ping, lambda message: seen.append(message.number))

    world.emit(bus, Ping(number=1))

    assert seen == [2]


@in_worlds
@sync_or_async
def test_the_result_that_stands_is_the_one_from_below(bus: EventBus, world: World, asynchronous: bool) -> None:
    def changes_then_fails(message):
        yield replace(message, number=7)
        raise Boom

    bus.listen(Ping, coloured(changes_then_fails, asynchronous=asynchronous), on_error="skip")

    assert world.emit(bus, Ping(number=1)).number == 7


@in_worlds
def test_a_bypassed_listener_below_another_that_failed_after(bus: EventBus, world: World) -> None:
    runs: list[int] = []
    bus.listen(Ask, raising_listener(Boom("outer"), after=True, asynchronous=True), on_error="skip")
    bus.listen(Ask, raising_listener(Boom("middle")), on_error="skip")
    bus.listen(Ask, raising_listener(Boom("inner"), after=True), on_error="skip")
    bus.answer(Ask, lambda request: runs.append(1) or "answer")

    assert world.call(bus, Ask()) == "answer"
    assert runs == [1]


@in_worlds
def test_a_bypassed_listener_is_bypassed_each_time_it_is_reached(bus: EventBus, world: World) -> None:
    def twice(message):
        yield message
        return (yield message)

    trace: list[str] = []
    bus.listen(Ping, coloured(twice, asynchronous=False))
    bus.listen(Ping, raising_listener(Boom()), on_error="skip")
    bus.listen(Ping, tracer("below", trace))

    world.emit(bus, Ping())

    assert trace == [">below", "<below"] * 2


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@in_worlds
def test_what_is_no_exception_is_not_skipped(bus: EventBus, world: World, asynchronous: bool) -> None:
    class Stop(BaseException):
        pass

    bus.listen(Ping, raising_listener(Stop(), asynchronous=asynchronous), on_error="skip")

    with pytest.raises(Stop):
        world.emit(bus, Ping())


# ------------------------------------------------------------------------------- cancelled or still running


async def test_after_a_cancelled_call_the_listeners_own_error_counts(bus: EventBus) -> None:
    """Its own time limit cut next_fn off; the old cancellation is over and must not come up again."""
    below: list[str] = []

    async def impatient(message, next_fn):
        with anyio.CancelScope() as scope:
            scope.cancel()
            await next_fn(message)
        below.append(f"cancelled {scope.cancelled_caught}")
        raise Boom("its own")

    async def slow(request):
        await anyio.sleep_forever()

    bus.listen(Ask, impatient, on_error="skip")
    bus.answer(Ask, slow)

    with anyio.fail_after(SECONDS), pytest.raises(Boom, match="its own"):
        await bus.acall(Ask())

    assert below == ["cancelled True"]


async def test_after_a_cancelled_call_a_fallback_stands(bus: EventBus) -> None:
    started: list[str] = []

    async def impatient(request, next_fn):
        async with anyio.create_task_group() as group:
            group.start_soon(next_fn, request)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        return "fallback"

    async def slow(request):
        started.append("slow")
        await anyio.sleep_forever()

    bus.listen(Ask, impatient, on_error="skip")
    bus.answer(Ask, slow)

    with anyio.fail_after(SECONDS):
        assert await bus.acall(Ask()) == "fallback"
        assert await bus.acall(Ask()) == "fallback"

    assert started == ["slow", "slow"]


@pytest.mark.parametrize("second", ["answers", "fails"])
async def test_a_stale_cancellation_is_never_raised_again(bus: EventBus, second: str) -> None:
    """The first call was cut off, the second one finished: only the second one counts."""
    attempts: list[str] = []

    async def retries(request, next_fn):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(next_fn, request)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        await next_fn(request)
        raise KeyError("its own")

    async def first_hangs(request):
        attempts.append("attempt")
        if len(attempts) == 1:
            await anyio.sleep_forever()
        if second == "fails":
            raise Boom("second attempt")
        return "answer"

    bus.listen(Ask, tracer("above", []), on_error="skip")
    bus.listen(Ask, retries, on_error="skip")
    bus.answer(Ask, first_hangs)

    with anyio.fail_after(SECONDS):
        if second == "answers":
            assert await bus.acall(Ask()) == "answer"
        else:
            with pytest.raises(Boom, match="second attempt"):
                await bus.acall(Ask())

    assert attempts == ["attempt"] * 2


async def test_an_error_from_below_beside_a_cancellation_of_its_own(bus: EventBus) -> None:
    """A task group's listener fails while next_fn runs in it: next_fn is cancelled, the group's error is its own."""
    below: list[str] = []

    async def grouped(request, next_fn):
        async with anyio.create_task_group() as group:
            group.start_soon(next_fn, request)
            await anyio.wait_all_tasks_blocked()
            raise Boom("its own")

    async def slow(request):
        try:
            await anyio.sleep_forever()
        finally:
            below.append("cancelled")

    bus.listen(Ask, grouped, on_error="skip")
    bus.answer(Ask, slow)

    with anyio.fail_after(SECONDS), pytest.raises(ExceptionGroup) as caught:
        await bus.acall(Ask())

    assert [str(error) for error in caught.value.exceptions] == ["its own"]
    assert below == ["cancelled"]


def test_while_next_fn_is_still_running_its_own_error_counts(bus: EventBus) -> None:
    """A listener that left its next_fn behind on a thread and failed: nothing runs again."""
    gate, runs = Gate(), []
    threads: list[threading.Thread] = []

    def leaves_it_running(request, next_fn):
        def below() -> None:
            try:
                next_fn(request)
            except Exception as error:
                runs.append(f"late {type(error).__name__}")

        threads.append(threading.Thread(target=below))
        threads[0].start()
        gate.wait_for_arrivals_sync()
        raise Boom("its own")

    def slow(request):
        runs.append("handler")
        gate.wait()
        return "late"

    bus.listen(Ask, leaves_it_running, on_error="skip")
    bus.answer(Ask, slow)

    with opening(gate), pytest.raises(Boom, match="its own"):
        bus.call(Ask())
    threads[0].join(SECONDS)

    assert runs[0] == "handler"
    assert runs.count("handler") == 1


async def test_cancelling_the_emit_is_not_skipped(bus: EventBus) -> None:
    trace: list[str] = []

    async def lenient(message, next_fn):
        trace.append("waits")
        await anyio.sleep_forever()

    bus.listen(Ping, lenient, on_error="skip")
    bus.listen(Ping, tracer("below", trace))

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(bus.aemit, Ping())
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()

    assert trace == ["waits"], "a cancelled listener is no failed one: nothing below ran"
