"""Sticky events: the last of each type is kept and replayed to those who subscribe later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from plugbus._chain.links import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("Sticky",)


@final
class Sticky:
    """The last event of each sticky type."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[type, Any] = {}

    def remembering(self, entry: Entry, *, is_async: bool) -> Entry:
        """Keep what comes out of a chain that succeeded."""
        return (self._aremember if is_async else self._remember, entry)

    def _remember(self, event: Any, entry: Entry) -> Any:
        result = entry[0](event, entry[1])
        self._last[type(event)] = result
        return result

    async def _aremember(self, event: Any, entry: Entry) -> Any:
        result = await entry[0](event, entry[1])
        self._last[type(event)] = result
        return result

    def last(self, types: Iterable[type]) -> list[Any]:
        """Return what is kept of these types."""
        return [self._last[cls] for cls in types if cls in self._last]

    def forget(self, cls: type) -> None:
        """Drop what is kept of a type."""
        self._last.pop(cls, None)
