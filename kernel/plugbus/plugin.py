"""What a plugin author writes: the base class, ``@provides``, and the context of ``register(ctx)``.

Owns what is declared; how a plugin is found, wired and booted is in ``_kernel/``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias, TypeVar, final, overload

from plugbus._permits import checked_permission
from plugbus.errors import ManifestError
from plugbus.manifest import Manifest
from plugbus.marks import note

if TYPE_CHECKING:
    from pydantic import BaseModel

    from plugbus._kernel.unit import Unit
    from plugbus.bus import EventBus
    from plugbus.log import Logger
    from plugbus.owner import Owner
    from plugbus.services import Services
    from plugbus.tasks import Tasks

    M = TypeVar("M", bound=BaseModel)

__all__ = ("Plugin", "PluginContext", "Provided", "provides")

F = TypeVar("F", bound=Callable[..., Any])

Scope: TypeAlias = Literal["app", "plugin", "call"]
Phase: TypeAlias = Literal["on_boot", "on_ready", "on_settings", "on_shutdown", "check_health"]


class Plugin:
    """Base class of plugins that are written as a class.

    The container builds it: each parameter of ``__init__`` is a service, by its annotation or else its name.
    It runs on the event loop and must not wait; what may wait goes into ``on_boot``, which has a time limit.
    Functions marked with ``@listens``, ``@answers`` and ``@observes`` are subscribed, those marked with ``@provides``
    become services, and what other plugins mark with :func:`plugbus.mark` is theirs to read.
    A subclass may write any of these, as ``def`` (a worker thread) or ``async def`` (the event loop), with services
    as parameters; there is nothing to call on the base class:

    - ``on_boot``: open what is needed; subscriptions begin to hear once it has returned.
    - ``on_ready``: announce; every plugin that starts with it has booted and hears.
    - ``on_settings(old, new)``: follow a change of the settings; what it raises takes the change back.
    - ``on_shutdown``: finish; what the plugin registered is undone afterwards without its help.
    - ``check_health``: answer with a :class:`~plugbus.Health`.

    A nested ``Settings`` (a pydantic model) is the schema of its configuration; ask for it as ``settings: Settings``.

    Class keywords: *id*, *version* and any other field of :class:`~plugbus.Manifest`, instead of a ``manifest``
    attribute. Without either the id is the name of the class, in lower case with dashes.

    Attributes:
        manifest: What it says about itself.
        parts: Modules, classes and objects whose marked functions belong to it too; classes are built by the container.
        events: Event types it brings along, known by their wire names as long as it is loaded.
        hookspecs: A module or class with pluggy hook specifications that it brings along.

    Raises:
        ManifestError: When the class is made, if the class keywords cannot be used.

    Example:
        >>> class Products(Plugin, id="products", version="1.2.0"):
        ...     async def on_boot(self) -> None: ...
        >>> Products.manifest.version
        '1.2.0'
    """

    manifest: ClassVar[Manifest]
    parts: ClassVar[Sequence[object]] = ()
    events: ClassVar[Sequence[type]] = ()
    hookspecs: ClassVar[object | None] = None

    def __init_subclass__(cls, *, id: str | None = None, version: str | None = None, **fields: Any) -> None:
        super().__init_subclass__()
        given = {"id": id, "version": version, **fields}
        given = {name: value for name, value in given.items() if value is not None}
        if not given:
            return
        if "manifest" in vars(cls):
            raise ManifestError(id or cls.__qualname__, ("give class keywords or a manifest attribute, not both",))
        inherited = getattr(cls, "manifest", None)
        known = inherited.model_dump(exclude_unset=True) if isinstance(inherited, Manifest) else {}
        cls.manifest = Manifest.model_validate({"id": id_of_class(cls), **known, **given})


def id_of_class(cls: type) -> str:
    """Return the id of a plugin class that gives none: its name in lower case with dashes."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.__name__).strip("_").lower()


@final
class Provided(NamedTuple):
    """What ``@provides`` notes on a function.

    Attributes:
        name: Name of the service; the function's own unless given.
        scope: ``"app"``: one for all; ``"plugin"``: one for each plugin that asks; ``"call"``: one for each unit of
            work.
        permission: What a plugin that asks must have.

    Example:
        >>> Provided("catalog").scope
        'app'
    """

    name: str
    scope: Scope = "app"
    permission: str | None = None


@overload
def provides(call: F, /) -> F: ...
@overload
def provides(*, name: str | None = None, scope: Scope = "app", permission: str | None = None) -> Callable[[F], F]: ...
def provides(
    call: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    scope: Scope = "app",
    permission: str | None = None,
) -> Callable[..., Any]:
    """Mark a function whose result is a service for other plugins, by its return annotation and by its name.

    ``def``, ``async def`` and generators with clean-up after their ``yield``; called once, when somebody asks.
    The function itself stays as it is, and a plugin that asks for the service boots after this one.

    Args:
        call: The function or method; its further parameters are services.
        name: Name of the service; the function's own unless given.
        scope: ``"app"``: one for all; ``"plugin"``: one for each plugin that asks, closed with it; ``"call"``: one for
            each unit of work, whose failure it sees at its ``yield``.
        permission: What a plugin that asks for it must have, once its manifest declares permissions.

    Raises:
        ValueError: If *permission* is no name of one.

    Example:
        >>> class Catalog: ...
        >>> class Products(Plugin):
        ...     @provides
        ...     def catalog(self) -> Catalog:
        ...         return Catalog()
    """
    checked_permission(permission)

    def provide(function: F) -> F:
        return note(function, Provided(name or function.__name__, scope, permission))

    return provide if call is None else provide(call)


@final
class PluginContext:
    """What ``register(ctx)`` of a module, and each hook of a pluggy-native plugin, is handed.

    It has what a plugin class has. Everything registered through it belongs to the plugin and leaves with it.

    Example:
        >>> manifest = Manifest(id="greeter")
        >>> def register(ctx: PluginContext) -> None:
        ...     ctx.bus.observe("order.*", lambda event: ctx.log.info("seen"))
    """

    __slots__ = ("_unit",)

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    @property
    def id(self) -> str:
        """The plugin's id."""
        return self._unit.id

    @property
    def manifest(self) -> Manifest:
        """What the plugin says about itself."""
        return self._unit.definition.manifest

    @property
    def owner(self) -> Owner:
        """The plugin as the owner of what it registered."""
        return self._unit.owner

    @property
    def bus(self) -> EventBus:
        """The plugin's view of the bus."""
        return self._unit.bus

    @property
    def services(self) -> Services:
        """The plugin's view of the services."""
        return self._unit.services

    @property
    def log(self) -> Logger:
        """The plugin's logger."""
        return self._unit.log

    @property
    def tasks(self) -> Tasks:
        """Where the plugin starts background work."""
        return self._unit.tasks

    def settings(self, model: type[M]) -> M:
        """Return the plugin's settings, validated by a model.

        Args:
            model: A pydantic model; each key comes from where it was set last.

        Raises:
            SettingsError: If keys are unknown or values wrong; it names each with its source.
        """
        return self._unit.ask_settings(model)

    def add(self, part: object) -> None:
        """Bring in the marked functions of a module, class or object; a class is built by the container.

        They hear once the plugin has booted, like everything else of it. The same part twice is one.

        Args:
            part: A module, a class or an object.

        Raises:
            PluginError: If the plugin has booted already.
        """
        self._unit.add_part(part)

    def provide(
        self,
        service: Any,
        value: Any = None,
        /,
        *,
        factory: Callable[..., Any] | None = None,
        name: str | None = None,
        permission: str | None = None,
        scope: Scope = "app",
    ) -> None:
        """Provide a service for others.

        Args:
            service: The type it is asked for by.
            value: The service itself.
            factory: What makes it when somebody asks, instead of a value: sync, async, or a generator with clean-up.
            name: Name it can be asked for by, too.
            permission: What a plugin that asks for it must have, once its manifest declares permissions.
            scope: ``"app"``: the factory is called once; ``"plugin"``: once for each plugin that asks.

        Raises:
            WiringError: If somebody provides it already.
        """
        if factory is None:
            self.services.value(service, value, name=name, permission=permission)
        else:
            self.services.factory(service, factory, name=name, scope=scope, permission=permission)

    def add_hookspecs(self, namespace: object) -> None:
        """Bring in pluggy hook specifications that others may implement.

        Args:
            namespace: A module or class with functions marked by ``hookspec``.

        Raises:
            PluginError: If it has none, or an implementation that is there already does not fit.
        """
        self._unit.add_hookspecs(namespace)

    def on_boot(self, call: F) -> F:
        """Have *call* run after ``register`` has returned, before the plugin hears; usable as a decorator."""
        return self._unit.add_step("on_boot", call)

    def on_ready(self, call: F) -> F:
        """Have *call* run when every plugin has booted; usable as a decorator."""
        return self._unit.add_step("on_ready", call)

    def on_settings(self, call: F) -> F:
        """Have *call* run with the old and the new settings when they are changed; usable as a decorator."""
        return self._unit.add_step("on_settings", call)

    def on_shutdown(self, call: F) -> F:
        """Have *call* run when the plugin shuts down; usable as a decorator."""
        return self._unit.add_step("on_shutdown", call)

    def check_health(self, call: F) -> F:
        """Have *call* answer with the plugin's health; usable as a decorator."""
        return self._unit.add_step("check_health", call)
