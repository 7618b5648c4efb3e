"""What the tests of the command line share: a shop to point it at, and ways to run it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ("SHOP", "Ended", "clean_environment", "in_process", "start")

SHOP = '''
"""A shop: one plugin that works, one that fails, one that is blocked by it."""

from plugbus import Event, Kernel, Manifest, Plugin, Request, Veto, answers, hookimpl, listens, observes


class Ordered(Event, name="shop.ordered"):
    number: int


class Order(Request[int], name="shop.order"):
    number: int


class Shop(Plugin, id="shop", version="1.2.0"):
    events = (Ordered,)

    def on_boot(self) -> None:
        print("the shop prints while it boots")

    @listens(Ordered)
    def guard(self, event: Ordered, next_fn):
        return next_fn(event)

    @observes(Ordered)
    async def note(self, event: Ordered) -> None: ...

    @answers(Order)
    async def order(self, request: Order) -> int:
        return request.number

    def on_shutdown(self) -> None:
        print("the shop shut down", flush=True)

    @hookimpl(optionalhook=True)
    def plugbus_commands(self, app, kernel) -> None:
        @app.command("order")
        def order(number: int) -> None:
            """Order something."""
            print("ordered", kernel.bus.call(Order(number=number)))


class Broken(Plugin, id="broken"):
    def on_boot(self) -> None:
        raise OSError("no [disk]\\nleft")


class Needy(Plugin):
    manifest = Manifest(id="needy", requires=["broken"])


class Absent(Plugin):
    manifest = Manifest(id="absent", requires=["nobody>=1"])


def well() -> Kernel:
    return Kernel(plugins=[Shop])


def ill() -> Kernel:
    return Kernel(plugins=[Shop, Broken, Needy])


def wrong() -> Kernel:
    return Kernel(plugins=[Shop, Absent], config={"plugins": {"shpo": {}}})


def odd() -> Kernel:
    return Kernel(plugins=[Shop], config={"plugins": {"shpo": {}}})


def insisting() -> Kernel:
    return Kernel(plugins=[Shop, Broken], required=["broken"])


kernel = well()
not_a_kernel = 5


async def eventually() -> Kernel:
    return well()


def exploding() -> Kernel:
    raise ValueError("boom")
'''


@dataclass(frozen=True)
class Ended:
    """How a run of the command line ended."""

    code: int
    out: str
    err: str


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without what would change how output looks, and which kernel is meant."""
    changing = ("PLUGBUS_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "PY_COLORS", "TTY_")
    return {name: value for name, value in os.environ.items() if not name.startswith(changing)} | more


def start(*arguments: str, folder: Path, **more: str) -> subprocess.Popen[str]:
    """Start the command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "plugbus_adapters.cli", *arguments],
        cwd=folder,
        env=clean_environment(**more),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def in_process(*arguments: str, folder: Path, **more: str) -> Ended:
    """Run the command line as a process of its own, to its end."""
    process = start(*arguments, folder=folder, **more)
    out, err = process.communicate(timeout=50)
    return Ended(process.returncode, out, err)
