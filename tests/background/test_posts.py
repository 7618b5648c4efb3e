"""``bus.post``: emitted soon, after the unit of work, in order per lane, from anywhere; what fails is told of."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import anyio.to_thread
import pytest
from tests.bus.tools import SECONDS, Ask, failures, plugin

from plugbus import (
    BackgroundFullError,
    Event,
    EventBus,
    EventTypeError,
    Kernel,
    Manifest,
    NamedEvent,
    PermissionDeniedError,
    Plugin,
    PluginGoneError,
    Principal,
    Retry,
    Services,
    Veto,
    acting_as,
    current,
    observes,
)

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(SECONDS * 2)]


class Note(Event, name="posts.note", lane="lane"):
    """Something posted."""

    lane: str = "a"
    number: int = 0


class Session:
    """A service of which there is one per unit of work."""


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


def heard(bus: EventBus) -> list[int]:
    seen: list[int] = []
    bus.observe(Note, lambda note: seen.append(note.number), run_in="caller", name="heard")
    return seen


async def test_the_poster_does_not_wait_and_lanes_keep_order(bus: EventBus) -> None:
    seen, began, go_on = heard(bus), [], anyio.Event()

    async def slow(note: Note, next_fn: Any) -> Any:
        began.append(note.number)
        if note.lane == "a":
            await go_on.wait()
        return await next_fn(note)

    async with bus.background():
        bus.listen(Note, slow)
        for lane, number in (("a", 1), ("a", 2), ("b", 3), ("b", 4)):
            bus.post(Note(lane=lane, number=number))
        assert (began, seen) == ([], [])
        await anyio.wait_all_tasks_blocked()
        assert seen == [3, 4]
        go_on.set()

    assert seen == [3, 4, 1, 2]


async def test_a_post_from_any_thread(bus: EventBus) -> None:
    seen = heard(bus)
    async with bus.background():
        await anyio.to_thread.run_sync(bus.post, Note(number=1))
        thread = threading.Thread(target=bus.post, args=(Note(number=2),))
        thread.start()
        await anyio.to_thread.run_sync(thread.join)

    assert seen == [1, 2]


async def test_what_a_posted_chain_refuses_or_fails_with_is_told_of(bus: EventBus) -> None:
    """There is nobody to raise it to; the posts after it go on."""
    seen, failed = heard(bus), failures(bus)

    def refuse(note: Note, next_fn: Any) -> Any:
        if note.number == 1:
            raise Veto("no")
        if note.number == 2:
            raise OSError("disk")
        return next_fn(note)

    async with bus.background():
        bus.listen(Note, refuse)
        for number in (1, 2, 3):
            bus.post(Note(number=number))

    assert seen == [3]
    assert [(f.subscriber, f.plugin, f.event.number, f.attempt, str(f.error)) for f in failed] == [  # type: ignore[attr-defined]
        ("bus.post", "host", 1, 1, "no"),
        ("bus.post", "host", 2, 1, "disk"),
    ]
    assert bus.statistics().plugins["host"].background["bus.post"][2:6] == (1, 0, 0, 2)


async def test_what_cannot_be_emitted_is_refused_at_once(bus: EventBus) -> None:
    owner, shop = plugin(bus, "shop")
    async with bus.background():
        with pytest.raises(EventTypeError, match="call"):
            bus.post(Ask())
        with pytest.raises(EventTypeError, match="is a class"):
            bus.post(Note)
        await owner.aclose()
        with pytest.raises(PluginGoneError):
            shop.post(Note())


async def test_a_bus_alone_says_what_is_missing(bus: EventBus) -> None:
    with pytest.raises(RuntimeError, match=r"bus\.background\(\)"):
        bus.post(Note())
    async with bus.background():
        pass
    with pytest.raises(RuntimeError, match=r"bus\.background\(\)"):
        bus.post(Note())


async def test_a_plugin_posts_only_what_it_may_publish() -> None:
    class Shop(Plugin):
        manifest = Manifest(id="shop", publishes=["shop.*"])

        def __init__(self, bus: EventBus) -> None:
            self.bus = bus

    async with Kernel(plugins=[Shop]) as kernel:
        for event in (Note(), NamedEvent("posts.note", {}), NamedEvent("posts.other", {})):
            with pytest.raises(PermissionDeniedError, match="may not publish 'posts"):
                kernel.plugins["shop"].instance.bus.post(event)
        kernel.plugins["shop"].instance.bus.post(NamedEvent("shop.opened", {}))


async def test_posts_are_bounded() -> None:
    """Before the kernel starts nothing takes any, so that they can be counted."""
    kernel = Kernel()
    note = Note()
    for _ in range(10_000):
        kernel.bus.post(note)

    with pytest.raises(BackgroundFullError) as caught:
        kernel.bus.post(note)
    assert (caught.value.subscriber, caught.value.max_queue) == ("bus.post", 10_000)


async def test_a_post_carries_who_acts_and_what_caused_it(bus: EventBus) -> None:
    seen: list[tuple[str | None, str | None, str]] = []
    causes: list[str] = []

    def observer(note: Note) -> None:
        now = current()
        assert now is not None
        seen.append((now.principal and now.principal.id, now.cause, now.correlation_id))

    def poster(text: str) -> None:
        now = current()
        assert now is not None
        causes.append(now.id)
        bus.post(Note())

    assert current() is None
    async with bus.background():
        bus.observe(Note, observer)
        bus.observe(str, poster)
        with acting_as(Principal("ann"), correlation_id="7f"):
            await bus.aemit("go")

    assert seen == [("ann", causes[0], "7f")]


# -------------------------------------------------------------------------------------------- units of work


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("fails", [True, False])
async def test_a_post_in_a_unit_of_work_goes_with_it(*, asynchronous: bool, fails: bool) -> None:
    """Emitted once it has succeeded, dropped if it failed; background observers hear no earlier either."""
    services = Services()
    bus = EventBus(services=services)
    seen, told = heard(bus), []

    async def inside() -> None:
        async with services.scope():
            bus.post(Note(number=1))
            await bus.aemit(Note(number=2))
            await anyio.wait_all_tasks_blocked()
            assert 1 not in seen
            assert told == []
            if fails:
                raise OSError

    def sync_inside() -> None:
        with services.scope():
            bus.post(Note(number=1))
            bus.emit(Note(number=2))
            assert 1 not in seen
            assert told == []
            if fails:
                raise OSError

    async with bus.background():
        bus.observe(Note, lambda note: told.append(note.number), background=True)
        try:
            await (inside() if asynchronous else anyio.to_thread.run_sync(sync_inside))
        except OSError:
            assert fails

    assert (1 in seen, sorted(told)) == ((False, []) if fails else (True, [1, 2]))


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_each_delivery_is_a_unit_of_work_of_its_own(*, asynchronous: bool) -> None:
    """Each attempt opens its services, and closes them with how it ended; the emitter's are not its."""
    services = Services()
    bus = EventBus(services=services)
    trace: list[str] = []

    def open_session() -> Any:
        number = sum(each.startswith("open") for each in trace) + 1
        trace.append(f"open {number}")
        try:
            yield Session()
        except OSError:
            trace.append(f"undo {number}")
            raise
        trace.append(f"commit {number}")

    services.factory(Session, open_session, scope="call")

    def work(note: Note, session: Session) -> None:
        if trace.count("failed") < 1:
            trace.append("failed")
            raise OSError

    async def awork(note: Note, session: Session) -> None:
        work(note, session)

    async with bus.background():
        observer = awork if asynchronous else work
        bus.observe(Note, observer, background=True, retry=Retry(delay_seconds=0))
        async with services.scope() as scope:
            await scope.aget(Session)
            await bus.aemit(Note())

    assert trace == ["open 1", "commit 1", "open 2", "failed", "undo 2", "open 3", "commit 3"]


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_in_a_unit_of_work_a_full_queue_still_refuses_before_anything_ran(*, asynchronous: bool) -> None:
    services = Services()
    bus = EventBus(services=services)
    seen, let_go = heard(bus), anyio.Event()

    async def slow(note: Note) -> None:
        await let_go.wait()

    async with bus.background():
        bus.observe(Note, slow, background=True, max_queue=1, overflow="error")
        await bus.aemit(Note(number=1))
        await anyio.wait_all_tasks_blocked()
        await bus.aemit(Note(number=2))
        async with services.scope():
            with pytest.raises(BackgroundFullError):
                await bus.aemit(Note(number=3)) if asynchronous else bus.emit(Note(number=3))
        let_go.set()

    assert seen == [1, 2]


async def test_what_is_to_be_posted_after_a_unit_of_work_is_bounded_too() -> None:
    services = Services()
    bus = EventBus(services=services)
    note = Note()
    async with bus.background():
        with pytest.raises(BackgroundFullError, match="unit of work"), services.scope():
            for _ in range(10_001):
                bus.post(note)  # the last one is refused, and the unit fails: nothing of it is emitted


# --------------------------------------------------------------------------------------------------- kernel


async def test_a_kernel_finishes_posts_and_what_they_lead_to_before_it_stops() -> None:
    """All plugins still hear them; a post of a post, too."""
    seen: list[int] = []

    class Shop(Plugin, id="shop"):
        def __init__(self, bus: EventBus) -> None:
            self._bus = bus

        @observes(Note)
        async def again(self, note: Note) -> None:
            seen.append(note.number)
            if note.number < 3:
                self._bus.post(Note(number=note.number + 1))

    async with Kernel(plugins=[Shop]) as kernel:
        kernel.bus.post(Note(number=1))

    assert seen == [1, 2, 3]


async def test_posts_of_a_plugin_that_is_unloaded_are_emitted_first() -> None:
    seen: list[int] = []

    class Shop(Plugin, id="shop"):
        def __init__(self, bus: EventBus) -> None:
            self.bus = bus

        @observes(Note)
        def own(self, note: Note) -> None:
            seen.append(note.number)

        def on_shutdown(self) -> None:
            seen.append(-1)

    async with Kernel(plugins=[Shop]) as kernel:
        for number in range(3):
            kernel.plugins["shop"].instance.bus.post(Note(number=number))
        await kernel.unload("shop")

        assert seen == [0, 1, 2, -1]
