"""checked=True names the culprit; without it nothing is checked."""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
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
    failures,
    in_every_world,
    in_worlds,
    marks,
    noting,
    plugin,
    run,
    sync_or_async,
    tracer,
)

from plugbus import ChainContractError, Event, EventBus, Listener, NamedEvent, Request, event, replace

pytestmark = marks


class Basket(Event, name="checked.basket"):
    """Frozen at the top only: the list inside can change."""

    items: list[str]


@pytest.fixture
def checked() -> EventBus:
    """A bus that checks its subscribers' contracts."""
    return EventBus(checked=True)


def culprit(caught: pytest.ExceptionInfo[ChainContractError]) -> tuple[str, str, str]:
    error = caught.value
    assert error.problem
    return error.event, error.subscriber.rpartition(".")[2], error.plugin


def surrounded(bus: EventBus, kind: Any, listener: Any, **options: Any) -> None:
    """*listener*, of plugin "shop", named "culprit", between innocent ones of both colours."""
    _, shop = plugin(bus, "shop")
    for name, colour in (("above1", False), ("above2", True)):
        bus.listen(kind, tracer(name, [], asynchronous=colour), name=name, on_error="skip")
    shop.listen(kind, listener, name="culprit", **options)
    for name, colour in (("below1", True), ("below2", False)):
        bus.listen(kind, tracer(name, [], asynchronous=colour), name=name)


@in_every_world
@sync_or_async
def test_a_forgotten_return(checked: EventBus, world: World, asynchronous: bool) -> None:
    def forgets(message):
        yield message

    surrounded(checked, Ping, coloured(forgets, asynchronous=asynchronous))

    with pytest.raises(ChainContractError) as caught:
        world.emit(checked, Ping())

    assert culprit(caught) == ("tools.ping", "culprit", "shop")
    assert "None" in caught.value.problem or "return" in caught.value.problem


@in_worlds
@sync_or_async
def test_a_forgotten_return_in_a_listener_of_a_request(checked: EventBus, world: World, asynchronous: bool) -> None:
    def forgets(message):
        yield message

    surrounded(checked, Ask, coloured(forgets, asynchronous=asynchronous))
    checked.answer(Ask, lambda request: "answer")

    with pytest.raises(ChainContractError) as caught:
        world.call(checked, Ask())

    assert culprit(caught) == ("tools.ask", "culprit", "shop")


@in_every_world
def test_a_forgotten_await_in_an_async_listener(checked: EventBus, world: World) -> None:
    """``return next_fn(event)``: what it returns is a coroutine."""

    async def forgets(message, next_fn):
        return next_fn(message)

    surrounded(checked, Ping, forgets)

    with pytest.raises(ChainContractError) as caught:
        world.emit(checked, Ping())

    assert culprit(caught) == ("tools.ping", "culprit", "shop")
    assert "await" in caught.value.problem


@in_worlds
def test_a_coroutine_that_a_sync_subscriber_made_and_returned(checked: EventBus, world: World) -> None:
    async def work(message) -> str:
        return "done"

    checked.answer(Ask, lambda request: work(request), name="culprit")

    with pytest.raises(ChainContractError, match="await") as caught:
        world.call(checked, Ask())

    assert culprit(caught)[1] == "culprit"


@in_worlds
def test_a_coroutine_that_a_sync_observer_made_and_returned(checked: EventBus, world: World) -> None:
    """It passes the isolation of observers: a contract error is no ordinary one."""

    async def work(message) -> None:
        pass

    checked.observe(Ping, lambda message: work(message), name="culprit")

    with pytest.raises(ChainContractError, match="await") as caught:
        world.emit(checked, Ping())

    assert culprit(caught)[1] == "culprit"


@in_worlds
@sync_or_async
@pytest.mark.parametrize("result", ["text", 5, Pong(), Ping], ids=repr)
def test_an_event_of_another_type_as_a_result(
    checked: EventBus, world: World, asynchronous: bool, result: object
) -> None:
    def wrong(message):
        yield message
        return result

    surrounded(checked, Ping, coloured(wrong, asynchronous=asynchronous))

    with pytest.raises(ChainContractError) as caught:
        world.emit(checked, Ping())

    assert culprit(caught) == ("tools.ping", "culprit", "shop")


@in_worlds
@sync_or_async
@pytest.mark.parametrize("place", ["handler", "listener"])
def test_a_result_that_is_not_the_requests(checked: EventBus, world: World, asynchronous: bool, place: str) -> None:
    """Ask is a Request[str]; 5 is none."""

    def wrong(request):
        yield request
        return 5

    if place == "listener":
        surrounded(checked, Ask, coloured(wrong, asynchronous=asynchronous))
        checked.answer(Ask, lambda request: "answer")
    else:
        _, shop = plugin(checked, "shop")
        checked.listen(Ask, tracer("innocent", []))
        shop.answer(Ask, coloured(lambda request: 5, asynchronous=asynchronous), name="culprit")

    with pytest.raises(ChainContractError) as caught:
        world.call(checked, Ask())

    assert culprit(caught) == ("tools.ask", "culprit", "shop")
    assert "str" in caught.value.problem


@in_worlds
@sync_or_async
def test_an_event_of_another_type_handed_to_next_fn(checked: EventBus, world: World, asynchronous: bool) -> None:
    def wrong(message):
        yield Pong()
        return message

    surrounded(checked, Ping, coloured(wrong, asynchronous=asynchronous))

    with pytest.raises(ChainContractError) as caught:
        world.emit(checked, Ping())

    assert culprit(caught) == ("tools.ping", "culprit", "shop")


@in_worlds
def test_next_fn_after_the_emit_ended(checked: EventBus, world: World) -> None:
    kept: list[Any] = []
    trace: list[str] = []

    def keeps(message, next_fn):
        kept.append(next_fn)
        return next_fn(message)

    surrounded(checked, Ping, keeps)
    checked.observe(Ping, noting("seen", trace))
    world.emit(checked, Ping())

    with pytest.raises(ChainContractError) as caught:
        kept[0](Ping())

    assert culprit(caught) == ("tools.ping", "culprit", "shop")
    assert trace == ["seen"], "nothing ran a second time"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_next_fn_after_the_emit_ended(checked: EventBus, backend: str) -> None:
    kept: list[Any] = []

    async def keeps(message, next_fn):
        kept.append(next_fn)
        return await next_fn(message)

    surrounded(checked, Ping, keeps)

    async def main() -> None:
        await checked.aemit(Ping())
        with pytest.raises(ChainContractError) as caught:
            late = kept[0](Ping())
            if inspect.isawaitable(late):
                await late
        assert culprit(caught) == ("tools.ping", "culprit", "shop")

    run(backend, main)


@in_worlds
@pytest.mark.parametrize("place", ["before", "after", "observer", "inside"])
@sync_or_async
def test_an_event_that_was_changed_under_way(checked: EventBus, world: World, place: str, asynchronous: bool) -> None:
    """Whoever changed the list inside is named, not who runs later; an observer too."""

    def changes(message):
        if place == "before":
            message.items.append("x")
        result = yield message
        if place == "after":
            message.items.append("x")
        return result

    for kind, message in ((Basket, Basket(items=["a"])), (Live, Live(items=["a"]))):
        bus = EventBus(checked=True)
        if place in ("before", "after"):
            surrounded(bus, kind, coloured(changes, asynchronous=asynchronous))
        else:
            _, shop = plugin(bus, "shop")
            bus.listen(kind, tracer("innocent", []))
            bus.observe(kind, noting("first", []), name="first", inside=place == "inside")
            observer = coloured(lambda message: message.items.append("x"), asynchronous=asynchronous)
            shop.observe(kind, observer, name="culprit", inside=place == "inside")
            bus.observe(kind, noting("last", []), name="last", inside=place == "inside")

        with pytest.raises(ChainContractError) as caught:
            world.emit(bus, message)

        assert culprit(caught)[1:] == ("culprit", "shop"), kind
        assert "change" in caught.value.problem


@in_worlds
@pytest.mark.parametrize("breach", ["forgotten return", "wrong type"])
def test_contract_errors_pass_every_policy(checked: EventBus, world: World, breach: str) -> None:
    surrounded(checked, Ping, lambda message, next_fn: None if breach == "forgotten return" else 5, on_error="skip")

    with pytest.raises(ChainContractError) as caught:
        world.emit(checked, Ping())

    assert culprit(caught) == ("tools.ping", "culprit", "shop")


@in_worlds
def test_a_contract_error_of_a_nested_emit_passes_an_observers_isolation(checked: EventBus, world: World) -> None:
    checked.observe(Ping, lambda message: checked.emit(Pong()))
    checked.listen(Pong, lambda message, next_fn: None, name="culprit")

    with pytest.raises(ChainContractError) as caught:
        world.emit(checked, Ping())

    assert culprit(caught)[:2] == ("tools.pong", "culprit")


@in_every_world
@sync_or_async
def test_what_is_legal_stays_legal(checked: EventBus, world: World, asynchronous: bool) -> None:
    """Short-circuiting, replacing by a subclass, calling twice, changing on the way up, lenient failures."""

    def twice(message):
        yield message
        return (yield message)

    def subclass(message):
        return (yield SubPing(number=message.number))

    def above(message):
        result = yield message
        return replace(result, number=result.number + 1)

    def fails(message):
        yield message
        raise Boom

    for act in (twice, subclass, above):
        checked.listen(Ping, coloured(act, asynchronous=asynchronous))
    checked.listen(Ping, coloured(fails, asynchronous=asynchronous), on_error="skip")

    assert world.emit(checked, Ping(number=1)) == SubPing(number=2)


@in_worlds
@sync_or_async
def test_a_short_circuit_with_the_right_type_is_legal(checked: EventBus, world: World, asynchronous: bool) -> None:
    def answer(message):
        return "from the cache"
        yield

    checked.listen(Ask, coloured(answer, asynchronous=asynchronous))

    assert world.call(checked, Ask()) == "from the cache"


@in_worlds
def test_results_of_generic_optional_and_union_types_are_understood(checked: EventBus, world: World) -> None:
    class Many(Request[list[int]], name="checked.many"):
        pass

    class Maybe(Request[str | None], name="checked.maybe"):
        pass

    class Whatever(Request[Any], name="checked.whatever"):
        pass

    for kind, answer in ((Many, [1]), (Maybe, None), (Maybe, "x"), (Whatever, object())):
        with checked.answer(kind, lambda request, answer=answer: answer):
            assert world.call(checked, kind()) == answer
    with checked.answer(Maybe, lambda request: 5, name="culprit"), pytest.raises(ChainContractError):
        world.call(checked, Maybe())


@in_worlds
def test_an_ordinary_failure_is_reported_as_itself(checked: EventBus, world: World) -> None:
    seen = failures(checked)
    checked.observe(Ping, lambda message: 1 / 0, name="fails")

    world.emit(checked, Ping())

    assert [type(failure.error) for failure in seen] == [ZeroDivisionError]


@in_worlds
def test_unchecked_nothing_is_checked(bus: EventBus, world: World) -> None:
    """Without checked=True the value passes as it is: no cost, no opinion."""
    bus.listen(Ping, lambda message, next_fn: None)

    assert world.emit(bus, Ping()) is None


def test_live_objects_that_cannot_be_compared_or_copied_are_no_contract_error(checked: EventBus) -> None:
    """The check of changes must not choke on what a dataclass carries."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise TypeError("not comparable")

        __hash__ = None

        def __deepcopy__(self, memo: object) -> Odd:
            raise TypeError("not copyable")

    @event(name="checked.odd")
    @dataclass
    class Carrier:
        thing: object
        lock: object

    checked.listen(Carrier, tracer("a", []))
    carrier = Carrier(Odd(), threading.Lock())

    assert checked.emit(carrier) is carrier


def test_a_checked_listener_object_is_named_by_its_class(checked: EventBus) -> None:
    class Forgetful(Listener[Ping]):
        def handle(self, event, next_fn):
            next_fn(event)

    checked.listen(Ping, Forgetful())

    with pytest.raises(ChainContractError) as caught:
        checked.emit(Ping())

    assert "Forgetful" in caught.value.subscriber


@pytest.mark.anyio
async def test_live_objects_in_plain_data_are_neither_copied_nor_taken_for_changed(checked: EventBus) -> None:
    """A copy of an event of the loop is no event; such a one failed when it was thrown away."""
    heard: list[object] = []
    checked.observe("checked.live", heard.append)
    live = NamedEvent("checked.live", {"done": anyio.Event(), "thing": object(), "numbers": [1]})

    await checked.aemit(live)

    assert heard == [live]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["numbers"].append(2),
        lambda data: data["set"].add(2),
        lambda data: data["bytes"].extend(b"2"),
        lambda data: data["queue"].append(2),
        lambda data: setattr(data["inner"], "port", 2),
        lambda data: data.pop("numbers"),
    ],
    ids=["list", "set", "bytes", "deque", "dataclass", "dict"],
)
def test_whatever_changes_within_plain_data_is_found(checked: EventBus, change: Callable[[Any], object]) -> None:
    """However deep it is."""

    @dataclass
    class Inner:
        port: int

    data = {"numbers": [1], "set": {1}, "bytes": bytearray(b"1"), "queue": deque([1]), "inner": Inner(1)}
    checked.observe("checked.deep", lambda event: change(event.data))

    with pytest.raises(ChainContractError, match="it changed the event under way"):
        checked.emit(NamedEvent("checked.deep", data))


def test_an_event_that_holds_itself_is_not_compared(checked: EventBus) -> None:
    data: dict[str, Any] = {}
    data["self"] = data
    checked.listen("checked.circle", lambda event, next_fn: next_fn(event))

    assert checked.emit(NamedEvent("checked.circle", data)).data is data
