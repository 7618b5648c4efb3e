"""breaker=: opens, half-opens, closes; never unsubscribes."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from tests.bus.tools import (
    SECONDS,
    Ask,
    Boom,
    HandClock,
    Ping,
    World,
    coloured,
    failures,
    in_worlds,
    marks,
    noting,
    plugin,
    raising_listener,
    sync_or_async,
    tracer,
    virtual_time,
)

from plugbus import Breaker, BreakerOpenError, EventBus, ListenerTimeoutError, Veto

pytestmark = marks


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def bus(clock: HandClock) -> EventBus:
    """A bus whose breakers measure time by *clock*."""
    return EventBus(clock=clock)


class Flaky:
    """A handler that does what its script says: "ok", "fail", "veto" or "hang"."""

    def __init__(self, *script: str) -> None:
        self.script, self.calls = list(script), 0

    def __call__(self, request: Any) -> str:
        self.calls += 1
        what = self.script.pop(0) if self.script else "ok"
        if what == "fail":
            raise Boom
        if what == "veto":
            raise Veto("no")
        return what

    async def acall(self, request: Any) -> str:
        if self.script and self.script[0] == "hang":
            self.calls += 1
            self.script.pop(0)
            await anyio.sleep_forever()
        return self(request)


async def outcome(bus: EventBus) -> str:
    try:
        return await bus.acall(Ask())
    except (Boom, Veto, BreakerOpenError) as error:
        return type(error).__name__


async def outcomes(bus: EventBus, count: int) -> list[str]:
    return [await outcome(bus) for _ in range(count)]


@in_worlds
@sync_or_async
def test_after_so_many_failures_it_opens(bus: EventBus, world: World, asynchronous: bool) -> None:
    handler = Flaky(*["fail"] * 10)
    _, shop = plugin(bus, "shop")
    shop.answer(
        Ask,
        coloured(lambda request: handler(request), asynchronous=asynchronous),
        breaker=Breaker(failures=3, cooldown_seconds=1000),
        name="flaky",
    )

    for _ in range(3):
        with pytest.raises(Boom):
            world.call(bus, Ask())
    for _ in range(2):
        with pytest.raises(BreakerOpenError) as caught:
            world.call(bus, Ask())

    assert handler.calls == 3, "while it is open, nothing is called"
    assert caught.value.plugin == "shop"
    assert caught.value.subscriber.rpartition(".")[2] == "flaky"
    assert 0 < caught.value.retry_after_seconds <= 1000


@in_worlds
def test_a_success_in_between_starts_the_count_again(bus: EventBus, world: World) -> None:
    handler = Flaky("fail", "fail", "ok", "fail", "fail", "ok")
    bus.answer(Ask, handler, breaker=Breaker(failures=3, cooldown_seconds=1000))

    results = []
    for _ in range(6):
        try:
            results.append(world.call(bus, Ask()))
        except Boom:
            results.append("Boom")

    assert results == ["Boom", "Boom", "ok", "Boom", "Boom", "ok"]


async def test_after_the_cooldown_a_success_closes_it(bus: EventBus, clock: HandClock) -> None:
    handler = Flaky("fail", "fail", "ok", "fail", "ok")
    bus.answer(Ask, handler.acall, breaker=Breaker(failures=2, cooldown_seconds=30))

    assert await outcomes(bus, 3) == ["Boom", "Boom", "BreakerOpenError"]
    clock.seconds += 29
    assert await outcome(bus) == "BreakerOpenError"
    clock.seconds += 1.5
    assert await outcomes(bus, 3) == ["ok", "Boom", "ok"], "closed: one failure does not open it again"


async def test_after_the_cooldown_a_failure_opens_it_at_once(bus: EventBus, clock: HandClock) -> None:
    handler = Flaky("fail", "fail", "fail", "ok")
    bus.answer(Ask, handler.acall, breaker=Breaker(failures=2, cooldown_seconds=30))

    assert await outcomes(bus, 2) == ["Boom", "Boom"]
    clock.seconds += 31
    assert await outcomes(bus, 2) == ["Boom", "BreakerOpenError"]
    clock.seconds += 31
    assert await outcome(bus) == "ok"
    assert handler.calls == 4


async def test_half_open_lets_one_trial_through_at_a_time(bus: EventBus, clock: HandClock) -> None:
    handler = Flaky("fail", "hang")
    bus.answer(Ask, handler.acall, breaker=Breaker(failures=1, cooldown_seconds=30))
    assert await outcome(bus) == "Boom"
    clock.seconds += 31

    async with anyio.create_task_group() as group:
        group.start_soon(outcome, bus)
        await anyio.wait_all_tasks_blocked()
        assert handler.calls == 2, "the trial is under way"
        assert await outcomes(bus, 3) == ["BreakerOpenError"] * 3
        group.cancel_scope.cancel()

    assert handler.calls == 2


async def test_a_cancelled_trial_does_not_wedge_it(bus: EventBus, clock: HandClock) -> None:
    """Neither success nor failure: the next one is the trial."""
    handler = Flaky("fail", "hang", "ok")
    bus.answer(Ask, handler.acall, breaker=Breaker(failures=1, cooldown_seconds=30))
    assert await outcome(bus) == "Boom"
    clock.seconds += 31
    async with anyio.create_task_group() as group:
        group.start_soon(outcome, bus)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert handler.calls == 2

    clock.seconds += 31

    with anyio.fail_after(SECONDS):
        assert await outcome(bus) == "ok"


async def test_a_trial_that_is_refused_does_not_wedge_it(bus: EventBus, clock: HandClock) -> None:
    handler = Flaky("fail", "veto", "ok")
    bus.answer(Ask, handler.acall, breaker=Breaker(failures=1, cooldown_seconds=30))
    assert await outcome(bus) == "Boom"
    clock.seconds += 31

    assert await outcomes(bus, 2) == ["Veto", "ok"]


@virtual_time
async def test_a_time_out_counts_as_a_failure(bus: EventBus) -> None:
    handler = Flaky("hang", "ok")
    bus.answer(Ask, handler.acall, breaker=Breaker(failures=1, cooldown_seconds=30), timeout_seconds=1)

    with pytest.raises(ListenerTimeoutError):
        await bus.acall(Ask())

    assert await outcome(bus) == "BreakerOpenError"


@in_worlds
@sync_or_async
def test_an_open_listener_fails_the_emit_or_is_skipped_by_its_policy(
    bus: EventBus, world: World, asynchronous: bool
) -> None:
    trace: list[str] = []
    breaker = Breaker(failures=1, cooldown_seconds=1000)
    fails = raising_listener(Boom(), asynchronous=asynchronous)
    strict = bus.listen(Ping, fails, breaker=breaker)
    bus.listen(Ping, tracer("below", trace))

    with pytest.raises(Boom):
        world.emit(bus, Ping())
    with pytest.raises(BreakerOpenError):
        world.emit(bus, Ping())
    assert trace == []

    strict.close()
    bus.listen(Ping, fails, breaker=breaker, on_error="skip", priority=1)
    for _ in range(3):
        world.emit(bus, Ping())
    assert trace == [">below", "<below"] * 3


@in_worlds
def test_an_error_from_below_opens_no_listeners_breaker_twice_for_one_fault(bus: EventBus, world: World) -> None:
    """Two subscriptions share a Breaker's settings, not its state."""
    settings = Breaker(failures=2, cooldown_seconds=1000)
    bus.answer(Ask, Flaky("fail", "fail"), breaker=settings)
    bus.observe(Ping, Flaky("fail", "fail"), breaker=settings, name="other")

    with pytest.raises(Boom):
        world.call(bus, Ask())
    world.emit(bus, Ping())
    with pytest.raises(Boom):
        world.call(bus, Ask())
    with pytest.raises(BreakerOpenError):
        world.call(bus, Ask())


@in_worlds
@sync_or_async
def test_an_open_observer_is_not_called_and_the_others_are(bus: EventBus, world: World, asynchronous: bool) -> None:
    trace: list[str] = []
    seen = failures(bus)

    def fails(message):
        trace.append("fails")
        raise Boom

    bus.observe(Ping, coloured(fails, asynchronous=asynchronous), breaker=Breaker(failures=2, cooldown_seconds=1000))
    bus.observe(Ping, noting("other", trace))

    for _ in range(4):
        world.emit(bus, Ping())

    assert trace == ["fails", "other", "fails", "other", "other", "other"]
    assert [type(failure.error) for failure in seen[:2]] == [Boom, Boom]


@in_worlds
def test_it_never_unsubscribes(bus: EventBus, world: World) -> None:
    sub = bus.answer(Ask, Flaky("fail"), breaker=Breaker(failures=1, cooldown_seconds=1000))
    with pytest.raises(Boom):
        world.call(bus, Ask())
    with pytest.raises(BreakerOpenError):
        world.call(bus, Ask())

    assert not sub.closed
    assert sub in bus.subscriptions()


def test_it_shows_in_the_statistics(bus: EventBus) -> None:
    _, shop = plugin(bus, "shop")
    shop.answer(Ask, Flaky("fail"), breaker=Breaker(failures=1, cooldown_seconds=1000), name="flaky")
    closed = str(bus.statistics().plugins["shop"].breakers)

    with pytest.raises(Boom):
        bus.call(Ask())

    opened = str(bus.statistics().plugins["shop"].breakers)
    assert "flaky" in opened
    assert "open" in opened
    assert opened != closed


@pytest.mark.parametrize(
    "settings", [{"failures": 0}, {"failures": -1}, {"cooldown_seconds": -1}, {"cooldown_seconds": float("nan")}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Breaker(**{"failures": 5, "cooldown_seconds": 30} | settings)
