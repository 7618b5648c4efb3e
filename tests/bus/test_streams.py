"""Streams and wait_for: a reader that lags never slows the emitter down."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tests.bus.tools import (
    SECONDS,
    Ask,
    Keyed,
    Ping,
    Pong,
    SubPing,
    in_threads,
    marks,
    plugin,
    raising_listener,
    virtual_time,
)

from plugbus import Event, EventBus, StreamOverflowError, SubscriptionError, Veto

pytestmark = marks


async def take(events: Any, count: int) -> list[Any]:
    """The next *count* events of a stream."""
    found = []
    with anyio.fail_after(SECONDS):
        async for message in events:
            found.append(message)
            if len(found) == count:
                break
    return found


def numbers(messages: list[Any]) -> list[int]:
    return [message.number for message in messages]


async def test_a_stream_gives_the_events_in_order(bus: EventBus) -> None:
    async with bus.stream(Ping) as events:
        for number in range(5):
            await bus.aemit(Ping(number=number))
        await bus.aemit(Pong())

        assert await take(events, 5) == [Ping(number=number) for number in range(5)]


async def test_a_stream_waits_for_the_next_event(bus: EventBus) -> None:
    found: list[Any] = []

    async def read() -> None:
        found.extend(await take(events, 2))

    async with bus.stream(Ping) as events, anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await bus.aemit(Ping(number=1))
        await anyio.wait_all_tasks_blocked()
        assert found == []
        bus.emit(Ping(number=2))

    assert numbers(found) == [1, 2]


async def test_a_stream_takes_subclasses_patterns_lists_keys_and_filters(bus: EventBus) -> None:
    async with (
        bus.stream([Ping, "tools.pong"]) as listed,
        bus.stream("tools.**") as pattern,
        bus.stream(Keyed, key="berlin") as keyed,
        bus.stream(Event, where=lambda message: getattr(message, "number", 0) == 7) as filtered,
    ):
        for message in (SubPing(number=1), Pong(number=7), Keyed(shop="paris"), Keyed(shop="berlin", number=7)):
            await bus.aemit(message)

        assert [type(message) for message in await take(listed, 2)] == [SubPing, Pong]
        assert len(await take(pattern, 4)) == 4
        assert await take(keyed, 1) == [Keyed(shop="berlin", number=7)]
        assert numbers(await take(filtered, 2)) == [7, 7]


async def test_a_stream_of_requests_gives_the_requests(bus: EventBus) -> None:
    bus.answer(Ask, lambda request: "answer")

    async with bus.stream(Ask) as events:
        await bus.acall(Ask(number=1))

        assert await take(events, 1) == [Ask(number=1)]


async def test_a_stream_hears_only_what_succeeded(bus: EventBus) -> None:
    bus.listen(Ping, raising_listener(Veto("no")), where=lambda message: message.number == 1)

    async with bus.stream(Ping) as events:
        with pytest.raises(Veto):
            await bus.aemit(Ping(number=1))
        await bus.aemit(Ping(number=2))

        assert numbers(await take(events, 1)) == [2]


async def test_two_streams_each_get_everything(bus: EventBus) -> None:
    async with bus.stream(Ping) as one, bus.stream(Ping) as two:
        await bus.aemit(Ping(number=1))

        assert await take(one, 1) == await take(two, 1) == [Ping(number=1)]


async def test_outside_its_block_a_stream_hears_nothing_and_is_no_subscriber(bus: EventBus) -> None:
    stream = bus.stream(Ping)
    await bus.aemit(Ping(number=1))
    async with stream as events:
        assert len(bus.subscriptions()) == 1
        await bus.aemit(Ping(number=2))
        assert numbers(await take(events, 1)) == [2]

    assert list(bus.subscriptions()) == []


async def test_leaving_by_an_error_or_a_cancellation_unsubscribes_too(bus: EventBus) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bus.stream(Ping):
            raise ZeroDivisionError
    with anyio.CancelScope() as scope:
        async with bus.stream(Ping) as events:
            scope.cancel()
            async for _ in events:
                pass

    assert scope.cancelled_caught
    assert list(bus.subscriptions()) == []


# ---------------------------------------------------------------------------------------------- overflow


async def test_overflow_error_the_reader_gets_the_error_and_the_emitter_nothing(bus: EventBus) -> None:
    got: list[int] = []

    async with bus.stream(Ping, max_buffer=3, overflow="error") as events:
        for number in range(10):
            await bus.aemit(Ping(number=number))

        with pytest.raises(StreamOverflowError) as caught, anyio.fail_after(SECONDS):
            async for message in events:
                got.append(message.number)  # noqa: PERF401 -- what was read before the error counts

    assert caught.value.max_buffer == 3
    assert "tools.ping" in caught.value.events
    assert got == list(range(len(got))), "what it may still have read has no gap"
    assert len(got) <= 3


async def test_overflow_error_is_the_default(bus: EventBus) -> None:
    async with bus.stream(Ping, max_buffer=1) as events:
        for number in range(3):
            await bus.aemit(Ping(number=number))

        with pytest.raises(StreamOverflowError), anyio.fail_after(SECONDS):
            async for _ in events:
                pass


async def test_overflow_drop_oldest_the_reader_gets_the_newest(bus: EventBus) -> None:
    async with bus.stream(Ping, max_buffer=3, overflow="drop_oldest") as events:
        for number in range(10):
            await bus.aemit(Ping(number=number))

        assert numbers(await take(events, 3)) == [7, 8, 9]
        await bus.aemit(Ping(number=10))
        assert numbers(await take(events, 1)) == [10]


async def test_overflow_drop_newest_the_reader_gets_the_oldest(bus: EventBus) -> None:
    async with bus.stream(Ping, max_buffer=3, overflow="drop_newest") as events:
        for number in range(10):
            await bus.aemit(Ping(number=number))

        assert numbers(await take(events, 3)) == [0, 1, 2]
        await bus.aemit(Ping(number=10))
        assert numbers(await take(events, 1)) == [10]


@pytest.mark.parametrize("overflow", ["error", "drop_oldest", "drop_newest"])
async def test_a_buffer_that_is_just_full_loses_nothing(bus: EventBus, overflow: Any) -> None:
    async with bus.stream(Ping, max_buffer=3, overflow=overflow) as events:
        for number in range(3):
            await bus.aemit(Ping(number=number))

        assert numbers(await take(events, 3)) == [0, 1, 2]


@pytest.mark.parametrize("overflow", ["error", "drop_oldest", "drop_newest"])
async def test_a_reader_that_lags_never_slows_the_emitter_down(bus: EventBus, overflow: Any) -> None:
    """Nothing in these emits waits for anything: a thousand of them end within the same turn of a full buffer."""
    async with bus.stream(Ping, max_buffer=2, overflow=overflow):
        with anyio.fail_after(SECONDS):
            for number in range(1000):
                await bus.aemit(Ping(number=number))


async def test_one_reader_that_lags_leaves_the_others_theirs(bus: EventBus) -> None:
    async with bus.stream(Ping, max_buffer=1, overflow="error"), bus.stream(Ping, max_buffer=10) as good:
        for number in range(5):
            await bus.aemit(Ping(number=number))

        assert numbers(await take(good, 5)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("options", [{"max_buffer": 0}, {"max_buffer": -1}, {"overflow": "explode"}, {"key": "x"}])
async def test_options_that_make_no_sense_are_refused(bus: EventBus, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)):
        async with bus.stream(Ping, **options):
            pass

    assert list(bus.subscriptions()) == []


async def test_a_stream_of_nothing_known_is_refused(bus: EventBus) -> None:
    with pytest.raises((SubscriptionError, TypeError)):
        async with bus.stream(5):  # type: ignore[call-overload]
            pass


# --------------------------------------------------------------------------------- threads, owners, replay


async def test_events_from_other_threads_arrive(bus: EventBus) -> None:
    def emit(mine: int) -> None:
        for number in range(100):
            bus.emit(Ping(number=mine * 100 + number))

    async with bus.stream(Ping, max_buffer=1000) as events:
        await anyio.to_thread.run_sync(in_threads, *[lambda mine=mine: emit(mine) for mine in range(4)])

        found = numbers(await take(events, 400))

    assert sorted(found) == list(range(400))
    for mine in range(4):
        assert [n for n in found if n // 100 == mine] == list(range(mine * 100, mine * 100 + 100))


async def test_a_reader_that_waits_is_woken_by_another_thread(bus: EventBus) -> None:
    async with bus.stream(Ping) as events, anyio.create_task_group() as group:
        found: list[Any] = []

        async def read() -> None:
            found.extend(await take(events, 1))

        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(bus.emit, Ping(number=3))

    assert numbers(found) == [3]


async def test_a_stream_of_a_plugin_ends_with_its_owner(bus: EventBus) -> None:
    """A reader that waits is not left waiting for ever: iteration ends."""
    owner, shop = plugin(bus, "shop")
    ended: list[str] = []

    async def read() -> None:
        with contextlib.suppress(Exception):
            async with shop.stream(Ping) as events:
                async for _ in events:
                    pass
        ended.append("ended")

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            assert any("tools.ping" in what or "stream" in what for what in owner.owns)
            await owner.aclose()

    assert ended == ["ended"]
    assert list(bus.subscriptions()) == []


async def test_a_sticky_event_is_replayed_to_a_stream(bus: EventBus) -> None:
    class Started(Event, name="streams.started", sticky=True):
        number: int = 0

    await bus.aemit(Started(number=1))
    await bus.aemit(Started(number=2))

    async with bus.stream(Started) as events:
        await bus.aemit(Started(number=3))
        assert numbers(await take(events, 2)) == [2, 3]


# ---------------------------------------------------------------------------------------------- wait_for


async def test_wait_for_gives_the_next_event(bus: EventBus) -> None:
    found: list[Any] = []

    async def wait() -> None:
        found.append(await bus.wait_for(Ping))

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await bus.aemit(Pong())
            await bus.aemit(Ping(number=1))
            await bus.aemit(Ping(number=2))

    assert found == [Ping(number=1)]
    assert list(bus.subscriptions()) == []


async def test_wait_for_filters(bus: EventBus) -> None:
    found: list[Any] = []

    async def wait() -> None:
        found.append(await bus.wait_for(Ping, where=lambda message: message.number > 5, timeout_seconds=SECONDS))

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            for number in (1, 5, 6, 7):
                await bus.aemit(Ping(number=number))

    assert numbers(found) == [6]


@virtual_time
async def test_wait_for_gives_up_in_time(bus: EventBus) -> None:
    start = anyio.current_time()

    with pytest.raises(TimeoutError, match=r"^wait_for\(.*ping\): there was none within 5 s$"):
        await bus.wait_for(Ping, timeout_seconds=5)

    assert anyio.current_time() - start == pytest.approx(5)
    assert list(bus.subscriptions()) == []


async def test_wait_for_that_is_cancelled_leaves_nothing(bus: EventBus) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await bus.wait_for(Ping)

    assert scope.cancelled_caught
    assert list(bus.subscriptions()) == []


async def test_wait_for_finds_a_sticky_event_that_was(bus: EventBus) -> None:
    class Ready(Event, name="streams.ready", sticky=True):
        number: int = 0

    await bus.aemit(Ready(number=1))

    with anyio.fail_after(SECONDS):
        assert await bus.wait_for(Ready) == Ready(number=1)
