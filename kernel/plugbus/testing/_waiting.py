"""Wait until something has come to be true, or until everything that an emit caused is done."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Final, TypeVar, final

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread

from plugbus.errors import NotSettledError

if TYPE_CHECKING:
    from plugbus.instrument import Watched
    from plugbus.kernel import Kernel
    from plugbus.portal import KernelPortal


async def settle(kernel: Kernel | KernelPortal, *, timeout_seconds: float = 5.0) -> None:
    """Wait until nothing is left of what emits caused: background observers, their retries, and posted events.

    What they cause in turn is waited for too. Tasks that plugins started themselves are not: they may run for ever;
    nor are readers of streams, nor threads that overran their time. From sync code, with a kernel in a thread of its
    own: ``portal.call(settle, portal)``.

    Args:
        kernel: The kernel, started, on this event loop or another; or its portal.
        timeout_seconds: How long to wait at most, in seconds of the event loop.

    Raises:
        NotSettledError: If something was still waiting or running then.

    Example:
        >>> import anyio
        >>> from plugbus import Event, Kernel, Plugin, observes
        >>> class Tick(Event): ...
        >>> class Shop(Plugin):
        ...     @observes(Tick, background=True)
        ...     async def note(self, tick: Tick) -> None:
        ...         await anyio.lowlevel.checkpoint()
        ...         print("noted")
        >>> async def main() -> None:
        ...     async with Kernel(plugins=[Shop]) as kernel:
        ...         await kernel.bus.aemit(Tick())
        ...         await settle(kernel)
        ...         print("settled")
        >>> anyio.run(main)
        noted
        settled
    """
    runner = kernel.bus._core.background  # noqa: SLF001 - the test kit belongs to the kernel
    if runner is not None:
        wait = partial(runner.wait_idle, None, timeout_seconds, shield=False)
        elsewhere = runner.elsewhere
        if elsewhere is None:
            await wait()
        else:
            there = partial(anyio.from_thread.run, wait, token=elsewhere)
            await anyio.to_thread.run_sync(there, abandon_on_cancel=True)
    left = tuple(unsettled(kernel))
    if left:
        raise NotSettledError(timeout_seconds, left)


def unsettled(kernel: Kernel | KernelPortal) -> list[str]:
    """Say what waits or runs in the background."""
    return [
        f"{name} of {plugin}: {work.depth} waiting, {work.running} running"
        for plugin, statistics in kernel.bus.statistics().plugins.items()
        for name, work in statistics.background.items()
        if work.depth or work.running
    ]


T = TypeVar("T")

_LOOK_AGAIN_SECONDS: Final = 0.05
_SEEN: Final = 5
_TURNS: Final = 30


async def until(kernel: Kernel, predicate: Callable[[], T], *, timeout_seconds: float = 5.0) -> T:
    """Wait until a predicate holds; it is asked at once, and again whenever something happens in the kernel.

    That is when an emit or a subscriber ends, in the background too; what happens without the bus, such as in a task
    or another thread, is seen within 0.05 seconds.

    Args:
        kernel: The kernel, started.
        predicate: Called without arguments, on the loop; what it raises passes through.
        timeout_seconds: How long to wait at most, in seconds of the event loop.

    Returns:
        What the predicate returned.

    Raises:
        AssertionError: If it did not hold in time; the message says what happened meanwhile.
        TypeError: If the predicate is async.

    Example:
        >>> import anyio
        >>> from plugbus import Event, Kernel, Plugin, observes
        >>> class Tick(Event): ...
        >>> class Shop(Plugin):
        ...     def __init__(self) -> None:
        ...         self.noted = 0
        ...
        ...     @observes(Tick, background=True)
        ...     async def note(self, tick: Tick) -> None:
        ...         self.noted += 1
        >>> async def main() -> None:
        ...     async with Kernel(plugins=[Shop]) as kernel:
        ...         shop = kernel.plugins["shop"].instance
        ...         await kernel.bus.aemit(Tick())
        ...         print(await until(kernel, lambda: shop.noted))
        >>> anyio.run(main)
        1
    """
    watcher = _Watcher()
    with kernel.bus.instrument(watcher), anyio.move_on_after(timeout_seconds):
        for turn in itertools.count():
            if found := _asked(predicate):
                return found
            # What was under way before the watcher came is not seen by it; most of that needs a few turns of the loop.
            await (anyio.lowlevel.checkpoint() if turn < _TURNS else watcher.wait())
    if found := _asked(predicate):
        return found
    raise AssertionError(_told(kernel, predicate, timeout_seconds, watcher.seen))


def _asked(predicate: Callable[[], T]) -> T:
    found = predicate()
    if isawaitable(found):
        close = getattr(found, "close", None)
        if close is not None:
            close()  # or Python warns that nobody awaited it
        raise TypeError(f"until: {_name(predicate)} is async; pass a plain function")
    return found


def _told(kernel: Kernel, predicate: Callable[[], object], seconds: float, seen: list[str]) -> str:
    happened = f"the last emits were {', '.join(seen)}" if seen else "nothing was emitted meanwhile"
    left = "; ".join(unsettled(kernel))
    waiting = f"; in the background there is {left}" if left else ""
    return f"until: {_name(predicate)} does not hold after {seconds:g} s; {happened}{waiting}"


def _name(predicate: Callable[[], object]) -> str:
    """Say which predicate it is; a lambda has no better name than its place."""
    code = getattr(predicate, "__code__", None)
    name = getattr(predicate, "__qualname__", repr(predicate))
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if code else name


@final
class _Watcher:
    """The instrument: notes that something ended."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._happened, self._thread = anyio.Event(), threading.get_ident()

    async def wait(self) -> None:
        """Wait until something happened since the last time, or for a moment."""
        with anyio.move_on_after(_LOOK_AGAIN_SECONDS):
            await self._happened.wait()
        self._happened = anyio.Event()

    def enter(self, what: Watched, event: object, /) -> None:
        """Only ends are of interest."""

    def leave(self, what: Watched, token: object, error: BaseException | None, /) -> None:
        """Note an end."""
        del token
        if what.kind == "emit":
            told = what.event if error is None else f"{what.event} ({type(error).__name__})"
            self.seen[:] = [*self.seen, told][-_SEEN:]
        if threading.get_ident() == self._thread:  # an event of the loop is not to be set from other threads
            self._happened.set()
