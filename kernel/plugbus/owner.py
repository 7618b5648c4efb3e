"""Who a registration belongs to, and how everything of one owner is undone.

Owns the closers of one plugin and its thread allowance; what is registered is the business of whoever registers it.
Why whoever holds a view needs the plugin that made it: docs/adr/0010-what-serves-other-plugins.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Coroutine, Sequence
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar, final, overload

import anyio
import anyio.lowlevel

from plugbus._permits import Limits, Permits
from plugbus._threads import Threads
from plugbus.errors import PluginError, PluginGoneError, PluginTimeoutError
from plugbus.log import Logger, plugin_logger
from plugbus.options import BindOptions, Options

if TYPE_CHECKING:
    from pydantic import BaseModel
    from typing_extensions import Unpack

    from plugbus._chain.flights import Flights
    from plugbus.bound import Bound
    from plugbus.bus import EventBus
    from plugbus.manifest import Manifest
    from plugbus.services import Services
    from plugbus.tasks import Tasks

__all__ = ("Owner",)

R = TypeVar("R")
Types: TypeAlias = Collection[object]

HOST_ID = "host"
_FOR_OTHERS = (
    "aclose", "bind", "bus", "folder", "gone", "id", "log", "manifest", "own", "owns", "package", "services",
    "settings_model", "tasks",
)  # fmt: skip


class _Entry(NamedTuple):
    """Something that is owned."""

    what: str
    close: Callable[[], object]
    brings_work: bool


class Home(Protocol):
    """What an owner lives in: a plugin of a kernel, or the kernel itself for the host."""

    @property
    def bus(self) -> EventBus: ...
    @property
    def services(self) -> Services: ...
    @property
    def tasks(self) -> Tasks: ...


@final
class Owner:
    """One plugin (or the host) as the owner of what it registered, and as those see it who serve it.

    The factory of a service with ``scope="plugin"`` is handed the owner who asks, and makes a view for it.

    Args:
        id: The plugin's id; ``"host"`` for what the embedding service registers itself.
        manifest: The plugin's manifest, if it has one.
        package: The import name under which its code lives; empty for the host.
        folder: Where its files are, if they are files.
        settings_model: The schema of its configuration, if it has one.
        thread_limit: How many worker threads its sync subscribers may occupy at once, per event loop.
        grants: What the operator grants it; they narrow what the manifest declares.
        home: What its bus, services and tasks come from; the kernel's business.

    Example:
        >>> import anyio
        >>> undone = []
        >>> owner = Owner("shop")
        >>> disown = owner.own(lambda: undone.append("first"), what="first")
        >>> disown = owner.own(lambda: undone.append("second"), what="second")
        >>> owner.owns
        ('first', 'second')
        >>> anyio.run(owner.aclose)
        []
        >>> undone
        ['second', 'first']
    """

    __slots__ = (
        "__weakref__", "_closers", "_home", "_lock", "active", "flights", "folder", "gone", "hide", "id", "lenders",
        "manifest", "package", "permits", "settings_model", "threads",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        *,
        manifest: Manifest | None = None,
        package: str = "",
        folder: Path | None = None,
        settings_model: type[BaseModel] | None = None,
        thread_limit: int = 8,
        grants: Sequence[Limits] = (),
        home: Home | None = None,
    ) -> None:
        self.id = id
        self.manifest, self.package, self.folder, self.settings_model = manifest, package, folder, settings_model
        self.permits = Permits.of(id, *([] if manifest is None else [manifest]), *grants)
        self.lenders: frozenset[Owner] = frozenset()  # the plugins whose views it holds
        self.hide: Callable[[str], str] = str  # crosses its secrets out of what is logged of it; the kernel's business
        self._home = home
        self.flights: Flights | None = None  # calls of its subscribers, of those that a kernel may have to wait for
        self.active = self.gone = False
        self.threads = Threads(id, thread_limit)
        self._closers: dict[int, _Entry] = {}
        self._lock = threading.Lock()

    @property
    def home(self) -> Home | None:
        """What its bus, services and tasks come from; none once it has left. The kernel's business."""
        return self._home

    @property
    def bus(self) -> EventBus:
        """Its view of the bus: what is registered through it belongs to it.

        Raises:
            PluginGoneError: If it has left.
            PluginError: If it belongs to no kernel.
        """
        return self._at_home("its bus").bus

    @property
    def tasks(self) -> Tasks:
        """Where work is started in the background that belongs to it; raises as :attr:`bus`."""
        return self._at_home("its tasks").tasks

    @property
    def services(self) -> Services:
        """Its view of the services: what is made for each plugin is had for it; raises as :attr:`bus`."""
        return self._at_home("its services").services

    @property
    def log(self) -> Logger:
        """Its logger. It never fails: the last lines of a plugin are those that tell why it left."""
        return plugin_logger(self.id)

    @overload
    def bind(
        self,
        fn: Callable[..., Coroutine[Any, Any, R]],
        *,
        given: int = 0,
        argument_types: Types = (),
        **options: Unpack[BindOptions],
    ) -> Bound[R]: ...
    @overload
    def bind(
        self, fn: Callable[..., R], *, given: int = 0, argument_types: Types = (), **options: Unpack[BindOptions]
    ) -> Bound[R]: ...
    def bind(
        self, fn: Callable[..., Any], *, given: int = 0, argument_types: Types = (), **options: Unpack[BindOptions]
    ) -> Bound[Any]:
        """Make a function of it callable for others, as the bus calls its subscribers.

        A parameter of a registered type, or marked ``Annotated[X, Inject]``, is a service; a scalar, a model, a dict
        or a list is an argument that the caller passes.

        Args:
            fn: A function, a bound method, a partial or a callable object, sync or async.
            given: How many positional parameters the caller passes, whatever their types.
            argument_types: Further types that are arguments, such as a request of a web framework.
            **options: ``run_in`` (``"loop"``, ``"thread"``, ``"caller"``), ``timeout_seconds``, ``breaker``, ``name``;
                as :meth:`EventBus.answer` takes them.

        Raises:
            WiringError: If a parameter is neither service nor argument, or a service cannot be provided; all at once.
            SubscriptionError: If it cannot work, and why.
            PluginGoneError: If it has left.
            PluginError: If it belongs to no kernel.
        """
        from plugbus.bound import Bound

        return Bound(fn, self, self._at_home("its bind()"), given, argument_types, Options.of(**options))

    def _at_home(self, what: str) -> Home:
        if self.gone:
            raise PluginGoneError(self.id, what)
        if self._home is None:
            raise PluginError(self.id, f"{what} was asked for, and it belongs to no kernel")
        return self._home

    def own(self, close: Callable[[], object], *, what: str, brings_work: bool = False) -> Callable[[], None]:
        """Have *close* called when the owner leaves, in reverse order of owning.

        Args:
            close: Called once without arguments; may return an awaitable. It undoes what this owner did alone: while a
                plugin is reloaded, its old and its new self are there side by side, two owners with one id.
            what: What is undone, in a few words, for the plugin's record.
            brings_work: Undo it before the plugin's ``on_shutdown``, with its subscriptions, and not after it: for
                what has others call the plugin, such as endpoints and jobs.

        Returns:
            A function that takes the entry out again, for what was closed earlier than its owner.

        Raises:
            PluginGoneError: If the owner has left already.
        """
        entry = _Entry(what, close, brings_work)
        with self._lock:
            if self.gone:
                raise PluginGoneError(self.id, what)
            self._closers[id(entry)] = entry

        def disown(key: int = id(entry)) -> None:
            with self._lock:
                self._closers.pop(key, None)

        return disown

    def check_acting_for(self, other: Owner | None) -> None:
        """Refuse one who is limited to become another who is not.

        Raises:
            PermissionDeniedError: If it may not manage others.
        """
        if other is not self and self.permits is not None:
            self.permits.check_manage()

    @property
    def owns(self) -> tuple[str, ...]:
        """What it owns at this moment, oldest first."""
        with self._lock:
            return tuple(entry.what for entry in self._closers.values())

    async def aclose(self, timeout_seconds: float = 10.0) -> list[Exception]:
        """Undo everything, the newest first; one that fails or hangs never stops the rest.

        Args:
            timeout_seconds: Time allowed for each entry, in seconds.

        Returns:
            The failures, each with a note that says what was being undone.
        """
        return await self._undo(self._take, timeout_seconds)

    async def stop_work(self, timeout_seconds: float = 10.0) -> list[Exception]:
        """Undo what brings work alone, likewise; the rest stays, and so does the owner."""
        return await self._undo(self._take_work, timeout_seconds)

    async def _close_in_time(self, entry: _Entry, seconds: float) -> None:
        result = entry.close()
        if isawaitable(result):
            with anyio.move_on_after(seconds) as scope:
                await result
            if scope.cancelled_caught:
                raise PluginTimeoutError(self.id, f"undoing {entry.what!r}", seconds)

    async def _undo(self, take: Callable[[], _Entry | None], timeout_seconds: float) -> list[Exception]:
        failures: list[Exception] = []
        while (entry := take()) is not None:
            try:
                await self._close_in_time(entry, timeout_seconds)
            except BaseException as error:  # noqa: BLE001 - collected and returned, so that the rest is undone too
                if isinstance(error, anyio.get_cancelled_exc_class()):
                    await anyio.lowlevel.checkpoint_if_cancelled()  # ours is raised; a closer's own is its failure
                failure = error if isinstance(error, Exception) else PluginError(self.id, f"{error!r} came out")
                failure.add_note(f"while undoing {entry.what!r} of {self.id!r}")
                failures.append(failure)
        return failures

    def _take_work(self) -> _Entry | None:
        with self._lock:
            newest = next((key for key in reversed(self._closers) if self._closers[key].brings_work), None)
            return None if newest is None else self._closers.pop(newest)

    def _take(self) -> _Entry | None:
        with self._lock:
            if self._closers:
                return self._closers.popitem()[1]
            self.gone = True
            self.active = False
            self._home = None  # whoever keeps a view keeps no plugin alive
            self.lenders = frozenset()
            return None

    def __dir__(self) -> tuple[str, ...]:
        return _FOR_OTHERS  # the rest is the kernel's business

    def __repr__(self) -> str:
        return f"Owner({self.id!r})"
