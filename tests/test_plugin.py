"""The three ways to write a plugin, and what each of them can say."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType, SimpleNamespace

import pytest
from anyio import fail_after, to_thread
from pydantic import BaseModel

from plugbus import (
    Event,
    EventBus,
    Health,
    Kernel,
    Listener,
    Logger,
    Manifest,
    ManifestError,
    Owner,
    Plugin,
    PluginBootError,
    PluginContext,
    PluginError,
    PluginLoadError,
    Request,
    answers,
    hookimpl,
    hookspec,
    listens,
    observes,
    provides,
)
from plugbus.services import Services
from plugbus.tasks import Tasks

pytestmark = pytest.mark.anyio


class Seen(Event, name="test.seen"):
    text: str


class Ask(Request[str], name="test.ask"):
    text: str


class Catalog:
    def __init__(self, place: str) -> None:
        self.place = place


class Settings(BaseModel):
    suffix: str = "!"


TRACE: list[str] = []


@pytest.fixture(autouse=True)
def trace() -> list[str]:
    TRACE.clear()
    return TRACE


def module_of(name: str, **namespace) -> ModuleType:
    """A module as if it had been imported."""
    module = ModuleType(name)
    vars(module).update(namespace)
    for value in namespace.values():
        if callable(value) and not isinstance(value, type):
            value.__module__ = name
    return module


# The same plugin, written in each way: it answers, observes, provides, has settings and a life.


class ClassWay(Plugin, id="shop", version="1.0"):
    Settings = Settings

    def __init__(self, settings, log: Logger, bus: EventBus) -> None:
        self.suffix, self.log, self.bus = settings.suffix, log, bus

    @provides
    def catalog(self) -> Catalog:
        return Catalog("class")

    @answers(Ask)
    async def answer(self, request: Ask) -> str:
        return request.text + self.suffix

    @observes(Seen)
    def see(self, event: Seen, log: Logger) -> None:
        TRACE.append(f"saw {event.text}")

    async def on_boot(self, tasks: Tasks) -> None:
        TRACE.append("boot")

    def on_ready(self) -> None:
        TRACE.append("ready")

    async def on_shutdown(self) -> None:
        TRACE.append("shutdown")

    def check_health(self) -> Health:
        return Health(metrics={"items": 7})


def module_way(*, is_async: bool) -> ModuleType:
    def set_up(ctx: PluginContext, log: Logger) -> None:
        settings = ctx.settings(Settings)
        ctx.provide(Catalog, Catalog("module"), name="catalog")

        async def answer(request: Ask) -> str:
            return request.text + settings.suffix

        def see(event: Seen, log: Logger) -> None:
            TRACE.append(f"saw {event.text}")

        ctx.bus.answer(Ask, answer)
        ctx.bus.observe(Seen, see)

        @ctx.on_boot
        async def boot() -> None:
            TRACE.append("boot")

        @ctx.on_ready
        def ready(tasks: Tasks) -> None:
            TRACE.append("ready")

        @ctx.on_shutdown
        async def shutdown() -> None:
            TRACE.append("shutdown")

        @ctx.check_health
        def health() -> Health:
            return Health(metrics={"items": 7})

    async def set_up_async(ctx: PluginContext, log: Logger) -> None:
        set_up(ctx, log)

    register = set_up_async if is_async else set_up
    return module_of("shop_module", manifest=Manifest(id="shop", version="1.0"), register=register)


class NativeWay:
    manifest = Manifest(id="shop", version="1.0")

    @hookimpl
    async def plugbus_boot(self, ctx: PluginContext) -> None:
        self.suffix = ctx.settings(Settings).suffix
        ctx.provide(Catalog, factory=lambda: Catalog("native"), name="catalog")
        TRACE.append("boot")

    @hookimpl
    def plugbus_ready(self) -> None:
        TRACE.append("ready")

    @hookimpl(specname="plugbus_shutdown")
    def finish(self, ctx: PluginContext) -> None:
        TRACE.append("shutdown")

    @hookimpl
    def plugbus_health(self) -> Health:
        return Health(metrics={"items": 7})

    @answers(Ask)
    async def answer(self, request: Ask) -> str:
        return request.text + self.suffix

    @observes(Seen)
    def see(self, event: Seen) -> None:
        TRACE.append(f"saw {event.text}")


WAYS = {
    "class": lambda: ClassWay,
    "instance": lambda: ClassWay(Settings(suffix="?"), None, None),
    "module": lambda: module_way(is_async=False),
    "module async": lambda: module_way(is_async=True),
    "native": NativeWay,
}


@pytest.mark.parametrize("way", WAYS)
async def test_three_ways_to_write_a_plugin_are_equal_once_loaded(way: str) -> None:
    with fail_after(5):
        async with Kernel(plugins=[WAYS[way]()], config={"plugins": {"shop": {"suffix": "?"}}}) as kernel:
            record = kernel.plugins["shop"]
            await kernel.bus.aemit(Seen(text="it"))
            answer = await kernel.bus.acall(Ask(text="well"))
            catalog = await kernel.services.aget(Catalog)
            health = await kernel.health()

            assert (record.state, record.manifest, record.reason) == ("ready", Manifest(id="shop", version="1.0"), "")
            assert kernel.pm.get_plugin("shop") is record.instance
            assert answer == "well?"
            assert isinstance(catalog, Catalog)
            assert health.plugins["shop"].metrics == {"items": 7}
            assert [item.plugin for item in kernel.bus.subscriptions()] == ["shop", "shop"]

    assert TRACE == ["boot", "ready", "saw it", "shutdown"]
    assert record.owns == ()


async def test_an_instance_is_taken_as_its_user_built_it() -> None:
    plugin = ClassWay(Settings(suffix="#"), None, None)

    async with Kernel(plugins=[plugin]) as kernel:
        assert kernel.plugins["shop"].instance is plugin
        assert await kernel.bus.acall(Ask(text="a")) == "a#"


def test_class_keywords_make_a_manifest() -> None:
    class Products(Plugin, id="products", version="1.2.0", requires=["catalog>=1"]): ...

    class More(Products, version="1.3.0"): ...

    class HTTPServerPlugin(Plugin, version="1"): ...

    assert Products.manifest == Manifest(id="products", version="1.2.0", requires=["catalog>=1"])
    assert More.manifest == Manifest(id="products", version="1.3.0", requires=["catalog>=1"])
    assert HTTPServerPlugin.manifest.id == "http-server-plugin"


def test_class_keywords_and_a_manifest_are_one_too_many() -> None:
    with pytest.raises(ManifestError, match="not both"):

        class Twice(Plugin, id="twice"):
            manifest = Manifest(id="twice")


def test_wrong_class_keywords_are_refused_with_all_problems() -> None:
    with pytest.raises(ManifestError) as caught:

        class Wrong(Plugin, id="Wrong", version="x", colour="red"): ...

    assert len(caught.value.problems) == 3


async def test_a_class_without_a_manifest_is_called_after_itself() -> None:
    class OrderMail(Plugin): ...

    async with Kernel(plugins=[OrderMail]) as kernel:
        assert list(kernel.plugins) == ["order-mail"]
        assert kernel.plugins["order_mail"].id == "order-mail"


class Part(Plugin):
    pass


class Shouting:
    """A class as a part: built by the container, once."""

    def __init__(self, log: Logger) -> None:
        TRACE.append("part built")

    @provides(name="loud")
    async def catalog(self) -> Catalog:
        return Catalog("part")

    @observes(Seen)
    def see(self, event: Seen) -> None:
        TRACE.append(event.text.upper())


class Echo(Listener[Seen]):
    def __init__(self, log: Logger) -> None: ...

    def handle(self, event, next_fn):
        TRACE.append("listener")
        return next_fn(event)


@observes(Seen)
def whisper(event: Seen) -> None:
    TRACE.append(event.text.lower())


@listens(Seen)
class Marked(Echo): ...


async def test_parts_bring_in_modules_classes_and_objects() -> None:
    class Talking(Plugin):
        parts = (Shouting, module_of("whispering", whisper=whisper), SimpleNamespace(listener=Marked))

    def register(ctx: PluginContext) -> None:
        ctx.add(Shouting)
        ctx.add(Shouting)
        ctx.add(SimpleNamespace(see=whisper))

    later = module_of("later", manifest=Manifest(id="later"), register=register)
    for plugin in (Talking, later):
        async with Kernel(plugins=[plugin]) as kernel:
            await kernel.bus.aemit(Seen(text="Hm"))
            assert (await kernel.services.aget(Catalog)).place == "part"
        assert sorted(TRACE) in (["HM", "hm", "listener", "part built"], ["HM", "hm", "part built"])
        TRACE.clear()


async def test_a_part_that_comes_too_late_is_refused() -> None:
    contexts: list[PluginContext] = []
    module = module_of("late", manifest=Manifest(id="late"), register=lambda ctx: contexts.append(ctx))

    async with Kernel(plugins=[module]):
        with pytest.raises(PluginError, match="too late"):
            contexts[0].add(Shouting)
        with pytest.raises(PluginError, match="too late"):
            contexts[0].on_ready(print)


async def test_the_context_has_what_a_class_has() -> None:
    contexts: list[PluginContext] = []
    module = module_of("all", manifest=Manifest(id="all"), register=lambda ctx: contexts.append(ctx))

    async with Kernel(plugins=[module]) as kernel:
        (ctx,) = contexts
        assert (ctx.id, ctx.manifest.id, ctx.owner.id) == ("all", "all", "all")
        assert isinstance(ctx.bus, EventBus)
        assert ctx.bus is not kernel.bus
        assert isinstance(ctx.services, Services)
        assert isinstance(ctx.tasks, Tasks)
        assert ctx.tasks is ctx.tasks
        ctx.log.info("it logs")


class Asking(Plugin):
    def __init__(self, bus, event_bus, log, logger, services, tasks, clock, owner) -> None:  # noqa: PLR0917
        self.got = (bus, event_bus, log, logger, services, tasks, clock, owner)


async def test_names_of_the_kernel_are_injected_without_annotations() -> None:
    async with Kernel(plugins=[Asking]) as kernel:
        bus, event_bus, _, _, services, tasks, clock, owner = kernel.plugins["asking"].instance.got

        assert bus is event_bus
        assert isinstance(services, Services)
        assert isinstance(tasks, Tasks)
        assert clock.monotonic() > 0
        assert isinstance(owner, Owner)
        assert owner.id == "asking"


async def test_the_host_has_them_too() -> None:
    kernel = Kernel()
    with pytest.raises(PluginError, match="before the kernel has started"):
        kernel.services.get(Tasks)

    async with kernel:
        assert kernel.services.get(EventBus) is kernel.bus
        assert kernel.services.get(Tasks) is kernel.services.get(Tasks)
        kernel.services.get(Logger).info("it logs")


class Providing(Plugin):
    """Each kind of provider: sync, async, generators with clean-up; for all, or one for each that asks."""

    @provides
    def number(self) -> int:
        return 7

    @provides(scope="plugin")
    def text(self, owner: Owner) -> str:
        return f"for {owner.id}"

    @provides
    async def catalog(self) -> AsyncIterator[Catalog]:
        yield Catalog("generated")
        TRACE.append("catalog closed")

    @provides(name="parts")
    def listed(self, number: int) -> Iterator[list[int]]:
        yield [number]
        TRACE.append("list closed")

    @staticmethod
    @provides
    def ratio() -> float:
        return 0.5


class Using(Plugin):
    def __init__(self, number: int, text: str, catalog: Catalog, parts, ratio: float) -> None:
        self.got = (number, text, catalog.place, parts, ratio)

    def on_shutdown(self) -> None:
        TRACE.append("using down")


async def test_provided_services_are_found_by_type_and_by_name() -> None:
    """And those that ask boot after those that provide, however they are listed."""
    async with Kernel(plugins=[Using, Providing]) as kernel:
        assert kernel.plugins["using"].instance.got == (7, "for using", "generated", [7], 0.5)
        assert kernel.plugins["using"].needs == ("providing",)

    assert TRACE[0] == "using down"
    assert sorted(TRACE[1:]) == ["catalog closed", "list closed"]


class NoType(Plugin):
    @provides
    def thing(self):
        return 7


async def test_a_provider_must_say_what_it_provides() -> None:
    async with Kernel(plugins=[NoType]) as kernel:
        assert "NoType.thing is marked with @provides" in kernel.plugins[f"{__name__}:NoType"].reason


async def test_settings_are_asked_for_by_plugins_that_have_some() -> None:
    class Wanting(Plugin):
        def __init__(self, settings) -> None: ...

    async with Kernel(plugins=[Wanting]) as kernel:
        assert "'wanting' has no settings" in kernel.plugins["wanting"].reason


async def test_a_hook_under_another_name_boots_too() -> None:
    class Native:
        manifest = Manifest(id="native")

        @hookimpl(specname="plugbus_boot")
        async def start(self, ctx: PluginContext) -> None:
            TRACE.append(f"started {ctx.id}")

    async with Kernel(plugins=[Native()]):
        assert TRACE == ["started native"]


async def test_hook_specifications_of_a_plugin_are_for_others() -> None:
    class Specs:
        @hookspec
        def shop_greet(self, name: str) -> str: ...

    class Serving(Plugin):
        hookspecs = Specs

    class Greeting(Plugin):
        @hookimpl
        def shop_greet(self, name: str) -> str:
            return f"hello {name}"

    async with Kernel(plugins=[Serving]) as kernel:
        await kernel.load(Greeting)
        assert kernel.pm.hook.shop_greet(name="you") == ["hello you"]
        await kernel.unload("greeting")
        assert kernel.pm.hook.shop_greet(name="you") == []
        await kernel.unload("serving")
        assert not hasattr(kernel.pm.hook, "shop_greet")


async def test_implementations_for_an_absent_spec_are_reported_not_fatal() -> None:
    class Greeting(Plugin):
        @hookimpl
        def shop_greet(self, name: str) -> str: ...

        @hookimpl(optionalhook=True)
        def shop_wave(self) -> None: ...

    kernel = Kernel(plugins=[Greeting])
    (before,) = await to_thread.run_sync(kernel.check)
    async with kernel:
        assert kernel.plugins["greeting"].state == "ready"
        (found,) = await to_thread.run_sync(kernel.check)

    assert found == before
    assert not found.fatal
    assert "greeting.shop_greet: nobody has specified the hook 'shop_greet'" in str(found)


@pytest.mark.parametrize("specs_first", [True, False])
async def test_a_hook_that_does_not_fit_its_spec_leaves_nothing_behind(specs_first: bool) -> None:
    """Whichever comes second fails; its valid hooks and specifications do not stay."""

    class Specs:
        @hookspec
        def shop_greet(self, name: str) -> str: ...

        @hookspec
        def shop_other(self) -> str: ...

    class Serving(Plugin):
        hookspecs = Specs

    class Greeting(Plugin):
        @hookimpl
        def shop_greet(self, nmae: str) -> str: ...

        @hookimpl
        def shop_fine(self) -> None: ...

    first, second = (Serving, Greeting) if specs_first else (Greeting, Serving)
    async with Kernel(plugins=[first]) as kernel:
        with pytest.raises(PluginError, match="nmae"):
            await kernel.load(second)

        assert [name for name, _ in kernel.pm.list_name_plugin()] == [first.__name__.lower()]
        hooks = {name for name in vars(kernel.pm.hook) if name.startswith("shop")}
        assert hooks == ({"shop_greet", "shop_other"} if specs_first else {"shop_greet", "shop_fine"})


async def test_hookspecs_without_a_spec_or_for_a_known_hook_are_refused() -> None:
    class Nothing: ...

    class Known:
        @hookspec
        def plugbus_ready(self, ctx) -> None: ...

    for namespace, phrase in ((Nothing, "did not find any"), (Known, "already")):
        plugin = type("Serving", (Plugin,), {"hookspecs": namespace})
        async with Kernel(plugins=[plugin]) as kernel:
            assert phrase in kernel.plugins["serving"].reason


async def test_a_context_brings_in_hook_specifications() -> None:
    class Specs:
        @hookspec
        def shop_greet(self, name: str) -> str: ...

    module = module_of("serving", manifest=Manifest(id="serving"), register=lambda ctx: ctx.add_hookspecs(Specs))

    async with Kernel(plugins=[module]) as kernel:
        assert kernel.pm.hook.shop_greet(name="you") == []
        assert "hook specifications shop_greet" in kernel.plugins["serving"].owns


async def test_one_object_is_one_plugin() -> None:
    """Equal objects are two; pluggy itself would take them for one."""

    class Equal:
        def __init__(self, name: str) -> None:
            self.manifest = Manifest(id=name)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        __hash__ = None

    one, two = Equal("one"), Equal("two")
    async with Kernel(plugins=[one, two, one]) as kernel:
        assert [record.state for record in kernel.plugins.values()] == ["ready", "ready"]
        one.manifest = Manifest(id="three")
        with pytest.raises(PluginError, match="is plugin 'one' already"):
            await kernel.load(one)
        await kernel.unload("two")
        assert kernel.pm.get_name(one) == "one"


async def test_events_a_plugin_brings_along_are_known_by_name_as_long_as_it_is_loaded() -> None:
    class Extra(Event, name="extra.thing"): ...

    class Bringing(Plugin):
        events = (Extra,)

    async with Kernel(plugins=[Bringing]) as kernel:
        assert kernel.bus.type_named("extra.thing").cls is Extra
        await kernel.unload("bringing")
        assert kernel.bus.type_named("extra.thing") is None


async def test_events_defined_in_a_plugins_package_are_known_by_name() -> None:
    package = ModuleType("shop_package")
    events = ModuleType("shop_package.events")

    class Inner(Event, name="shop.inner"): ...

    Inner.__module__ = "shop_package.events"
    events.Inner = Inner

    class Shop(Plugin, id="shop"): ...

    Shop.__module__ = "shop_package"
    package.Shop = Shop
    sys.modules |= {"shop_package": package, "shop_package.events": events}
    try:
        async with Kernel(plugins=["shop_package"]) as kernel:
            assert kernel.bus.type_named("shop.inner").cls is Inner
            await kernel.unload("shop")
            assert kernel.bus.type_named("shop.inner") is None
    finally:
        del sys.modules["shop_package"], sys.modules["shop_package.events"]


@pytest.mark.parametrize(
    ("spec", "phrase"), [(7, "is no plugin"), (dict, "is no plugin"), (ModuleType("empty"), "no plugin in it")]
)
async def test_what_is_no_plugin_is_refused_and_says_what_one_is(spec: object, phrase: str) -> None:
    async with Kernel() as kernel:
        with pytest.raises(PluginLoadError, match=phrase):
            await kernel.load(spec)


async def test_a_module_with_two_plugins_asks_which() -> None:
    class One(Plugin): ...

    class Two(Plugin): ...

    One.__module__ = Two.__module__ = "two_of_them"
    module = ModuleType("two_of_them")
    module.One, module.Two = One, Two

    async with Kernel() as kernel:
        with pytest.raises(PluginLoadError, match="several plugins; say which, as 'two_of_them:"):
            await kernel.load(module)


async def test_a_module_needs_a_manifest_and_it_must_be_one() -> None:
    async with Kernel() as kernel:
        with pytest.raises(ManifestError, match="there is none"):
            await kernel.load(module_of("bare", register=lambda ctx: None))
        with pytest.raises(ManifestError, match="manifest is int"):
            await kernel.load(module_of("odd", manifest=7, register=lambda ctx: None))
        record = await kernel.load(module_of("mapped", manifest={"id": "mapped"}, see=whisper))
        assert record.manifest == Manifest(id="mapped")


async def test_an_error_while_registering_is_the_plugins() -> None:
    def register(ctx: PluginContext) -> None:
        raise OSError("no disk")

    async with Kernel() as kernel:
        with pytest.raises(PluginBootError, match="register raised OSError: no disk"):
            await kernel.load(module_of("failing", manifest=Manifest(id="failing"), register=register))
