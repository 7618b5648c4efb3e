"""What every ``Client`` promises, in process and over HTTP alike: code moves by changing one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import pytest
from tests.adapters.client_suite.peers import REFUSALS, live, opened, shop_app, until

from plugbus import (
    EventTypeError,
    Invalid,
    NoHandlerError,
    Problem,
    StreamOverflowError,
    UnknownEventError,
    Veto,
    acting_as,
)
from plugbus_adapters.client import Client

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A real server, the same for all tests of this module."""
    with live(shop_app()[0]) as found:
        yield found


@pytest.fixture(params=["inprocess", "asgi", "uvicorn"])
def client(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Opens one client of each kind in turn."""
    found = request.getfixturevalue("url") if request.param == "uvicorn" else ""
    return partial(opened, request.param, found)


async def test_it_is_a_client(client: Callable[..., Any]) -> None:
    async with client() as bus:
        assert isinstance(bus, Client)


async def test_a_request_is_answered_with_plain_data(client: Callable[..., Any]) -> None:
    async with client() as bus:
        answer = await bus.call("products.create", {"id": 7, "price": "9.50"})

    assert answer == {"id": 7, "price": "9.50"}
    assert json.loads(json.dumps(answer)) == answer


async def test_no_data_means_no_fields_and_an_alias_is_as_good_as_a_name(client: Callable[..., Any]) -> None:
    async with client() as bus:
        assert isinstance(await bus.call("shop.belonging"), str)
        assert (await bus.call("products.make", {"id": 3}))["id"] == 3


@pytest.mark.parametrize("how", REFUSALS)
async def test_a_refusal_arrives_as_itself(client: Callable[..., Any], how: str) -> None:
    """Class, reason, code, each problem, and when to try again; a class of the service's own as the one it is of."""
    raised = REFUSALS[how]
    async with client() as bus:
        with pytest.raises(type(raised) if how != "own" else Veto) as caught:
            await bus.call("shop.refuse", {"how": how})

    found = caught.value
    assert (found.reason, found.code, found.problems, found.retry_after_seconds) == (
        raised.reason, raised.code, raised.problems, raised.retry_after_seconds,
    )  # fmt: skip


async def test_invalid_data_is_refused_with_all_its_problems(client: Callable[..., Any]) -> None:
    async with client() as bus:
        with pytest.raises(Invalid) as caught:
            await bus.call("products.create", {"id": "x", "price": "y"})

    assert [problem.where for problem in caught.value.problems] == ["id", "price"]


@pytest.mark.parametrize(("use", "name"), [("call", "products.create"), ("emit", "order.placed")])
async def test_data_that_is_no_mapping_is_refused(client: Callable[..., Any], use: str, name: str) -> None:
    async with client() as bus:
        with pytest.raises(Invalid) as caught:
            await getattr(bus, use)(name, [("id", 7)])

    assert caught.value.problems == (Problem("event", "must be a mapping of its fields, not list"),)


@pytest.mark.parametrize("use", ["call", "emit"])
@pytest.mark.parametrize("name", ["order.palced", "no name", "../health", "a?b=c", ""])
async def test_an_unknown_name_is_an_error_that_tells_it(client: Callable[..., Any], use: str, name: str) -> None:
    async with client() as bus:
        with pytest.raises(UnknownEventError) as caught:
            await getattr(bus, use)(name, {})

    assert caught.value.name == name


async def test_an_event_cannot_be_called_and_a_request_cannot_be_emitted(client: Callable[..., Any]) -> None:
    async with client() as bus:
        with pytest.raises((EventTypeError, UnknownEventError)):
            await bus.call("order.placed", {"order_id": 1})
        with pytest.raises((EventTypeError, UnknownEventError)):
            await bus.emit("products.create", {"id": 1})


async def test_a_request_without_a_handler_says_so(client: Callable[..., Any]) -> None:
    async with client() as bus:
        with pytest.raises(NoHandlerError) as caught:
            await bus.call("shop.lonely")

    assert caught.value.event == "shop.lonely"


async def test_emit_returns_what_came_out_of_the_chain(client: Callable[..., Any]) -> None:
    async with client() as bus:
        came_out = await bus.emit("order.made", {"order_id": 1, "total": "2"})

    assert (came_out["order_id"], came_out["total"]) == (1, "3")


async def test_a_veto_reaches_the_emitter_as_it_is(client: Callable[..., Any]) -> None:
    async with client() as bus:
        with pytest.raises(Veto, match="below zero"):
            await bus.emit("order.placed", {"order_id": 1, "total": -1})


async def test_an_unknown_name_is_carried_where_that_is_wanted(client: Callable[..., Any]) -> None:
    async with client(carry_unknown=True) as bus, bus.stream("box.*") as events:
        assert await bus.emit("box.sent", {"id": 1}) == {"id": 1}
        told = await anext(events)

    assert (told.name, told.data) == ("box.sent", {"id": 1})


async def test_the_correlation_id_in_force_goes_along(client: Callable[..., Any]) -> None:
    async with client() as bus, bus.stream("order.placed") as events:
        with acting_as(None, correlation_id="4bf92f3577b34da6a3ce929d0e0e4736"):
            called = await bus.call("shop.belonging")
            emitted = await bus.emit("order.placed", {"order_id": 1})
        told = await anext(events)

    assert {called, emitted["belongs_to"], told.data["belongs_to"]} == {"4bf92f3577b34da6a3ce929d0e0e4736"}


async def test_a_stream_tells_name_and_plain_data_in_order(client: Callable[..., Any]) -> None:
    """Whatever is emitted from entering on, of all that was asked for."""
    async with client() as bus, bus.stream(["order.placed", "order.paid", "*.paid"]) as events:
        for number in range(3):
            await bus.emit("order.placed", {"order_id": number})
            await bus.emit("order.paid", {"order_id": number})
        told = [await anext(events) for _ in range(6)]

    assert [(event.name, event.data["order_id"]) for event in told] == [
        (name, number) for number in range(3) for name in ("order.placed", "order.paid")
    ]
    assert told[0].data["total"] == "1"


async def test_a_stream_passes_over_live_objects(client: Callable[..., Any]) -> None:
    async with client() as bus, bus.stream("order.*") as events:
        await bus.call("shop.open_window")
        await bus.emit("order.paid", {"order_id": 2})

        assert (await anext(events)).data == {"order_id": 2}


@pytest.mark.parametrize(("overflow", "kept"), [("error", [0, 1]), ("drop_oldest", [2, 3]), ("drop_newest", [0, 1])])
async def test_a_stream_that_lags_gets_what_it_chose(
    client: Callable[..., Any], overflow: str, kept: list[int]
) -> None:
    async with client() as bus, bus.stream("order.paid", max_buffer=2, overflow=overflow) as events:
        for number in range(4):
            await bus.emit("order.paid", {"order_id": number})
        lost = 1 if overflow == "error" else 2
        await until(lambda: events.statistics().dropped >= lost)

        assert [(await anext(events)).data["order_id"] for _ in kept] == kept
        if overflow == "error":
            with pytest.raises(StreamOverflowError) as caught:
                await anext(events)
            assert caught.value.max_buffer == 2
        else:
            assert events.statistics().dropped == 2


@pytest.mark.parametrize("wrong", [{"max_buffer": 0}, {"overflow": "wait"}])
async def test_what_no_stream_can_do_is_refused_at_once(client: Callable[..., Any], wrong: dict[str, Any]) -> None:
    async with client() as bus:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            bus.stream("order.*", **wrong)


@pytest.mark.parametrize("wrong", ["a b", "order..placed", ""])
async def test_what_is_neither_name_nor_pattern_is_refused(client: Callable[..., Any], wrong: str) -> None:
    async with client() as bus:
        with pytest.raises(EventTypeError):
            async with bus.stream(wrong):
                pass


async def test_what_a_block_raises_leaves_its_stream_as_it_is(client: Callable[..., Any]) -> None:
    async with client() as bus:
        with pytest.raises(KeyError, match="mine"):
            async with bus.stream("order.*"):
                raise KeyError("mine")


async def test_a_stream_can_be_cancelled_while_it_waits(client: Callable[..., Any]) -> None:
    async with client() as bus:
        with anyio.move_on_after(0.05) as scope:
            async with bus.stream("order.*") as events:
                await anext(events)

        assert scope.cancelled_caught
        assert (await bus.call("products.create", {"id": 1}))["id"] == 1
