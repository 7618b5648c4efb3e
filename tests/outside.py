"""What the tests of worker processes run there: functions and events that another process can import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from plugbus import Event, NamedEvent, Plugin, Request, Veto, answers, current, observes


class Work(Request[Any], name="outside.work"):
    """What to do there; *pipe* is a FIFO that it writes to."""

    what: str = "pid"
    pipe: str = ""
    data: Any = None


class Told(Event, name="outside.told"):
    """Something to observe there."""

    pipe: str = ""
    what: str = ""
    data: Any = None


class ToldView(BaseModel):
    """A view of it."""

    pipe: str


class Shout(Exception):
    """An error that does not survive pickling."""

    def __init__(self, *, loud: bool) -> None:
        super().__init__("shout")
        self.loud = loud


class Disguise(Exception):
    """An error of which pickle makes something else."""

    def __reduce__(self) -> Any:
        return str, ("no error",)


def work(request: Work) -> Any:
    """Do what the request says."""
    return getattr(Deeds, request.what)(request)


def tell(event: Told) -> None:
    """Write the process id to the pipe, then do what the event says."""
    if event.what:
        getattr(Deeds, event.what)(event)
    else:
        _write(event.pipe, str(os.getpid()))


def tell_view(event: ToldView) -> None:
    """Write what it is given to the pipe."""
    _write(event.pipe, f"{type(event).__name__} {os.getpid()}")


def tell_plain(event: NamedEvent) -> None:
    """Write what it is given to the pipe."""
    _write(event.data["pipe"], f"{event.name} {os.getpid()}")


async def awaited(request: Work) -> Any:
    """No sync function."""


def greedy(request: Work, log: Any, db: Any) -> Any:
    """Takes more than the event."""


def modest(request: Work, more: int = 3) -> Any:
    """Takes more than the event, and can do without."""
    return more


def _write(pipe: str, text: str) -> None:
    with Path(pipe).open("a") as file:
        file.write(text + "\n")


class Deeds:
    """What *what* can be."""

    @staticmethod
    def pid(_: Any) -> int:
        return os.getpid()

    @staticmethod
    def echo(message: Any) -> Any:
        return message.data

    @staticmethod
    def hang(message: Any) -> None:
        _write(message.pipe, str(os.getpid()))
        signal.pause()

    @staticmethod
    def meet(message: Any) -> int:
        """Say that it is there, and wait until it is told to go on."""
        _write(message.pipe, str(os.getpid()))
        Path(message.data).read_text()
        return os.getpid()

    @staticmethod
    def fail(_: Any) -> None:
        raise LookupError("nothing there")

    @staticmethod
    def veto(_: Any) -> None:
        raise Veto("no", code="closed")

    @staticmethod
    def shout(_: Any) -> None:
        raise Shout(loud=True)

    @staticmethod
    def unpicklable(_: Any) -> Any:
        return lambda: None

    @staticmethod
    def leave(message: Any) -> None:
        os._exit(message.data)

    @staticmethod
    def exit(message: Any) -> None:
        sys.exit(message.data)

    @staticmethod
    def context(_: Any) -> Any:
        running = current()
        return running and (running.event, running.principal and running.principal.id, running.correlation_id)

    @staticmethod
    def crash(_: Any) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    @staticmethod
    def disguise(_: Any) -> None:
        raise Disguise("in words")

    @staticmethod
    def fork(_: Any) -> str:
        """Come back twice."""
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return "worker" if pid else "copy"

    @staticmethod
    def orphan(message: Any) -> None:
        """Leave a copy behind."""
        worker = os.getpid()
        if os.fork() == 0:
            _write(message.pipe, f"{worker}\n{os.getpid()}")
        signal.pause()

    @staticmethod
    def terminated(_: Any) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "finished"

    @staticmethod
    def noise(_: Any) -> str:
        sys.stdout.write("printed\n")
        os.write(1, b"written\n")
        subprocess.run(["echo", "echoed"], check=True)
        return sys.stdin.read()


class Outside(Plugin, id="outside"):
    """A plugin whose subscribers run in its worker processes."""

    @answers(Work, run_in="process")
    @staticmethod
    def work(request: Work) -> Any:
        """Do what the request says."""
        return work(request)

    @observes(Told, run_in="process")
    @staticmethod
    def told(event: Told) -> None:
        """Do what the event says."""
        tell(event)
