"""Standing in for a service for a while: in tests, above all."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from plugbus._services.annotations import BY_NAME
from plugbus._services.closing import raise_failures
from plugbus._services.parameters import Parameter
from plugbus._services.providers import Provider
from plugbus._services.stores import Stores

if TYPE_CHECKING:
    from plugbus._services.container import Container


@final
class Override:
    """A provider that stands in for another one inside ``with`` or ``async with``.

    What is built with it is kept apart, and goes with it.

    Example:
        >>> from plugbus import Services
        >>> services = Services()
        >>> registration = services.value(str, "the real one")
        >>> with services.override(str, "a fake"):
        ...     services.get(str)
        'a fake'
        >>> services.get(str)
        'the real one'
    """

    __slots__ = ("_container", "_target", "provider", "stores")

    def __init__(self, container: Container, provider: Provider, target: Provider | None) -> None:
        self._container, self._target = container, target
        self.provider = provider
        self.stores = Stores()

    def replaces(self, parameter: Parameter, found: tuple[Provider, ...]) -> bool:
        """Tell whether it stands in for what a parameter means."""
        if self._target is not None and found == (self._target,):
            return True
        if parameter.type is BY_NAME:
            return parameter.name in self.provider.names
        return (parameter.type, parameter.named) == (self.provider.type, self.provider.name)

    def __enter__(self) -> None:
        self._container.push(self)

    def __exit__(self, *_: object) -> None:
        raise_failures(self._container.close_sync(self._container.pop(self)))

    async def __aenter__(self) -> None:
        self._container.push(self)

    async def __aexit__(self, *_: object) -> None:
        raise_failures(await self._container.close_async(self._container.pop(self)))
