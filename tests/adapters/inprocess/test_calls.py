"""``InProcess``: a kernel by wire name and plain data, on both event loops."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from decimal import Decimal

import anyio
import pytest
from tests.adapters.inprocess.shop import OrderPlaced, OrderWindow, Shop

from plugbus import (
    Conflict,
    EventTypeError,
    Invalid,
    Kernel,
    NoHandlerError,
    Problem,
    Request,
    StreamOverflowError,
    UnknownEventError,
    Veto,
)
from plugbus_adapters.client import Client
from plugbus_adapters.inprocess import InProcess, PlainStatistics

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def shop():
    with anyio.fail_after(10):
        async with Kernel(plugins=[Shop]) as kernel:
            yield kernel


async def test_a_request_is_answered_with_plain_data() -> None:
    """What comes back is what JSON would carry."""
    async with shop() as kernel:
        answer = await InProcess(kernel).call("products.create", {"id": 7, "price": "9.50"})

    assert answer == {"id": 7, "price": "9.50"}
    assert json.loads(json.dumps(answer)) == answer


async def test_an_answer_has_the_fields_of_the_declared_type_alone() -> None:
    """The handler answered with a subclass; its further field does not leak."""
    async with shop() as kernel:
        assert "margin" not in await InProcess(kernel).call("products.create", {"id": 7, "price": 1})


async def test_a_list_of_models_is_plain_all_the_way_down() -> None:
    async with shop() as kernel:
        found = await InProcess(kernel).call("products.find", {"max-items": 2})

    assert found == [{"id": 0, "price": "1"}, {"id": 1, "price": "1"}]


async def test_no_data_means_no_fields() -> None:
    async with shop() as kernel:
        assert len(await InProcess(kernel).call("products.find")) == 10


async def test_a_refusal_arrives_as_itself() -> None:
    async with shop() as kernel:
        with pytest.raises(Conflict) as caught:
            await InProcess(kernel).call("products.create", {"id": 0, "price": 1})

    assert caught.value.code == "product_exists"


async def test_invalid_data_is_refused_with_all_its_problems() -> None:
    async with shop() as kernel:
        with pytest.raises(Invalid) as caught:
            await InProcess(kernel).call("products.create", {"id": "x"})

    assert all(isinstance(problem, Problem) for problem in caught.value.problems)
    assert [problem.where for problem in caught.value.problems] == ["id", "price"]


@pytest.mark.parametrize("use", ["call", "emit"])
@pytest.mark.parametrize("carry_unknown", [False, True])
async def test_data_that_is_no_mapping_is_refused_and_no_type_error(use: str, carry_unknown: bool) -> None:
    """It may well have come from outside, where it is the sender's mistake."""
    async with shop() as kernel:
        calls = InProcess(kernel, carry_unknown=carry_unknown)
        name = "products.create" if use == "call" else "order.placed"
        with pytest.raises(Invalid) as caught:
            await getattr(calls, use)(name, [("id", 7)])

    assert caught.value.problems == (Problem("event", "must be a mapping of its fields, not list"),)
    assert name in str(caught.value)


@pytest.mark.parametrize("use", ["call", "emit"])
async def test_an_unknown_name_is_an_error_with_the_names_that_come_close(use: str) -> None:
    async with shop() as kernel:
        with pytest.raises(UnknownEventError) as caught:
            await getattr(InProcess(kernel), use)("order.palced", {})

    assert caught.value.nearest[0] == "order.placed"


async def test_an_unknown_name_is_carried_where_the_host_wants_it() -> None:
    async with shop() as kernel:
        assert await InProcess(kernel, carry_unknown=True).emit("box.sent", {"id": 1}) == {"id": 1}


async def test_an_event_cannot_be_called_and_a_request_cannot_be_emitted() -> None:
    async with shop() as kernel:
        calls = InProcess(kernel)
        with pytest.raises(EventTypeError):
            await calls.call("order.placed", {"order_id": 1})
        with pytest.raises(EventTypeError):
            await calls.emit("products.create", {"id": 1, "price": 1})


async def test_a_request_without_a_handler_says_so() -> None:
    class Lonely(Request[int], name="shop.lonely"):
        pass

    async with shop() as kernel:
        kernel.bus.declare(Lonely)
        with pytest.raises(NoHandlerError):
            await InProcess(kernel).call("shop.lonely")


async def test_an_answer_that_does_not_fit_is_a_fault_that_tells_no_values() -> None:
    """The caller learns the place, and no content that the handler let slip."""
    async with shop() as kernel:
        with pytest.raises(EventTypeError, match="does not fit Product: id") as caught:
            await InProcess(kernel).call("products.broken")

    assert "s3cret" not in str(caught.value)


async def test_an_answer_that_no_data_can_tell_is_a_fault() -> None:
    async with shop() as kernel:
        with pytest.raises(EventTypeError, match="plain data"):
            await InProcess(kernel).call("products.count")


async def test_emit_returns_what_came_out_of_the_chain() -> None:
    async with shop() as kernel:
        came_out = await InProcess(kernel).emit("order.placed", {"order_id": 1, "total": "2"})

    assert came_out == {"order_id": 1, "total": "3"}


async def test_an_alias_is_as_good_as_a_name() -> None:
    async with shop() as kernel:
        assert (await InProcess(kernel).emit("order.made", {"order_id": 1}))["order_id"] == 1


async def test_a_veto_reaches_the_emitter_as_it_is() -> None:
    async with shop() as kernel:
        with pytest.raises(Veto, match="below zero"):
            await InProcess(kernel).emit("order.placed", {"order_id": 1, "total": -1})


async def test_a_stream_tells_name_and_plain_data() -> None:
    async with shop() as kernel:
        calls = InProcess(kernel)
        async with calls.stream("order.*") as events:
            await calls.emit("order.placed", {"order_id": 1})
            told = await anext(events)

    assert (told.name, told.data) == ("order.placed", {"order_id": 1, "total": "1"})


async def test_a_stream_passes_over_live_objects_and_counts_them() -> None:
    """An event with a window handle cannot travel; the reader of ``order.*`` goes on behind it."""
    async with shop() as kernel, InProcess(kernel).stream("order.*") as events:
        await kernel.bus.aemit(OrderWindow(object()))
        await kernel.bus.aemit(OrderPlaced(order_id=2, total=Decimal(1)))

        assert (await anext(events)).data["order_id"] == 2
        assert events.statistics() == PlainStatistics(buffered=0, dropped=0, skipped=1)


async def test_a_stream_that_lags_gets_what_it_chose() -> None:
    async with shop() as kernel:
        calls = InProcess(kernel)
        async with calls.stream("order.placed", max_buffer=1) as events:
            for number in (1, 2):
                await calls.emit("order.placed", {"order_id": number})

            assert (await anext(events)).data["order_id"] == 1
            with pytest.raises(StreamOverflowError):
                await anext(events)


def asking(answer: type) -> type[Request]:
    """A class that is the same and yet another one each time, as after a reload."""

    class Ask(Request[answer], name="shop.ask"):
        pass

    return Ask


async def test_the_type_of_an_answer_is_looked_up_again_when_its_request_is_another_one() -> None:
    """A reload brings a new class under the same name; the old answer type is not used for it."""
    async with shop() as kernel:
        calls = InProcess(kernel)
        with kernel.bus.answer(asking(int), lambda _: "5"):
            assert await calls.call("shop.ask") == 5
        kernel.bus.answer(asking(str), lambda _: "five")

        assert await calls.call("shop.ask") == "five"


async def test_it_is_a_client() -> None:
    async with shop() as kernel:
        assert isinstance(InProcess(kernel), Client)
