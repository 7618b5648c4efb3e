"""Find calls that block the thread of a running event loop, on asyncio and on trio.

Built on audit hooks, because they see calls made in C and need nothing patched; only waiting for another
thread (and, before Python 3.13, sleeping) announces nothing, so these functions are wrapped while we look.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ("BlockingCall", "BlockingCallError", "detect_blocking_calls")

_SUSPECTS = frozenset({
    "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir", "os.system", "os.truncate",
    "open", "shutil.copyfile", "shutil.move", "shutil.rmtree", "socket.connect", "socket.getaddrinfo",
    "socket.gethostbyaddr", "socket.gethostbyname", "sqlite3.connect", "subprocess.Popen", "time.sleep",
})  # fmt: skip
# What Python and the loops do behind our backs: import, read source lines for a traceback, start a process.
_MACHINERY = frozenset({
    "importlib", "inspect", "linecache", "pkgutil", "tokenize", "traceback", "zipimport", "coverage", "_pytest",
    "asyncio.base_subprocess", "asyncio.unix_events", "trio._subprocess",
    "trio._socket",  # it asks for numeric addresses on the loop, which are looked up nowhere
})  # fmt: skip
_BELOW_US = frozenset({"asyncio.base_events", "asyncio.events", "asyncio.runners", "trio._core._run"})
_found: list[BlockingCall] | None = None  # where calls are noted while somebody looks
_installed = False


class BlockingCallError(RuntimeError):
    """Raised where the blocking call was made, so that the traceback points at it."""


@dataclass(frozen=True)
class BlockingCall:
    """One blocking call: what it was, and the innermost frames that led to it."""

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what}\n{self.where}"


@contextlib.contextmanager
def detect_blocking_calls() -> Iterator[list[BlockingCall]]:
    """Raise ``BlockingCallError`` at each blocking call on a loop's thread, and note it, for whoever swallows that."""
    global _found, _installed  # noqa: PLW0603 -- an audit hook cannot be removed, so there is one per process
    if not _installed:
        sys.addaudithook(_audit)
        _installed = True
    before, _found = _found, []
    try:
        with _wrapped():
            yield _found
    finally:
        _found = before


@contextlib.contextmanager
def _wrapped() -> Iterator[None]:
    """Guard what no audit event announces."""
    places: list[tuple[object, str]] = [(threading.Condition, "wait"), (threading.Thread, "join")]
    if sys.version_info < (3, 13):  # since then time.sleep() is audited
        places.append((time, "sleep"))
    originals = [getattr(where, name) for where, name in places]
    for (where, name), original in zip(places, originals, strict=True):
        setattr(where, name, _guarded(original))
    try:
        yield
    finally:
        for (where, name), original in zip(places, originals, strict=True):
            setattr(where, name, original)


def _audit(event: str, args: tuple[object, ...]) -> None:
    if _found is None or event not in _SUSPECTS or not _on_a_loop():
        return
    if event == "time.sleep" and args == (0,):
        return
    if event == "socket.connect" and _timeout_of(args[0]) == 0:
        return
    _note(event, args)


def _guarded(wait: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(wait)
    def guarded(*args: object, **kwargs: object) -> object:
        at_once = 0 in (*args, *kwargs.values())  # a timeout of zero seconds
        if _found is not None and not at_once and _on_a_loop() and not _starts_a_thread(sys._getframe(1)):
            _note(wait.__qualname__, args)
        return wait(*args, **kwargs)

    return guarded


def _note(what: str, args: tuple[object, ...]) -> None:
    frame = sys._getframe(2)
    if _found is None or _machinery(frame):
        return
    call = BlockingCall(f"{what}{args!r}", "".join(traceback.StackSummary.extract(
        traceback.walk_stack(frame), limit=6, lookup_lines=False).format()))  # fmt: skip
    _found.append(call)
    raise BlockingCallError(str(call))


def _on_a_loop() -> bool:
    asyncio = sys.modules.get("asyncio.events")
    return bool(asyncio and asyncio._get_running_loop() is not None) or trio.lowlevel.in_trio_run()


def _machinery(frame: FrameType | None) -> bool:
    """Whether the call was made by machinery: somewhere above the loop's own frames, which stand on pytest's."""
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name in _MACHINERY or name.split(".", 1)[0] in _MACHINERY:
            return True
        if name in _BELOW_US:
            return False
        frame = frame.f_back
    return False


def _starts_a_thread(frame: FrameType | None) -> bool:
    """A thread's start waits until the thread runs, which is no longer than making it."""
    for _ in range(3):
        if frame is None:
            return False
        if frame.f_code is threading.Thread.start.__code__:
            return True
        frame = frame.f_back
    return False


def _timeout_of(socket: object) -> object:
    return socket.gettimeout() if hasattr(socket, "gettimeout") else None
