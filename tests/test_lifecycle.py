"""From discovered to stopped: order, parallel boot, time limits, what is heard when, shutdown."""

from __future__ import annotations

import pickle
import sqlite3
import threading
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest
from anyio import fail_after
from tests.support import virtual_time

from plugbus import (
    Event,
    EventBus,
    Kernel,
    KernelReady,
    KernelStartError,
    KernelStopping,
    Manifest,
    Plugin,
    PluginContext,
    PluginError,
    PluginFailed,
    PluginInUseError,
    PluginLoadError,
    PluginNotFoundError,
    PluginReady,
    PluginState,
    PluginTimeoutError,
    PluginUnloaded,
    hookimpl,
    listens,
    observes,
    provides,
)

pytestmark = pytest.mark.anyio


class Tick(Event, name="lifecycle.tick"):
    number: int = 0


class Database: ...


class Cache: ...


TRACE: list[str] = []


@pytest.fixture(autouse=True)
def trace() -> list[str]:
    TRACE.clear()
    return TRACE


def plugin(name: str, *requires: str, **namespace) -> type[Plugin]:
    """A plugin that notes each step of its life."""

    async def on_boot(self) -> None:
        TRACE.append(f"{name} boots")

    async def on_shutdown(self) -> None:
        TRACE.append(f"{name} stops")

    optional = namespace.pop("optional", ())
    version = namespace.pop("version", "1.0")
    manifest = Manifest(id=name, version=version, requires=requires, optional=optional)
    return type(name, (Plugin,), {"manifest": manifest, "on_boot": on_boot, "on_shutdown": on_shutdown, **namespace})


async def test_plugins_boot_after_what_they_require_and_stop_before_it() -> None:
    kernel = Kernel(plugins=[plugin("c", "b"), plugin("b", "a>=1.0"), plugin("a")])

    async with kernel:
        assert TRACE == ["a boots", "b boots", "c boots"]
        TRACE.clear()

    assert TRACE == ["c stops", "b stops", "a stops"]
    assert {record.state for record in kernel.plugins.values()} == {PluginState.STOPPED}


async def test_shutdown_is_in_reverse_order_of_booting_for_independent_plugins_too() -> None:
    async with Kernel(plugins=[plugin(name) for name in "abcde"]):
        TRACE.clear()

    assert [f"{name} stops" for name in "edcba"] == TRACE


class Giving(Plugin):
    @provides
    async def database(self) -> Database:
        TRACE.append("database")
        return Database()


class Using(Plugin):
    def __init__(self, database: Database) -> None:
        TRACE.append("using")


class UsingInBoot(Plugin):
    async def on_boot(self, database: Database) -> None:
        TRACE.append("using in boot")


class UsingInSubscriber(Plugin):
    @observes(Tick)
    async def see(self, event: Tick, database) -> None:
        TRACE.append("using in subscriber")


class UsingInProvider(Plugin):
    @provides
    def cache(self, database: Database) -> Cache:
        return Cache()


class UsingIfThere(Plugin):
    def __init__(self, database: Database | None = None) -> None:
        TRACE.append(f"there: {database is not None}")


@pytest.mark.parametrize("user", [Using, UsingInBoot, UsingInSubscriber, UsingInProvider, UsingIfThere])
async def test_a_plugin_boots_after_the_services_it_asks_for(user: type[Plugin]) -> None:
    """Wherever it asks: constructor, boot, subscriber, provider; and if it can do without, too."""
    async with Kernel(plugins=[user, Giving]) as kernel:
        steps = kernel.explain().plugins
        assert [step.id for step in steps] == ["giving", next(name for name in kernel.plugins if name != "giving")]
        assert "service" in next(iter(steps[1].after.values()))
        await kernel.bus.aemit(Tick())

    if user is UsingIfThere:
        assert TRACE == ["database", "there: True"]


async def test_a_requirement_may_be_the_name_of_a_provided_service() -> None:
    named = type("named", (Plugin,), {"manifest": Manifest(id="named", provides=["mail"])})
    needing = plugin("needing", "database", "mail")

    async with Kernel(plugins=[needing, Giving, named]) as kernel:
        assert set(kernel.plugins["needing"].needs) == {"giving", "named"}


async def test_optional_plugins_come_first_if_they_are_there_and_fit() -> None:
    first = plugin("first", optional=["second>=1", "third>=9", "nobody", "first"])

    async with Kernel(plugins=[first, plugin("second"), plugin("third")]) as kernel:
        assert TRACE.index("second boots") < TRACE.index("first boots")
        assert kernel.plugins["first"].needs == ()


async def test_a_plugin_may_require_what_it_provides_itself() -> None:
    class Both(Plugin):
        manifest = Manifest(id="both", requires=["database"])

        def __init__(self, database: Database | None = None) -> None: ...

        @provides
        def database(self) -> Database:
            return Database()

    async with Kernel(plugins=[Both]) as kernel:
        assert kernel.plugins["both"].needs == ()


async def test_circles_of_wishes_are_broken() -> None:
    async with Kernel(plugins=[plugin("a", optional=["b"]), plugin("b", optional=["c"]), plugin("c", "a")]) as kernel:
        assert {record.state for record in kernel.plugins.values()} == {"ready"}
        assert TRACE.index("a boots") < TRACE.index("c boots")


async def test_circles_of_needs_block_those_in_them_and_nobody_else() -> None:
    plugins = [plugin("a", "b"), plugin("b", "c"), plugin("c", "a"), plugin("behind", "a"), plugin("fine")]

    async with Kernel(plugins=plugins) as kernel:
        assert kernel.plugins["b"].reason == "they need each other in a circle: b -> c -> a -> b"
        assert kernel.plugins["behind"].reason.startswith("it needs a, which is blocked: they need each other")
        assert {record.id: record.state for record in kernel.plugins.values()} == {
            "a": "blocked", "b": "blocked", "c": "blocked", "behind": "blocked", "fine": "ready",
        }  # fmt: skip


@pytest.mark.parametrize(("requires", "reason"), [
    ("catalgo>=1", "it requires catalgo>=1, which is not there; did you mean 'catalog'?"),
    ("catalog>=2", "it requires catalog>=2, and catalog is 1.0"),
])  # fmt: skip
async def test_a_requirement_that_is_not_met_blocks_with_the_reason(requires: str, reason: str) -> None:
    async with Kernel(plugins=[plugin("catalog"), plugin("shop", requires)]) as kernel:
        assert (kernel.plugins["shop"].state, kernel.plugins["shop"].reason) == ("blocked", reason)
        assert kernel.plugins["catalog"].state == "ready"


async def test_a_plugin_for_another_plugbus_is_blocked() -> None:
    for versions, state in ((">=99", "blocked"), (">=0.1", "ready")):
        shop = type("shop", (Plugin,), {"manifest": Manifest(id="shop", plugbus=versions)})
        async with Kernel(plugins=[shop]) as kernel:
            assert kernel.plugins["shop"].state == state


async def test_independent_plugins_boot_in_parallel() -> None:
    """Each waits for the other: one after the other they would not come to an end."""
    events = {"a": anyio.Event(), "b": anyio.Event()}

    def meeting(me: str, other: str) -> type[Plugin]:
        async def on_boot(self) -> None:
            events[me].set()
            await events[other].wait()

        return type(me, (Plugin,), {"on_boot": on_boot})

    with fail_after(5):
        async with Kernel(plugins=[meeting("a", "b"), meeting("b", "a")]) as kernel:
            assert {record.state for record in kernel.plugins.values()} == {"ready"}


async def test_sync_lifecycle_functions_run_in_a_worker_thread_and_async_ones_on_the_loop() -> None:
    threads: dict[str, int] = {}

    class Threaded(Plugin):
        def on_boot(self) -> None:
            threads["def"] = threading.get_ident()

        async def on_ready(self) -> None:
            threads["async def"] = threading.get_ident()

        def on_shutdown(self):
            async def finish() -> None:
                threads["returned"] = threading.get_ident()

            return finish()

    async with Kernel(plugins=[Threaded]):
        pass

    here = threading.get_ident()
    assert threads["def"] != here
    assert threads["async def"] == threads["returned"] == here


@virtual_time
async def test_a_boot_that_hangs_is_cancelled_at_its_limit_and_stops_nobody_else() -> None:
    async def hang(self) -> None:
        await anyio.sleep_forever()

    plugins = [plugin("hanging", on_boot=hang), plugin("behind", "hanging"), plugin("fine")]
    start = anyio.current_time()

    async with Kernel(plugins=plugins, boot_timeout_seconds=20) as kernel:
        assert anyio.current_time() - start == pytest.approx(20)
        assert kernel.plugins["fine"].state == "ready"
        record = kernel.plugins["hanging"]
        assert (record.state, record.reason) == ("failed", "on_boot was still running after 20 s")
        assert isinstance(record.error, PluginTimeoutError)
        assert kernel.plugins["behind"].reason == "it needs hanging, which failed: on_boot was still running after 20 s"


@virtual_time
async def test_the_limit_is_for_the_whole_boot_and_names_what_hung() -> None:
    async def open_database() -> Database:
        await anyio.sleep_forever()

    kernel = Kernel(plugins=[Using], boot_timeout_seconds=3)
    kernel.services.factory(Database, open_database)

    async with kernel:
        assert kernel.plugins["using"].reason == "__init__ was still running after 3 s"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a hanging thread waits for; opened in the end, so that the test run can end."""
    event = threading.Event()
    yield event
    event.set()


async def test_a_sync_boot_that_hangs_is_abandoned_and_counted(gate: threading.Event) -> None:
    class Hanging(Plugin):
        def on_boot(self) -> None:
            gate.wait(20)

    with fail_after(15):
        async with Kernel(plugins=[Hanging, plugin("fine")], boot_timeout_seconds=0.1) as kernel:
            assert kernel.plugins["fine"].state == "ready"
            assert kernel.plugins["hanging"].reason == "on_boot was still running after 0.1 s"
            health = await kernel.health()
            assert health.plugins["hanging"].threads_abandoned == 1
            assert (health.status, health.plugins["hanging"].status) == ("degraded", "down")


class Hearing(Plugin):
    """Subscribes in each way there is, and emits while it boots."""

    def __init__(self, bus: EventBus) -> None:
        self.bus = bus
        bus.observe(Tick, lambda event: TRACE.append(f"in init {event.number}"))

    @listens(Tick)
    async def wrap(self, event, next_fn):
        TRACE.append(f"listener {event.number}")
        return await next_fn(event)

    @observes(Tick)
    async def see(self, event: Tick) -> None:
        TRACE.append(f"observer {event.number}")

    async def on_boot(self) -> None:
        self.bus.observe(Tick, lambda event: TRACE.append(f"in boot {event.number}"))
        await self.bus.aemit(Tick(number=1))
        assert TRACE == []

    async def on_ready(self) -> None:
        await self.bus.aemit(Tick(number=2))


async def test_a_plugins_subscriptions_hear_nothing_before_its_on_boot_returned() -> None:
    """And then all at once."""
    async with Kernel(plugins=[Hearing]):
        assert sorted(TRACE) == ["in boot 2", "in init 2", "listener 2", "observer 2"]


async def test_a_plugin_that_fails_to_boot_is_never_heard() -> None:
    class Failing(Hearing):
        async def on_boot(self) -> None:
            raise OSError("no")

    async with Kernel(plugins=[Failing]) as kernel:
        await kernel.bus.aemit(Tick())

    assert TRACE == []


async def test_on_ready_comes_when_every_plugin_hears() -> None:
    """What is announced there reaches those that boot later, too."""

    class Announcing(Plugin):
        async def on_ready(self, bus: EventBus) -> None:
            await bus.aemit(Tick(number=3))

    class Later(Plugin):
        manifest = Manifest(id="later", requires=["announcing"])

        @observes(Tick)
        async def see(self, event: Tick) -> None:
            TRACE.append(f"heard {event.number}")

    async with Kernel(plugins=[Announcing, Later]):
        assert TRACE == ["heard 3"]


async def test_a_plugin_that_fails_in_on_ready_is_taken_down_with_those_that_need_it() -> None:
    def on_ready(self) -> None:
        raise OSError("no network")

    plugins = [plugin("a", on_ready=on_ready), plugin("b", "a"), plugin("c", "b"), plugin("fine")]
    async with Kernel(plugins=plugins) as kernel:
        assert TRACE[-3:] == ["c stops", "b stops", "a stops"]
        assert kernel.plugins["a"].reason == "on_ready raised OSError: no network"
        assert kernel.plugins["c"].reason == "it needs b -> a, which failed: on_ready raised OSError: no network"
        assert kernel.plugins["fine"].state == "ready"
        assert kernel.plugins["a"].owns == kernel.plugins["c"].owns == ()


async def test_kernel_events_tell_what_happens() -> None:
    seen: list[Event] = []
    kernel = Kernel(plugins=[plugin("a"), plugin("b", "nobody")])
    for kind in (KernelReady, KernelStopping, PluginReady, PluginFailed, PluginUnloaded):
        kernel.bus.observe(kind, seen.append, run_in="caller")

    async with kernel:
        await kernel.load(plugin("c"))
        await kernel.unload("c")

    reason = "it requires nobody, which is not there"
    assert [event.model_dump(exclude={"boot_seconds"}) for event in seen] == [
        {"plugin": "a", "version": "1.0"},
        {"plugin": "b", "state": PluginState.BLOCKED, "reason": reason},
        {"plugins": ("a",)},
        {"plugin": "c", "version": "1.0"},
        {"plugin": "c"},
        {"reason": ""},
    ]
    assert seen[0].boot_seconds > 0


async def test_kernel_ready_is_told_to_those_who_come_later() -> None:
    class Late(Plugin):
        @observes(KernelReady)
        async def see(self, event: KernelReady) -> None:
            TRACE.append(f"ready {event.plugins}")

    async with Kernel(plugins=[plugin("a")]) as kernel:
        await kernel.load(Late)
        assert TRACE == ["a boots", "ready ('a',)"]


async def test_a_listener_of_kernel_events_that_fails_stops_nothing() -> None:
    kernel = Kernel(plugins=[plugin("a")])

    def fail(event, next_fn):
        raise OSError("no")

    kernel.bus.listen(PluginReady, fail)
    kernel.bus.listen(KernelStopping, fail)
    async with kernel:
        assert kernel.plugins["a"].state == "ready"

    assert TRACE == ["a boots", "a stops"]


async def test_load_and_unload_at_run_time() -> None:
    async with Kernel(plugins=[plugin("a")]) as kernel:
        record = await kernel.load(plugin("b", "a"))
        assert (record.state, record.boot_seconds > 0) == ("ready", True)
        assert await kernel.unload("b") == ("b",)
        assert (kernel.plugins["b"].state, kernel.plugins["b"].instance) == ("stopped", None)

    assert TRACE == ["a boots", "b boots", "b stops", "a stops"]


async def test_unload_is_refused_with_the_dependents_listed_or_takes_them_along() -> None:
    async with Kernel(plugins=[plugin("a"), plugin("b", "a"), plugin("c", "b"), plugin("d")]) as kernel:
        with pytest.raises(PluginInUseError) as caught:
            await kernel.unload("a")
        assert caught.value.dependents == ("b", "c")
        assert kernel.plugins["a"].state == "ready"

        TRACE.clear()
        assert await kernel.unload("a", cascade=True) == ("c", "b", "a")
        assert TRACE == ["c stops", "b stops", "a stops"]
        assert kernel.plugins["d"].state == "ready"


async def test_unload_of_what_is_not_there_or_does_not_run_says_so() -> None:
    async with Kernel(plugins=[plugin("shop"), plugin("b", "nobody")]) as kernel:
        with pytest.raises(PluginNotFoundError) as caught:
            await kernel.unload("shpo")
        assert caught.value.nearest == ("shop",)
        with pytest.raises(PluginError, match="it cannot be unloaded, it is blocked"):
            await kernel.unload("b")
        with pytest.raises(PluginNotFoundError):
            kernel.plugins["shpo"]


async def test_a_plugin_that_is_known_and_not_ready_can_be_tried_again_by_its_id() -> None:
    tries: list[int] = []

    async def on_boot(self) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("not yet")

    flaky = plugin("flaky", on_boot=on_boot)
    async with Kernel(plugins=[flaky]) as kernel:
        assert kernel.plugins["flaky"].state == "failed"
        assert (await kernel.load("flaky")).state == "ready"
        with pytest.raises(PluginLoadError, match="is loaded already"):
            await kernel.load("flaky")
        await kernel.unload("flaky")
        assert (await kernel.load("flaky")).state == "ready"
        assert (await kernel.load(plugin("behind", "flaky"))).state == "ready"
        assert list(kernel.plugins) == ["flaky", "behind"]


async def test_a_plugin_that_does_not_come_up_at_run_time_is_an_error_and_on_record() -> None:
    def broken(self) -> None:
        raise RuntimeError("broken")

    async with Kernel() as kernel:
        with pytest.raises(PluginError, match="on_boot raised RuntimeError: broken") as caught:
            await kernel.load(plugin("a", on_boot=broken))
        assert isinstance(caught.value.__cause__, RuntimeError)
        with pytest.raises(PluginLoadError, match="it needs a, which failed"):
            await kernel.load(plugin("b", "a"))
        assert [record.state for record in kernel.plugins.values()] == ["failed", "blocked"]


async def test_load_and_unload_need_a_running_kernel() -> None:
    kernel = Kernel()
    with pytest.raises(PluginError, match="not running"):
        await kernel.load(plugin("a"))
    async with kernel:
        pass
    with pytest.raises(PluginError, match="not running"):
        await kernel.unload("a")


async def test_a_plugin_loads_others_when_it_is_ready_and_not_while_it_boots() -> None:
    kernels: list[Kernel] = []

    async def load(self) -> None:
        await kernels[0].load(plugin("more"))

    for phase in ("on_boot", "on_ready"):
        kernels[:] = [Kernel(plugins=[plugin("loader", **{phase: load})])]
        async with kernels[0] as kernel:
            if phase == "on_boot":
                assert "do it in on_ready" in kernel.plugins["loader"].reason
            else:
                assert kernel.plugins["more"].state == "ready"


async def test_loads_that_come_at_once_happen_one_after_the_other() -> None:
    async with Kernel() as kernel:
        async with anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(kernel.load, plugin(f"p{number}"))
        assert len(kernel.plugins) == 5


@virtual_time
async def test_a_hanging_shutdown_takes_half_of_what_is_left_and_never_stops_the_rest() -> None:
    """The whole stays within drain_seconds, however many hang."""

    async def hang(self) -> None:
        await anyio.sleep_forever()

    plugins = [plugin("a"), plugin("b", on_shutdown=hang), plugin("c", on_shutdown=hang), plugin("d")]
    kernel = Kernel(plugins=plugins, drain_seconds=16)
    async with kernel:
        TRACE.clear()
        start = anyio.current_time()

    assert anyio.current_time() - start == pytest.approx(8 + 4)
    assert TRACE == ["d stops", "a stops"]
    assert kernel.plugins["c"].reason == "on_shutdown was still running after 8 s"


async def test_a_failing_shutdown_is_on_record_and_never_stops_the_rest() -> None:
    def fail(self) -> None:
        raise SystemExit("bye")

    async def close(owner) -> None:
        raise OSError("cannot close")

    def register(self, owner) -> None:
        owner.own(lambda: close(owner), what="a file")

    kernel = Kernel(plugins=[plugin("a"), plugin("b", on_shutdown=fail, on_boot=register), plugin("c")])
    async with kernel:
        TRACE.clear()

    assert TRACE == ["c stops", "a stops"]
    assert kernel.plugins["b"].state == "stopped"
    assert "on_shutdown raised SystemExit: bye" in kernel.plugins["b"].reason
    assert "cannot close" in kernel.plugins["b"].reason


async def test_shutdown_runs_in_full_when_the_body_fails_or_is_cancelled() -> None:
    async def finish(self) -> None:
        await anyio.lowlevel.checkpoint()
        TRACE.append("finished")

    with pytest.raises(ZeroDivisionError):
        async with Kernel(plugins=[plugin("a", on_shutdown=finish)]):
            raise ZeroDivisionError
    with anyio.CancelScope() as scope:
        async with Kernel(plugins=[plugin("a", on_shutdown=finish)]):
            scope.cancel()
            await anyio.sleep_forever()

    assert scope.cancelled_caught
    assert TRACE.count("finished") == 2


async def test_a_start_that_is_cancelled_is_rolled_back() -> None:
    booting = anyio.Event()

    async def hang(self) -> None:
        booting.set()
        await anyio.sleep_forever()

    kernel = Kernel(plugins=[plugin("a"), plugin("b", "a", on_boot=hang)])
    with fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kernel.__aenter__)
            await booting.wait()
            tasks.cancel_scope.cancel()

    assert {record.state for record in kernel.plugins.values()} == {"stopped"}
    assert kernel.bus.subscriptions() == ()
    assert TRACE == ["a boots", "a stops"]


async def test_a_kernel_starts_once() -> None:
    kernel = Kernel()
    async with kernel:
        pass
    with pytest.raises(KernelStartError, match="make a new Kernel"):
        await kernel.__aenter__()


async def test_hooks_of_a_native_plugin_run_at_their_phase() -> None:
    class Native:
        manifest = Manifest(id="native")

        @hookimpl
        def plugbus_boot(self, ctx: PluginContext) -> None:
            TRACE.append(f"boot {ctx.id}")

        @hookimpl
        async def plugbus_shutdown(self) -> None:
            TRACE.append("shutdown")

    async with Kernel(plugins=[Native()]):
        pass

    assert TRACE == ["boot native", "shutdown"]


@pytest.mark.parametrize("cancelled_in", ["on_ready", "PluginReady"])
async def test_a_load_that_is_cancelled_leaves_nothing(cancelled_in: str) -> None:
    """Whoever was told that the plugin is ready is told that it left; everybody else never hears of it."""
    reached, told = anyio.Event(), []

    async def hang() -> None:
        reached.set()
        await anyio.sleep_forever()

    class Late(plugin("late")):
        @provides
        def database(self) -> Database:
            return Database()

        @observes(Tick)
        async def see(self, event: Tick) -> None:
            TRACE.append("heard")

        async def on_ready(self) -> None:
            if cancelled_in == "on_ready" and not reached.is_set():
                await hang()

    async with Kernel() as kernel:

        async def note(event: PluginReady | PluginUnloaded) -> None:
            told.append(type(event))
            if cancelled_in == "PluginReady" and not reached.is_set():
                await hang()

        kernel.bus.observe([PluginReady, PluginUnloaded], note)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kernel.load, Late)
            with fail_after(5):
                await reached.wait()
            assert kernel.plugins["late"].state == "ready"
            tasks.cancel_scope.cancel()

        await kernel.bus.aemit(Tick())
        record = kernel.plugins["late"]
        assert (record.state, record.reason) == ("stopped", "its load was cancelled")
        assert TRACE == ["late boots", "late stops"]
        assert told == ([] if cancelled_in == "on_ready" else [PluginReady, PluginUnloaded])
        assert not kernel.services.has(Database)

        assert (await kernel.load(Late)).state == "ready"
        await kernel.bus.aemit(Tick())
        assert TRACE == ["late boots", "late stops", "late boots", "heard"]
        assert told[-1] is PluginReady


async def test_a_load_that_is_cancelled_takes_those_along_that_need_it_by_now() -> None:
    """They are ready, and what they need is not to stay."""
    reached, told = anyio.Event(), []

    async def hang(self: Plugin) -> None:
        reached.set()
        await anyio.sleep_forever()

    async with Kernel() as kernel:
        kernel.bus.observe(PluginUnloaded, lambda event: told.append(event.plugin))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kernel.load, plugin("late", on_ready=hang))
            with fail_after(5):
                await reached.wait()
            await kernel.load(plugin("above", "late"))
            tasks.cancel_scope.cancel()

        assert {name: record.state for name, record in kernel.plugins.items()} == {
            "late": "stopped",
            "above": "stopped",
        }
        assert (TRACE[-2:], told) == (["above stops", "late stops"], ["above"])


async def test_the_record_of_what_was_never_found_can_be_removed() -> None:
    async with Kernel(plugins=[plugin("shop")]) as kernel:
        with pytest.raises(PluginLoadError, match="there is no module 'typo'") as caught:
            await kernel.load("typo")
        assert "correct the name" in str(caught.value)
        assert list(kernel.plugins) == ["shop", "typo"]

        assert await kernel.unload("typo") == ("typo",)

        assert list(kernel.plugins) == ["shop"]
        with pytest.raises(PluginNotFoundError):
            await kernel.unload("typo")


async def test_the_record_of_a_plugin_that_failed_to_boot_can_be_removed() -> None:
    def broken(self) -> None:
        raise OSError("no disk")

    async with Kernel(plugins=[plugin("a", on_boot=broken)]) as kernel:
        assert await kernel.unload("a") == ("a",)
        assert kernel.plugins == {}
        assert (await kernel.load(plugin("a"))).state == "ready"


async def test_loading_twice_says_how_to_load_it_anew() -> None:
    async with Kernel(plugins=[plugin("shop")]) as kernel:
        with pytest.raises(PluginLoadError, match="is loaded already") as caught:
            await kernel.load("shop")

    assert caught.value.hint == "unload it first to load it anew: await kernel.unload('shop')."
    assert pickle.loads(pickle.dumps(caught.value)).hint == caught.value.hint


async def test_an_id_that_is_enabled_and_nobody_has_says_where_plugins_come_from() -> None:
    async with Kernel(enabled=["shop"]) as kernel:
        with pytest.raises(PluginLoadError, match="no plugin that was found has this id") as caught:
            await kernel.load("shop")

    assert "by hand" not in str(caught.value)
    assert "plugin_dirs" in caught.value.hint


@pytest.mark.may_block("it opens a database in memory, as plugins do")
async def test_what_is_made_in_a_constructor_or_factory_belongs_to_the_loops_thread() -> None:
    """A connection that refuses other threads, and a client that asks for the running loop, work (ADR 0018)."""

    class Opens(Plugin, id="opens"):
        def __init__(self, cache: Cache) -> None:
            self.made_in = threading.get_ident()
            self.connection = sqlite3.connect(":memory:")
            self.token = anyio.lowlevel.current_token()

        @observes(Tick)
        async def see(self, event: Tick) -> None:
            TRACE.append(self.connection.execute("select 'used'").fetchone()[0])

        async def on_shutdown(self) -> None:
            self.connection.close()

    kernel = Kernel(plugins=[Opens])
    made_in: list[int] = []

    def cache() -> Iterator[Cache]:
        made_in.append(threading.get_ident())
        yield Cache()
        made_in.append(threading.get_ident())

    kernel.services.factory(Cache, cache)
    async with kernel:
        assert kernel.plugins["opens"].instance.made_in == threading.get_ident()
        assert kernel.plugins["opens"].instance.token == anyio.lowlevel.current_token()
        await kernel.bus.aemit(Tick())

    assert TRACE == ["used"]
    assert made_in == [threading.get_ident()] * 2


async def test_a_sync_boot_that_hangs_is_given_up_and_the_others_run() -> None:
    """What may wait belongs into ``on_boot``, where the time limit holds."""
    gate = threading.Event()

    class Hangs(Plugin, id="hangs"):
        def on_boot(self) -> None:
            gate.wait(20)

    try:
        with fail_after(10):
            async with Kernel(plugins=[Hangs, plugin("works")], boot_timeout_seconds=0.05) as kernel:
                states = {record.id: record.state for record in kernel.plugins.values()}
                assert states == {"hangs": "failed", "works": "ready"}
                assert "on_boot was still running" in kernel.plugins["hangs"].reason
                gate.set()
    finally:
        gate.set()
