"""``SyncInProcess``: the same from plain threads, with a kernel in a loop or behind its portal."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.to_thread
import pytest
from tests.adapters.inprocess.shop import Shop

from plugbus import Conflict, Invalid, Kernel, SyncEmitError, UnknownEventError
from plugbus_adapters.client import SyncClient
from plugbus_adapters.inprocess import SyncInProcess


def test_an_async_handler_answers_a_plain_thread() -> None:
    with Kernel(plugins=[Shop]).portal() as kernel:
        assert SyncInProcess(kernel).call("products.create", {"id": 7, "price": "9.50"}) == {"id": 7, "price": "9.50"}


def test_refusals_problems_and_unknown_names_are_as_in_async_code() -> None:
    with Kernel(plugins=[Shop]).portal() as kernel:
        calls = SyncInProcess(kernel)
        with pytest.raises(Conflict):
            calls.call("products.create", {"id": 0, "price": 1})
        with pytest.raises(Invalid):
            calls.emit("order.placed", {})
        with pytest.raises(UnknownEventError):
            calls.emit("order.palced", {})


def test_emit_returns_what_came_out_of_the_chain() -> None:
    with Kernel(plugins=[Shop]).portal() as kernel:
        assert SyncInProcess(kernel).emit("order.placed", {"order_id": 1})["total"] == "1"


def test_unknown_names_are_carried_where_the_host_wants_it() -> None:
    with Kernel(plugins=[Shop]).portal() as kernel:
        assert SyncInProcess(kernel, carry_unknown=True).emit("box.sent") == {}


def test_many_threads_may_use_one() -> None:
    with Kernel(plugins=[Shop]).portal() as kernel, ThreadPoolExecutor(4) as threads:
        calls = SyncInProcess(kernel)
        answers = threads.map(lambda n: calls.call("products.create", {"id": n, "price": 1})["id"], range(1, 50))

        assert list(answers) == list(range(1, 50))


def test_a_lazy_kernel_starts_with_the_first_call() -> None:
    portal = Kernel(plugins=[Shop]).portal(lazy=True)
    calls = SyncInProcess(portal)
    try:
        assert len(calls.call("products.find", {"max-items": 3})) == 3
    finally:
        portal.close()


def test_a_stream_is_read_in_another_thread_than_the_emitters() -> None:
    with Kernel(plugins=[Shop]).portal() as kernel, SyncInProcess(kernel).stream("order.*", timeout_seconds=10) as told:
        emitting = threading.Thread(target=SyncInProcess(kernel).emit, args=("order.placed", {"order_id": 3}))
        emitting.start()
        event = next(told)
        emitting.join()

    assert (event.name, event.data["order_id"]) == ("order.placed", 3)


def test_a_stream_goes_on_after_a_time_limit() -> None:
    """Nothing came in time; what comes later is not lost."""
    with Kernel(plugins=[Shop]).portal() as kernel:
        calls = SyncInProcess(kernel)
        with calls.stream("order.*", timeout_seconds=0.01) as told:
            with pytest.raises(TimeoutError, match="no event within"):
                next(told)
            calls.emit("order.placed", {"order_id": 3})

            assert next(told).data["order_id"] == 3


@pytest.mark.anyio
async def test_it_works_from_the_worker_threads_of_a_running_kernel() -> None:
    with anyio.fail_after(10):
        async with Kernel(plugins=[Shop]) as kernel:
            answer = await anyio.to_thread.run_sync(
                SyncInProcess(kernel).call, "products.create", {"id": 1, "price": 2}
            )

    assert answer["id"] == 1


@pytest.mark.anyio
async def test_a_thread_whose_loop_runs_is_told_to_use_the_async_one() -> None:
    async with Kernel(plugins=[Shop]) as kernel:
        calls = SyncInProcess(kernel)
        with pytest.raises(SyncEmitError):
            calls.call("products.create", {"id": 1, "price": 2})
        with pytest.raises(RuntimeError, match="use InProcess"), calls.stream("order.*"):
            pass


def test_it_is_a_sync_client() -> None:
    assert isinstance(SyncInProcess(Kernel()), SyncClient)
