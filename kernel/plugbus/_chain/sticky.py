"""Sticky events: the last of each type is kept and replayed to those who subscribe later."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, final

from plugbus._chain.units import after_success

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from plugbus._chain.links import Entry
    from plugbus._services.container import Container

    Call = Callable[..., Any]


@final
class Sticky:
    """The last event of each sticky type."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: dict[type, Any] = {}

    def remembering(self, entry: Entry, container: Container | None, *, is_async: bool) -> Entry:
        """Keep what comes out of a chain that succeeded, and its unit of work with it."""
        return (self._aremember if is_async else self._remember, (*entry, container))

    def _remember(self, event: Any, rest: tuple[Call, Any, Container | None]) -> Any:
        result = rest[0](event, rest[1])
        after_success(rest[2], partial(self._last.__setitem__, type(event), result))
        return result

    async def _aremember(self, event: Any, rest: tuple[Call, Any, Container | None]) -> Any:
        result = await rest[0](event, rest[1])
        after_success(rest[2], partial(self._last.__setitem__, type(event), result))
        return result

    def last(self, types: Iterable[type]) -> list[Any]:
        """Return what is kept of these types."""
        return [self._last[cls] for cls in types if cls in self._last]

    def forget(self, cls: type) -> None:
        """Drop what is kept of a type."""
        self._last.pop(cls, None)
