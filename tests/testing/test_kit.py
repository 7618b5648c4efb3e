"""The test kit: what is captured, how time moves, what takes turns, which plugins conform."""

from __future__ import annotations

import functools
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import anyio
import pytest
from anyio import create_task_group, fail_after, to_thread
from anyio.abc import TaskGroup
from tests.support import virtual_time

from plugbus import (
    Breaker,
    Clock,
    Event,
    EventBus,
    Kernel,
    KernelStartError,
    ListenerFailed,
    Manifest,
    NextFn,
    NotSettledError,
    Plugin,
    PluginState,
    Request,
    Retry,
    Tasks,
    Veto,
    event,
    mark,
    observes,
    provides,
    replace,
)
from plugbus.testing import (
    Captured,
    Conformance,
    FakeClock,
    KernelFactory,
    PluginConformance,
    capture,
    interleaved,
    settle,
    until,
)

pytestmark = pytest.mark.anyio


class Paid(Event, name="kit.paid", key="shop"):
    shop: str
    cents: int = 1


class Ask(Request[int], name="kit.ask"):
    pass


class Mailer:
    def send(self) -> str:
        return "sent"


@pytest.fixture
def bus() -> EventBus:
    return EventBus()


# Until


class Counting(Plugin):
    def __init__(self) -> None:
        self.count = 0

    @observes("kit.count", background=True)
    async def add(self, event: Event) -> None:
        self.count += 1

    @observes("kit.blocking")
    def add_in_a_thread(self, event: Event) -> None:
        self.count += 1


async def test_until_returns_what_the_predicate_returned() -> None:
    """At once if it holds already, else when something that ended made it hold."""
    async with Kernel([Counting]) as kernel:
        counting = kernel.plugins["counting"].instance
        assert isinstance(counting, Counting)
        assert await until(kernel, lambda: "at once") == "at once"
        await kernel.bus.aemit_named("kit.count", {})
        assert await until(kernel, lambda: counting.count) == 1
        async with create_task_group() as tasks:
            tasks.start_soon(kernel.bus.aemit_named, "kit.blocking", {})
            assert await until(kernel, lambda: counting.count == 2)


@virtual_time
async def test_until_looks_again_when_something_happens_and_not_after_a_while() -> None:
    """No time passes on the clock, which would move on if it only looked again later."""
    async with Kernel([Counting]) as kernel:
        counting = kernel.plugins["counting"].instance
        assert isinstance(counting, Counting)
        began = anyio.current_time()
        await kernel.bus.aemit_named("kit.count", {})

        await until(kernel, lambda: counting.count)

        assert anyio.current_time() == began


@virtual_time
async def test_until_sees_what_happens_without_the_bus() -> None:
    done: list[int] = []

    async def work() -> None:
        await anyio.sleep(1)
        done.append(1)

    async with Kernel() as kernel, create_task_group() as tasks:
        tasks.start_soon(work)
        assert await until(kernel, lambda: done) == [1]
        assert anyio.current_time() < 1.1


@virtual_time
async def test_until_says_what_happened_instead() -> None:
    """Which predicate, how long, what was emitted, what still waits."""
    async with Kernel() as kernel:
        with pytest.raises(AssertionError, match=r"lambda> \(.*test_kit.py:\d+\) does not hold after 2 s; nothing was"):
            await until(kernel, lambda: False, timeout_seconds=2)
        block = anyio.Event()

        async def hang(event: object) -> None:
            await block.wait()

        async def refuse(event: object, next_fn: object) -> None:
            raise Veto("no")

        async def emit() -> None:
            await kernel.bus.aemit(Paid(shop="berlin"))
            with pytest.raises(Veto):
                await kernel.bus.aemit("text")

        kernel.bus.observe(Paid, hang, background=True, name="hang")
        kernel.bus.listen(str, refuse)
        async with create_task_group() as tasks:
            tasks.start_soon(emit)
            with pytest.raises(AssertionError, match=r"kit.paid, .*\(Veto\); in the background there is hang of host"):
                await until(kernel, lambda: None)
        block.set()


async def test_until_refuses_an_async_predicate_and_lets_errors_pass() -> None:
    async def never() -> bool:
        return False

    def fail() -> bool:
        raise LookupError("no shop")

    async with Kernel() as kernel:
        with pytest.raises(TypeError, match=r"never .* is async; pass a plain function"):
            await until(kernel, never)
        with pytest.raises(LookupError, match="no shop"):
            await until(kernel, fail)


# Capture


async def test_capture_sees_what_came_out_of_the_chain(bus: EventBus) -> None:
    """Changed as it was changed; neither what was vetoed nor what failed."""

    def change(event: Paid, next_fn: NextFn[Paid]) -> Paid:
        if event.shop == "closed":
            raise Veto("closed")
        return next_fn(replace(event, cents=2))

    bus.listen(Paid, change)

    with capture(bus, Paid) as seen:
        bus.emit(Paid(shop="berlin"))
        await bus.aemit(Paid(shop="paris"))
        with pytest.raises(Veto):
            bus.emit(Paid(shop="closed"))

    assert seen == [Paid(shop="berlin", cents=2), Paid(shop="paris", cents=2)]


async def test_capture_takes_types_names_and_patterns_and_requests(bus: EventBus) -> None:
    """Without any it takes everything; afterwards nothing more."""
    bus.answer(Ask, lambda ask: 3)
    with capture(bus) as everything, capture(bus, "kit.*") as ours, capture(bus, Ask, str) as some:
        bus.emit(Paid(shop="berlin"))
        bus.emit("text")
        bus.call(Ask())
    bus.emit("later")

    assert list(everything) == [Paid(shop="berlin"), "text", Ask()]
    assert list(ours) == [Paid(shop="berlin"), Ask()]
    assert some[:] == ["text", Ask()]
    assert some.of(Ask) == [Ask()]
    assert len(bus.subscriptions()) == 1


async def test_an_event_is_captured_once_whatever_it_is_meant_by(bus: EventBus) -> None:
    """By its type, its base class and a pattern at once."""
    with capture(bus, Event, Paid, "kit.*") as seen:
        bus.emit(Paid(shop="berlin"))

    assert seen == [Paid(shop="berlin")]


async def test_sticky_events_of_earlier_are_not_captured(bus: EventBus) -> None:
    """They passed before; what passes within the block is there."""

    @event(name="kit.setup", sticky=True)
    class Setup(NamedTuple):
        number: int

    bus.emit(Setup(1))
    with capture(bus) as seen:
        bus.emit(Setup(2))

    assert seen == [Setup(2)]


async def test_what_was_captured_reads_like_a_list() -> None:
    """Equal to a list, printed like one, and emptied on demand."""
    bus = EventBus()
    with capture(bus, str) as seen:
        bus.emit("one")
        assert repr(seen) == "Captured(['one'])"
        assert seen == ["one"]
        assert seen != ["two"]
        seen.clear()
        assert seen == Captured()


# The clock


async def test_time_stands_still_until_it_is_moved_on() -> None:
    """Sleepers wake in the order of their times, each at its own."""
    clock, woken = FakeClock(datetime(2026, 5, 1, tzinfo=UTC)), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.monotonic()))

    with fail_after(5):
        async with create_task_group() as group:
            for seconds in (30, 10, 20):
                group.start_soon(sleeper, seconds)
            await clock.advance(5)
            assert (woken, clock.sleeping) == ([], 3)
            await clock.advance(15)
            assert woken == [(10, 10), (20, 20)]
            await clock.advance(10)

    assert woken[-1] == (30, 30)
    assert clock.now() == datetime(2026, 5, 1, tzinfo=UTC) + timedelta(seconds=30)
    assert isinstance(clock, Clock)


async def test_who_sleeps_again_is_woken_again_on_the_way() -> None:
    """One step over an hour is sixty steps of a minute for who sleeps by the minute."""
    clock, ticks = FakeClock(), []

    async def by_the_minute() -> None:
        while True:
            await clock.sleep(60)
            ticks.append(clock.monotonic())

    with fail_after(5):
        async with create_task_group() as group:
            group.start_soon(by_the_minute)
            await clock.advance(3600)
            group.cancel_scope.cancel()

    assert ticks == [60.0 * minute for minute in range(1, 61)]
    assert clock.sleeping == 0


async def test_a_fake_clock_goes_only_on() -> None:
    """Sleeping no time lets others run; a time without a zone, or backwards, is refused."""
    clock = FakeClock()
    with fail_after(5):
        await clock.sleep(0)

    with pytest.raises(ValueError, match="does not go back"):
        await clock.advance(-1)
    with pytest.raises(ValueError, match="time zone"):
        FakeClock(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the mistake


# Kernels


class Shop(Plugin):
    def __init__(self, mailer: Mailer, clock: Clock) -> None:
        self.mailer, self.clock = mailer, clock


async def test_the_fixture_makes_kernels_with_fakes(kernel_factory: KernelFactory) -> None:
    """Services and the clock are what the test says, and subscribers are checked."""
    fake, clock = Mailer(), FakeClock()

    async with kernel_factory(Shop, overrides={Mailer: fake}, clock=clock) as kernel:
        shop = kernel.plugins["shop"].instance
        assert (shop.mailer, shop.clock) == (fake, clock)
        kernel.bus.listen(str, lambda event, next_fn: None)
        with pytest.raises(Exception, match="return"):
            kernel.bus.emit("lost")


@pytest.mark.parametrize("given", ["clock", "overrides"])
async def test_a_breaker_goes_by_the_clock_of_the_test(kernel_factory: KernelFactory, given: str) -> None:
    """As retries do."""
    clock, calls = FakeClock(), []

    class Failing(Plugin):
        @observes(Paid, breaker=Breaker(failures=1, cooldown_seconds=60))
        async def note(self, event: Paid) -> None:
            calls.append(clock.monotonic())
            raise ConnectionError("again")

    options: Any = {"clock": clock} if given == "clock" else {"overrides": {Clock: clock}}
    async with kernel_factory(Failing, **options) as kernel:
        for _ in range(2):
            await kernel.bus.aemit(Paid(shop="berlin"))
        await clock.advance(60)
        await kernel.bus.aemit(Paid(shop="berlin"))

    assert calls == [0, 60]


async def test_a_plugin_that_does_not_boot_fails_the_test(kernel_factory: KernelFactory) -> None:
    """Unless the test says that it may."""

    class Broken(Plugin):
        async def on_boot(self) -> None:
            raise ConnectionError("no database")

    with pytest.raises(KernelStartError, match="no database"):
        async with kernel_factory(Broken):
            pass
    async with kernel_factory(Broken, required=()) as kernel:
        assert kernel.plugins["broken"].state is PluginState.FAILED


@pytest.fixture
def filed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """Name a plugin whose manifest is a file beside it."""
    folder = tmp_path / "kit_filed"
    folder.mkdir()
    (folder / "__init__.py").write_text("from plugbus import Plugin\nclass Filed(Plugin):\n    pass\n")
    (folder / "manifest.toml").write_text('id = "filed"\nversion = "1.0.0"\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "kit_filed", raising=False)
    return "kit_filed:Filed"


async def test_a_kernel_is_made_without_opening_a_file(kernel_factory: KernelFactory, filed: str) -> None:
    """On the loop of a test, where a blocking call fails it: manifests are read at the start, in a thread."""
    async with kernel_factory(filed) as kernel:
        assert kernel.plugins["filed"].state is PluginState.READY


async def test_overrides_end_with_the_factory() -> None:
    """What was built with a fake is cleaned up with it."""
    events = []

    def fake():
        yield Mailer()
        events.append("closed")

    with KernelFactory() as kernels:
        async with kernels(Shop, overrides={Mailer: fake}):
            pass

    assert events == ["closed"]


# Settling


class Digest(Plugin):
    def __init__(self) -> None:
        self.seen: list[str] = []

    @observes(Paid, background=True)
    async def first(self, event: Paid) -> None:
        await anyio.lowlevel.checkpoint()
        self.seen.append(event.shop)

    @observes("kit.late", background=True, retry=Retry(attempts=3, delay_seconds=10, jitter=False))
    async def second(self, event) -> None:
        self.seen.append("late")
        raise ConnectionError("again")


async def test_settle_waits_for_everything_that_an_emit_caused(kernel_factory: KernelFactory) -> None:
    """Background observers, and what was posted by them."""

    class Chained(Digest, id="digest"):
        def __init__(self, bus: EventBus) -> None:
            super().__init__()
            self.bus = bus

        @observes(str, background=True)
        async def start(self, event: str) -> None:
            self.bus.post(Paid(shop=event))

    async with kernel_factory(Chained) as kernel:
        await kernel.bus.aemit("berlin")
        await settle(kernel)

        assert kernel.plugins["digest"].instance.seen == ["berlin"]


async def test_settle_says_what_did_not_settle(kernel_factory: KernelFactory) -> None:
    """A retry that waits on the clock is named; time moved on, all is settled."""
    clock = FakeClock()
    async with kernel_factory(Digest, clock=clock, drain_seconds=0.1) as kernel:
        await kernel.bus.aemit_named("kit.late", {})
        with pytest.raises(NotSettledError, match="second of digest: 1 waiting") as caught:
            await settle(kernel, timeout_seconds=0.05)
        assert "advance" in str(caught.value)

        with capture(kernel.bus, ListenerFailed) as failed:
            await clock.advance(1000)
            await settle(kernel)

        assert kernel.plugins["digest"].instance.seen == ["late"] * 3
        assert [failure.attempt for failure in failed] == [3]


@pytest.mark.parametrize("here", ["asyncio", "trio"])
@pytest.mark.parametrize("there", ["asyncio", "trio"])
def test_settle_waits_for_a_kernel_on_another_loop(here: Any, there: Any) -> None:
    """As soon as it has settled, whichever of the two kinds either loop is; from sync code through the portal."""
    with KernelFactory() as kernels, kernels(Digest).portal(backend=there) as kernel:

        async def settled() -> None:
            with fail_after(5):
                await settle(kernel, timeout_seconds=60)

        for shop in ("berlin", "paris"):
            kernel.bus.emit(Paid(shop=shop))
            anyio.run(settled, backend=here)
            assert kernel.plugins["digest"].instance.seen[-1] == shop
        kernel.bus.emit(Paid(shop="rome"))
        kernel.call(settle, kernel)
        assert kernel.plugins["digest"].instance.seen[-1] == "rome"


@virtual_time
async def test_settle_can_be_cancelled(kernel_factory: KernelFactory) -> None:
    """Whoever waits may have less time than it."""
    async with kernel_factory(Digest, clock=FakeClock(), drain_seconds=0.1) as kernel:
        await kernel.bus.aemit_named("kit.late", {})
        began = anyio.current_time()
        with anyio.move_on_after(1):
            await settle(kernel, timeout_seconds=60)

        assert anyio.current_time() - began == pytest.approx(1)


# Interleavings


async def emitted_in(seed: int) -> list[str]:
    bus, order = EventBus(), []
    bus.observe(str, lambda event: order.append(event), run_in="caller")
    with interleaved(bus, seed):
        async with create_task_group() as group:
            for name in "abcd":
                group.start_soon(bus.aemit, name)
    return order


async def test_seeds_give_orders() -> None:
    """Many seeds show many orders; each emit is there once in each."""
    orders = [await emitted_in(seed) for seed in range(40)]

    assert len(set(map(tuple, orders))) > 5
    assert all(sorted(order) == list("abcd") for order in orders)


async def test_one_seed_is_one_order_on_asyncio(anyio_backend_name: str) -> None:
    """So that a failure comes again; trio shuffles tasks itself, so there it is only likely."""
    if anyio_backend_name == "asyncio":
        assert [await emitted_in(7) for _ in range(5)] == [await emitted_in(7)] * 5


async def test_sync_emits_take_turns_too(bus: EventBus) -> None:
    """Above and below, and nothing stays behind."""
    bus.listen(str, lambda event, next_fn: next_fn(event))
    with interleaved(bus, 3):
        assert bus.emit("text") == "text"
        assert len(bus.subscriptions()) == 3

    assert len(bus.subscriptions()) == 1


# Conformance


class Good(Plugin):
    manifest = Manifest(id="good", subscribes=["kit.*"], publishes=[], permissions=[])

    def __init__(self, mailer: Mailer, tasks: Tasks) -> None:
        self.mailer, self.tasks = mailer, tasks

    async def on_boot(self) -> None:
        self.tasks.start(anyio.sleep_forever)

    @observes(Paid)
    def note(self, event: Paid) -> None:
        pass


class Catalog(Plugin):
    @provides
    def catalog(self) -> set:
        return {"tea"}


async def test_a_good_plugin_conforms() -> None:
    """Alone, with fakes; and with what it needs."""

    class Reader(Plugin):
        manifest = Manifest(id="reader", requires=["catalog"])

        def __init__(self, catalog: set) -> None:
            self.catalog = catalog

    assert await Conformance(Good, fakes={Mailer: Mailer()}).problems() == []
    assert await Conformance(Reader, needs=[Catalog]).problems() == []


async def test_conformance_names_what_does_not_hold() -> None:
    """Each fault is found by its check."""
    kept = []

    class Alone(Plugin):
        def __init__(self, mailer: Mailer) -> None: ...

    class Leaking(Plugin):
        def __init__(self) -> None:
            kept.append(self)

    class Undeclared(Plugin):
        manifest = Manifest(id="undeclared", subscribes=["other.*"])

        @observes(Paid)
        def note(self, event: Paid) -> None: ...

    for plugin, said in [(Alone, "boots_alone"), (Leaking, "leaves_no_trace"), (Undeclared, "keeps_to_its_manifest")]:
        problems = await Conformance(plugin).problems()
        assert said in " ".join(map(str, problems))


async def test_what_is_odd_but_allowed_does_not_break_conformance() -> None:
    """A mark that nobody reads, say; ``check`` reports it, and does not call it wrong."""

    class Odd(Plugin):
        @mark("nobody reads this")
        def tidy(self) -> None: ...

    assert [problem.fatal for problem in await to_thread.run_sync(Kernel([Odd]).check)] == [False]
    assert await Conformance(Odd).problems() == []


def leak_thread(stack: ExitStack, _: object) -> None:
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait, name="leaked", args=(30,))
    thread.start()
    stack.callback(thread.join)
    stack.callback(ended.set)


def leak_task(_: ExitStack, group: TaskGroup) -> None:
    group.start_soon(anyio.sleep_forever, name="leaked")


def leak_process(stack: ExitStack, _: object) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=stack.enter_context(open_pipe()))
    stack.callback(child.wait)
    stack.callback(child.kill)


@contextmanager
def open_pipe() -> Iterator[int]:
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def leak_socket(stack: ExitStack, _: object) -> None:
    stack.enter_context(socket.socket())


def leak_handler(stack: ExitStack, _: object) -> None:
    log, handler = logging.getLogger("kit"), logging.StreamHandler()
    log.addHandler(handler)
    stack.callback(log.removeHandler, handler)


def leak_variable(*_: object) -> None:
    os.environ["KIT_LEAKED"] = "secret"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells of child processes")
@pytest.mark.may_block("it starts processes")
@pytest.mark.parametrize(
    ("leak", "told"),
    [
        (leak_thread, "thread 'leaked'"),
        (leak_task, "task 'leaked'"),
        (leak_process, "child process "),
        (leak_socket, "open file 'socket:"),
        (leak_handler, "log handler <StreamHandler"),
        (leak_variable, "variable KIT_LEAKED"),
    ],
)
async def test_conformance_finds_what_stays_in_the_process(leak: Callable[..., Any], told: str) -> None:
    """Where no kernel sees it; each at the next load at the latest, and values of variables are not told."""
    with ExitStack() as stack:
        async with create_task_group() as group:

            class Leaking(Plugin, id="leaking"):
                async def on_boot(self) -> None:
                    leak(stack, group)

            problems = await Conformance(Leaking).problems()
            group.cancel_scope.cancel()

        [problem] = problems

        assert problem.message.startswith(f"leaves_no_trace: unloaded, 'leaking' leaves {told}")
        assert "secret" not in str(problem)
    assert "KIT_LEAKED" not in os.environ


@pytest.mark.may_block("it waits for a thread")
async def test_what_a_library_sets_up_once_is_no_trace() -> None:
    """A thread that stays for whoever uses the library next belongs to nobody's plugin."""
    with ExitStack() as stack:
        once = functools.cache(leak_thread)

        class Using(Plugin, id="using"):
            async def on_boot(self) -> None:
                once(stack, None)

        assert await Conformance(Using).problems() == []


async def test_other_plugins_of_the_environment_are_not_taken_for_the_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell may name some that a service wants everywhere."""
    monkeypatch.setenv("PLUGBUS_PLUGINS", f"{__name__}:Catalog")

    assert await Conformance(Good, fakes={Mailer: Mailer()}).problems() == []


class TestGood(PluginConformance):
    """The same as tests of pytest."""

    plugin = Good
    fakes: ClassVar = {Mailer: Mailer()}
    backend = "trio"


USERS_TEST = """
import pytest
from plugbus import Plugin
from plugbus.testing import PluginConformance, settle

class Shop(Plugin): ...

class TestShop(PluginConformance):
    plugin = Shop

@pytest.mark.anyio
async def test_shop(kernel_factory):
    async with kernel_factory(Shop) as kernel:
        await settle(kernel)
"""


def test_the_fixture_comes_with_the_installation(tmp_path: Path) -> None:
    """A project of somebody else finds it without a conftest."""
    (tmp_path / "test_shop.py").write_text(USERS_TEST)

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        check=False, capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip

    assert "6 passed" in done.stdout, done.stdout  # four of conformance, and one on each event loop
