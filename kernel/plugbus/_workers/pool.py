"""The worker processes of one plugin: started when needed, kept while idle, gone with the plugin.

Owns their number. Why not ``anyio.to_process``: docs/adr/0012-permissions-and-worker-processes.md.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Final, final

import anyio
import anyio.to_thread

from plugbus._threads import Threads
from plugbus._workers.process import Worker
from plugbus.errors import PluginGoneError


@final
class Pool:
    """Worker processes that take turns.

    Args:
        plugin: Id of the plugin.
        limit: How many may run at once, per event loop.

    Attributes:
        users: How many subscribers use it; without any, no process is kept.
    """

    def __init__(self, plugin: str, limit: int | None = None) -> None:
        self._plugin = plugin
        self._limit: Final = limit or os.cpu_count() or 1
        self._threads: Final = Threads(plugin, self._limit)
        self._warming: set[Worker] = set()
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._ended = False
        self.users = 0
        weakref.finalize(self, _kill, self._all)  # at the latest when the interpreter ends

    async def ask(self, request: bytes, warm_up: bytes = b"") -> tuple[bytes, int]:
        """Have a request answered by a worker; a cancelled one ends its worker, and waits until that is gone.

        Args:
            request: What to send.
            warm_up: What a new worker is sent before it. Cancelled during that, the request is not sent, and the worker
                stays for the next one: else a time limit below the time to start would let none ever answer.

        Returns:
            The answer, and the id of the process that gave it.

        Raises:
            Lost: If the worker ended before it answered; the next request gets another one.
            PluginGoneError: If the plugin has left.
            OSError: If no process can be started.
        """
        job = _Job(self, request, warm_up)
        try:
            return await anyio.to_thread.run_sync(job.run, abandon_on_cancel=True, limiter=self._threads.limiter())
        except anyio.get_cancelled_exc_class():
            if job.cancel():
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(job.finished.wait)
            raise

    def take(self) -> Worker:
        """Return a worker that is idle, or a new one."""
        with self._changed:
            if self._ended:
                raise PluginGoneError(self._plugin, "a worker process")
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
                self._all.discard(worker)
                worker.end()
        worker = Worker()
        with self._changed:
            if not self._ended:
                self._all.add(worker)
                return worker
        worker.end()
        raise PluginGoneError(self._plugin, "a worker process")

    def give_back(self, worker: Worker) -> None:
        """Keep a worker for the next request, if there may be one."""
        with self._changed:
            if self.users and not self._ended:
                self._idle.append(worker)
                return
        self.discard(worker)

    def discard(self, worker: Worker) -> None:
        """End a worker."""
        worker.end()
        with self._changed:
            self._all.discard(worker)
            self._changed.notify_all()

    def leave_warming(self, worker: Worker) -> bool:
        """Let a worker get ready without anybody who waits for it, unless too many do; tell which."""
        with self._changed:
            if len(self._warming) >= self._limit or self._ended:
                return False
            self._warming.add(worker)
            return True

    def warmed(self, worker: Worker) -> None:
        """Note that a worker is ready, or gone."""
        with self._changed:
            self._warming.discard(worker)

    def close_idle(self) -> None:
        """End those that nobody uses."""
        with self._changed:
            idle, self._idle = self._idle, []
        for worker in idle:
            self.discard(worker)

    async def aclose(self) -> None:
        """End them all: the idle ones now, the others when they have answered; a cancelled one waits for no answer."""
        self._ended = True
        try:
            await anyio.to_thread.run_sync(self._wait_gone, abandon_on_cancel=True)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._kill)

    def _wait_gone(self) -> None:
        self.close_idle()
        with self._changed:
            self._changed.wait_for(lambda: not self._all)

    def _kill(self) -> None:
        with self._changed:
            left = tuple(self._all)
        for worker in left:
            worker.kill()
        self._wait_gone()


@final
class _Job:
    """One request on its way: cancelled before, while or after a worker has it."""

    __slots__ = ("_cancelled", "_lock", "_pool", "_request", "_started", "_warm_up", "_warming", "_worker", "finished")

    def __init__(self, pool: Pool, request: bytes, warm_up: bytes = b"") -> None:
        self._pool, self._request, self._warm_up = pool, request, warm_up
        self._worker: Worker | None = None
        self._warming: Worker | None = None
        self._started = self._cancelled = False
        self._lock = threading.Lock()
        self.finished = threading.Event()

    def run(self) -> tuple[bytes, int]:
        with self._lock:
            self._started = True
            if self._cancelled:  # before a thread was free
                return b"", 0
        try:
            return self._run()
        finally:
            self.finished.set()

    def _run(self) -> tuple[bytes, int]:
        worker = self._pool.take()
        if self._warm_up and not worker.warm and not self._wanted_after_warming(worker):
            return b"", 0
        with self._lock:
            self._worker = worker
            if self._cancelled:
                worker.kill()
        try:
            reply = worker.ask(self._request)
        except BaseException:
            self._hand_over(worker, self._pool.discard)
            raise
        self._hand_over(worker, self._pool.give_back)
        return reply, worker.pid

    def _wanted_after_warming(self, worker: Worker) -> bool:
        """Get a new worker ready; tell whether the request is wanted still: if not, the worker is given back."""
        with self._lock:
            if self._cancelled:  # while it was started: the caller waits for its end
                return True
            self._warming = worker
        try:
            worker.ask(self._warm_up)
        except BaseException:
            self._pool.discard(worker)
            raise
        finally:
            with self._lock:
                self._warming, cancelled = None, self._cancelled
            self._pool.warmed(worker)
        worker.warm = True
        if cancelled:
            self._pool.give_back(worker)
        return not cancelled

    def _hand_over(self, worker: Worker, to: Callable[[Worker], None]) -> None:
        with self._lock:
            self._worker, cancelled = None, self._cancelled
        (self._pool.discard if cancelled else to)(worker)  # a cancelled one has been killed

    def cancel(self) -> bool:
        """Give it up; tell whether there is anything to wait for."""
        with self._lock:
            self._cancelled = True
            if self._warming is not None:
                if self._pool.leave_warming(self._warming):
                    return False
                self._warming.kill()
            if self._worker is not None:
                self._worker.kill()
            return self._started


def _kill(workers: set[Worker]) -> None:
    for worker in workers:
        worker.kill()
        worker.end()
