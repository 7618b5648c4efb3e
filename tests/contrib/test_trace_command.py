"""``plugbus trace``: what comes of an event, as trees on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.adapters.cli.conftest import folder, plugbus  # noqa: F401 - fixtures
from tests.adapters.cli.tools import Ended, clean_environment, in_process
from tests.sources import ROOT

from plugbus_contrib import _trace_command

Run = Callable[..., Ended]

CHAIN = '''
"""A shop that mails, in the background; and one that fails."""

from plugbus import Event, EventBus, Kernel, Plugin, Request, answers, observes


class Ordered(Event, name="shop.ordered"):
    number: int


class Mailed(Event, name="mail.sent"):
    pass


class Pay(Request[int], name="shop.pay"):
    password: str


class Shop(Plugin, id="shop"):
    def __init__(self, bus: EventBus) -> None:
        self.bus = bus

    @observes(Ordered)
    def mail(self, event: Ordered) -> None:
        print("mailing")
        self.bus.emit(Mailed())

    @answers(Pay)
    async def pay(self, request: Pay) -> int:
        raise ZeroDivisionError(request.password)


def kernel():
    return Kernel(plugins=[Shop])
'''


@pytest.fixture(autouse=True)
def chain(folder: Path) -> None:  # noqa: F811
    (folder / "chain.py").write_text(CHAIN)


def shape(tree: dict) -> list:
    return [tree["subscriber"] or tree["event"], *map(shape, tree["children"])]


def test_it_prints_what_came_of_an_event(plugbus: Run) -> None:  # noqa: F811
    """And nothing else: what plugins print is on standard error."""
    ended = plugbus("trace", "chain:kernel", "--event", "shop.ordered", "--data", '{"number": 7}')

    assert ended.code == 0
    assert [line.rsplit(maxsplit=2)[0].rstrip() for line in ended.out.splitlines()] == [
        "emit shop.ordered [host]",
        "  observer Shop.mail [shop]",
        "    emit mail.sent [shop]",
    ]
    assert ended.out.isascii()
    assert "mailing" in ended.err


def test_it_tells_programs_the_same(plugbus: Run) -> None:  # noqa: F811
    ended = plugbus("trace", "chain:kernel", "--event", "shop.ordered", "--data", '{"number": 7}', "--json")

    assert list(map(shape, json.loads(ended.out))) == [["shop.ordered", ["Shop.mail", ["mail.sent"]]]]


def test_without_an_event_it_prints_all_of_a_run(plugbus: Run) -> None:  # noqa: F811
    """The start and the end of the kernel too."""
    events = [tree["event"] for tree in json.loads(plugbus("trace", "chain:kernel", "--json").out)]

    assert {"kernel.ready", "kernel.stopping"} <= set(events)


def test_a_request_that_fails_is_printed_and_ends_with_1(plugbus: Run) -> None:  # noqa: F811
    """Without what may be secret, unless asked for."""
    asked = ("trace", "chain:kernel", "--event", "shop.pay", "--data", '{"password": "abc-123"}')
    ended, shown = plugbus(*asked), plugbus(*asked, "--show-data")

    assert (ended.code, shown.code) == (1, 1)
    assert "handler Shop.pay [shop]" in ended.out
    assert ended.out.splitlines()[1].endswith("! ZeroDivisionError")
    assert "abc-123" not in ended.out
    assert shown.out.splitlines()[1].endswith("! ZeroDivisionError: abc-123")
    assert "Pay(password='abc-123')" in shown.out.splitlines()[0]


@pytest.mark.parametrize(("arguments", "phrase"), [
    (("--event", "shop.orderd"), "did you mean 'shop.ordered'?"),
    (("--event", "shop.ordered", "--data", "{"), "--data is no JSON"),
    (("--event", "shop.ordered", "--data", "{}"), "number"),
    (("--seconds", "-1"), "--seconds"),
])  # fmt: skip
def test_what_cannot_be_traced_is_a_usage_error(plugbus: Run, arguments: tuple[str, ...], phrase: str) -> None:  # noqa: F811
    ended = plugbus("trace", "chain:kernel", *arguments)

    assert (ended.code, ended.out) == (2, "")
    assert phrase in ended.err


def test_the_target_may_stand_before_the_command(plugbus: Run) -> None:  # noqa: F811
    """The kernel is booted once, and not for its commands."""
    ended = plugbus("--target", "chain:kernel", "trace", "--event", "shop.ordered", "--data", '{"number": 7}')

    assert (ended.code, ended.err.count("mailing")) == (0, 1)


def test_ctrl_c_ends_the_time_early_and_the_trees_are_printed(
    plugbus: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever has seen enough."""
    waited: list[float] = []

    class Interrupted:
        def wait(self, seconds: float) -> None:
            waited.append(seconds)
            raise KeyboardInterrupt

    monkeypatch.setattr(_trace_command, "threading", SimpleNamespace(Event=Interrupted))
    ended = plugbus("trace", "chain:kernel", "--seconds", "300")

    assert (ended.code, waited) == (0, [300.0])
    assert "emit kernel.stopping" in ended.out


def test_the_program_finds_it_without_importing_a_kernel_for_its_help() -> None:
    """By the entry point, as any installed package adds a command."""
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    code = "import sys, plugbus_contrib._trace_command; print('plugbus' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=clean_environment(), check=True
    )

    assert points["plugbus.commands"]["trace"] == "plugbus_contrib._trace_command"
    assert points["plugbus.plugins"]["trace"] == "plugbus_contrib.trace:TracePlugin"
    assert done.stdout == "False\n"


def test_a_service_enables_the_plugin_by_its_id(folder: Path) -> None:  # noqa: F811
    """It is installed with plugbus, and nobody has it who did not ask."""
    table = in_process("plugins", "chain:kernel", folder=folder, PLUGBUS_ENABLED="+trace").out

    assert table.splitlines()[2].split()[:3] == ["trace", "1.0.0", "ready"]
    assert "trace" not in in_process("plugins", "chain:kernel", folder=folder).out
