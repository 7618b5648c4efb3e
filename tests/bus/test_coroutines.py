"""A sync function that returns a coroutine: nobody gets it for a result, with checks or without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.bus.tools import Ask, Ping, World, failures, in_every_world, marks

from plugbus import ChainContractError, EventBus

pytestmark = marks


async def answered(request: Ask) -> str:
    return "answer"


async def passed(event: Any, next_fn: Any) -> Any:
    return await next_fn(event)


class Client:
    async def fetch(self, event: Any) -> str:
        return "answer"

    def forgets(self, event: Any) -> Any:
        return self.fetch(event)


client = Client()


def forgets(event: Any) -> Any:
    return answered(event)


def enclosed() -> Callable[[Any], Any]:
    fetch = client.fetch
    return lambda event: fetch(event)


FORGETFUL = [lambda event: answered(event), lambda event: client.fetch(event), client.forgets, forgets, enclosed()]
in_every_way = pytest.mark.parametrize("forgetful", FORGETFUL, ids=["lambda", "method", "bound", "def", "closure"])


@in_every_world
@in_every_way
def test_the_caller_gets_no_coroutine_from_a_handler(bus: EventBus, world: World, forgetful: Any) -> None:
    """The error says who returned it and what to do."""
    bus.answer(Ask, forgetful, name="culprit")

    with pytest.raises(ChainContractError, match="subscribe the async function itself") as caught:
        world.call(bus, Ask())

    assert (caught.value.subscriber, caught.value.event) == ("culprit", "tools.ask")


@in_every_world
@in_every_way
def test_an_observer_that_returns_a_coroutine_has_failed(bus: EventBus, world: World, forgetful: Any) -> None:
    """It never ran; that is its own failure, and on record."""
    told = failures(bus)
    bus.observe(Ping, forgetful, name="culprit")

    world.emit(bus, ping := Ping())

    assert [(failure.subscriber, failure.event) for failure in told] == [("culprit", ping)]
    assert "subscribe the async function itself" in str(told[0].error)


@in_every_world
def test_a_listener_that_returns_a_coroutine_is_refused(bus: EventBus, world: World) -> None:
    bus.listen(Ping, lambda event, next_fn: passed(event, next_fn))

    with pytest.raises(ChainContractError, match="subscribe the async function itself"):
        world.emit(bus, Ping())


def test_a_quick_handler_on_the_loop_is_watched_too(bus: EventBus) -> None:
    """Without a hop there is nothing to hide a check in: only code that names an async function is watched."""
    bus.answer(Ask, lambda request: answered(request), run_in="caller")

    with pytest.raises(ChainContractError):
        bus.call(Ask())


def test_a_handler_that_says_any_says_nothing(bus: EventBus) -> None:
    """``typing.Any`` is a class, and no subclass of the result."""

    def answers(request: Ask) -> Any:
        return "answer"

    bus.answer(Ask, answers)

    assert bus.call(Ask()) == "answer"


def test_who_names_no_async_function_is_not_watched(bus: EventBus) -> None:
    """A sync emit calls exactly what was subscribed."""

    def plain(event: Ping) -> None:
        str(event)

    assert not bus.observe(Ping, plain).suspect
    assert bus._core.entry("emit", Ping, bus._owner)[1][1] == (plain,)
