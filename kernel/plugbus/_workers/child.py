"""What a worker process does: one call after another, until its parent hangs up.

Owns the child's end of the two pipes, in which eight bytes of length come before each message. Nothing else may write
to them, so standard output leads to standard error here, also for C code and for what a call starts.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import IO, BinaryIO, Final, final

from plugbus._context import resumed

_HEAD: Final = 8


def write(pipe: IO[bytes], message: bytes) -> None:
    """Send a message.

    Raises:
        OSError: If nobody reads any more.
    """
    pipe.write(len(message).to_bytes(_HEAD, "big"))
    pipe.write(message)
    pipe.flush()


def read(pipe: IO[bytes]) -> bytes | None:
    """Wait for a message; ``None`` if the other end is gone, also in the middle of one."""
    head = pipe.read(_HEAD)
    length = int.from_bytes(head, "big")
    if len(head) < _HEAD:
        return None
    message = pipe.read(length)
    return message if len(message) == length else None


_STDIN: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2


def main(folders: Mapping[str, str]) -> None:
    """Serve until the parent closes its end.

    Args:
        folders: Where the plugins are that were loaded from folders, by the names of their modules.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what follows
    signal.signal(signal.SIGTERM, lambda *_: None)  # as systemd's does: the parent drains; not inherited by programs
    requests, replies = _take_pipes()
    if folders:
        sys.meta_path.append(_Folders(folders))
    while (request := read(requests)) is not None:
        write(replies, _answer(request))


def imported(things: object) -> None:
    """Do nothing with what had to be imported to be here."""
    del things


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    # Never closed here: the parent is to see the end when this process is at its end, with its exit status.
    requests = os.fdopen(os.dup(_STDIN), "rb", closefd=False)
    replies = os.fdopen(os.dup(_STDOUT), "wb", closefd=False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, _STDIN)
    os.dup2(_STDERR, _STDOUT)
    os.close(nothing)
    os.register_at_fork(after_in_child=lambda: _hang_up(requests, replies))
    return requests, replies


def _hang_up(*pipes: BinaryIO) -> None:
    """Leave the pipes to the worker: a fork of it answers nobody, and holds up nobody who waits for its end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for pipe in pipes:
        os.dup2(nothing, pipe.fileno(), inheritable=False)
    os.close(nothing)


def _answer(request: bytes) -> bytes:
    try:
        call, event, facts = pickle.loads(request)  # noqa: S301 - from the parent, through a pipe that only it has
        with resumed(facts):
            return pickle.dumps((True, call(event), ""))
    except Exception as error:  # noqa: BLE001 - it is raised again where the event was emitted
        return _failure(error)


def _failure(error: Exception) -> bytes:
    """Pack an error; one that does not survive the way is told of by another."""
    text = "".join(traceback.format_exception(error))
    with suppress(Exception):  # whatever its constructor does
        packed = pickle.dumps((False, error, text))
        if isinstance(pickle.loads(packed)[1], Exception):  # noqa: S301 - our own
            return packed
    return pickle.dumps((False, RuntimeError("".join(traceback.format_exception_only(error)).strip()), text))


@final
class _Folders(MetaPathFinder):
    """Finds plugins that were loaded from folders, under the names that they have in the parent."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = folders

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find one; modules within it are found as those of any package."""
        del path, target
        from plugbus._kernel.folders import spec_of

        return spec_of(fullname, Path(self._folders[fullname])) if fullname in self._folders else None
