"""Marks: what a decorator of one plugin notes on the functions of others, and who reads it when."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import anyio
import pytest
from anyio import fail_after
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.support import virtual_time

from plugbus import (
    Clock,
    Kernel,
    KernelStartError,
    Manifest,
    Marked,
    Plugin,
    PluginContext,
    PluginError,
    PluginGoneError,
    PluginState,
    Problem,
    SubscriptionError,
    checks,
    mark,
    observes,
    provides,
    reads,
)

pytestmark = pytest.mark.anyio

TRACE: list[str] = []


class JobMark(NamedTuple):
    name: str


class SpecialMark(JobMark):
    pass


def job(name: str) -> Callable[[Any], Any]:
    return mark(JobMark(name))


class Store:
    """A service."""


@pytest.fixture(autouse=True)
def trace() -> Iterator[list[str]]:
    TRACE.clear()
    yield TRACE
    TRACE.clear()


class Jobs(Plugin, id="jobs"):
    def __init__(self) -> None:
        self.jobs: dict[str, Marked[JobMark]] = {}

    @reads(JobMark)
    def attach(self, found: Marked[JobMark]) -> Callable[[], None]:
        name = found.mark.name
        TRACE.append(f"+{name} of {found.owner.id}")
        self.jobs[name] = found

        def close() -> None:
            TRACE.append(f"-{name}")
            del self.jobs[name]

        return close

    async def on_shutdown(self) -> None:
        TRACE.append("jobs down")


class Shop(Plugin, id="shop"):
    def __init__(self) -> None:
        self.ready = False

    @job("tidy")
    def tidy(self, limit: int = 3) -> int:
        return limit

    @job("bill")
    async def bill(self, clock: Clock) -> str:
        return f"ready: {self.ready}"

    async def on_boot(self) -> None:
        self.ready = True

    async def on_shutdown(self) -> None:
        TRACE.append("shop down")


class Mail(Plugin, id="mail"):
    @job("post")
    def post(self) -> str:
        return "posted"


# -- putting a mark on


def test_a_mark_changes_nothing_else() -> None:
    def tidy() -> int:
        return 7

    assert job("tidy")(tidy) is tidy
    assert tidy() == 7


@dataclass
class Loose:
    name: str


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (JobMark, r"JobMark.*is a class; put an instance"),
        (job, "is a function; it takes the mark"),
        (Loose("a"), "can be changed"),
        (["a"], "can be changed"),
    ],
)
def test_a_mark_is_frozen_and_no_class(value: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        mark(value)


def test_what_cannot_carry_a_mark_is_refused() -> None:
    with pytest.raises(SubscriptionError, match=r"'print'.*of type builtin_function_or_method"):
        job("loud")(print)


@pytest.mark.parametrize("getter", [property, functools.cached_property])
@pytest.mark.parametrize("decorator", [job("tidy"), observes("kit.*")], ids=["mark", "observes"])
async def test_a_mark_on_a_property_is_refused_by_its_plugin(getter: Any, decorator: Any) -> None:
    """It would be found by nobody, and asking for the value is not ours to do."""

    class Shop(Plugin, id="shop"):
        @getter
        @decorator
        def tidy(self, event: object) -> None: ...

    async with Kernel([Shop]) as kernel:
        [record] = kernel.plugins.values()
        assert record.state is PluginState.FAILED
        assert "Decorate a method" in record.reason


@pytest.mark.parametrize("decorator", [reads, checks])
def test_readers_name_a_class(decorator: Any) -> None:
    with pytest.raises(TypeError, match="is no class; give the class of the marks, as in @"):
        decorator(JobMark("tidy"))


# -- reading


@pytest.mark.parametrize("plugins", [[Jobs, Shop, Mail], [Mail, Shop, Jobs]])
async def test_a_reader_is_told_of_each_marked_function_once(plugins: list[type], trace: list[str]) -> None:
    """However the plugins are listed: readers boot first."""
    async with Kernel(plugins=plugins) as kernel:
        assert sorted(trace) == ["+bill of shop", "+post of mail", "+tidy of shop"]
        assert kernel.explain().plugins[0].id == "jobs"
        assert kernel.explain().plugins[1].after == {"jobs": "is read by it: JobMark"}


async def test_what_is_marked_can_be_called_with_its_services() -> None:
    """It runs as a ``Bound`` of its own plugin; the function and its owner are at hand."""
    async with Kernel(plugins=[Jobs, Shop]) as kernel:
        jobs, shop = (kernel.plugins[id].instance for id in ("jobs", "shop"))
        tidy, bill = jobs.jobs["tidy"], jobs.jobs["bill"]

        assert await tidy.call(limit=5) == 5
        assert [parameter.name for parameter in tidy.call.parameters] == ["limit"]
        assert tidy.call is tidy.call
        assert (tidy.mark, tidy.function, tidy.owner.id) == (JobMark("tidy"), shop.tidy, "shop")
        assert await bill.call() == "ready: True"
        assert repr(tidy) == "<Marked JobMark on Shop.tidy of 'shop'>"


async def test_a_reader_is_told_after_on_boot_and_before_the_plugin_is_ready() -> None:
    states: list[tuple[str, bool]] = []

    class Watching(Plugin, id="watching"):
        @reads(JobMark)
        async def attach(self, found: Marked[JobMark]) -> None:
            states.append((str(kernel.plugins["shop"].state), kernel.plugins["shop"].instance.ready))

    kernel = Kernel(plugins=[Watching, Shop])
    async with kernel:
        assert states == [("booting", True), ("booting", True)]


async def test_a_reader_that_comes_late_is_told_of_those_that_are_ready(trace: list[str]) -> None:
    async with Kernel(plugins=[Shop, Mail]) as kernel:
        assert trace == []
        await kernel.load(Jobs)
        assert sorted(trace) == ["+bill of shop", "+post of mail", "+tidy of shop"]


async def test_a_plugin_that_comes_late_is_read_by_those_that_are_ready(trace: list[str]) -> None:
    async with Kernel(plugins=[Jobs]) as kernel:
        await kernel.load(Mail)
        assert trace == ["+post of mail"]


async def test_what_a_reader_returned_belongs_to_the_marked_plugin_and_is_closed_with_it(trace: list[str]) -> None:
    """It is undone before ``on_shutdown``, with the subscriptions: nothing new is called then."""
    async with Kernel(plugins=[Jobs, Shop]) as kernel:
        assert "JobMark on Shop.tidy, read by 'jobs'" in kernel.plugins["shop"].owns
        trace.clear()

        await kernel.unload("shop")

        assert trace == ["-bill", "-tidy", "shop down"]
        assert kernel.plugins["jobs"].instance.jobs == {}
        assert not any("JobMark" in what for what in kernel.plugins["jobs"].owns)


async def test_what_a_reader_returned_is_closed_when_the_reader_leaves(trace: list[str]) -> None:
    """The marked plugin stays, needs nothing, and is read again by the next reader."""
    async with Kernel(plugins=[Jobs, Shop]) as kernel:
        assert kernel.plugins["shop"].needs == ()
        trace.clear()

        await kernel.unload("jobs")

        assert trace == ["-bill", "-tidy", "jobs down"]
        assert kernel.plugins["shop"].state == "ready"
        assert not any("JobMark" in what for what in kernel.plugins["shop"].owns)

        trace.clear()
        await kernel.load(Jobs)
        assert trace == ["+tidy of shop", "+bill of shop"]


async def test_the_call_of_a_plugin_that_left_is_gone() -> None:
    async with Kernel(plugins=[Jobs, Shop]) as kernel:
        jobs = kernel.plugins["jobs"].instance
        tidy, bill = jobs.jobs["tidy"], jobs.jobs["bill"]
        call = tidy.call
        await kernel.unload("shop")

        with pytest.raises(PluginGoneError, match="'shop'"):
            await call()
        with pytest.raises(PluginGoneError, match="'shop'"):
            _ = bill.call


async def test_a_close_may_be_async_and_one_that_fails_stops_no_other(trace: list[str]) -> None:
    class Slow(Plugin, id="slow"):
        @reads(JobMark)
        async def attach(self, found: Marked[JobMark]) -> Callable[[], Any]:
            async def close() -> None:
                await anyio.lowlevel.checkpoint()
                trace.append(f"-{found.mark.name}")
                if found.mark.name == "bill":
                    raise OSError("no paper")

            return close

    async with Kernel(plugins=[Slow, Shop]) as kernel:
        with capture_logs() as lines:
            await kernel.unload("shop")

        assert trace == ["-bill", "-tidy", "shop down"]
        assert any("no paper" in line.get("error", "") for line in lines)


async def test_marks_of_a_subclass_and_several_marks_are_read_by_type(trace: list[str]) -> None:
    """A reader of a base class gets those of its subclasses; each mark counts by itself, the innermost first."""

    class Other(NamedTuple):
        path: str

    class Many(Plugin, id="many"):
        @mark(Other("/x"))
        @mark(SpecialMark("special"))
        @job("plain")
        def both(self) -> None: ...

    class Specials(Plugin, id="specials"):
        @reads(SpecialMark)
        async def attach(self, found: Marked[SpecialMark]) -> None:
            trace.append(f"special {found.mark.name}")

    async with Kernel(plugins=[Jobs, Specials, Many]):
        assert [line for line in trace if line.startswith("+")] == ["+plain of many", "+special of many"]
        assert trace.count("special special") == 1
        assert len(trace) == 3


async def test_a_plugin_reads_its_own_marks_too(trace: list[str]) -> None:
    class Both(Jobs, id="both"):
        @job("own")
        def own(self) -> None: ...

    async with Kernel(plugins=[Both]):
        assert trace == ["+own of both"]


async def test_an_override_without_the_decorator_is_not_marked(trace: list[str]) -> None:
    class Quiet(Shop, id="quiet"):
        def tidy(self, limit: int = 3) -> int:
            return limit

    async with Kernel(plugins=[Jobs, Quiet]):
        assert trace == ["+bill of quiet"]


async def test_functions_of_modules_parts_and_objects_are_read_as_well(trace: list[str]) -> None:
    """Also static methods, a part that is added while the plugin registers, and what an instance holds."""

    class Part:
        @staticmethod
        @job("static")
        def static() -> None: ...

    class Added:
        @job("added")
        def added(self) -> None: ...

    module = ModuleType("marked_module")
    module.manifest = Manifest(id="module")

    @job("function")
    def function() -> None: ...

    def register(ctx: PluginContext) -> None:
        ctx.add(Added)

    function.__module__ = "marked_module"
    module.parts, module.function, module.register = (Part,), function, register

    class Holding(Plugin, id="holding"):
        def __init__(self) -> None:
            self.made = job("made")(functools.partial(int, "3"))

    async with Kernel(plugins=[Jobs, module, Holding]) as kernel:
        assert sorted(trace) == ["+added of module", "+function of module", "+made of holding", "+static of module"]
        assert await kernel.plugins["jobs"].instance.jobs["made"].call() == 3


async def test_a_reader_takes_services(trace: list[str]) -> None:
    class Storing(Plugin, id="storing"):
        @reads(JobMark)
        async def attach(self, found: Marked[JobMark], store: Store, log) -> None:
            trace.append(f"{found.mark.name} with {type(store).__name__}")

    kernel = Kernel(plugins=[Storing, Mail])
    kernel.services.value(Store, Store())
    async with kernel:
        assert trace == ["post with Store"]


async def test_a_reader_whose_service_is_missing_is_found_before_anything_boots() -> None:
    class Storing(Plugin, id="storing"):
        @reads(JobMark)
        async def attach(self, found: Marked[JobMark], store: Store) -> None: ...

    kernel = Kernel(plugins=[Storing])
    assert ["nothing provides Store" in problem.message for problem in kernel.check()] == [True]
    async with kernel:
        assert kernel.plugins["storing"].state == "failed"


async def test_a_marked_function_has_its_plugin_boot_after_who_provides_its_services() -> None:
    """By type, or by name without an annotation; an argument that is called as a service is none."""

    class Providing(Plugin, id="providing"):
        @provides
        async def store(self) -> Store:
            return Store()

        @provides
        def limit(self) -> bytes:
            return b"limit"

    class Storing(Plugin, id="storing"):
        @job("by type")
        def by_type(self, it: Store) -> Store:
            return it

        @job("by name")
        def by_name(self, store) -> Store:
            return store

    class Counting(Plugin, id="counting"):
        @job("argument")
        def argument(self, limit: int) -> int:
            return limit

    async with Kernel(plugins=[Storing, Counting, Jobs, Providing]) as kernel:
        jobs = kernel.plugins["jobs"].instance.jobs
        assert kernel.plugins["storing"].needs == ("providing",)
        assert kernel.plugins["counting"].needs == ()
        assert await jobs["by type"].call() is await jobs["by name"].call()
        assert await jobs["argument"].call(3) == 3


async def test_readers_need_not_come_first(trace: list[str]) -> None:
    """A reader that needs a service of the plugin whose marks it reads boots after it, and is told then."""

    class Storing(Plugin, id="storing"):
        @provides
        def store(self) -> Store:
            return Store()

        @job("stored")
        def stored(self) -> None: ...

    class Needing(Jobs, id="needing"):
        def __init__(self, store: Store) -> None:
            super().__init__()

    async with Kernel(plugins=[Storing, Needing]):
        assert trace == ["+stored of storing"]


# -- what goes wrong


class Picky(Plugin, id="picky"):
    @reads(JobMark)
    async def attach(self, found: Marked[JobMark]) -> Callable[[], None]:
        if found.mark.name == "bill":
            raise ValueError("bad job")
        TRACE.append(f"+{found.mark.name}")
        return lambda: TRACE.append(f"-{found.mark.name}")


async def test_a_plugin_whose_mark_a_reader_refuses_fails_alone(trace: list[str]) -> None:
    """What was read of it before is undone; reader and others run."""
    async with Kernel(plugins=[Picky, Shop, Mail]) as kernel:
        assert [kernel.plugins[id].state for id in ("picky", "shop", "mail")] == ["ready", "failed", "ready"]
        assert kernel.plugins["shop"].reason == "reading JobMark on Shop.bill by 'picky' raised ValueError: bad job"
        assert "-tidy" in trace
        assert kernel.plugins["shop"].owns == ()


async def test_a_reader_that_comes_late_and_refuses_a_mark_fails_itself(trace: list[str]) -> None:
    """Whoever boots fails: the plugin that is ready stays so, and nothing of the reader is left on it."""
    async with Kernel(plugins=[Shop]) as kernel:
        owned = kernel.plugins["shop"].owns
        with pytest.raises(PluginError, match=r"reading JobMark on Shop.bill by 'picky' raised ValueError: bad job"):
            await kernel.load(Picky)

        assert (kernel.plugins["shop"].state, kernel.plugins["shop"].owns) == ("ready", owned)
        assert trace == ["+tidy", "-tidy"]
        await kernel.load(Jobs)


async def test_a_function_that_cannot_be_called_by_others_fails_its_plugin_when_it_is_read() -> None:
    class Stranger: ...

    class Odd(Plugin, id="odd"):
        @job("odd")
        def odd(self, stranger: Stranger) -> None: ...

    class Calling(Plugin, id="calling"):
        @reads(JobMark)
        async def attach(self, found: Marked[JobMark]) -> None:
            _ = found.call

    async with Kernel(plugins=[Calling, Odd, Mail]) as kernel:
        assert [kernel.plugins[id].state for id in ("calling", "odd", "mail")] == ["ready", "failed", "ready"]
        assert "is neither a service nor an argument" in kernel.plugins["odd"].reason


async def test_a_reader_returns_what_undoes_it_or_none() -> None:
    class Wrong(Plugin, id="wrong"):
        @reads(JobMark)
        async def attach(self, found: Marked[JobMark]) -> Any:
            return "done"

    async with Kernel(plugins=[Wrong, Mail]) as kernel:
        assert kernel.plugins["mail"].reason == (
            "Wrong.attach returned 'done' for JobMark on Mail.post; return a function that undoes it, or None"
        )


@virtual_time
async def test_a_reader_that_hangs_takes_the_time_of_the_plugin_that_boots() -> None:
    class Hanging(Plugin, id="hanging"):
        @reads(JobMark)
        async def attach(self, found: Marked[JobMark]) -> None:
            await anyio.sleep_forever()

    async with Kernel(plugins=[Hanging, Mail], boot_timeout_seconds=5) as kernel:
        assert kernel.plugins["hanging"].state == "ready"
        assert kernel.plugins["mail"].reason == "reading JobMark on Mail.post by 'hanging' was still running after 5 s"


@pytest.mark.parametrize("first", ["reader", "marked"])
async def test_plugins_that_boot_at_the_same_time_meet_once(first: str, trace: list[str]) -> None:
    """Marks of a part that is added at run time cannot be known before, so nobody waits for anybody."""
    ready = {"reader": anyio.Event(), "marked": anyio.Event()}

    async def wait_for_the_other(me: str) -> None:
        if me != first:
            await ready[first].wait()
        ready[me].set()

    class Reading(Jobs, id="reading"):
        async def on_boot(self) -> None:
            await wait_for_the_other("reader")

        @reads(JobMark)
        async def attach(self, found: Marked[JobMark]) -> Callable[[], None]:
            await anyio.wait_all_tasks_blocked()  # the other is here by now, and finds that it has been met
            return super().attach(found)

    module = ModuleType("adding_module")
    module.manifest = Manifest(id="adding")

    class Added:
        @job("added")
        def added(self) -> None: ...

    async def register(ctx: PluginContext) -> None:
        ctx.add(Added)
        await wait_for_the_other("marked")

    module.register = register
    with fail_after(10):
        async with Kernel(plugins=[Reading, module]) as kernel:
            assert trace == ["+added of adding"]
            assert {record.state for record in kernel.plugins.values()} == {"ready"}


async def test_a_plugin_that_leaves_while_it_is_read_leaves_nothing(trace: list[str]) -> None:
    """It fails in ``on_ready`` just then: what the reader did is undone at once, and the reader boots."""
    reading = anyio.Event()

    class Fading(Plugin, id="fading"):
        @job("faded")
        def faded(self) -> None: ...

        async def on_ready(self) -> None:
            await reading.wait()
            raise OSError("too late")

    class Slow(Plugin, id="slow"):
        @reads(JobMark)
        async def attach(self, found: Marked[JobMark]) -> Callable[[], Any]:
            reading.set()
            while kernel.plugins["fading"].state != "failed":
                await anyio.lowlevel.checkpoint()

            async def close() -> None:
                trace.append(f"-{found.mark.name}")

            return close

    async def load() -> None:
        with pytest.raises(PluginError, match="too late"):
            await kernel.load(Fading)

    with fail_after(10):
        async with Kernel() as kernel, anyio.create_task_group() as tasks:
            tasks.start_soon(load)
            while "fading" not in kernel.plugins or kernel.plugins["fading"].state != "ready":
                await anyio.lowlevel.checkpoint()
            await kernel.load(Slow)
            assert (kernel.plugins["slow"].state, trace) == ("ready", ["-faded"])
            assert not any("JobMark" in what for what in kernel.plugins["slow"].owns)


# -- checking


class Unique(Plugin, id="unique"):
    seen: Sequence[str] = ()

    @staticmethod
    @checks(JobMark)
    def check_names(found: Sequence[Marked[JobMark]]) -> Iterator[Problem]:
        names = [each.mark.name for each in found]
        Unique.seen = names
        for each in found:
            if names.count(each.mark.name) > 1:
                yield Problem(f"plugin {each.owner.id!r}", f"another job is called {each.mark.name!r} too")
            if not each.mark.name.islower():
                yield Problem(f"plugin {each.owner.id!r}", f"{each.mark.name!r} is not lower case", fatal=False)


class Twin(Plugin, id="twin"):
    @job("tidy")
    def tidy(self) -> None:
        TRACE.append("never")

    def on_boot(self) -> None:
        TRACE.append("twin boots")


class Loud(Plugin, id="loud"):
    @job("LOUD")
    def loud(self) -> None: ...


async def test_a_check_sees_all_marks_before_anything_boots_and_stops_the_start(trace: list[str]) -> None:
    """With all problems listed; nothing has booted then."""
    kernel = Kernel(plugins=[Shop, Unique, Twin, Loud])
    with pytest.raises(KernelStartError) as caught:
        async with kernel:
            pass

    assert sorted(Unique.seen) == ["LOUD", "bill", "tidy", "tidy"]
    assert sorted(problem.where for problem in caught.value.problems) == ["plugin 'shop'", "plugin 'twin'"]
    assert "another job is called 'tidy' too" in str(caught.value)
    assert trace == []


async def test_problems_that_are_not_fatal_are_logged_and_reported() -> None:
    kernel = Kernel(plugins=[Unique, Jobs, Loud])
    assert [str(problem) for problem in kernel.check()] == ["plugin 'loud': 'LOUD' is not lower case"]
    with capture_logs() as lines:
        async with kernel:
            assert kernel.plugins["loud"].state == "ready"
            assert [str(problem) for problem in kernel.check()] == ["plugin 'loud': 'LOUD' is not lower case"]

    assert any("'LOUD' is not lower case" in line.get("problem", "") for line in lines)


async def test_kernel_check_tells_what_would_stop_the_start() -> None:
    kernel = Kernel(plugins=[Shop, Unique, Jobs, Twin])

    assert [str(problem) for problem in kernel.check()] == [
        "plugin 'shop': another job is called 'tidy' too", "plugin 'twin': another job is called 'tidy' too",
    ]  # fmt: skip


@pytest.mark.parametrize("late", [Twin, Unique])
async def test_a_plugin_that_is_loaded_is_checked_with_those_that_are_ready(late: type, trace: list[str]) -> None:
    """Whichever comes late, the one with the mark or the one that checks: it does not boot; the others run on."""
    plugins = [Shop, *({Unique, Twin} - {late})]
    async with Kernel(plugins=plugins) as kernel:
        with pytest.raises(PluginError, match=r"marks were found wrong: .*another job is called 'tidy' too"):
            await kernel.load(late)

        assert kernel.plugins[late.manifest.id].state == "failed"
        assert all(kernel.plugins[plugin.manifest.id].state == "ready" for plugin in plugins)


async def test_a_check_that_raises_is_a_failure_of_its_own_plugin() -> None:
    class Broken(Plugin, id="broken"):
        @checks(JobMark)
        @classmethod
        def check(cls, found: Sequence[Marked[JobMark]]) -> list[Problem]:
            raise OSError("no disk")

    async with Kernel(plugins=[Broken, Shop]) as kernel:
        assert (kernel.plugins["broken"].state, kernel.plugins["shop"].state) == ("failed", "ready")
        assert kernel.plugins["broken"].reason == "its check check raised OSError: no disk"


async def test_a_check_that_raises_later_is_told_and_stops_nothing() -> None:
    class Brittle(Plugin, id="brittle"):
        @staticmethod
        @checks(JobMark)
        def check(found: Sequence[Marked[JobMark]]) -> None:
            if found:
                raise OSError("too many")

    async with Kernel(plugins=[Brittle]) as kernel:
        await kernel.load(Shop)

        assert [kernel.plugins[id].state for id in ("brittle", "shop")] == ["ready", "ready"]
        assert "plugin 'brittle', check: its check raised OSError: too many" in map(str, kernel.check())


@pytest.mark.parametrize("form", ["method", "async"])
async def test_a_check_that_could_never_run_is_refused(form: str) -> None:
    if form == "method":

        class Wrong(Plugin, id="wrong"):
            @checks(JobMark)
            def check(self, found: Sequence[Marked[JobMark]]) -> None: ...
    else:

        class Wrong(Plugin, id="wrong"):  # type: ignore[no-redef]
            @staticmethod
            @checks(JobMark)
            async def check(found: Sequence[Marked[JobMark]]) -> None: ...

    async with Kernel(plugins=[Wrong]) as kernel:
        [record] = kernel.plugins.values()
        assert record.state == "failed"
        assert "check is marked with @checks, which runs before anything is built" in record.reason


async def test_nothing_of_a_check_can_be_called() -> None:
    """Before anything is built, a mark has no ``call``."""
    caught: list[Exception] = []

    class Calling(Plugin, id="calling"):
        @staticmethod
        @checks(JobMark)
        def check(found: Sequence[Marked[JobMark]]) -> None:
            for each in found:
                with pytest.raises(PluginError) as error:
                    _ = each.call
                caught.append(error.value)

    async with Kernel(plugins=[Calling, Mail]):
        assert ["JobMark on Mail.post was asked for its call before" in str(error) for error in caught] == [True]


# -- nobody reads it


async def test_a_mark_that_nobody_reads_is_inert_and_reported() -> None:
    """Before the start and while it runs, until somebody comes who reads it."""
    told = [("plugin 'mail', post: nobody reads its mark JobMark (load the plugin that does; nothing happens with it "
            "until then)")]  # fmt: skip
    kernel = Kernel(plugins=[Mail])
    assert [str(problem) for problem in kernel.check()] == told
    async with kernel:
        assert kernel.plugins["mail"].state == "ready"
        assert [(str(problem), problem.fatal) for problem in kernel.check()] == [(told[0], False)]
        await kernel.load(Jobs)
        assert kernel.check() == []
        await kernel.unload("jobs")
        assert [str(problem) for problem in kernel.check()] == told


def test_a_mark_needs_no_import_of_who_reads_it() -> None:
    """A package's marks are plain frozen objects, here a pydantic model; in a process that has imported nothing yet."""
    program = """if True:
        import anyio, sys
        from pydantic import BaseModel
        from plugbus import Kernel, Plugin, mark

        class Endpoint(BaseModel, frozen=True):
            path: str

        class Pages(Plugin, id="pages"):
            @mark(Endpoint(path="/x"))
            def page(self) -> str:
                return "x"

        async def main() -> None:
            async with Kernel(plugins=[Pages]) as kernel:
                print([problem.message for problem in kernel.check()])
                print([name for name in sys.modules if name.startswith("plugbus_contrib")])

        anyio.run(main)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["['nobody reads its mark Endpoint']", "[]"]


# -- the law


class Crowd:
    """Plugins that come and go: two that read, three that are read, one of which reads itself."""

    def __init__(self) -> None:
        self.attached: Counter[tuple[str, str]] = Counter()
        self.plugins = {
            "left": self.plugin("left", reading=True),
            "right": self.plugin("right", reading=True),
            "both": self.plugin("both", ["c"], reading=True),
            "one": self.plugin("one", ["a"]),
            "two": self.plugin("two", ["b", "d"]),
        }
        self.marks = {"both": ["c"], "one": ["a"], "two": ["b", "d"]}

    def plugin(self, name: str, marks: Sequence[str] = (), *, reading: bool = False) -> type[Plugin]:
        def attach(self: Plugin, found: Marked[JobMark]) -> Callable[[], None]:
            pair = (name, found.mark.name)
            crowd.attached[pair] += 1
            return lambda: crowd.attached.subtract([pair])

        crowd, body = self, {f"job_{text}": job(text)(lambda self: None) for text in marks}
        if reading:
            body["attach"] = reads(JobMark)(attach)
        return type(name, (Plugin,), body, id=name)

    def expected(self, ready: set[str]) -> set[tuple[str, str]]:
        readers = ready & {"left", "right", "both"}
        return {(reader, text) for reader in readers for name in ready for text in self.marks.get(name, ())}


@given(toggled=st.lists(st.sampled_from(["left", "right", "both", "one", "two"]), max_size=12))
@settings(max_examples=30)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whoever_comes_and_goes_each_reader_has_each_function_once(backend: str, toggled: list[str]) -> None:
    """After any loading and unloading: every reader that is ready, every marked function of who is ready, one time."""

    async def run() -> None:
        crowd, ready = Crowd(), set[str]()
        async with Kernel() as kernel:
            for name in toggled:
                if name in ready:
                    await kernel.unload(name)
                else:
                    await kernel.load(crowd.plugins[name])
                ready ^= {name}
                assert +crowd.attached == Counter(crowd.expected(ready))
        assert +crowd.attached == Counter()

    anyio.run(run, backend=backend)
