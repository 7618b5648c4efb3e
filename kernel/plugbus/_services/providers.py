"""The ways to get services: how the factory of each is run, and which of them a type or a name means.

Copy on write: whoever looks something up needs no lock. Who keeps what a factory made is decided elsewhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar, final

from plugbus._permits import checked_permission
from plugbus._services.closing import Exit
from plugbus._services.keys import BY_NAME, label, place, underlying
from plugbus._services.parameters import Parameter, parameters_of
from plugbus.errors import ServiceError

if TYPE_CHECKING:
    from plugbus._services.stores import Store
    from plugbus.owner import Owner


Lifetime: TypeAlias = Literal["app", "plugin", "call"]
"""How long a service lives: as long as the container, as the plugin that asked for it, or for one unit of work."""

Kind: TypeAlias = Literal["value", "sync", "async", "generator", "async generator"]
Made: TypeAlias = tuple[object, Exit | None]

LIFETIMES: Final[dict[str, int]] = {"app": 0, "plugin": 1, "call": 2}  # the longest first


@final
class Provider:
    """Where a service comes from: a value, or a factory with its scope.

    Compared by identity, so that what an earlier registration built is never taken for a later one's.
    """

    __slots__ = (
        "_parameters", "closed", "factory", "kind", "name", "names", "owner", "permission", "scope", "stores", "type",
        "value",
    )  # fmt: skip

    def __init__(
        self,
        type_: Any,
        name: str | None,
        names: tuple[str, ...],
        *,
        factory: Callable[..., Any] | None = None,
        value: object = None,
        scope: Lifetime = "app",
        owner: Owner | None = None,
        permission: str | None = None,
    ) -> None:
        self.type, self.name, self.names = type_, name, names
        self.factory, self.value, self.owner = factory, value, owner
        self.permission = checked_permission(permission)
        self.scope: Lifetime = scope
        self.kind: Kind = "value" if factory is None else _kind(factory)
        self.closed = False
        self.stores: set[Store] = set()  # those that keep what it built
        self._parameters: tuple[Parameter, ...] | None = () if factory is None else None

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the factory wants; read on first use, when the modules that it names are loaded."""
        found = self._parameters
        if found is None:
            found = parameters_of(self.factory) if self.factory else ()
            if all(parameter.unresolved is None for parameter in found):
                self._parameters = found
        return found

    @property
    def needs_loop(self) -> bool:
        """Whether only ``aget`` can build it."""
        return self.kind in {"async", "async generator"}

    @property
    def label(self) -> str:
        """What people call the service."""
        return label(self.type, self.name)

    @property
    def place(self) -> str:
        """Where it comes from, for messages."""
        made_by = f"the value {type(self.value).__qualname__}" if self.factory is None else place(self.factory)
        return made_by if self.owner is None else f"{made_by} of {self.owner.id!r}"


def _kind(factory: Callable[..., Any]) -> Kind:
    call = underlying(factory)
    if inspect.isasyncgenfunction(call):
        return "async generator"
    if inspect.isgeneratorfunction(call):
        return "generator"
    return "async" if inspect.iscoroutinefunction(call) else "sync"


def open_sync(provider: Provider, arguments: dict[str, object]) -> Made:
    """Run a factory without a loop."""
    assert provider.factory is not None, "a value is there already, and is never built"
    made = provider.factory(**arguments)
    if provider.kind == "generator":
        for service in made:
            return service, Exit(provider.label, made, sync=True)
        raise ServiceError(provider.label, f"its generator {provider.place} ended without a yield", "yield it once")
    if inspect.iscoroutine(made):
        made.close()
        raise needs_loop(provider)
    return made, None


async def open_async(provider: Provider, arguments: dict[str, object]) -> Made:
    """Run a factory on the loop; a sync one runs in the caller too."""
    if provider.kind == "generator":
        return open_sync(provider, arguments)
    assert provider.factory is not None, "a value is there already, and is never built"
    made = provider.factory(**arguments)
    if provider.kind == "async generator":
        async for service in made:
            return service, Exit(provider.label, made, sync=False)
        raise ServiceError(provider.label, f"its generator {provider.place} ended without a yield", "yield it once")
    return (await made if inspect.iscoroutine(made) else made), None


def needs_loop(
    provider: Provider,
    for_: str = "",
    hint: str = "use `await services.aget(...)` or `ainject`, or build it so before sync code asks",
) -> ServiceError:
    """Tell that an async factory was asked for by sync code."""
    wanted = f", and {for_} needs it" if for_ and for_ != provider.label else ""
    return ServiceError(
        provider.label,
        f"its factory {provider.place} is async{wanted}",
        hint,
    )


K = TypeVar("K")


@final
class Registry:
    """The providers, found by type and name, by type alone, and by parameter name."""

    __slots__ = ("_by_key", "_by_name", "_by_type")

    def __init__(self) -> None:
        self._by_key: dict[tuple[Any, str | None], tuple[Provider, ...]] = {}
        self._by_type: dict[Any, tuple[Provider, ...]] = {}
        self._by_name: dict[str, tuple[Provider, ...]] = {}

    def add(self, provider: Provider) -> None:
        """Take one in; a second one of the same type and name is kept beside the first, for ``check`` to report."""
        _add(self._by_key, (provider.type, provider.name), provider)
        _add(self._by_type, provider.type, provider)
        for name in provider.names:
            _add(self._by_name, name, provider)

    def remove(self, provider: Provider) -> None:
        """Take one out."""
        _remove(self._by_key, (provider.type, provider.name), provider)
        _remove(self._by_type, provider.type, provider)
        for name in provider.names:
            _remove(self._by_name, name, provider)

    def find(self, type_: Any, name: str | None) -> tuple[Provider, ...]:
        """Return those that provide it: one is a hit, none is missing, several are ambiguous.

        Without a name, the one that was registered without a name is meant, else the only one of its type.
        """
        found = self._by_key.get((type_, name))
        if found is None:
            return self._by_type.get(type_, ()) if name is None else ()
        return found

    def find_for(self, parameter: Parameter) -> tuple[Provider, ...]:
        """Do the same for a parameter: by its type, or by its name when it has none."""
        if parameter.type is BY_NAME:
            return self._by_name.get(parameter.name, ())
        return self.find(parameter.type, parameter.named)

    def providers(self) -> list[Provider]:
        """All of them, by type in the order of registration."""
        return [provider for found in tuple(self._by_type.values()) for provider in found]

    def duplicates(self) -> list[tuple[Provider, ...]]:
        """Those that share their type and name with others."""
        return [found for found in tuple(self._by_key.values()) if len(found) > 1]

    def parameter_names(self) -> list[str]:
        """The names that un-annotated parameters can have."""
        return list(self._by_name)


def _add(table: dict[K, tuple[Provider, ...]], key: K, provider: Provider) -> None:
    table[key] = (*table.get(key, ()), provider)


def _remove(table: dict[K, tuple[Provider, ...]], key: K, provider: Provider) -> None:
    left = tuple(other for other in table.get(key, ()) if other is not provider)
    if left:
        table[key] = left
    else:
        table.pop(key, None)
