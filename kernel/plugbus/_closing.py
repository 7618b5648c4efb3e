"""What ends something: by ``close()``, by a call, at the end of a ``with`` block, or with its owner."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from plugbus.owner import Owner


@final
class Closing:
    """Runs a function once, however it is asked to.

    Args:
        close: What to run.

    Example:
        >>> with Closing(lambda: print("closed")) as closing:
        ...     print("open")
        open
        closed
        >>> closing.close()
    """

    __slots__ = ("_close", "_disown")

    def __init__(self, close: Callable[[], object]) -> None:
        self._close: Callable[[], object] | None = close
        self._disown: list[Callable[[], object]] = []

    def owned_by(self, owner: Owner, *, what: str, brings_work: bool = False) -> None:
        """Close with an owner, unless closed before; if there are several, with the first that leaves."""
        self._disown.append(owner.own(self.close, what=what, brings_work=brings_work))

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._close is None

    def close(self) -> object:
        """Run the function, the first time; return what it returns."""
        close, self._close = self._close, None
        if close is None:
            return None
        for disown in self._disown:
            disown()
        return close()

    __call__ = close

    def __enter__(self) -> Closing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
