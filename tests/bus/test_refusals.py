"""A refusal reaches the emitter as it is, whatever policy any listener has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.bus.tools import (
    Ask,
    Boom,
    Ping,
    Pong,
    World,
    failures,
    in_every_world,
    in_worlds,
    marks,
    noting,
    raising,
    raising_listener,
    run,
    sync_or_async,
    tracer,
)

from plugbus import Breaker, Conflict, EventBus, Forbidden, Invalid, NotFound, Refused, Unavailable, Veto

pytestmark = marks


class OutOfStock(Conflict):
    """A refusal of the application's own."""

    default_code = "out_of_stock"


class Bothered(Refused, ValueError):
    """A refusal that is also a built-in error."""


REFUSALS: list[BaseException] = [
    Veto("no"),
    Refused("no"),
    Forbidden("no"),
    NotFound("no"),
    Invalid("no"),
    Unavailable("no", retry_after_seconds=3),
    OutOfStock("no"),
    Bothered("no"),
    ExceptionGroup("several", [Veto("no")]),
    ExceptionGroup("several", [KeyError("x"), ExceptionGroup("deeper", [Boom("y"), OutOfStock("no")])]),
]
every_refusal = pytest.mark.parametrize(
    "refusal", REFUSALS, ids=[f"{n}-{type(error).__name__}" for n, error in enumerate(REFUSALS)]
)


@in_worlds
@sync_or_async
@every_refusal
def test_a_lenient_listeners_own_refusal_passes_its_policy(
    bus: EventBus, world: World, asynchronous: bool, refusal: BaseException
) -> None:
    trace: list[str] = []
    bus.listen(Ping, raising_listener(refusal, asynchronous=asynchronous), on_error="skip")
    bus.listen(Ping, tracer("below", trace))
    bus.observe(Ping, noting("seen", trace))

    with pytest.raises(type(refusal)) as caught:
        world.emit(bus, Ping())

    assert caught.value is refusal
    assert trace == []


@in_every_world
@sync_or_async
def test_a_refusal_after_next_fn_passes_too(bus: EventBus, world: World, asynchronous: bool) -> None:
    refusal = Veto("not like this")
    trace: list[str] = []
    bus.listen(Ping, raising_listener(refusal, after=True, asynchronous=asynchronous), on_error="skip")
    bus.observe(Ping, noting("seen", trace))

    with pytest.raises(Veto) as caught:
        world.emit(bus, Ping())

    assert caught.value is refusal
    assert trace == [], "an emit that was refused has not happened"


@in_every_world
@sync_or_async
@pytest.mark.parametrize("place", ["listener", "handler"])
def test_a_refusal_from_below_passes_every_lenient_listener(
    bus: EventBus, world: World, asynchronous: bool, place: str
) -> None:
    refusal = OutOfStock("sold")
    for colour in (False, True, False):
        bus.listen(Ask, tracer("lenient", [], asynchronous=colour), on_error="skip")
    if place == "listener":
        bus.listen(Ask, raising_listener(refusal, asynchronous=asynchronous))
    bus.answer(Ask, raising(refusal, asynchronous=asynchronous))

    with pytest.raises(OutOfStock) as caught:
        world.call(bus, Ask())

    assert caught.value is refusal
    assert (caught.value.reason, caught.value.code) == ("sold", "out_of_stock")


@in_worlds
@pytest.mark.parametrize("depth", [1, 3])
def test_a_refusal_of_a_nested_emit_passes_the_outer_policies(bus: EventBus, world: World, depth: int) -> None:
    refusal = Veto("deep down")
    trace: list[str] = []

    def nested(message, next_fn):
        bus.emit(Pong(number=message.number - 1) if message.number else Pong(number=-1))
        return next_fn(message)

    def deeper(message, next_fn):
        if message.number <= 0:
            raise refusal
        bus.emit(Pong(number=message.number - 1))
        return next_fn(message)

    bus.listen(Ping, nested, on_error="skip")
    bus.listen(Ping, tracer("below", trace))
    bus.listen(Pong, deeper, on_error="skip")

    with pytest.raises(Veto) as caught:
        world.emit(bus, Ping(number=depth))

    assert caught.value is refusal
    assert trace == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_refusal_of_a_nested_async_call_passes_too(bus: EventBus, backend: str) -> None:
    async def nested(message, next_fn):
        await bus.acall(Ask())
        return await next_fn(message)

    bus.listen(Ping, nested, on_error="skip")
    bus.answer(Ask, raising(Forbidden("you"), asynchronous=True))

    with pytest.raises(Forbidden, match="you"):
        run(backend, bus.aemit, Ping())


@in_worlds
@sync_or_async
def test_in_an_observer_a_refusal_is_an_ordinary_error(bus: EventBus, world: World, asynchronous: bool) -> None:
    refusal = Veto("too late")
    trace: list[str] = []
    seen = failures(bus)
    bus.observe(Ping, raising(refusal, asynchronous=asynchronous), name="grumpy")
    bus.observe(Ping, noting("next", trace))
    ping = Ping()

    assert world.emit(bus, ping) is ping

    assert trace == ["next"]
    assert [failure.error for failure in seen] == [refusal]


@in_worlds
@sync_or_async
def test_in_an_observer_that_raises_a_refusal_is_part_of_the_group(
    bus: EventBus, world: World, asynchronous: bool
) -> None:
    refusal = Veto("too late")
    bus.observe(Ping, raising(refusal, asynchronous=asynchronous), on_error="raise")

    with pytest.raises(ExceptionGroup) as caught:
        world.emit(bus, Ping())

    assert list(caught.value.exceptions) == [refusal]


@in_worlds
def test_a_refusal_of_an_emit_nested_in_an_observer_is_its_ordinary_error(bus: EventBus, world: World) -> None:
    seen = failures(bus)
    bus.listen(Pong, raising_listener(Veto("no pong")))
    bus.observe(Ping, lambda message: bus.emit(Pong()), name="nested")
    ping = Ping()

    assert world.emit(bus, ping) is ping
    assert [type(failure.error) for failure in seen] == [Veto]


@in_worlds
@sync_or_async
def test_a_refusal_opens_no_breaker(bus: EventBus, world: World, asynchronous: bool) -> None:
    refusal = OutOfStock("sold")
    bus.answer(Ask, raising(refusal, asynchronous=asynchronous), breaker=Breaker(failures=1, cooldown_seconds=1000))

    for _ in range(3):
        with pytest.raises(OutOfStock) as caught:
            world.call(bus, Ask())
        assert caught.value is refusal


@in_worlds
@sync_or_async
def test_a_group_with_a_refusal_opens_no_breaker(bus: EventBus, world: World, asynchronous: bool) -> None:
    refusal = ExceptionGroup("several", [Veto("no")])
    breaker = Breaker(failures=1, cooldown_seconds=1000)
    bus.listen(Ping, raising_listener(refusal, asynchronous=asynchronous), breaker=breaker)

    for _ in range(3):
        with pytest.raises(ExceptionGroup):
            world.emit(bus, Ping())


@in_worlds
@sync_or_async
def test_a_guard_fails_closed_where_it_refuses_and_open_only_where_asked(
    bus: EventBus, world: World, asynchronous: bool
) -> None:
    """The same guard, refusing or crashing: strict it stops both; lenient it stops the refusal only."""

    def guard(error: BaseException) -> Callable[..., Any]:
        return raising_listener(error, asynchronous=asynchronous)

    for error, policy, runs in [
        (Forbidden("you"), "raise", False),
        (Forbidden("you"), "skip", False),
        (Boom("crash"), "raise", False),
        (Boom("crash"), "skip", True),
    ]:
        effects: list[str] = []
        with (
            bus.listen(Ask, guard(error), on_error=policy),
            bus.answer(Ask, lambda request, effects=effects: effects.append("effect") or "done"),
        ):
            if runs:
                world.call(bus, Ask())
            else:
                with pytest.raises(type(error)):
                    world.call(bus, Ask())
        assert bool(effects) is runs, (error, policy)


@in_worlds
def test_a_refusal_keeps_its_facts(bus: EventBus, world: World) -> None:
    bus.answer(Ask, raising(Unavailable("later", code="night", retry_after_seconds=60)))

    with pytest.raises(Unavailable) as caught:
        world.call(bus, Ask())

    assert (caught.value.reason, caught.value.code, caught.value.retry_after_seconds) == ("later", "night", 60)


@in_worlds
def test_a_listener_may_catch_a_refusal_from_below(bus: EventBus, world: World) -> None:
    """Policies let it pass; code that catches it has decided so."""

    def translate(request, next_fn):
        try:
            return next_fn(request)
        except NotFound as error:
            return f"none: {error.reason}"

    bus.listen(Ask, translate)
    bus.answer(Ask, raising(NotFound("no such thing")))

    assert world.call(bus, Ask()) == "none: no such thing"
