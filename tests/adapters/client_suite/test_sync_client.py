"""What every ``SyncClient`` promises, in process and over HTTP alike."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import anyio
import pytest
from tests.adapters.client_suite.peers import REFUSALS, live, opened_sync, shop_app

from plugbus import Invalid, UnknownEventError, Veto, acting_as
from plugbus_adapters.client import SyncClient


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with live(shop_app()[0]) as found:
        yield found


@pytest.fixture(params=["inprocess", "uvicorn"])
def client(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Opens one client of each kind in turn."""
    return partial(opened_sync, request.param, request.getfixturevalue("url"))


def test_calls_emits_and_refusals_are_as_in_async_code(client: Callable[..., Any]) -> None:
    with client() as bus:
        assert isinstance(bus, SyncClient)
        assert bus.call("products.create", {"id": 7, "price": "9.50"}) == {"id": 7, "price": "9.50"}
        assert bus.emit("order.placed", {"order_id": 1})["total"] == "1"
        with pytest.raises(Veto):
            bus.emit("order.placed", {"order_id": 1, "total": -1})
        with pytest.raises(Invalid):
            bus.call("products.create", {})
        with pytest.raises(UnknownEventError):
            bus.emit("order.palced")
        for how in ("not_found", "unavailable"):
            with pytest.raises(type(REFUSALS[how])) as caught:
                bus.call("shop.refuse", {"how": how})
            assert caught.value.retry_after_seconds == REFUSALS[how].retry_after_seconds


def test_many_threads_may_use_one(client: Callable[..., Any]) -> None:
    with client() as bus, ThreadPoolExecutor(4) as threads:
        answers = threads.map(lambda number: bus.call("products.create", {"id": number})["id"], range(50))

        assert list(answers) == list(range(50))


def test_the_correlation_id_in_force_goes_along(client: Callable[..., Any]) -> None:
    with client() as bus, acting_as(None, correlation_id="order-7"):
        assert bus.call("shop.belonging") == "order-7"


def test_a_stream_is_read_in_another_thread_than_the_emitters(client: Callable[..., Any]) -> None:
    with client() as bus, bus.stream("order.*", timeout_seconds=10) as events:
        emitting = threading.Thread(target=bus.emit, args=("order.paid", {"order_id": 3}))
        emitting.start()
        told = next(events)
        emitting.join()

    assert (told.name, told.data) == ("order.paid", {"order_id": 3})


def test_a_stream_goes_on_after_a_time_limit(client: Callable[..., Any]) -> None:
    """Nothing came in time; what comes later is not lost."""
    with client() as bus, bus.stream("order.*", timeout_seconds=0.01) as events:
        with pytest.raises(TimeoutError, match="no event within"):
            next(events)
        bus.emit("order.paid", {"order_id": 3})
        for _ in range(1000):
            try:
                told = next(events)
            except TimeoutError:
                continue
            break

    assert told.data == {"order_id": 3}


def test_on_an_event_loop_a_stream_is_refused(client: Callable[..., Any]) -> None:
    """It would stand still."""

    async def use(bus: Any) -> None:
        with pytest.raises(RuntimeError, match="event loop"), bus.stream("order.*"):
            pass

    with client() as bus:
        anyio.run(use, bus)
