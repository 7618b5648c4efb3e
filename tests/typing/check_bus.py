"""What emit, call and the decorators promise to a type checker; run by mypy --strict and pyright, not by pytest.

A line with ``type: ignore`` is a mistake that both must find: mypy's warn_unused_ignores fails where it does not.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import assert_type

from plugbus import (
    AsyncNextFn,
    Breaker,
    Event,
    EventBus,
    Listener,
    NamedEvent,
    NextFn,
    Request,
    Subscription,
    answers,
    event,
    listens,
    observes,
    replace,
)


class Placed(Event, name="typing.placed", key="shop"):
    """An event."""

    shop: str
    number: int = 0


class Other(Event):
    """Another event."""


class Receipt(Event):
    """What the request is answered with."""


class BigReceipt(Receipt):
    """A more special answer."""


class Place(Request[Receipt], name="typing.place"):
    """A request."""

    customer: str


class Ask(Request[str | None]):
    """A request whose answer may be None."""


@event(name="typing.setup", sticky=True)
@dataclass
class Setup:
    """A live object."""

    app: list[str]


bus = EventBus()

# ------------------------------------------------------------------------------------------ emit and call


def check_emit() -> None:
    assert_type(bus.emit(Placed(shop="a")), Placed)
    assert_type(bus.emit(Setup([])), Setup)
    assert_type(bus.emit(NamedEvent("a.b", {})), NamedEvent)


async def check_aemit() -> None:
    assert_type(await bus.aemit(Placed(shop="a")), Placed)
    assert_type(await bus.aemit(Setup([])), Setup)


def check_call() -> None:
    assert_type(bus.call(Place(customer="a")), Receipt)
    assert_type(bus.call(Ask()), str | None)


async def check_acall() -> None:
    assert_type(await bus.acall(Place(customer="a")), Receipt)
    assert_type(await bus.acall(Ask()), str | None)


def check_an_event_is_not_called() -> None:
    bus.call(Placed(shop="a"))  # type: ignore[arg-type]
    bus.call("text")  # type: ignore[arg-type]


async def check_an_event_is_not_acalled() -> None:
    await bus.acall(Placed(shop="a"))  # type: ignore[arg-type]


def check_replace() -> None:
    assert_type(replace(Placed(shop="a"), number=2), Placed)
    assert_type(replace(Setup([]), app=["x"]), Setup)


# ------------------------------------------------------------------------------------------------ listeners


class Audit(Listener[Placed]):
    """Both colours."""

    def handle(self, event: Placed, next_fn: NextFn[Placed]) -> Placed:
        assert_type(next_fn(event), Placed)
        return next_fn(event)

    async def ahandle(self, event: Placed, next_fn: AsyncNextFn[Placed]) -> Placed:
        assert_type(await next_fn(event), Placed)
        return await next_fn(event)


class Sync(Listener[Placed]):
    """One colour is complete."""

    def handle(self, event: Placed, next_fn: NextFn[Placed]) -> Placed:
        return next_fn(replace(event, number=1))


class Async(Listener[Placed]):
    """So is the other."""

    async def ahandle(self, event: Placed, next_fn: AsyncNextFn[Placed]) -> Placed:
        return await next_fn(event)


class Guard(Listener[Place, Receipt]):
    """A listener of a request names the result too."""

    def handle(self, event: Place, next_fn: NextFn[Place, Receipt]) -> Receipt:
        assert_type(next_fn(event), Receipt)
        return next_fn(event)

    async def ahandle(self, event: Place, next_fn: AsyncNextFn[Place, Receipt]) -> Receipt:
        return await next_fn(event)


class WrongEvent(Listener[Placed]):
    """It listens to Placed and handles Other."""

    def handle(self, event: Other, next_fn: NextFn[Other]) -> Other:  # type: ignore[override]
        return next_fn(event)


class ForgotTheResult(Listener[Placed]):
    """It gives back None."""

    def handle(self, event: Placed, next_fn: NextFn[Placed]) -> None:  # type: ignore[override]
        next_fn(event)


class ForgotToReturn(Listener[Placed]):
    """It has no return at all."""

    def handle(self, event: Placed, next_fn: NextFn[Placed]) -> Placed:  # type: ignore[return]
        next_fn(event)


class ForgotToAwait(Listener[Placed]):
    """It gives back a coroutine."""

    async def ahandle(self, event: Placed, next_fn: AsyncNextFn[Placed]) -> Placed:
        return next_fn(event)  # type: ignore[return-value]


def listener(event: Placed, next_fn: NextFn[Placed]) -> Placed:
    return next_fn(event)


async def alistener(event: Placed, next_fn: AsyncNextFn[Placed]) -> Placed:
    return await next_fn(event)


def any_listener(event: Event, next_fn: NextFn[Event]) -> Event:
    return next_fn(event)


def request_listener(event: Place, next_fn: NextFn[Place, Receipt]) -> Receipt:
    return next_fn(event)


def check_listen() -> None:
    assert_type(bus.listen(Placed, Audit()), Subscription)
    bus.listen(Placed, Audit, priority=50, before=["billing"], after=[Sync], where=lambda e: e.number > 0, key="a")
    bus.listen(Placed, listener, on_error="skip", timeout_seconds=2.0, breaker=Breaker(failures=3), name="x")
    bus.listen(Placed, alistener)
    bus.listen(Placed, lambda event, next_fn: next_fn(event))
    bus.listen(Place, Guard())
    bus.listen(Place, request_listener)
    bus.listen("typing.*", any_listener)
    bus.listen([Placed, Other], any_listener)


def check_wrong_listeners() -> None:
    bus.listen(Other, Audit())  # type: ignore[arg-type]
    bus.listen(Other, listener)  # type: ignore[arg-type]
    bus.listen(Placed, handler)  # type: ignore[arg-type]
    bus.listen(Placed, observer)  # type: ignore[arg-type]
    bus.listen(Placed, listener, prioritty=5)  # type: ignore[call-overload]
    bus.listen(Placed, listener, on_error="log")  # type: ignore[call-overload]


# --------------------------------------------------------------------------------- handlers and observers


def handler(request: Place) -> Receipt:
    return Receipt()


async def ahandler(request: Place) -> Receipt:
    return Receipt()


def special_handler(request: Place) -> BigReceipt:
    return BigReceipt()


def wrong_handler(request: Place) -> int:
    return 5


async def wrong_ahandler(request: Place) -> int:
    return 5


def with_service(request: Place, number: int) -> Receipt:
    return Receipt()


def observer(event: Placed) -> None: ...


async def aobserver(event: Placed) -> None: ...


def any_observer(event: object) -> None: ...


def other_observer(event: Other) -> None: ...


def check_answer() -> None:
    assert_type(bus.answer(Place, handler), Subscription)
    bus.answer(Place, ahandler, key="a", run_in="loop")
    bus.answer(Place, special_handler)
    bus.answer(Place, lambda request: Receipt())
    bus.answer(Ask, lambda request: None)
    bus.answer(Place, with_service)
    bus.answer(Place, partial(with_service, number=1))


def check_wrong_answers() -> None:
    bus.answer(Place, wrong_handler)  # type: ignore[arg-type]
    bus.answer(Place, wrong_ahandler)  # type: ignore[arg-type]
    bus.answer(Placed, observer)  # type: ignore[arg-type]
    bus.answer(Ask, handler)  # type: ignore[arg-type]


def check_observe() -> None:
    assert_type(bus.observe(Placed, observer), Subscription)
    bus.observe(Placed, aobserver, on_error="raise", inside=True)
    bus.observe(Placed, any_observer)
    bus.observe(Placed, lambda event: event.number)
    bus.observe([Placed, Other], any_observer)
    bus.observe("typing.*", any_observer, where=lambda event: True)
    bus.observe(Setup, lambda setup: setup.app.append("x"))


def check_wrong_observers() -> None:
    bus.observe(Placed, other_observer)  # type: ignore[arg-type]
    bus.observe(Placed, lambda event: event.nubmer)  # pyright: ignore[reportAttributeAccessIssue]
    bus.observe(Placed, observer, on_error="skip")  # type: ignore[call-overload]


def check_subscription() -> None:
    with bus.observe(Placed, observer) as subscription:
        assert_type(subscription, Subscription)
    subscription.close()
    subscription()


# ----------------------------------------------------------------------------------------------- decorators


@listens(Placed, priority=5)
def decorated_listener(event: Placed, next_fn: NextFn[Placed]) -> Placed:
    return next_fn(event)


@answers(Place)
async def decorated_handler(request: Place) -> Receipt:
    return Receipt()


@observes(Placed, where=lambda event: event.number > 0)
def decorated_observer(event: Placed, number: int = 5) -> None: ...


@observes("typing.*")
def decorated_pattern(event: NamedEvent) -> None: ...


class Plugin:
    """Methods are decorated too."""

    @answers(Place)
    def place(self, request: Place) -> Receipt:
        return Receipt()

    @observes(Placed)
    async def told(self, event: Placed) -> None: ...

    @listens(Placed)
    async def wrap(self, event: Placed, next_fn: AsyncNextFn[Placed]) -> Placed:
        return await next_fn(event)

    @answers(Place)  # type: ignore[arg-type]
    def wrong(self, request: Place) -> int:
        return 5


def check_decorated_functions_keep_their_type() -> None:
    sync: Callable[[Placed, NextFn[Placed]], Placed] = decorated_listener
    asynchronous: Callable[[Place], Awaitable[Receipt]] = decorated_handler
    assert_type(sync(Placed(shop="a"), lambda event: event), Placed)
    decorated_observer(Placed(shop="a"), number=3)
    decorated_observer(Placed(shop="a"), number="x")  # type: ignore[arg-type]
    assert_type(Plugin().place(Place(customer="a")), Receipt)
    del asynchronous


@answers(Place)  # type: ignore[arg-type]
def decorated_wrong_handler(request: Place) -> int:
    return 5


@answers(Placed)  # type: ignore[arg-type]
def decorated_handler_of_an_event(request: Placed) -> Placed:
    return request


# -------------------------------------------------------------------------------------------------- streams


async def check_streams() -> None:
    async with bus.stream(Placed, max_buffer=10, overflow="drop_oldest") as events:
        async for event_ in events:
            assert_type(event_, Placed)
    assert_type(await bus.wait_for(Placed, where=lambda event: event.number > 0, timeout_seconds=5), Placed)
    bus.stream(Placed, overflow="explode")  # type: ignore[call-overload]
