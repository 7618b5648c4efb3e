"""``plugbus run`` in a process of its own: signals arrive, the kernel drains, the exit code tells."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.adapters.cli.tools import SHOP, in_process, start

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def until_ready(process) -> str:
    """Read what it tells until it is ready; a process that ends instead fails the test with what it told."""
    told = []
    for line in process.stderr:
        told.append(line)
        if line.startswith("plugbus: ready"):
            return "".join(told)
    pytest.fail("".join(["it ended: ", *told]))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_drains_the_kernel_and_ends_it_with_0(folder: Path, backend: str, number: signal.Signals) -> None:
    """The kernel names the signal that it got, and the plugin says that its shutdown ran."""
    with start("run", "shop:well", "--backend", backend, folder=folder) as process:
        assert "ready with shop" in until_ready(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=50)

    assert process.returncode == 0
    assert err.splitlines() == [f"plugbus: stopping: {number.name}", "plugbus: stopped"]
    assert out.splitlines()[-1] == "the shop shut down"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_signal_that_comes_while_it_boots_drains_it_too(folder: Path, backend: str) -> None:
    """A service that is told to end before it is ready shuts down in order what had booted, and ends with 0."""
    (folder / "slow.py").write_text(
        "import os, signal\n"
        "from shop import *\n"
        "class Slow(Plugin, requires=['shop']):\n"
        "    def on_boot(self): os.kill(os.getpid(), signal.SIGTERM)\n"
        "def kernel(): return Kernel(plugins=[Shop, Slow])\n"
    )

    ended = in_process("run", "slow", "--backend", backend, folder=folder)

    assert ended.code == 0
    assert "the shop shut down" in ended.out
    assert ended.err.endswith("plugbus: stopped\n")


def test_a_plugin_that_fails_is_told_and_the_others_run(folder: Path) -> None:
    with start("run", "shop:ill", folder=folder) as process:
        told = until_ready(process)
        process.terminate()
        process.communicate(timeout=50)

    assert process.returncode == 0
    assert "warning: plugin 'broken' failed: " in told
    assert told.endswith("ready with shop; SIGTERM or Ctrl-C stops it\n")


def test_a_kernel_that_does_not_start_ends_with_1(folder: Path) -> None:
    ended = in_process("run", "shop:insisting", folder=folder)

    assert (ended.code, "Traceback" in ended.err) == (1, False)
    assert "plugin 'broken'" in ended.err


def test_contract_checks_can_be_switched_on_for_a_file(folder: Path) -> None:
    """``checked=True`` names the listener that forgot its return."""
    (folder / "forgetful.py").write_text(
        "from plugbus import *\n"
        "class Tick(Event, name='tick'): ...\n"
        "class Forgetful(Plugin):\n"
        "    def __init__(self, bus: EventBus): self.bus = bus\n"
        "    @listens(Tick)\n"
        "    def forget(self, event: Tick, next_fn): next_fn(event)\n"
        "    async def on_ready(self):\n"
        "        try: await self.bus.aemit(Tick())\n"
        "        except ChainContractError as error: print('culprit:', error.subscriber, flush=True)\n"
    )
    (folder / "plugbus.toml").write_text('[kernel]\nplugins = ["forgetful"]')
    with start("run", "--dev", folder=folder) as process:
        until_ready(process)
        process.terminate()
        out, _ = process.communicate(timeout=50)

    assert "culprit: Forgetful.forget" in out


def test_a_pipe_gets_plain_lines_of_any_length(folder: Path) -> None:
    """No colours, no folding, no boxes: each plugin is one line."""
    ended = in_process("plugins", "shop:ill", folder=folder)

    assert len(ended.out.splitlines()) == 4
    assert "\x1b" not in ended.out
    assert ended.out.isascii()


def test_a_terminal_that_cannot_show_a_character_gets_its_code(folder: Path) -> None:
    (folder / "snow.py").write_text(SHOP.replace("no [disk]", "no \u2603"))

    assert "no \\u2603" in in_process("plugins", "snow:ill", folder=folder, PYTHONIOENCODING="ascii").out


@pytest.mark.parametrize("command", [("plugins", "shop:ill"), ("explain", "shop.ordered", "shop:ill")], ids=" ".join)
def test_a_plugin_that_fails_is_told_once_and_its_traceback_on_request(folder: Path, command: tuple[str, ...]) -> None:
    ended = in_process(*command, folder=folder)
    told = ended.out + ended.err

    assert "Traceback" not in told
    assert told.count("no [disk]") == 2  # the plugin that failed, and the one that it blocks
    assert "plugin does not run" not in told

    shown = in_process("--traceback", *command, folder=folder)
    assert "Traceback" in shown.out + shown.err


def test_run_tells_a_plugin_that_fails_once_too(folder: Path) -> None:
    with start("run", "shop:ill", folder=folder) as process:
        told = until_ready(process)
        process.terminate()
        out, err = process.communicate(timeout=50)

    assert "Traceback" not in told + out + err
    assert (told + out + err).count("no [disk]") == 2


def test_run_tells_a_plugin_without_which_it_does_not_start_once(folder: Path) -> None:
    ended = in_process("run", "shop:insisting", folder=folder)

    assert (ended.code, "Traceback" in ended.out + ended.err) == (1, False)
    assert (ended.out + ended.err).count("no [disk]") == 1
    assert "Traceback" in in_process("--traceback", "run", "shop:insisting", folder=folder).err


def test_what_a_host_configured_for_its_log_stays(folder: Path) -> None:
    """Its own lines go where it wants them, tracebacks included."""
    (folder / "own.py").write_text(
        "import structlog\nstructlog.configure(processors=[structlog.processors.JSONRenderer()])\nfrom shop import *\n"
    )

    assert '"event": "plugin does not run"' in in_process("plugins", "own:ill", folder=folder).err
