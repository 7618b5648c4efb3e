"""Which calls of a plugin's subscribers are under way, found without a counter that every call would pay for.

Each chain runs a copy of the function that was subscribed, and a call that runs holds on to its function.
So once the chains are dropped, the copies that are left are those that still run, or are still to be run by an emit
that has begun (docs/adr/0015-a-reload-swaps-and-can-go-back.md).
"""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial
from types import FunctionType, MethodType
from typing import Any, Final, final

import anyio
import anyio.lowlevel

from plugbus._threads import call_soon

_PATIENCE: Final = (0.02, 1.0)
"""How long to wait before garbage is collected that may hold a copy: at first, and at most; in seconds."""


@final
class Flights:
    """The copies that one plugin's chains run, and the calls of what it bound: of those, each counts itself."""

    __slots__ = ("_alive", "_calls", "_lock", "_tell")

    def __init__(self) -> None:
        self._alive: set[weakref.ref[Any]] = set()
        self._calls = 0
        self._lock = threading.Lock()
        self._tell: Callable[[], object] | None = None

    def copy(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same callable as an object of its own, which lives as long as a chain or a call has it."""
        if isinstance(call, partial) and type(call) is partial:
            return partial(self.copy(call.func), *call.args, **call.keywords)
        if isinstance(call, MethodType) and isinstance(call.__func__, FunctionType):
            return MethodType(self.copy(call.__func__), call.__self__)
        if isinstance(call, partial):
            copied: Any = copy.copy(call)
        elif isinstance(call, FunctionType):
            copied = _function(call)
        elif isinstance(call, type) or not isinstance(found := _called(call), MethodType):
            copied = partial(call)
        else:
            return self.copy(found)
        self._alive.add(weakref.ref(copied, self._ended))
        return copied  # type: ignore[no-any-return]

    def _ended(self, copied: weakref.ref[Any]) -> None:
        self._alive.discard(copied)
        self._look()

    def __enter__(self) -> None:
        """Begin a call that counts itself."""
        with self._lock:
            self._calls += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._calls -= 1
        self._look()

    def _look(self) -> None:
        tell = self._tell
        if tell is not None and not self.under_way:
            tell()

    @property
    def under_way(self) -> int:
        """How many callables are still run, or to be run; while there are chains with them, these count as well."""
        return len(self._alive) + self._calls

    async def wait_landed(self) -> None:
        """Wait until none is; the chains that had them must be gone."""
        pause, longest = _PATIENCE
        while self.under_way:
            landed = anyio.Event()
            self._tell = partial(call_soon, anyio.lowlevel.current_token(), landed.set)
            if not self.under_way:
                break
            with anyio.move_on_after(pause):
                await landed.wait()
                break
            gc.collect()  # an error that somebody caught holds the frames that it came through, in a circle
            pause = min(pause * 2, longest)
        self._tell = None


def _function(call: FunctionType) -> FunctionType:
    copied = FunctionType(call.__code__, call.__globals__, call.__name__, call.__defaults__, call.__closure__)
    copied.__kwdefaults__ = call.__kwdefaults__
    copied.__qualname__, copied.__module__ = call.__qualname__, call.__module__
    copied.__dict__.update(call.__dict__)
    return copied


def _called(call: Any) -> Any:
    return call.__call__
