"""The kernel: a bus, services, and plugins with a life.

Owns the public face; the machinery in ``_kernel/`` is imported on first use: who needs the bus alone pays nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, final

import anyio

from plugbus.errors import KernelStartError, Problem
from plugbus.plan import KernelPlan, plan_of
from plugbus.plugins import PluginRecord, Plugins
from plugbus.portal import KernelPortal

if TYPE_CHECKING:
    import pluggy
    from anyio.from_thread import BlockingPortal

    from plugbus._kernel.config import ConfigSource
    from plugbus.bus import EventBus
    from plugbus.health import KernelHealth
    from plugbus.services import Services

__all__ = ("Kernel",)


@final
class Kernel:
    """Runs plugins around one event bus; several kernels may live in one process.

    ``async with`` starts and stops it, in the event loop that runs there, asyncio's or trio's. Each starts once.

    Args:
        plugins: Plugin classes and objects, modules, and dotted names such as ``"shop.products:Products"``.
        enabled: The allow list for entry points (group ``plugbus.plugins``) and *plugin_dirs*: nothing else of them
            is imported. ``[kernel] enabled`` of *config* and then ``PLUGBUS_ENABLED`` go over it; in each a plain
            list replaces, ``+id`` adds, ``-id`` takes out.
        required: Ids without which the kernel does not start.
        plugin_dirs: Folders with a folder, or a module, for each plugin.
        config: A TOML file or a mapping: a table ``[kernel]`` with *plugins*, *enabled*, *required*, *plugin_dirs*,
            *grants* and *strict*, and a table ``[plugins.<id>]`` with settings. The environment
            (``PLUGBUS_<ID>__<KEY>``) goes over a file, a mapping goes over the environment.
        grants: What the operator grants, by plugin id: a mapping with *publishes*, *subscribes*, *permissions*. It
            narrows what the manifest declares and never widens it; ``[kernel.grants.<id>]`` of *config* does, too.
        strict: Let no plugin boot whose manifest does not declare all three of these.
        checked: Check what subscribers do, and name the one that breaks the contract; for tests and development.
        boot_timeout_seconds: Time for each plugin to boot, in seconds.
        drain_seconds: Time for the whole shutdown, in seconds; each plugin may take half of what is left.

    Raises:
        ValueError: If a time is not above zero.
        TypeError: If one plugin, id or folder stands where a list of them belongs.
        KernelStartError: On entering, if the configuration cannot be used or a required plugin is not ready;
            everything that had started is rolled back then.

    Example:
        >>> import anyio
        >>> from plugbus import Event, Kernel, Plugin, observes
        >>> class OrderPlaced(Event):
        ...     order_id: int
        >>> class Audit(Plugin):
        ...     @observes(OrderPlaced)
        ...     def note(self, event: OrderPlaced) -> None:
        ...         print("order", event.order_id)
        >>> async def main() -> None:
        ...     async with Kernel(plugins=[Audit]) as kernel:
        ...         await kernel.bus.aemit(OrderPlaced(order_id=1))
        >>> anyio.run(main)
        order 1
    """

    def __init__(
        self,
        plugins: Iterable[object] = (),
        *,
        enabled: Iterable[str] = (),
        required: Iterable[str] = (),
        plugin_dirs: Iterable[str | os.PathLike[str]] = (),
        config: ConfigSource = None,
        grants: Mapping[str, Mapping[str, Iterable[str]]] | None = None,
        strict: bool = False,
        checked: bool = False,
        boot_timeout_seconds: float = 30.0,
        drain_seconds: float = 10.0,
    ) -> None:
        from plugbus._kernel.life import Life
        from plugbus._kernel.preparing import KernelOptions, several
        from plugbus._kernel.runtime import Runtime

        self._options = KernelOptions(
            several("plugins", plugins), several("enabled", enabled), several("required", required),
            tuple(map(Path, several("plugin_dirs", plugin_dirs))), config, grants or {}, strict, checked,
            boot_timeout_seconds, drain_seconds,
        )  # fmt: skip
        self._runtime = Runtime(self._options)
        self._plugins = Plugins(self._runtime)
        self._life = Life(self._runtime)

    @property
    def bus(self) -> EventBus:
        """The event bus; the host may subscribe before the kernel starts."""
        return self._runtime.bus

    @property
    def services(self) -> Services:
        """The services; the host provides its own before the kernel starts."""
        return self._runtime.services

    @property
    def plugins(self) -> Plugins:
        """All plugins by their ids."""
        return self._plugins

    @property
    def pm(self) -> pluggy.PluginManager:
        """The pluggy registry that holds every plugin; adapters add their hook specifications to it."""
        return self._runtime.hooks

    async def __aenter__(self) -> Self:
        await self._life.begin(signals=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._life.end()

    def override_setting(self, plugin_id: str, key: str, value: Any, *, origin: str = "argument") -> None:
        """Set one key of a plugin's settings over every other source, before the kernel starts.

        Args:
            plugin_id: Whose; :meth:`check` reports an id that nobody has.
            key: The key, such as ``mail.port`` for one within another. Set twice, the later value counts.
            value: Its value.
            origin: Where it comes from, for messages and ``setting_sources``.

        Raises:
            ValueError: If it is no plugin id.
            KernelStartError: If the kernel has started; ``kernel.plugins.configure()`` changes settings then.
        """
        if self._runtime.fleet is not None:
            raise KernelStartError([Problem("kernel", "has started", "use kernel.plugins.configure()")])
        self._options.override(plugin_id, key.split("."), value, origin)

    async def load(self, spec: object) -> PluginRecord:
        """Load one more plugin while the kernel runs; as :meth:`Plugins.load`. Cancelled, it leaves nothing running.

        Args:
            spec: What ``Kernel(plugins=[...])`` takes; or the id of a plugin that is known and not ready.

        Raises:
            PluginError: If it cannot be imported, wired or booted; nothing is left of it but its record.
        """
        return await self._plugins.load(spec)

    async def unload(self, plugin_id: str, *, cascade: bool = False) -> tuple[str, ...]:
        """Unload a plugin while the kernel runs; as :meth:`Plugins.unload`.

        Args:
            plugin_id: Which.
            cascade: Unload those that need it, too, before it.

        Raises:
            PluginNotFoundError: If there is none of this id.
            PluginInUseError: If others need it, and *cascade* is false.
            PluginError: If it is neither ready nor failed.
        """
        return await self._plugins.unload(plugin_id, cascade=cascade)

    async def reload(self, plugin_id: str) -> PluginRecord:
        """Put a new one in the place of a plugin that runs, and of those that need it; as :meth:`Plugins.reload`.

        Args:
            plugin_id: Which.

        Raises:
            PluginNotFoundError: If there is none of this id.
            ReloadError: If the new one, or one that needs it, does not come to be ready; the old ones run on then.
        """
        return await self._plugins.reload(plugin_id)

    async def health(self, *, timeout_seconds: float = 5.0) -> KernelHealth:
        """Ask each plugin how it is, all at once, and add what the kernel has seen.

        Args:
            timeout_seconds: Time for each plugin to answer, in seconds; one that does not is down.
        """
        return await self._plugins.health(timeout_seconds=timeout_seconds)

    def check(self) -> list[Problem]:
        """Return everything that is wrong or odd, all at once, without booting anything.

        Plugins that are enabled are imported, which takes time and opens files; in async code call it in a thread.

        Example:
            >>> from plugbus import Manifest, Plugin
            >>> class Shop(Plugin):
            ...     manifest = Manifest(id="shop", requires=["catalog>=1.0"])
            >>> print(*Kernel(plugins=[Shop]).check())
            plugin 'shop': blocked: it requires catalog>=1.0, which is not there
        """
        from plugbus._kernel.check import check

        return check(self._runtime)

    def explain(self) -> KernelPlan:
        """Return which plugins there are, in which order they boot, and why.

        Before the kernel has started, the plugins that are enabled are imported for this.

        Raises:
            KernelStartError: If the configuration cannot be used.
        """
        from plugbus._kernel.check import Rehearsal
        from plugbus._kernel.preparing import read

        if self._runtime.fleet is not None:
            return plan_of(self._runtime.fleet.ready, self._runtime.named_units(), self._runtime.required)
        found = read(self._options)
        rehearsal = Rehearsal(self._runtime, found)
        try:
            return plan_of(rehearsal.ordered, [(unit.id, unit) for unit in rehearsal.units.values()], found.required)
        finally:
            rehearsal.close()

    def stop(self, reason: str = "") -> None:
        """Have :meth:`serve` or :meth:`run` return, so that the kernel shuts down; from the event loop.

        Args:
            reason: Why, for ``KernelStopping``; the first one counts.
        """
        self._life.stop(reason)

    async def serve(self) -> str:
        """Wait until SIGTERM, SIGINT or :meth:`stop`; then leave ``async with``, and the kernel drains.

        Only the main thread can receive signals.

        Returns:
            Why it is to stop, such as ``"SIGTERM"``.

        Raises:
            KernelStartError: If the kernel has not been started.
        """
        return await self._life.serve()

    def run(
        self, *, backend: Literal["asyncio", "trio"] = "asyncio", backend_options: dict[str, Any] | None = None
    ) -> None:
        """Start, serve until SIGTERM or SIGINT, shut down: the whole life of a process, from its main thread.

        A signal during the start rolls it back. Where threads were abandoned that still hang, the process is ended
        here with exit code 0, because the interpreter would wait for them for ever.

        Args:
            backend: The event loop.
            backend_options: As of ``anyio.run``.

        Raises:
            KernelStartError: If it does not start.
        """
        anyio.run(self._life.run, backend=backend, backend_options=backend_options)
        if self._runtime.threads_abandoned():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

    def portal(self, *, lazy: bool = False, backend: Literal["asyncio", "trio"] = "asyncio") -> KernelPortal:
        """Run the kernel in a thread of its own, for sync code.

        Args:
            lazy: Start on first use, and once per process: what was started before a fork is started anew after it.
            backend: The event loop.

        Example:
            >>> with Kernel().portal() as kernel:
            ...     kernel.bus.emit("tick")
            'tick'
        """
        return KernelPortal(self, self._again, lazy=lazy, backend=backend)

    def _inner_portal(self) -> BlockingPortal:
        return self._life.portal

    def _again(self) -> Kernel:
        """Return a new kernel with the same arguments."""
        again = Kernel(**self._options.given())
        again._options.over.update(self._options.over)
        return again

    def __repr__(self) -> str:
        return f"<Kernel with {len(self._plugins)} plugins>"
