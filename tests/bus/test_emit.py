"""What emit, aemit, call and acall give back, and what runs in between."""

from __future__ import annotations

import contextvars
import functools
import threading

import pytest
from tests.bus.tools import (
    Ask,
    Boom,
    Live,
    Ping,
    Pong,
    SubPing,
    World,
    coloured,
    in_every_world,
    in_worlds,
    marks,
    noting,
    plugin,
    raising,
    raising_listener,
    run,
    sync_or_async,
    tracer,
)

from plugbus import Event, EventBus, EventTypeError, Listener, NoHandlerError, Request, SyncEmitError, event, replace

pytestmark = marks


@in_every_world
def test_without_subscribers_the_event_itself_comes_back(bus: EventBus, world: World) -> None:
    ping = Ping(number=1)

    assert world.emit(bus, ping) is ping


@in_every_world
@sync_or_async
def test_listeners_wrap_what_is_below_them(bus: EventBus, world: World, asynchronous: bool) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace, asynchronous=asynchronous))
    bus.listen(Ping, tracer("b", trace, asynchronous=not asynchronous))
    bus.observe(Ping, noting("seen", trace, asynchronous=asynchronous))

    ping = Ping()
    assert world.emit(bus, ping) is ping

    assert trace == [">a", ">b", "<b", "<a", "seen"]


@in_worlds
@sync_or_async
def test_what_runs_below_sees_what_next_fn_was_given(bus: EventBus, world: World, asynchronous: bool) -> None:
    def change(message):
        return (yield replace(message, number=2))

    seen: list[int] = []
    bus.listen(Ping, coloured(change, asynchronous=asynchronous))
    bus.observe(Ping, lambda message: seen.append(message.number))

    result = world.emit(bus, Ping(number=1))

    assert seen == [2]
    assert result == Ping(number=2)


@in_worlds
@sync_or_async
def test_what_a_listener_returns_is_what_those_above_get(bus: EventBus, world: World, asynchronous: bool) -> None:
    def change(message):
        below = yield message
        return replace(below, number=below.number + 1)

    seen: list[int] = []
    bus.listen(Ping, coloured(change, asynchronous=asynchronous))
    bus.listen(Ping, coloured(change, asynchronous=not asynchronous))
    bus.observe(Ping, lambda message: seen.append(message.number))

    assert world.emit(bus, Ping(number=1)).number == 3
    assert seen == [1], "observers are told of the event that reached the bottom"


@in_worlds
@sync_or_async
def test_not_calling_next_fn_ends_the_chain_there(bus: EventBus, world: World, asynchronous: bool) -> None:
    def answer(message):
        return Ping(number=9)
        yield

    trace: list[str] = []
    bus.listen(Ping, tracer("above", trace))
    bus.listen(Ping, coloured(answer, asynchronous=asynchronous))
    bus.listen(Ping, tracer("below", trace))
    bus.observe(Ping, noting("observer", trace))
    bus.observe(Ping, noting("inside", trace), inside=True)

    assert world.emit(bus, Ping()).number == 9
    assert trace == [">above", "<above"]


@in_worlds
@sync_or_async
def test_calling_next_fn_twice_runs_everything_below_twice(bus: EventBus, world: World, asynchronous: bool) -> None:
    def twice(message):
        yield replace(message, number=1)
        return (yield replace(message, number=2))

    trace: list[object] = []
    bus.listen(Ping, coloured(twice, asynchronous=asynchronous))
    bus.listen(Ping, tracer("below", trace))
    bus.observe(Ping, lambda message: trace.append(message.number))

    assert world.emit(bus, Ping()).number == 2
    assert trace == [">below", "<below", ">below", "<below", 1, 2]


@in_worlds
@sync_or_async
def test_a_retrying_listener_is_legal(bus: EventBus, world: World, asynchronous: bool) -> None:
    def retry(message):
        try:
            return (yield message)
        except Boom:
            return (yield message)

    attempts: list[int] = []

    def flaky(request):
        attempts.append(1)
        if len(attempts) == 1:
            raise Boom("first time")
        return "at last"

    bus.listen(Ask, coloured(retry, asynchronous=asynchronous))
    bus.answer(Ask, coloured(flaky, asynchronous=not asynchronous))

    assert world.call(bus, Ask()) == "at last"
    assert len(attempts) == 2


@in_every_world
@sync_or_async
def test_a_call_returns_what_the_handler_returned(bus: EventBus, world: World, asynchronous: bool) -> None:
    bus.answer(Ask, coloured(lambda request: f"number {request.number}", asynchronous=asynchronous))

    assert world.call(bus, Ask(number=7)) == "number 7"


@in_worlds
@sync_or_async
def test_listeners_of_a_request_may_change_request_and_result(bus: EventBus, world: World, asynchronous: bool) -> None:
    def louder(request):
        return (yield replace(request, number=request.number + 1)) + "!"

    bus.listen(Ask, coloured(louder, asynchronous=asynchronous))
    bus.answer(Ask, coloured(lambda request: str(request.number), asynchronous=not asynchronous))

    assert world.call(bus, Ask(number=1)) == "2!"


@in_worlds
def test_observers_of_a_request_are_told_the_request(bus: EventBus, world: World) -> None:
    seen: list[object] = []
    bus.answer(Ask, lambda request: "answer")
    bus.observe(Ask, seen.append)

    world.call(bus, Ask(number=3))

    assert seen == [Ask(number=3)]


@in_worlds
def test_a_falsy_result_is_a_result(bus: EventBus, world: World) -> None:
    class Count(Request[int], name="emit.count"):
        pass

    class Nothing(Request[None], name="emit.nothing"):
        pass

    bus.answer(Count, lambda request: 0)
    bus.answer(Nothing, lambda request: None)

    assert world.call(bus, Count()) == 0
    assert world.call(bus, Nothing()) is None


@in_worlds
def test_a_request_without_a_handler_fails_at_the_bottom(bus: EventBus, world: World) -> None:
    trace: list[str] = []
    bus.listen(Ask, tracer("above", trace))

    with pytest.raises(NoHandlerError) as caught:
        world.call(bus, Ask())

    assert caught.value.event == "tools.ask"
    assert trace == [">above"], "the listeners ran, the bottom failed"


@in_worlds
@sync_or_async
def test_a_listener_may_answer_where_there_is_no_handler(bus: EventBus, world: World, asynchronous: bool) -> None:
    def otherwise(request):
        try:
            return (yield request)
        except NoHandlerError:
            return "nobody home"

    bus.listen(Ask, coloured(otherwise, asynchronous=asynchronous))

    assert world.call(bus, Ask()) == "nobody home"


@in_worlds
def test_a_request_cannot_be_emitted(bus: EventBus, world: World) -> None:
    trace: list[str] = []
    bus.listen(Ask, tracer("x", trace))

    with pytest.raises(EventTypeError, match="call") as caught:
        world.emit(bus, Ask())

    assert caught.value.event == "tools.ask"
    assert trace == []


@in_worlds
def test_an_event_cannot_be_called(bus: EventBus, world: World) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("x", trace))

    with pytest.raises(EventTypeError, match="emit") as caught:
        world.call(bus, Ping())

    assert caught.value.event == "tools.ping"
    assert trace == []


@in_worlds
def test_a_class_instead_of_an_instance_is_refused(bus: EventBus, world: World) -> None:
    with pytest.raises(EventTypeError):
        world.emit(bus, Ping)


def test_the_error_of_a_wrong_call_comes_again_the_second_time(bus: EventBus) -> None:
    for _ in range(2):
        with pytest.raises(EventTypeError):
            bus.emit(Ask())
        with pytest.raises(EventTypeError):
            bus.call(Ping())


@in_worlds
def test_listeners_of_a_base_class_get_its_subclasses(bus: EventBus, world: World) -> None:
    seen: list[tuple[str, str]] = []
    for kind in (Ping, SubPing, Event, object):
        bus.observe(kind, lambda message, kind=kind: seen.append((kind.__name__, type(message).__name__)))

    world.emit(bus, SubPing())
    world.emit(bus, Ping())
    world.emit(bus, Pong())

    assert seen == [
        *[(name, "SubPing") for name in ("Ping", "SubPing", "Event", "object")],
        *[(name, "Ping") for name in ("Ping", "Event", "object")],
        *[(name, "Pong") for name in ("Event", "object")],
    ]


@in_worlds
def test_only_object_hears_foreign_classes_too(bus: EventBus, world: World) -> None:
    seen: list[tuple[str, object]] = []
    bus.observe(object, lambda message: seen.append(("object", message)))
    bus.observe(Event, lambda message: seen.append(("Event", message)))
    bus.observe(Live, lambda message: seen.append(("Live", message)))
    live = Live([])

    assert world.emit(bus, live) is live

    assert seen == [("object", live), ("Live", live)]


@in_worlds
def test_each_kind_of_callable_is_recognised(bus: EventBus, world: World) -> None:
    seen: list[str] = []

    class Callable:
        def __call__(self, message) -> None:
            seen.append("sync object")

    class AsyncCallable:
        async def __call__(self, message) -> None:
            seen.append("async object")

    class Has:
        def method(self, message) -> None:
            seen.append("method")

        async def amethod(self, message) -> None:
            seen.append("async method")

        @staticmethod
        async def static(message) -> None:
            seen.append("async static")

    async def named(name, message) -> None:
        seen.append(name)

    bus.observe(Ping, Callable())
    bus.observe(Ping, AsyncCallable())
    bus.observe(Ping, Has().method)
    bus.observe(Ping, Has().amethod)
    bus.observe(Ping, Has.static)
    bus.observe(Ping, functools.partial(named, "partial"))
    bus.observe(Ping, functools.partial(functools.partial(named), "partial of partial"))

    world.emit(bus, Ping())

    assert seen == [
        "sync object",
        "async object",
        "method",
        "async method",
        "async static",
        "partial",
        "partial of partial",
    ]


@in_worlds
def test_a_listener_class_may_be_complete_with_one_colour(bus: EventBus, world: World) -> None:
    trace: list[str] = []

    class Sync(Listener[Ping]):
        def handle(self, event, next_fn):
            trace.append("handle")
            return next_fn(event)

    class Async(Listener[Ping]):
        async def ahandle(self, event, next_fn):
            trace.append("ahandle")
            return await next_fn(event)

    bus.listen(Ping, Sync())
    bus.listen(Ping, Async())
    bus.listen(Ping, Sync)
    bus.listen(Ping, Async)

    world.emit(bus, Ping())

    assert trace == ["handle", "ahandle", "handle", "ahandle"]


@in_worlds
def test_where_both_colours_exist_each_emit_uses_its_own(bus: EventBus, world: World) -> None:
    trace: list[str] = []

    class Both(Listener[Ping]):
        def handle(self, event, next_fn):
            trace.append("handle")
            return next_fn(event)

        async def ahandle(self, event, next_fn):
            trace.append("ahandle")
            return await next_fn(event)

    bus.listen(Ping, Both())

    world.emit(bus, Ping())

    assert trace == ["ahandle" if world.asynchronous else "handle"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("kind", ["listener", "handler", "observer", "inside observer"])
def test_a_sync_emit_on_the_loops_thread_says_so_before_anything_ran(bus: EventBus, kind: str, backend: str) -> None:
    trace: list[str] = []
    bus.listen(Ask, tracer("first", trace))
    if kind == "listener":
        bus.listen(Ask, tracer("culprit", trace, asynchronous=True), name="culprit")
    if kind == "handler":
        bus.answer(Ask, noting("culprit", trace, asynchronous=True), name="culprit")
    else:
        bus.answer(Ask, noting("handler", trace))
    if "observer" in kind:
        bus.observe(Ask, noting("culprit", trace, asynchronous=True), name="culprit", inside="inside" in kind)

    async def main() -> None:
        with pytest.raises(SyncEmitError, match="await") as caught:
            bus.call(Ask())
        assert (caught.value.event, caught.value.subscriber) == ("tools.ask", "culprit")

    run(backend, main)
    assert trace == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_sync_emit_on_the_loops_thread_is_fine_where_nobody_needs_the_loop(bus: EventBus, backend: str) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace))
    bus.observe(Ping, noting("seen", trace))

    async def main() -> None:
        bus.emit(Ping())

    run(backend, main)
    assert trace == [">a", "<a", "seen"]


def test_a_sync_emit_of_sync_subscribers_stays_on_its_thread(bus: EventBus) -> None:
    threads: list[threading.Thread] = []
    note = lambda message: threads.append(threading.current_thread())

    def listener(message, next_fn):
        note(message)
        return next_fn(message)

    bus.listen(Ask, listener)
    bus.answer(Ask, lambda request: note(request) or "")
    bus.observe(Ask, note)

    bus.call(Ask())

    assert threads == [threading.current_thread()] * 3


def test_a_sync_emit_runs_in_its_thread_down_to_the_first_async_subscriber(bus: EventBus) -> None:
    threads: dict[str, bool] = {}
    mine = threading.current_thread()

    def listener(message, next_fn):
        threads["sync"] = threading.current_thread() is mine
        return next_fn(message)

    async def alistener(message, next_fn):
        threads["async"] = True
        return await next_fn(message)

    bus.listen(Ping, listener)
    bus.listen(Ping, alistener)

    bus.emit(Ping())

    assert threads == {"sync": True, "async": True}


@in_every_world
@sync_or_async
def test_context_variables_travel_down_every_thread(bus: EventBus, world: World, asynchronous: bool) -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []
    note = lambda message: seen.append(who.get())

    def listener(message):
        note(message)
        return (yield message)

    bus.listen(Ping, coloured(listener, asynchronous=asynchronous))
    bus.listen(Ping, coloured(listener, asynchronous=not asynchronous))
    bus.listen(Ping, coloured(listener, asynchronous=asynchronous))
    bus.observe(Ping, coloured(note, asynchronous=asynchronous))
    bus.observe(Ping, coloured(note, asynchronous=not asynchronous))

    token = who.set("me")
    try:
        world.emit(bus, Ping())
    finally:
        who.reset(token)

    assert seen == ["me"] * 5


@in_every_world
@pytest.mark.parametrize("place", ["before", "after", "handler"])
@sync_or_async
def test_an_error_reaches_the_emitter_with_a_note_that_names_the_culprit(
    bus: EventBus, world: World, place: str, asynchronous: bool
) -> None:
    trace: list[str] = []
    boom = Boom("broken")
    _, shop = plugin(bus, "shop")
    bus.listen(Ask, tracer("innocent-above", trace, asynchronous=asynchronous), name="innocent-above")
    if place != "handler":
        fails = raising_listener(boom, after=place == "after", asynchronous=asynchronous)
        shop.listen(Ask, fails, name="culprit")
    bus.listen(Ask, tracer("innocent-below", trace), name="innocent-below")
    fails = raising(boom, asynchronous=asynchronous)
    shop.answer(Ask, fails if place == "handler" else lambda request: "", name="culprit-handler")

    with pytest.raises(Boom) as caught:
        world.call(bus, Ask())

    assert caught.value is boom
    notes = "\n".join(boom.__notes__)
    assert "culprit" in notes
    assert "shop" in notes
    assert "tools.ask" in notes
    assert "innocent" not in notes


def test_an_error_that_is_raised_again_does_not_gather_notes(bus: EventBus) -> None:
    boom = Boom("the same object each time")
    bus.listen(Ping, raising_listener(boom), name="culprit")

    for _ in range(5):
        with pytest.raises(Boom):
            bus.emit(Ping())

    assert len(boom.__notes__) == 1


@in_worlds
def test_an_emit_may_be_nested(bus: EventBus, world: World) -> None:
    seen: list[object] = []

    def outer(message, next_fn):
        bus.emit(Pong(number=message.number))
        return next_fn(message)

    bus.listen(Ping, outer)
    bus.observe(Pong, seen.append)
    bus.observe(Ping, seen.append)

    world.emit(bus, Ping(number=4))

    assert seen == [Pong(number=4), Ping(number=4)]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_emit_may_be_nested_in_async_subscribers(bus: EventBus, backend: str) -> None:
    seen: list[object] = []

    async def outer(message, next_fn):
        await bus.aemit(Pong(number=message.number))
        return await next_fn(message)

    bus.listen(Ping, outer)
    bus.observe(Pong, seen.append)
    bus.observe(Ping, seen.append)

    run(backend, bus.aemit, Ping(number=4))

    assert seen == [Pong(number=4), Ping(number=4)]


@in_worlds
def test_where_filters_each_subscriber(bus: EventBus, world: World) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("never", trace), where=lambda message: False)
    bus.listen(Ping, tracer("big", trace), where=lambda message: message.number > 10)
    bus.observe(Ping, noting("small", trace), where=lambda message: message.number <= 10)

    world.emit(bus, Ping(number=11))
    world.emit(bus, Ping(number=1))

    assert trace == [">big", "<big", "small"]


@in_worlds
def test_where_sees_what_the_listeners_above_made_of_the_event(bus: EventBus, world: World) -> None:
    trace: list[str] = []
    bus.listen(Ping, lambda message, next_fn: next_fn(replace(message, number=99)))
    bus.listen(Ping, tracer("big", trace), where=lambda message: message.number == 99)
    bus.observe(Ping, noting("seen", trace), where=lambda message: message.number == 99)

    world.emit(bus, Ping(number=1))

    assert trace == [">big", "<big", "seen"]


def test_two_buses_know_nothing_of_each_other() -> None:
    one, other = EventBus(), EventBus()
    trace: list[str] = []
    one.observe(Ping, noting("one", trace))
    other.observe(Ping, noting("other", trace))

    one.emit(Ping())

    assert trace == ["one"]


def test_a_foreign_event_type_made_while_running_is_heard(bus: EventBus) -> None:
    seen: list[object] = []
    bus.observe(Event, seen.append)
    bus.emit(Ping())

    class Later(Event, name="emit.later"):
        pass

    bus.emit(Later())

    assert seen == [Ping(), Later()]


def test_events_of_one_class_that_is_collected_leave_nothing(bus: EventBus) -> None:
    """A chain cache must not hold classes alive for ever by mistake of identity."""
    seen: list[str] = []
    bus.observe(object, lambda message: seen.append(type(message).__name__))
    for number in range(50):
        kind = event(name=f"emit.made_{number}")(type(f"Made{number}", (), {}))
        bus.emit(kind())

    assert seen == [f"Made{number}" for number in range(50)]
