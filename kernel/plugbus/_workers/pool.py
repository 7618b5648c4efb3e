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

__all__ = ("Pool",)


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
        self._threads: Final = Threads(plugin, limit or os.cpu_count() or 1)
        self._changed = threading.Condition()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()
        self._ended = False
        self.users = 0
        weakref.finalize(self, _kill, self._all)  # at the latest when the interpreter ends

    async def ask(self, request: bytes) -> tuple[bytes, int]:
        """Have a request answered by a worker; a cancelled one ends its worker, and waits until that is gone.

        Returns:
            The answer, and the id of the process that gave it.

        Raises:
            Lost: If the worker ended before it answered; the next request gets another one.
            PluginGoneError: If the plugin has left.
            OSError: If no process can be started.
        """
        job = _Job(self, request)
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

    __slots__ = ("_cancelled", "_lock", "_pool", "_request", "_started", "_worker", "finished")

    def __init__(self, pool: Pool, request: bytes) -> None:
        self._pool, self._request = pool, request
        self._worker: Worker | None = None
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

    def _hand_over(self, worker: Worker, to: Callable[[Worker], None]) -> None:
        with self._lock:
            self._worker, cancelled = None, self._cancelled
        (self._pool.discard if cancelled else to)(worker)  # a cancelled one has been killed

    def cancel(self) -> bool:
        """Give it up; tell whether there is anything to wait for."""
        with self._lock:
            self._cancelled = True
            if self._worker is not None:
                self._worker.kill()
            return self._started


def _kill(workers: set[Worker]) -> None:
    for worker in workers:
        worker.kill()
        worker.end()
