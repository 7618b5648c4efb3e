"""What a plugin sees of its settings while they change, and who keeps them.

Owns the two public types; where settings come from and how they change is in ``_kernel/``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import GenericAlias
from typing import Any, Generic, Protocol, TypeVar, final

__all__ = ("Live", "SettingsStore")

S = TypeVar("S", covariant=True)  # noqa: PLC0105 - a letter, as everywhere


@final
class Live(Generic[S]):
    """The settings of a plugin as they are at this moment: ask for ``Live[Settings]`` and read ``current`` each time.

    Args:
        read: Returns the settings; for tests without a kernel, ``Live(lambda: Settings(max_items=2))``.

    Example:
        >>> import anyio
        >>> from pydantic import BaseModel
        >>> from plugbus import Kernel, Plugin
        >>> class Shop(Plugin):
        ...     class Settings(BaseModel):
        ...         max_items: int = 100
        ...
        ...     def __init__(self, settings: "Live[Settings]") -> None:
        ...         self.settings = settings
        >>> async def main() -> None:
        ...     async with Kernel(plugins=[Shop]) as kernel:
        ...         shop = kernel.plugins["shop"].instance
        ...         before = shop.settings.current.max_items
        ...         changed = await kernel.plugins.configure("shop", {"max_items": 9})
        ...         print(before, shop.settings.current.max_items, changed)
        >>> anyio.run(main)
        100 9 ('max_items',)
    """

    __slots__ = ("_read",)

    def __init__(self, read: Callable[[], S]) -> None:
        self._read = read

    def __class_getitem__(cls, model: Any, /) -> GenericAlias:
        # Not Generic's: its cache would keep the classes of the last 128 plugins that left, and their modules.
        return GenericAlias(cls, model)

    @property
    def current(self) -> S:
        """The newest settings.

        Raises:
            PluginGoneError: If the plugin has left.
        """
        return self._read()


class SettingsStore(Protocol):
    """Keeps settings that were changed at run time; a service that the host or a plugin provides.

    What it keeps goes over the configuration file and under the environment. A plugin that provides it with
    ``@provides`` boots before those that it does not itself need. Methods may be ``def``, which run in a worker
    thread, or ``async def``; values are what ``configure`` was given, secrets included.

    Example:
        >>> class InMemory:
        ...     def __init__(self) -> None:
        ...         self.kept = {}
        ...
        ...     def load(self, plugin: str) -> dict:
        ...         return self.kept.get(plugin, {})
        ...
        ...     def save(self, plugin: str, values: dict) -> None:
        ...         self.kept[plugin] = values
        >>> from plugbus import Kernel
        >>> kernel = Kernel()
        >>> registration = kernel.services.value(SettingsStore, InMemory())
    """

    def load(self, plugin: str, /) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Return what is kept for a plugin, nested like its settings; empty if nothing is.

        Args:
            plugin: Its id.
        """
        ...

    def save(self, plugin: str, values: Mapping[str, Any], /) -> object:
        """Keep this for a plugin, instead of whatever was kept before.

        Args:
            plugin: Its id.
            values: Nested like its settings.
        """
