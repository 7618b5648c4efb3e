"""One start, load, unload or change of settings at a time.

Owns the queue, and who may not stand in it: whoever runs within such a change would wait for itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import final

import anyio
import anyio.lowlevel

from plugbus._route import NOT_CARRIED
from plugbus.errors import PluginError


@final
class _Turn:
    """A change under way; background work that was started in it carries it on, long after it has ended."""

    __slots__ = ("of",)

    def __init__(self, of: Turns) -> None:
        self.of: Turns | None = of


_turns: ContextVar[tuple[_Turn, ...]] = ContextVar("plugbus_turns", default=())
NOT_CARRIED.append((_turns, ()))


@final
class Turns:
    """The queue of one kernel, in the event loop that runs."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()

    @contextlib.asynccontextmanager
    async def wait(self) -> AsyncIterator[None]:
        """Wait for one's turn, and have it.

        Raises:
            PluginError: From within another turn of this kernel.
        """
        if any(turn.of is self for turn in _turns.get()):
            what = "a plugin cannot load, unload, reload or configure others while one boots or is changed"
            raise PluginError("host", f"{what}; do it in on_ready, or in a background task")
        async with self._lock:
            await anyio.lowlevel.checkpoint_if_cancelled()  # a lock that is free was taken regardless
            turn = _Turn(self)
            mark = _turns.set((*_turns.get(), turn))
            try:
                yield
            finally:
                _turns.reset(mark)
                turn.of = None
