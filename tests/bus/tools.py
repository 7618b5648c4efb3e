"""Events, subscribers and worlds that the tests of the bus share."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import trio.lowlevel
from tests.support import virtual_time as virtual_time  # noqa: PLC0414 -- tests of the bus find all of it here
from trio.testing import MockClock

from plugbus import Event, EventBus, ListenerFailed, Owner, Request, event

BACKENDS = ("asyncio", "trio")
SECONDS = 20  # an upper bound that only a deadlock reaches
marks = [pytest.mark.anyio, pytest.mark.timeout(SECONDS * 2)]


class Ping(Event, name="tools.ping"):
    """An event without a key; *trail* is where listeners leave their mark."""

    number: int = 0
    trail: tuple[str, ...] = ()


class SubPing(Ping, name="tools.ping.sub"):
    """A subclass, which listeners of Ping get too."""


class Pong(Event, name="tools.pong"):
    """Another event."""

    number: int = 0


class Keyed(Event, name="tools.keyed", key="shop"):
    """An event that subscriptions may filter by shop."""

    shop: str | None = "berlin"
    number: int = 0


class Ask(Request[str], name="tools.ask"):
    """A request that is answered with a str."""

    number: int = 0
    trail: tuple[str, ...] = ()


class KeyedAsk(Request[str], name="tools.keyed_ask", key="kind"):
    """A request with one handler per kind."""

    kind: str | None = "customer"


@event(name="tools.live")
@dataclass
class Live:
    """A live object: a dataclass, which can change under way."""

    items: list[str]


class Boom(Exception):
    """An ordinary failure."""


# ------------------------------------------------------------------------------------------------ worlds


@dataclass(frozen=True)
class World:
    """One way to emit: sync or async, with which loop, from which thread."""

    name: str
    emit: Callable[[EventBus, Any], Any]
    call: Callable[[EventBus, Any], Any]
    asynchronous: bool = False

    def __repr__(self) -> str:
        return self.name


def run(backend: str, fn: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run an async function in a loop of its own, bounded in time."""

    async def bounded() -> Any:
        with anyio.fail_after(SECONDS):
            return await fn(*args)

    return anyio.run(bounded, backend=backend)


def _awaiting(backend: str) -> World:
    def emit(bus: EventBus, message: Any) -> Any:
        return run(backend, bus.aemit, message)

    def call(bus: EventBus, message: Any) -> Any:
        return run(backend, bus.acall, message)

    return World(f"aemit-{backend}", emit, call, asynchronous=True)


def _from_thread(backend: str) -> World:
    """A sync emit on a worker thread of a running loop."""

    def emit(bus: EventBus, message: Any) -> Any:
        return run(backend, anyio.to_thread.run_sync, bus.emit, message)

    def call(bus: EventBus, message: Any) -> Any:
        return run(backend, anyio.to_thread.run_sync, bus.call, message)

    return World(f"worker-thread-{backend}", emit, call)


def _by_portal(backend: str) -> World:
    """A sync emit on a thread that no loop knows, on a bus that has a portal."""

    def within(bus: EventBus, send: Callable[[Any], Any], message: Any) -> Any:
        with anyio.from_thread.start_blocking_portal(backend) as portal:
            bus.attach_portal(portal)
            try:
                return send(message)
            finally:
                bus.attach_portal(None)

    def emit(bus: EventBus, message: Any) -> Any:
        return within(bus, bus.emit, message)

    def call(bus: EventBus, message: Any) -> Any:
        return within(bus, bus.call, message)

    return World(f"portal-{backend}", emit, call)


def _emit(bus: EventBus, message: Any) -> Any:
    return bus.emit(message)


def _call(bus: EventBus, message: Any) -> Any:
    return bus.call(message)


SYNC = World("emit", _emit, _call)
WORLDS = (SYNC, *map(_awaiting, BACKENDS))
EVERY_WORLD = (*WORLDS, *map(_from_thread, BACKENDS), *map(_by_portal, BACKENDS))

in_every_world = pytest.mark.parametrize("world", EVERY_WORLD, ids=repr)
in_worlds = pytest.mark.parametrize("world", WORLDS, ids=repr)
sync_or_async = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def clock_by_hand(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Run an async test on trio with a clock that only :func:`pass_time` moves: threads take the time they need."""
    backend = ("trio", {"clock": MockClock()})
    return pytest.mark.parametrize("anyio_backend", [pytest.param(backend, id="trio-by-hand")])(test)


def pass_time(seconds: float) -> None:
    """Let the clock of a test :func:`clock_by_hand` jump."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    clock.jump(seconds)


class HandClock:
    """A Clock whose time passes when the test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self.seconds, dt.UTC)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await anyio.lowlevel.checkpoint()


# ------------------------------------------------------------------------------------------- subscribers


def coloured(fn: Callable[..., Any], *, asynchronous: bool) -> Callable[..., Any]:
    """*fn*, a sync listener, handler or observer, as it is or as an async function of the same parameters.

    An async listener gets a ``next_fn`` to await, so *fn* may be a generator: ``yield event`` is ``next_fn(event)``.
    """
    listener = len(inspect.signature(fn).parameters) == 1 and inspect.isgeneratorfunction(fn)
    if listener:
        return _async_listener(fn) if asynchronous else _sync_listener(fn)
    if not asynchronous:
        return fn

    async def wrapped(message):
        return fn(message)

    return functools.update_wrapper(wrapped, fn, assigned=("__name__", "__qualname__", "__module__"), updated=())


def _sync_listener(fn: Callable[..., Any]) -> Callable[..., Any]:
    def listener(message, next_fn):
        steps = fn(message)
        try:
            wanted = next(steps)
            while True:
                try:
                    result = next_fn(wanted)
                except Exception as error:
                    wanted = steps.throw(error)
                else:
                    wanted = steps.send(result)
        except StopIteration as stop:
            return stop.value

    return listener


def _async_listener(fn: Callable[..., Any]) -> Callable[..., Any]:
    async def listener(message, next_fn):
        steps = fn(message)
        try:
            wanted = next(steps)
            while True:
                try:
                    result = await next_fn(wanted)
                except Exception as error:
                    wanted = steps.throw(error)
                else:
                    wanted = steps.send(result)
        except StopIteration as stop:
            return stop.value

    return listener


def tracer(name: str, trace: list[str], *, asynchronous: bool = False) -> Callable[..., Any]:
    """A listener that passes everything on and writes ``>name`` on the way in, ``<name`` on the way out."""

    def steps(message):
        trace.append(f">{name}")
        result = yield message
        trace.append(f"<{name}")
        return result

    return coloured(steps, asynchronous=asynchronous)


def noting(name: str, trace: list[str], *, asynchronous: bool = False) -> Callable[..., Any]:
    """An observer that writes its name."""

    def observer(message):
        trace.append(name)

    return coloured(observer, asynchronous=asynchronous)


def raising(error: BaseException, *, asynchronous: bool = False) -> Callable[..., Any]:
    """A handler or observer that fails."""

    def fails(message):
        raise error

    return coloured(fails, asynchronous=asynchronous)


def raising_listener(error: BaseException, *, after: bool = False, asynchronous: bool = False) -> Callable[..., Any]:
    """A listener that fails before or after it called ``next_fn``."""

    def steps(message):
        if after:
            yield message
        raise error
        yield

    return coloured(steps, asynchronous=asynchronous)


def vetoes(error: BaseException) -> Callable[..., Any]:
    """Alias that reads better where the error is a refusal."""
    return raising_listener(error)


def failures(bus: EventBus) -> list[ListenerFailed]:
    """A list that fills with what the bus announces about failed observers."""
    seen: list[ListenerFailed] = []
    bus.observe(ListenerFailed, seen.append, name="failures")
    return seen


def plugin(bus: EventBus, id: str, *, thread_limit: int = 8) -> tuple[Owner, EventBus]:
    """An active owner and its view of the bus."""
    owner = Owner(id, thread_limit=thread_limit)
    view = bus.view(owner)
    bus.activate(owner)
    return owner, view


# ------------------------------------------------------------------------------------------------ threads


class Hops:
    """Counts the hops to worker threads, by wrapping ``anyio.to_thread.run_sync``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = anyio.to_thread.run_sync

        @functools.wraps(original)
        async def counting(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return await original(*args, **kwargs)

        monkeypatch.setattr(anyio.to_thread, "run_sync", counting)


class Gate:
    """A place where a worker thread stops until the test opens it; knows who arrived."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.arrivals = 0
        self._open = threading.Event()

    def wait(self) -> None:
        """Stop here, on a worker thread, until :meth:`open`."""
        self.arrivals += 1
        self.arrived.release()
        if not self._open.wait(SECONDS):
            raise TimeoutError("nobody opened the gate")

    def open(self) -> None:
        self._open.set()

    def wait_for_arrivals_sync(self, count: int = 1) -> None:
        for _ in range(count):
            if not self.arrived.acquire(timeout=SECONDS):
                raise TimeoutError("nobody came to the gate")

    async def wait_for_arrivals(self, count: int = 1) -> None:
        """Wait without blocking the loop until *count* more threads stand here."""
        limiter = anyio.CapacityLimiter(1)
        await anyio.to_thread.run_sync(self.wait_for_arrivals_sync, count, abandon_on_cancel=True, limiter=limiter)


@contextlib.contextmanager
def opening(gate: Gate) -> Iterator[Gate]:
    """Open the gate at the end whatever happens, so that no failed test leaves a thread behind."""
    try:
        yield gate
    finally:
        gate.open()


def in_threads(*targets: Callable[[], object]) -> None:
    """Run each target on its own thread, all at once, and raise the first error of any."""
    errors: list[BaseException] = []
    barrier = threading.Barrier(len(targets))

    def guarded(target: Callable[[], object]) -> None:
        try:
            barrier.wait(SECONDS)
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS * 2)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
