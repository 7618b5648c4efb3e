"""Who acts and what runs, handed in."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio import fail_after
from tests.bus.tools import Ask, Ping, World, in_every_world, sync_or_async

import plugbus
from plugbus import (
    Current,
    EventBus,
    Kernel,
    NoPrincipalError,
    Plugin,
    Principal,
    Services,
    Tasks,
    WiringError,
    acting_as,
    answers,
    carried,
)
from plugbus._context import WANTED

ANN, BOB = Principal("ann"), Principal("bob")


@pytest.fixture
def bus() -> EventBus:
    """A bus with services."""
    return EventBus(services=Services())


@sync_or_async
@in_every_world
def test_a_subscriber_is_handed_who_acts_at_each_call(world: World, asynchronous: bool, bus: EventBus) -> None:
    """Without switching anything on; where nobody acts, ``Principal | None`` is None."""
    seen: list[Principal | None] = []

    if asynchronous:

        async def observer(ping: Ping, principal: Principal | None) -> None:
            seen.append(principal)

    else:

        def observer(ping: Ping, principal: Principal | None) -> None:
            seen.append(principal)

    bus.observe(Ping, observer)
    for principal in (ANN, BOB, None):
        with acting_as(principal):
            world.emit(bus, Ping())
    world.emit(bus, Ping())

    assert seen == [ANN, BOB, None, None]
    assert not WANTED.on


@in_every_world
def test_who_cannot_do_without_a_principal_says_to_use_acting_as(world: World, bus: EventBus) -> None:
    def answer(ask: Ask, principal: Principal) -> str:
        return principal.id

    bus.answer(Ask, answer)

    with pytest.raises(NoPrincipalError, match="acting_as"):
        world.call(bus, Ask())
    with acting_as(ANN):
        assert world.call(bus, Ask()) == "ann"


def test_a_default_does_where_nobody_acts(bus: EventBus) -> None:
    def answer(ask: Ask, principal: Principal = BOB) -> str:
        return principal.id

    bus.answer(Ask, answer)

    assert bus.call(Ask()) == "bob"
    with acting_as(ANN):
        assert bus.call(Ask()) == "ann"


@in_every_world
def test_a_subscriber_is_handed_the_emit_that_runs(world: World, bus: EventBus) -> None:
    """Which switches it on, before the first emit."""

    def answer(ask: Ask, now: Current) -> str:
        return now.event

    bus.answer(Ask, answer)

    assert WANTED.on
    assert world.call(bus, Ask()) == "tools.ask"
    with pytest.raises(NoPrincipalError, match="none is running"):
        Services().get(Current)


def test_what_is_made_once_cannot_be_handed_who_acts(bus: EventBus) -> None:
    """Neither a service of the app, nor an object that lives on."""
    services = Services()

    class Shop:
        def __init__(self, principal: Principal) -> None: ...

    services.factory(Shop, Shop)

    with pytest.raises(WiringError, match="differs from call to call"):
        services.get(Shop)
    with pytest.raises(WiringError, match="differs from call to call"):
        Services().inject(Shop)
    with acting_as(ANN):
        assert services.get(Principal) == ANN
    with pytest.raises(NoPrincipalError):
        services.get(Principal)


FOUND: list[Any] = []


class Basket:
    def __init__(self, principal: Principal) -> None:
        self.owner = principal


class Shop(Plugin, id="shop"):
    def __init__(self, owner: plugbus.Owner) -> None:
        self.bound = owner.bind(self.pay)

    @answers(Ask)
    async def answer(self, ask: Ask, basket: Basket, principal: Principal) -> str:
        FOUND.append(basket.owner)
        return principal.id

    async def pay(self, principal: Principal | None) -> None:
        FOUND.append(principal)


async def _handed_in() -> list[Any]:
    """A plugin of a kernel, a service of its unit of work, a bound function, a scope opened for somebody."""
    FOUND.clear()
    async with Kernel() as kernel:
        kernel.services.factory(Basket, Basket, scope="call")
        await kernel.load(Shop)
        with acting_as(ANN):
            FOUND.append(await kernel.bus.acall(Ask()))
            await kernel.plugins["shop"].instance.bound()
        await kernel.plugins["shop"].instance.bound()
        async with kernel.services.scope({Principal: BOB}) as scope:
            FOUND.extend([await kernel.bus.acall(Ask()), await scope.aget(Principal)])
    return FOUND


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_services_of_a_call_bound_functions_and_scopes_know_who_acts(backend: str) -> None:
    """``services.scope({Principal: user})`` is acting as that user, too."""
    assert anyio.run(_handed_in, backend=backend) == [ANN, "ann", ANN, None, BOB, "bob", BOB]


@pytest.mark.anyio
async def test_who_loads_a_plugin_lends_it_nothing() -> None:
    """Neither its lifecycle methods nor the tasks that it starts act for an administrator who loads it."""
    seen: list[object] = []

    class Loaded(Plugin):
        def __init__(self, tasks: Tasks) -> None:
            self.tasks = tasks

        async def on_boot(self, principal: Principal | None) -> None:
            seen.append(principal)
            self.tasks.start(self.work)

        async def work(self) -> None:
            seen.append(carried())
            done.set()

    with fail_after(5):
        done = anyio.Event()
        async with Kernel() as kernel:
            with acting_as(Principal("boss", ["**"]), correlation_id="7f"):
                await kernel.load(Loaded)
                await done.wait()

    assert seen == [None, None]
