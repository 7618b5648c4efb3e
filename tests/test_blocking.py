"""The detector of blocking calls itself: what it finds, and what it lets pass."""

from __future__ import annotations

import importlib
import socket
import sys
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread
from tests.blocking import BlockingCallError, detect_blocking_calls
from tests.support import virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.may_block("brings its own detector")]


def connect() -> None:
    with socket.socket() as client:
        client.connect(("127.0.0.1", 9))


@pytest.mark.parametrize(
    "block",
    [
        lambda: time.sleep(0.001),
        lambda: open(__file__),  # noqa: PTH123, SIM115
        lambda: socket.getaddrinfo("localhost", 80),
        connect,
        lambda: threading.Event().wait(0.001),
        lambda: Future().result(0.001),
    ],
    ids=["sleep", "open", "resolve", "connect", "event", "future"],
)
async def test_a_blocking_call_on_the_loop_raises_and_is_noted(block: Callable[[], object]) -> None:
    """Both: whoever swallows the error still fails the test."""
    with detect_blocking_calls() as found, pytest.raises(BlockingCallError, match="test_blocking"):
        block()

    assert len(found) == 1


async def test_a_worker_thread_may_block() -> None:
    """Blocking is what worker threads are for; starting one is no blocking call either."""
    with detect_blocking_calls() as found:
        await to_thread.run_sync(time.sleep, 0.001)
        await to_thread.run_sync(connect_refused)

    assert found == []


def connect_refused() -> None:
    with pytest.raises(OSError, match="refused"):
        connect()


def test_a_thread_without_a_loop_may_block() -> None:
    """A sync test is no event loop."""
    with detect_blocking_calls() as found:
        time.sleep(0.001)

    assert found == []


async def test_importing_and_sleeping_zero_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Machinery reads files where nobody asked for it."""
    await anyio.Path(tmp_path / "imported_by_a_test.py").write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)

    with detect_blocking_calls() as found:
        module = importlib.import_module("imported_by_a_test")
        time.sleep(0)  # noqa: ASYNC251 -- zero does not block
    sys.modules.pop("imported_by_a_test")

    assert (module.x, found) == (1, [])


@virtual_time
async def test_virtual_time_costs_nothing() -> None:
    """An hour passes at once on the virtual clock, which only trio has."""
    began = time.monotonic()

    await anyio.sleep(3600)

    assert time.monotonic() - began < 30
