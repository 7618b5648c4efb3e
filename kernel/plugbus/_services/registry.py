"""Which providers there are, and which of them a type or a name means.

Copy on write: whoever looks something up needs no lock.
"""

from __future__ import annotations

from typing import Any, TypeVar, final

from plugbus._services.annotations import BY_NAME
from plugbus._services.parameters import Parameter
from plugbus._services.providers import Provider

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
