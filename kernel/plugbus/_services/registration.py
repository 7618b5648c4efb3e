"""One provider's stay in the container: registered, or standing in for another one for a while, in tests above all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, final

from plugbus._permits import kernels_own
from plugbus._services.closing import raise_failures
from plugbus._services.keys import BY_NAME, label
from plugbus._services.parameters import Parameter
from plugbus._services.providers import Provider
from plugbus._services.stores import Stores
from plugbus.errors import ServiceError
from plugbus.owner import HOST_ID, Owner
from plugbus.settings import SettingsStore

if TYPE_CHECKING:
    from plugbus._services.container import Container


@final
class Registration:
    """One provider in the container, until it is closed.

    Example:
        >>> from plugbus import Services
        >>> services = Services()
        >>> registration = services.value(int, 7)
        >>> registration.close()
        >>> services.has(int)
        False
    """

    __slots__ = ("_container", "_disown", "_provider")

    def __init__(self, container: Container, provider: Provider, owner: Owner | None) -> None:
        refuse_kernels_own(owner, provider.type, provider.name, provider.names)
        if provider.type is SettingsStore and owner is not None:
            owner.check_acting_for(None)  # it is handed what is set for other plugins, and says what that is
        self._container, self._provider = container, provider
        self._disown = None if owner is None else owner.own(self.aclose, what=f"service {provider.label}")
        container.add(provider)

    @property
    def closed(self) -> bool:
        """Whether it has been taken out."""
        return self._provider.closed

    def renew(self) -> None:
        """Let go of what it built, so that whoever asks next gets a new one; those who hold an instance keep it.

        Clean-up is as for :meth:`close`.

        Example:
            >>> from plugbus import Services
            >>> services = Services()
            >>> settings = {"max_items": 1}
            >>> registration = services.factory(dict, lambda: dict(settings))
            >>> first, settings["max_items"] = services.get(dict), 2
            >>> registration.renew()
            >>> first, services.get(dict)
            ({'max_items': 1}, {'max_items': 2})
        """
        raise_failures(self._container.close_sync(self._container.clear(self._provider)))

    def close(self) -> None:
        """Take the provider out, and what it built; those who hold an instance keep it. Again does nothing.

        Sync clean-up runs here and now; async clean-up waits for ``Services.aclose``.

        Raises:
            Exception: What its clean-up raised.
        """
        if self._take_out():
            raise_failures(self._container.close_sync(self._container.remove(self._provider)))

    async def aclose(self) -> None:
        """Do the same with async clean-up at once, in bounded time and whether cancelled or not.

        Raises:
            Exception: What its clean-up raised; a ServiceError if it took too long.
        """
        if self._take_out():
            raise_failures(await self._container.close_async(self._container.remove(self._provider)))

    def _take_out(self) -> bool:
        if self._disown is not None:
            self._disown()
        return not self._provider.closed

    def __repr__(self) -> str:
        return f"<Registration of {self._provider.label} from {self._provider.place}>"


def refuse_kernels_own(owner: Owner | None, type_: object, named: str | None, names: Iterable[str]) -> None:
    """Refuse a plugin, limited or not, that would provide what everybody has from the kernel.

    Raises:
        ServiceError: If it would.
    """
    if owner is None or (owner.id == HOST_ID and owner.manifest is None):
        return
    if what := kernels_own(type_, named, names):
        problem = f"plugin {owner.id!r} may not provide {what}, which is the kernel's own"
        hint = "give it another type or name; the host may use services.override, or provide its Clock before the start"
        raise ServiceError(label(type_, named), problem, hint)


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
