"""P8: a request through listeners to its handler, against mediatr with as many behaviours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mediatr import Mediator  # type: ignore[import-untyped]

from benchmarks.harness import Case
from benchmarks.sides import Pair, Side, async_run, own_code
from plugbus import AsyncNextFn, EventBus, Listener, Request

COUNT = 3


class Double(Request[int], name="benchmarks.double"):
    """The request that is sent."""

    number: int


REQUEST = Double(number=21)


async def answer(request: Double) -> int:
    return request.number * 2


def listener() -> Listener[Double, int]:
    class PassThrough(Listener[Double, int]):
        @own_code
        async def ahandle(self, event: Double, next_fn: AsyncNextFn[Double, int]) -> int:
            return await next_fn(event)

    return PassThrough()


def acall() -> Side:
    bus = EventBus()
    for _ in range(COUNT):
        bus.listen(Double, listener())
    bus.answer(Double, own_code(answer))
    return Side(async_run(bus.acall, REQUEST), 42, {"ahandle": COUNT, "answer": 1})


def mediatr_sends() -> Side:
    async def behave(request: Double, next: Callable[[], Awaitable[int]]) -> int:  # noqa: A002  # its name for it
        return await next()

    behave.__annotations__["request"] = answer.__annotations__["request"] = Double  # it compares with the class itself
    for _ in range(COUNT):
        Mediator.register_behavior(own_code(behave))
    Mediator.register_handler(own_code(answer))
    return Side(async_run(Mediator().send_async, REQUEST), 42, {"behave": COUNT, "answer": 1})


def pair() -> Pair:
    return Pair(acall(), mediatr_sends())


CASES = (Case("P8", "acall, 3 listeners and a handler", "mediatr, 3 behaviours", 0.3, pair),)
