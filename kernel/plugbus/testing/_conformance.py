"""What every plugin should do, whatever it does: boot alone, leave no trace, keep to its manifest, survive.

Owns the checks; ``PluginConformance`` is the same for pytest, one test for each.
"""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal, final

import anyio
import anyio.to_thread

from plugbus.errors import PlugbusError, Problem
from plugbus.kernel import Kernel
from plugbus.lifecycle import PluginState
from plugbus.plan import PluginStep
from plugbus.plugin import Plugin
from plugbus.testing._kernels import KernelFactory
from plugbus.testing._leftovers import environment_put_back, left_in_process, traces_in_process


@final
class Conformance:
    """Checks one plugin.

    Args:
        plugin: What ``Kernel(plugins=[...])`` takes; not an instance, because it is built several times.
        fakes: What stands in for the services that it needs from others, by type.
        needs: Plugins that it cannot do without.
        config: Its configuration, by key.

    Example:
        >>> import anyio
        >>> from plugbus import Event, Manifest, Plugin, observes
        >>> class Paid(Event, name="order.paid"): ...
        >>> class Shop(Plugin):
        ...     manifest = Manifest(id="shop", publishes=[], subscribes=["order.*"], permissions=[])
        ...
        ...     @observes(Paid)
        ...     def note(self, event: Paid) -> None: ...
        >>> anyio.run(Conformance(Shop).problems)
        []
    """

    def __init__(
        self,
        plugin: object,
        *,
        fakes: Mapping[Any, object] | None = None,
        needs: Sequence[object] = (),
        config: Mapping[str, object] | None = None,
    ) -> None:
        self.plugin, self.fakes, self.needs = plugin, dict(fakes or {}), tuple(needs)
        self.id = _identity(plugin).id
        self._failing = tuple((_identity(plugin).id, _failing(plugin)) for plugin in self.needs)  # it opens files
        self._config = {"plugins": {self.id: dict(config)}} if config else {}

    async def problems(self) -> list[Problem]:
        """Run every check and return what does not hold."""
        found: list[Problem] = []
        for check in (
            self.boots_alone,
            self.leaves_no_trace,
            self.keeps_to_its_manifest,
            self.survives_what_it_needs,
        ):
            try:
                await check()
            except (AssertionError, PlugbusError) as error:
                found.append(Problem(self.id, f"{check.__name__}: {error}"))
        return found

    async def boots_alone(self) -> None:
        """It boots with nothing but fakes and the plugins that it needs.

        Raises:
            KernelStartError: If it does not.
        """
        async with self._running(*self.needs, self.plugin):
            pass

    async def leaves_no_trace(self) -> None:
        """Unloaded, it leaves no subscription, event type or hook, and its object is let go.

        Loaded once more, it leaves no task, thread, child process, open file or socket and no log handler either; the
        first time, when modules are imported and libraries set themselves up, no environment variable. Of child
        processes and open files only Linux tells, and macOS of the latter.

        Raises:
            AssertionError: If it does; the message says what was left.
            PluginError: If it cannot be loaded or unloaded.
        """
        async with self._running(*self.needs) as kernel:
            before, variables = _traces(kernel), await traces_in_process("variable")
            kept = await self._load_and_unload(kernel)
            left = _traces(kernel) - before
            told = ", ".join(f"{count} {what}" for what, count in left.items())
            _require(not left, f"unloaded, {self.id!r} leaves {told}")
            _require(await _let_go(kept), f"{self.id!r} is unloaded, and something still holds on to its object")
            around = await traces_in_process()
            await self._load_and_unload(kernel)
            left_around = await left_in_process(variables, "variable") + await left_in_process(around)
            _require(not left_around, f"unloaded, {self.id!r} leaves {', '.join(left_around)}")

    async def _load_and_unload(self, kernel: Kernel) -> Callable[[], object]:
        record = await kernel.load(self.plugin)
        kept = _reference(record.instance)
        await kernel.unload(record.id)
        return kept

    async def keeps_to_its_manifest(self) -> None:
        """What it does while it boots is what it declares, and ``Kernel.check`` finds nothing wrong.

        What is odd and allowed (a :class:`Problem` that is not ``fatal``) does not count.

        A kernel holds a plugin to what it declares; who declares nothing is held to nothing.

        Raises:
            KernelStartError: If it does more than it declares.
            AssertionError: If the check finds something; the message lists it.
        """
        async with self._running(*self.needs, self.plugin) as kernel:
            found = [each for each in await anyio.to_thread.run_sync(kernel.check) if each.fatal]  # it may open files
            _require(not found, "; ".join(map(str, found)))

    async def survives_what_it_needs(self) -> None:
        """Whatever fails of what it needs: it is ready all the same, or says why not and leaves nothing behind.

        Raises:
            AssertionError: If it neither runs nor says why, or if something of it is left.
        """
        for type_ in self.fakes:
            broken = {**self.fakes, type_: _broken_factory(type_)}
            await self._survives(f"a working {type_!r}", broken, self.needs)
        for index, (needed, failing) in enumerate(self._failing):
            needs = (*self.needs[:index], failing, *self.needs[index + 1 :])
            await self._survives(needed, self.fakes, needs)

    async def _survives(self, what: str, fakes: Mapping[Any, object], needs: Sequence[object]) -> None:
        async with self._running(*needs, self.plugin, fakes=fakes, required=()) as kernel:
            record = kernel.plugins[self.id]
            if record.state is PluginState.READY:
                return
            told = f"without {what}, {self.id!r} is {record.state}"
            _require(bool(record.reason), f"{told}, and does not say why")
            left = [*record.owns, *(item.name for item in kernel.bus.subscriptions() if item.plugin == self.id)]
            _require(not left, f"{told}, and there is still {', '.join(left)}")

    @asynccontextmanager
    async def _running(
        self, *plugins: object, fakes: Mapping[Any, object] | None = None, **options: Any
    ) -> AsyncIterator[Kernel]:
        with KernelFactory() as kernels, environment_put_back():
            overrides = self.fakes if fakes is None else fakes
            async with kernels(*plugins, overrides=overrides, config=self._config, **options) as kernel:
                yield kernel


class PluginConformance:
    """The checks of :class:`Conformance` as tests: derive a class whose name begins with ``Test`` from it.

    Attributes:
        plugin: What ``Kernel(plugins=[...])`` takes; not an instance.
        fakes: What stands in for services, by type.
        needs: Plugins that it cannot do without.
        config: Its configuration, by key.
        backend: The event loop to test on.

    Example:
        >>> from plugbus import Plugin
        >>> class Shop(Plugin): ...
        >>> class TestShop(PluginConformance):
        ...     plugin = Shop
        >>> TestShop().test_boots_alone()
    """

    plugin: ClassVar[object]
    fakes: ClassVar[Mapping[Any, object]] = {}
    needs: ClassVar[Sequence[object]] = ()
    config: ClassVar[Mapping[str, object]] = {}
    backend: ClassVar[Literal["asyncio", "trio"]] = "asyncio"

    def conformance(self) -> Conformance:
        """Return the checks."""
        return Conformance(self.plugin, fakes=self.fakes, needs=self.needs, config=self.config)

    def test_boots_alone(self) -> None:
        """It boots with nothing but fakes and the plugins that it needs."""
        anyio.run(self.conformance().boots_alone, backend=self.backend)

    def test_leaves_no_trace(self) -> None:
        """Unloaded, it leaves nothing behind."""
        anyio.run(self.conformance().leaves_no_trace, backend=self.backend)

    def test_keeps_to_its_manifest(self) -> None:
        """It does what it declares, and no more."""
        anyio.run(self.conformance().keeps_to_its_manifest, backend=self.backend)

    def test_survives_what_it_needs(self) -> None:
        """Whatever fails of what it needs, it runs, or says why not."""
        anyio.run(self.conformance().survives_what_it_needs, backend=self.backend)


def _identity(plugin: object) -> PluginStep:
    """Return what a kernel takes a plugin for."""
    steps = Kernel([plugin]).explain().plugins
    return next(step for step in steps if step.source.startswith("argument"))


def _failing(plugin: object) -> type[Plugin]:
    """Return a plugin with the same id and version that fails at boot."""
    step = _identity(plugin)

    class Failing(Plugin, id=step.id, version=step.version):
        async def on_boot(self) -> None:
            raise ConnectionError("it fails for a test")

    return Failing


def _broken_factory(type_: object) -> Callable[[], object]:
    def broken() -> object:
        raise ConnectionError(f"{type_!r} fails for a test")

    return broken


def _traces(kernel: Kernel) -> Counter[str]:
    """Count what plugins leave where."""
    registry = kernel.bus._core.registry  # noqa: SLF001 - the test kit belongs to the kernel
    return Counter(
        {
            "subscriptions": len(kernel.bus.subscriptions()),
            "event types": sum(not known.cls.__module__.startswith("plugbus.") for known in registry),
            "hooks": len(kernel.pm.get_plugins()),
        }
    )


def _reference(instance: object) -> Callable[[], object]:
    """Refer to an object without holding on to it; a module stays where it was imported."""
    try:
        return weakref.ref(instance) if isinstance(instance, Plugin) else lambda: None
    except TypeError:  # it has slots, and none for this
        return lambda: None


async def _let_go(kept: Callable[[], object]) -> bool:
    """Tell whether nothing holds an object any more; a worker thread forgets its last call a moment after it."""
    for pause_seconds in (0.01, 0.02, 0.05, 0.1, 0.2, 0):
        gc.collect()  # slow in a large process, hence few of them
        if kept() is None:
            return True
        await anyio.sleep(pause_seconds)
    return False


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - it reads as a sentence
    if not holds:
        raise AssertionError(otherwise)
