"""What a plugin may leave in the process, where no kernel sees it.

Owns finding it; the kernel's own records are the business of ``_conformance.py``.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, TypeAlias

import anyio
import anyio.to_thread

Kind: TypeAlias = Literal["task", "thread", "child process", "open file", "log handler", "variable"]
Trace: TypeAlias = tuple[Kind, object, str]
"""What it is, by what it is told from others, and its name."""

_OPEN_FILES: Final = (Path("/proc/self/fd"), Path("/dev/fd"))
_POOLED: Final = ("AnyIO worker thread", "Trio thread", "asyncio_", "plugbus ")
"""Beginnings of the names of threads that whoever works in a thread leaves to an event loop."""
_TIMES: Final = 50
_PAUSE_SECONDS: Final = 0.01


@contextmanager
def environment_put_back() -> Iterator[None]:
    """Take back what happens to the environment, so that one check does not hide it from the next one."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for variable in os.environ.keys() - before.keys():
            del os.environ[variable]
        os.environ.update(before)


async def left_in_process(before: frozenset[Trace], kind: Kind | None = None) -> list[str]:
    """Return what is there that was not before, each in a few words; what is about to go has half a second for it."""
    left = await traces_in_process(kind) - before
    for _ in range(_TIMES if left else 0):
        await anyio.sleep(_PAUSE_SECONDS)
        left = await traces_in_process(kind) - before
        if not left:
            break
    return sorted(f"{what} {name}" for what, _, name in left)


async def traces_in_process(kind: Kind | None = None) -> frozenset[Trace]:
    """Find tasks and threads, child processes, open files and sockets, log handlers and environment variables.

    Args:
        kind: Only what is of this kind; all of it but variables unless given.
    """
    tasks: set[Trace] = {("task", task.id, repr(task.name)) for task in anyio.get_running_tasks()}
    found = tasks | await anyio.to_thread.run_sync(_outside_of_loops)  # it opens files
    return frozenset(trace for trace in found if (trace[0] == kind if kind else trace[0] != "variable"))


def _outside_of_loops() -> set[Trace]:
    found: set[Trace] = {("variable", item, item[0]) for item in os.environ.items()}  # a value may be a secret
    found |= {("child process", pid, str(pid)) for pid in _children()}
    found |= {("open file", item, repr(item[1])) for item in _open_files()}
    found |= {("log handler", (name, id(item)), f"{item!r} of {name!r}") for name, item in _log_handlers()}
    for thread in threading.enumerate():
        if not thread.name.startswith(_POOLED):
            found.add(("thread", thread.ident, repr(thread.name)))
    return found


def _children() -> Iterator[int]:
    yield from (process.pid for process in multiprocessing.active_children() if process.pid is not None)
    for told in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            yield from map(int, told.read_text(encoding="ascii").split())


def _open_files() -> Iterator[tuple[str, str]]:
    folder = next(filter(Path.is_dir, _OPEN_FILES), None)
    for number in folder.iterdir() if folder else ():
        with suppress(OSError):  # it was open for the listing
            yield number.name, str(number.readlink())


def _log_handlers() -> Iterator[tuple[str, logging.Handler]]:
    for name in ("root", *logging.root.manager.loggerDict):
        for handler in logging.getLogger(None if name == "root" else name).handlers:
            if not isinstance(handler, logging.NullHandler):  # libraries have one each
                yield name, handler
