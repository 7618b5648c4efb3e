"""The moments between a request and its worker: cancelled before a thread was free, before a process was there."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.bus.test_processes import children, gone

from plugbus import PluginGoneError
from plugbus._workers import pool as pools
from plugbus._workers.pool import Pool
from plugbus._workers.process import Lost, Worker

REQUEST = pickle.dumps((os.path.basename, "/a/b", None))


@pytest.fixture
def pool() -> Iterator[Pool]:
    before, pool = children(), Pool("shop")
    yield pool
    pool.close_idle()
    gone(before)


def test_a_job_that_is_cancelled_before_a_thread_is_free_takes_no_worker(pool: Pool) -> None:
    """There is nothing to wait for."""
    before = children()
    job = pools._Job(pool, REQUEST)

    assert job.cancel() is False
    assert job.run() == (b"", 0)
    assert children() == before


def test_a_job_that_is_cancelled_while_its_worker_starts_ends_it(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    job = pools._Job(pool, REQUEST)
    take = pool.take

    def cancelled_meanwhile(_: Pool) -> Worker:
        worker = take()
        assert job.cancel() is True
        return worker

    monkeypatch.setattr(Pool, "take", cancelled_meanwhile)
    with pytest.raises(Lost) as caught:
        job.run()

    assert caught.value.args == (-9,)


def test_a_worker_that_has_answered_a_cancelled_job_is_not_used_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been killed, or is about to be."""
    pool.users = 1
    job = pools._Job(pool, REQUEST)
    ask = Worker.ask

    def cancelled_afterwards(worker: Worker, request: bytes) -> bytes:
        reply = ask(worker, request)
        job.cancel()
        return reply

    monkeypatch.setattr(Worker, "ask", cancelled_afterwards)
    before = children()
    reply, pid = job.run()

    assert pickle.loads(reply) == (True, "b", "")
    assert pid not in children() | before


@pytest.mark.parametrize("left", [0, 1])
def test_a_worker_that_warms_up_outlives_the_job_that_it_was_started_for(pool: Pool, tmp_path: Path, left: int) -> None:
    """A time limit below the time to start would let none ever answer; those that warm up for nobody are limited."""
    pool.users, pool._limit = 1, 1
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if left:
        other = Worker()
        pool.leave_warming(other)
        other.end()
    job = pools._Job(pool, REQUEST, pickle.dumps((Path.read_text, pipe, None)))
    with ThreadPoolExecutor() as threads:
        ran = threads.submit(job.run)
        with pipe.open("w"):  # it reads, until this is closed
            waits = job.cancel()
            if left:
                with pytest.raises(Lost):
                    ran.result(10)
        if not left:
            assert ran.result(10) == (b"", 0)

    assert waits is bool(left)
    assert len(pool._idle) == 1 - left
    if not left:
        warm = pool._idle[0].pid
        reply, pid = pools._Job(pool, REQUEST, b"not sent again").run()
        assert (pickle.loads(reply), pid) == ((True, "b", ""), warm)


def test_a_worker_that_was_started_while_its_plugin_left_is_ended(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()

    def left_meanwhile() -> Worker:
        pool._ended = True
        return Worker()

    monkeypatch.setattr(pools, "Worker", left_meanwhile)
    with pytest.raises(PluginGoneError):
        pool.take()

    assert children() == before
