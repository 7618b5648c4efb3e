"""A kernel for sync code: it runs in a thread of its own, and is used from any other.

Owns that thread; in the kernel itself nothing is different.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, TypeVarTuple, final, overload

import anyio

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

    from plugbus.bus import EventBus
    from plugbus.errors import Problem
    from plugbus.health import KernelHealth
    from plugbus.kernel import Kernel
    from plugbus.plan import KernelPlan
    from plugbus.plugins import PluginRecord, Plugins
    from plugbus.services import Services

__all__ = ("KernelPortal",)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@final
class KernelPortal:
    """A kernel as sync code sees it: the same names, without ``await``.

    Made by :meth:`Kernel.portal`. Use it with ``with``; or, if it is lazy, just use it: it starts on first use and
    shuts down when the main thread ends.

    Args:
        kernel: The kernel, not started.
        again: Makes another one like it, for a process that was forked from one in which it had been started.
        lazy: Start on first use.
        backend: The event loop.

    Raises:
        KernelStartError: On entering, or on first use, as of the kernel.

    Example:
        >>> from plugbus import Kernel, Plugin
        >>> class Shop(Plugin): ...
        >>> with Kernel(plugins=[Shop]).portal() as kernel:
        ...     print(kernel.plugins["shop"])
        shop 0: ready
    """

    def __init__(
        self,
        kernel: Kernel,
        again: Callable[[], Kernel],
        *,
        lazy: bool = False,
        backend: Literal["asyncio", "trio"] = "asyncio",
    ) -> None:
        self._kernel, self._again, self._lazy, self._backend = kernel, again, lazy, backend
        self._portal: BlockingPortal | None = None
        self._stop: anyio.Event | None = None
        self._ended: Future[None] = Future()
        self._lock = threading.RLock()
        if lazy and hasattr(os, "register_at_fork"):
            forked = weakref.WeakMethod(self._forked)
            os.register_at_fork(after_in_child=lambda: (call := forked()) and call())

    def _forked(self) -> None:
        """Begin anew in a child process, in which the parent's threads do not exist."""
        self._lock = threading.RLock()
        if self._portal is not None:
            self._portal = self._stop = None
            self._kernel = self._again()

    def _started(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None and not self._lazy:
                raise RuntimeError("the kernel is not running; use `with kernel.portal() as kernel`")
            if self._portal is not None:
                return self._portal
            portal = self._start()
            threading.Thread(target=self._close_at_exit, name="plugbus exit").start()
            return portal

    def _start(self) -> BlockingPortal:
        """Start a thread for the kernel and wait until it is ready; anyio's own does not survive a fork."""
        started: Future[BlockingPortal] = Future()
        self._ended = Future()
        threading.Thread(target=self._run, args=(started, self._ended), name="plugbus kernel", daemon=True).start()
        try:
            self._portal = started.result()
        except BaseException:
            self._ended.result()
            raise
        return self._portal

    def _run(self, started: Future[BlockingPortal], ended: Future[None]) -> None:
        try:
            anyio.run(self._serve, started, backend=self._backend)
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody waits
            waiting: Future[Any] = ended if started.done() else started
            waiting.set_exception(error)
        finally:
            if not ended.done():
                ended.set_result(None)

    async def _serve(self, started: Future[BlockingPortal]) -> None:
        self._stop = anyio.Event()
        async with self._kernel as kernel:
            started.set_result(kernel._inner_portal())  # noqa: SLF001 - two halves of one thing
            await self._stop.wait()

    def _close_at_exit(self) -> None:
        """Wait in a thread for the main thread to end; at exit it is too late, threads are waited for first."""
        threading.main_thread().join()
        self.close()

    def close(self) -> None:
        """Shut the kernel down; again does nothing.

        Raises:
            Exception: What the kernel's own tasks raised, if they did.
        """
        with self._lock:
            portal, self._portal = self._portal, None
            if portal is not None and self._stop is not None:
                portal.call(self._stop.set)
                self._ended.result()

    def __enter__(self) -> Self:
        with self._lock:
            if self._portal is None:
                self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bus(self) -> EventBus:
        """The event bus, for sync emits and calls."""
        self._started()
        return self._kernel.bus

    @property
    def services(self) -> Services:
        """The services."""
        self._started()
        return self._kernel.services

    @property
    def plugins(self) -> Plugins:
        """All plugins by their ids."""
        self._started()
        return self._kernel.plugins

    @overload
    def call(self, call: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T: ...
    @overload
    def call(self, call: Callable[[*Ts], T], *args: *Ts) -> T: ...
    def call(self, call: Callable[[*Ts], Any], *args: *Ts) -> Any:
        """Run a function on the kernel's event loop and return its result.

        Args:
            call: An async function, or a sync one that is quick.
            args: What to call it with.

        Raises:
            Exception: What it raised.
        """
        return self._started().call(call, *args)

    def load(self, spec: object) -> PluginRecord:
        """Load one more plugin; as :meth:`Kernel.load`."""
        return self.call(self._kernel.load, spec)

    def unload(self, plugin_id: str, *, cascade: bool = False) -> tuple[str, ...]:
        """Unload a plugin; as :meth:`Kernel.unload`."""
        return self.call(partial(self._kernel.unload, plugin_id, cascade=cascade))

    def reload(self, plugin_id: str) -> PluginRecord:
        """Put a new one in the place of a plugin; as :meth:`Kernel.reload`."""
        return self.call(self._kernel.reload, plugin_id)

    def health(self) -> KernelHealth:
        """Ask each plugin how it is; as :meth:`Kernel.health`."""
        return self.call(partial(self._kernel.health))

    def check(self) -> list[Problem]:
        """Return everything that is wrong or odd; as :meth:`Kernel.check`."""
        return self._kernel.check()

    def explain(self) -> KernelPlan:
        """Return which plugins there are, and why in this order; as :meth:`Kernel.explain`."""
        return self._kernel.explain()
