"""What ``check`` finds without booting anything, all at once; and while the kernel runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from pydantic import BaseModel

from plugbus import (
    Event,
    Kernel,
    Listener,
    Logger,
    Manifest,
    Plugin,
    Problem,
    Request,
    answers,
    hookimpl,
    hookspec,
    listens,
    mark,
    observes,
    provides,
)

pytestmark = pytest.mark.anyio


class Tick(Event, name="check.tick"): ...


class Ask(Request[int], name="check.ask"): ...


class Database: ...


class Catalog: ...


BUILT: list[str] = []


class Unbuilt(Plugin):
    def __init__(self) -> None:
        BUILT.append(type(self).__name__)

    async def on_boot(self) -> None:
        BUILT.append("boot")


@pytest.fixture(autouse=True)
def nothing_is_built() -> Iterator[None]:
    BUILT.clear()
    yield
    assert BUILT == []


def plugin(name: str, *requires: str, base: type[Plugin] = Unbuilt, **namespace) -> type[Plugin]:
    return type(name, (base,), {"manifest": Manifest(id=name, version="1.0", requires=requires), **namespace})


def told(problems: list[Problem]) -> list[str]:
    return [str(problem) for problem in problems]


MISSPELT = {
    "chekc.tick": "'check.tick'",
    "chekc.*": "'check.*'",
    "chekc.**": "'check.**'",
    "store.opend": "'store.opened'",
    "check.tikc": "'check.tick'",
}


class Misspelling(Unbuilt):
    manifest = Manifest(id="misspelling", version="1", publishes=["store.opened", "stock.*"])
    events = (Tick,)

    @observes(*MISSPELT)
    def see(self, event: object) -> None: ...

    @observes("check.tick", "check.*", "check.**", "store.opened", "store.*", "stock.sold", "stock.*", "stock.**")
    def know(self, event: object) -> None: ...

    @observes("foreign.event", "foreign.*", "**.tikc", "*", "check.tick.tock.*")
    def hope(self, event: object) -> None: ...


class MisspellingRuns(Misspelling):
    def __init__(self) -> None: ...

    async def on_boot(self) -> None: ...


async def test_check_tells_of_names_that_nearly_mean_something() -> None:
    """Before a start and while the kernel runs; what is far from everything known may come from outside."""
    before = Kernel(plugins=[Misspelling]).check()
    async with Kernel(plugins=[MisspellingRuns]) as kernel:
        live = kernel.check()

    for problems in (before, live):
        found = {problem.message.split("'")[1]: problem for problem in problems}
        assert {name: problem.hint.split("?")[0] for name, problem in found.items()} == {
            name: f"did you mean {meant}" for name, meant in MISSPELT.items()
        }
        assert not any(problem.fatal for problem in problems)
        assert "of plugin 'misspelling'" in problems[0].where


def test_a_kernel_with_nothing_wrong_has_no_problems_and_builds_nothing() -> None:
    kernel = Kernel(plugins=[plugin("a"), plugin("b", "a>=1")])

    assert kernel.check() == []
    assert kernel.check() == []
    assert kernel.plugins == {}


def test_check_finds_missing_requirements_and_wrong_versions_all_at_once() -> None:
    plugins = [
        plugin("shop", "catalgo"), plugin("catalog", "mail>=2"), plugin("mail"), plugin("far", "shop"),
        plugin("old", manifest=Manifest(id="old", plugbus="<0.0.1")), "check_none", plugin("mail"),
    ]  # fmt: skip
    problems = told(Kernel(plugins=plugins, enabled=["absent"], required=["nobody", "absent"]).check())

    assert "plugin 'shop': blocked: it requires catalgo, which is not there; did you mean 'catalog'?" in problems
    assert "plugin 'catalog': blocked: it requires mail>=2, and mail is 1.0" in problems
    assert any(problem.startswith("plugin 'far': blocked: it needs shop, which is blocked") for problem in problems)
    assert any(problem.startswith("plugin 'old': blocked: it works with plugbus <0.0.1") for problem in problems)
    assert any("there is no module 'check_none'" in problem for problem in problems)
    assert any("its id is that of the plugin from argument" in problem for problem in problems)
    assert any("no plugin that was found has this id" in problem for problem in problems)
    assert "plugin 'nobody': is required, and nobody has this id" in problems
    assert len(problems) == 8


def test_check_knows_that_a_required_plugin_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGBUS_ENABLED", "-shop")

    assert told(Kernel(plugins=[plugin("shop")], required=["shop"]).check()) == [
        "plugin 'shop': is required, and it is disabled: taken out of the allow list (-shop)"
    ]


class Wired(Plugin, id="wired"):
    def __init__(self, db: Database, lgo) -> None: ...

    @provides
    def catalog(self, owner, database: Database) -> Catalog: ...

    @observes(Tick)
    async def see(self, event: Tick, catalog: Catalog, missing: Path) -> None: ...

    async def on_boot(self, log: Logger, chatalog) -> None: ...

    @staticmethod
    async def on_ready(log: Logger, nothing: bytes) -> None: ...


def test_check_finds_every_mistake_in_the_wiring_with_the_nearest_names() -> None:
    problems = Kernel(plugins=[Wired]).check()

    places = [problem.where for problem in problems]
    assert len(problems) == 6
    assert [place for place in places if place.startswith("plugin 'wired', ")] == [
        "plugin 'wired', Wired(db: Database)", "plugin 'wired', Wired(lgo)",
        "plugin 'wired', on_boot(chatalog)", "plugin 'wired', on_ready(nothing: bytes)",
        "plugin 'wired', Wired.see(missing: Path)",
    ]  # fmt: skip
    assert "did you mean log" in str(problems)
    assert "did you mean catalog?" in str(problems)


def test_services_that_are_provided_at_run_time_alone_are_not_judged() -> None:
    module = type(sys)("check_dynamic")
    module.manifest, module.register = Manifest(id="dynamic"), lambda ctx: ctx.provide(Database, Database())

    class Needing(Plugin):
        manifest = Manifest(id="needing", requires=["dynamic"])

        def __init__(self, database: Database) -> None: ...

    class Behind(Plugin):
        manifest = Manifest(id="behind", requires=["needing"])

        def __init__(self, database: Database) -> None: ...

    assert Kernel(plugins=[Behind, Needing, module]).check() == []


class Instance(Listener[Tick]):
    def handle(self, event, next_fn): ...


class Broken(Plugin, id="broken"):
    @observes(Tick)
    def too_few(self) -> None: ...

    @answers(Ask)
    async def wrong(self, request: Tick) -> int: ...

    @listens(Tick, before=["nobody"], after=["fine"])
    async def dangling(self, event, next_fn): ...

    instance = listens(Tick)(Instance())

    @listens(Tick, before=["host-listener"])
    class Nested(Listener[Tick]):
        def __init__(self, log: Logger) -> None: ...

        def handle(self, event, next_fn): ...


class Fine(Plugin, id="fine"):
    @listens(Tick)
    async def wrap(self, event, next_fn, log: Logger): ...

    @answers(Ask)
    async def answer(self, request: Ask) -> int: ...


class Second(Plugin, id="second"):
    @answers(Ask)
    async def answer(self, request: Ask) -> int: ...


def test_check_finds_subscribers_that_cannot_work_and_references_to_absent_ones() -> None:
    kernel = Kernel(plugins=[Broken, Fine, Second])
    kernel.bus.listen(Tick, lambda event, next_fn: next_fn(event), name="host-listener")
    problems = kernel.check()

    fatal = [str(problem) for problem in problems if problem.fatal]
    assert len(fatal) == 3
    for phrase in ("too_few", "its first parameter is Tick", "is answered by"):
        assert any(phrase in problem for problem in fatal)
    (odd,) = [str(problem) for problem in problems if not problem.fatal]
    assert "before='nobody' means no subscriber that is there" in odd
    assert kernel.bus.subscriptions()[0].name == "host-listener"
    assert len(kernel.bus.subscriptions()) == 1


def test_check_validates_settings_and_finds_tables_that_nobody_reads() -> None:
    class Settings(BaseModel):
        limit: int = 1

    config = {"plugins": {"shop": {"limit": "x", "limti": 2}, "shpo": {}, "plain": {"a": 1}}}
    problems = Kernel(plugins=[plugin("shop", Settings=Settings), plugin("plain")], config=config).check()

    assert [(problem.where, problem.fatal) for problem in problems] == [
        ("plugin 'shop', limti", True), ("plugin 'shop', limit", True),
        ("plugins.shpo in argument", False), ("plugins.plain in argument", False),
    ]  # fmt: skip
    assert "did you mean shop?" in str(problems[2])


def test_check_finds_hooks_that_do_not_fit_and_specifications_that_are_there_twice() -> None:
    class Specs:
        @hookspec
        def check_hook(self, name: str) -> None: ...

    class Wrong:
        @hookimpl
        def check_hook(self, nmae: str) -> None: ...

    problems = told(
        Kernel(
            plugins=[
                plugin("one", hookspecs=Specs), plugin("two", hookspecs=Specs),
                plugin("three", check_hook=Wrong.check_hook),
            ]
        ).check()
    )  # fmt: skip

    assert len(problems) == 2
    assert "plugin 'two': there is a specification for check_hook already" in problems[0]
    assert "nmae" in problems[1]


PACKAGES = {
    "checked_catalog/__init__.py": "from plugbus import Plugin\nclass Catalog(Plugin, id='catalog'): ...\n",
    "checked_catalog/models.py": "class Product: ...\n",
    "checked_shop/__init__.py": (
        "from plugbus import Plugin\nfrom .inner import it\nclass Shop(Plugin, id='shop'): ...\n"
    ),
    "checked_shop/inner.py": (
        "import os, json\nfrom typing import TYPE_CHECKING\nfrom . import other\nfrom .other import it\n"
        "from checked_catalog.models import Product\nif TYPE_CHECKING:\n    import checked_catalog\n"
    ),
    "checked_shop/other.py": "it = 1\n",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name, text in PACKAGES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("checked_")]:
        del sys.modules[name]


async def test_check_reports_a_plugin_that_imports_another_plugins_package(packages: Path) -> None:
    kernel = Kernel(plugins=["checked_shop", "checked_catalog"])
    before = await to_thread.run_sync(kernel.check)
    async with kernel:
        running = await to_thread.run_sync(kernel.check)

    assert [problem.where for problem in before] == ["plugin 'shop', inner.py:5", "plugin 'shop', inner.py:7"]
    assert "imports checked_catalog.models.Product, which belongs to plugin 'catalog'" in str(before[0])
    assert running == before


def test_a_source_that_cannot_be_read_is_not_judged(packages: Path) -> None:
    kernel = Kernel(plugins=["checked_shop", "checked_catalog"])
    assert len(kernel.check()) == 2
    (packages / "checked_shop" / "inner.py").write_text("def (\n")

    assert kernel.check() == []


@pytest.mark.parametrize("name", ["test_inner", "inner_test", "conftest"])
def test_tests_beside_a_plugin_may_import_another_plugin(packages: Path, name: str) -> None:
    """Pytest imported them; no plugin does."""
    (packages / "checked_shop" / "inner.py").write_text("it = 1\n")
    (packages / "checked_shop" / f"{name}.py").write_text("from checked_catalog.models import Product\n")
    importlib.import_module(f"checked_shop.{name}")

    assert Kernel(plugins=["checked_shop", "checked_catalog"]).check() == []


def test_check_forgets_the_folder_plugins_it_looked_at(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("from plugbus import Plugin\nclass One(Plugin, id='one'): ...\n")
    kernel = Kernel(plugin_dirs=[tmp_path], enabled=["one"])

    (tmp_path / "two.py").write_text("raise AssertionError('not enabled')\n")

    assert kernel.check() == []
    assert [step.id for step in kernel.explain().plugins if "folder" in step.source] == ["one", "two"]
    assert not any(name.startswith("plugbus_plugin_") for name in sys.modules)


async def test_a_running_kernel_tells_what_failed_and_what_is_odd() -> None:
    class Failing(Plugin, id="failing"):
        async def on_boot(self) -> None:
            raise OSError("no disk")

        @hookimpl
        def check_unknown(self) -> None: ...

    class Hooked(Plugin, id="hooked"):
        @hookimpl
        def check_unknown(self) -> None: ...

    config = {"plugins": {"nobody": {}}}
    async with Kernel(plugins=[Broken, Failing, Hooked, Fine], config=config) as kernel:
        kernel.bus.observe(Tick, print, after=["somebody"])
        problems = told(await to_thread.run_sync(kernel.check))

    assert any(problem.startswith("plugin 'broken': failed: subscribing raised") for problem in problems)
    assert "plugin 'failing': failed: on_boot raised OSError: no disk" in problems
    assert any("after='somebody'" in problem for problem in problems)
    assert any("hooked.check_unknown: nobody has specified" in problem for problem in problems)
    assert any("plugins.nobody in argument" in problem for problem in problems)
    assert len(problems) == 5


async def test_a_running_kernel_lists_wiring_problems_one_by_one() -> None:
    async with Kernel(plugins=[Wired]) as kernel:
        problems = await to_thread.run_sync(kernel.check)

    assert len(problems) >= 5
    assert problems[0].where == "plugin 'wired', Wired(db: Database)"


async def test_check_in_a_thread_of_a_host_that_runs_something_else() -> None:
    with anyio.fail_after(5):
        assert await to_thread.run_sync(Kernel(plugins=[plugin("a")]).check) == []


# --------------------------------------------------------------------------------- lifecycle methods by another name


@pytest.mark.parametrize(
    ("name", "meant"),
    [("on_start", "on_boot"), ("on_stop", "on_shutdown"), ("on_load", "on_boot"), ("on_startup", "on_boot"),
     ("on_shutdwon", "on_shutdown"), ("on_raedy", "on_ready"), ("on_started", "on_ready"),
     ("on_health", "check_health")],
)  # fmt: skip
async def test_a_lifecycle_method_with_a_wrong_name_is_odd(name: str, meant: str) -> None:
    """Nobody would call it, and nobody would say so; whether the kernel runs or not."""

    async def step(self) -> None: ...

    one = type("One", (Plugin,), {name: step})
    expected = Problem(
        f"plugin 'one', One.{name}", "is no lifecycle method, and nothing calls it",
        f"did you mean {meant}? The lifecycle methods are on_boot, on_ready, on_settings, on_shutdown, check_health",
        fatal=False,
    )  # fmt: skip

    problems = Kernel(plugins=[one]).check()
    assert problems == [expected]
    async with Kernel(plugins=[one]) as kernel:
        assert await to_thread.run_sync(kernel.check) == problems


def test_methods_of_the_plugins_own_are_no_wrong_names() -> None:
    """What has another meaning, is marked, or is used by the plugin itself, is called by somebody."""

    class Own(Plugin):
        def on_click(self) -> None: ...

        def on_book(self) -> None: ...

        @observes(Tick)
        def on_start(self, event: Tick) -> None: ...

        def on_stop(self) -> None: ...

        async def on_boot(self) -> None:
            def later() -> None:
                self.on_stop()

            later()

    assert Kernel(plugins=[Own]).check() == []


# ------------------------------------------------------------------------------------------------ hook specifications


class HostSpecs:
    @hookspec
    def check_of_the_host(self, number: int) -> None: ...


def test_hooks_that_the_host_specified_are_known_before_the_start() -> None:
    class Fits(Plugin):
        @hookimpl
        def check_of_the_host(self, number: int) -> None: ...

    kernel = Kernel(plugins=[Fits])
    assert any("nobody has specified the hook" in problem for problem in told(kernel.check()))

    kernel.pm.add_hookspecs(HostSpecs)

    assert kernel.check() == []
    assert kernel.check() == []


def test_an_implementation_that_does_not_fit_the_hosts_hook_is_found_before_the_start() -> None:
    class Misfit(Plugin):
        @hookimpl
        def check_of_the_host(self, nombre: int) -> None: ...

    kernel = Kernel(plugins=[Misfit])
    kernel.pm.add_hookspecs(HostSpecs)

    (problem,) = kernel.check()

    assert problem.where == "plugin 'misfit'"
    assert "nombre" in problem.message


# ------------------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"plugin": {"shop": {}}}, "plugin in argument: there is no such table (did you mean 'plugins'?)"),
        ({"zebra": 1}, "zebra in argument: there is no such table (a configuration has kernel and plugins)"),
        (
            {"kernel": {"enable": ["shop"]}},
            "kernel.enable in argument: Extra inputs are not permitted (did you mean 'enabled'?)",
        ),
    ],
)
def test_tables_and_keys_that_nobody_reads_are_problems_with_the_nearest_name(config: dict, expected: str) -> None:
    assert told(Kernel(config=config).check()) == [expected]


def test_all_unknown_tables_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "plugbus.toml"
    file.write_text("pluggins = 1\n[kernal]\nenabled = ['shop']\n")

    assert told(Kernel(config=file).check()) == [
        f"pluggins in {file}: there is no such table (did you mean 'plugins'?)",
        f"kernal in {file}: there is no such table (did you mean 'kernel'?)",
    ]


def test_check_reports_what_marked_functions_ask_for_and_nobody_provides() -> None:
    """A remark, since whoever calls them may pass it; what is data, or provided by another plugin, is none."""

    class Marked(Plugin, id="marked"):
        @mark("job")
        def tidy(self, database: Database, catalog: Catalog, keep: int = 0) -> None: ...

    class Providing(Plugin, id="providing"):
        @provides
        def catalog(self) -> Catalog:
            return Catalog()

    found = [problem for problem in Kernel([Marked, Providing]).check() if "Database" in str(problem)]

    assert len(found) == 1
    assert "plugin 'marked', " in found[0].where
    assert "tidy(database: Database)" in found[0].where
    assert "nothing provides Database" in found[0].message
    assert not found[0].fatal


def test_check_reports_a_method_that_a_subclass_writes_anew_without_its_decorator() -> None:
    class Base(Plugin):
        @observes(Tick)
        def hear(self, tick: Tick) -> None: ...

        @observes(Tick)
        def note(self, tick: Tick) -> None: ...

    class Silent(Base, id="silent"):
        def hear(self, tick: Tick) -> None: ...

        @observes(Tick)
        def note(self, tick: Tick) -> None: ...

    [problem] = Kernel([Silent]).check()

    assert problem.where.startswith("plugin 'silent', ")
    assert "Silent.hear" in problem.where
    assert "Base.hear has" in problem.message
    assert not problem.fatal
