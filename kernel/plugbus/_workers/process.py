"""One worker process, as its parent sees it.

Blocking, so that it serves any event loop and none, one after another: whoever uses it waits in a thread.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from typing import Final, final

from plugbus._kernel.folders import places
from plugbus._workers.child import read, write

# Everything that the child imports it must find where the parent does.
_START: Final = """\
import ast, sys
sys.path[:], folders = ast.literal_eval(sys.argv[1])
from plugbus._workers.child import main
main(folders)
"""
_GRACE_SECONDS: Final = 1.0
"""How long one may take to end by itself, once it has nothing left to do."""


class Lost(Exception):
    """The process ended before it answered; the argument is its exit status."""


@final
class Worker:
    """A process of our own that answers one request at a time.

    Attributes:
        warm: Whether it has imported what it is to call.

    Raises:
        OSError: If it cannot be started.
    """

    __slots__ = ("_process", "_replies", "_requests", "warm")

    def __init__(self) -> None:
        self.warm = False
        where = repr((list(map(str, sys.path)), places()))
        command = [sys.executable, "-c", _START, where]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - ourselves
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, as a child of this process: after a fork it is the parent's alone, and never touched."""
        return self._process.poll() is None

    def ask(self, request: bytes) -> bytes:
        """Send a request and wait for the answer.

        Raises:
            Lost: If the process ended instead; it is gone then.
        """
        with suppress(OSError):
            write(self._requests, request)
            reply = read(self._replies)
            if reply is not None:
                return reply
        raise Lost(self.end())

    def kill(self) -> None:
        """End it at once, from any thread; who waits for its answer is told."""
        self._process.kill()

    def end(self) -> int:
        """Tell it to end, kill it if it does not, and wait until it is gone.

        Returns:
            Its exit status; below zero, the signal that ended it.
        """
        with suppress(OSError):  # what was not sent before it died cannot be flushed
            self._requests.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_SECONDS)
        self._process.kill()
        status = self._process.wait()
        self._replies.close()
        return status
