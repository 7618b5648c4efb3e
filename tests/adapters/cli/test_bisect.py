"""``plugbus bisect``: which plugin makes a command fail."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.adapters.cli.tools import start

APP = '''
import os
import sys

from plugbus import Kernel, Manifest, Plugin


def made(id, requires=()):
    return type(id.capitalize(), (Plugin,), {"manifest": Manifest(id=id, requires=requires), "__module__": __name__})


def one():
    """Eight plugins; f requires b, and the kernel requires a."""
    listed = [made(id, ["b"] if id == "f" else []) for id in "abcdefgh"]
    return Kernel(plugins=listed, required=["a"], plugin_dirs=["plugins"], enabled=["inner"])


def two():
    return Kernel(plugins=[made("f"), made("g")])


def lost():
    return Kernel(plugins=[made("f"), "nowhere.to:Find"])


def nothing():
    return Kernel(plugins=[made("a")], required=["a"])


if __name__ == "__main__":
    with one().portal() as kernel:
        ready = {step.id for step in kernel.explain().plugins if step.state == "ready"}
        assert "a" in ready and not any(step.state == "blocked" for step in kernel.explain().plugins)
        print("ready with", sorted(ready))
        sys.exit(3 if "inner" in ready else 0)
'''

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(autouse=True)
def app(folder: Path) -> Path:
    """A module with kernels, and a folder with a plugin that a file names."""
    (folder / "app.py").write_text(APP)
    (folder / "plugins").mkdir()
    (folder / "plugins/inner.py").write_text("from plugbus import Plugin\nclass Inner(Plugin, id='inner'): ...\n")
    return folder


def failing_with(*ids: str, code: str = "exit 1", otherwise: str = "exit 0") -> tuple[str, ...]:
    """A command that fails unless one of these is switched off; a shell, because that starts fast."""
    tests = " ".join(f'case " $PLUGBUS_ENABLED " in *" -{id} "*) {otherwise};; esac;' for id in ids)
    return ("--", "sh", "-c", f"{tests} {code}")


def test_it_names_the_guilty_plugin_its_source_and_what_it_needs(plugbus) -> None:
    """What the kernel requires stays, so that it starts."""
    ended = plugbus("bisect", "app:one", *failing_with("f"))

    guilty, needed, runs, again = ended.out.splitlines()
    assert ended.code == 0
    assert guilty == "guilty: f (argument)"
    assert needed == "enabled too, because it is needed: b (argument)"
    assert runs == f"found in {len(ended.err.splitlines())} runs of the command"
    assert again.startswith("again: PLUGBUS_ENABLED='-c -d -e -g -h -inner' sh -c ")


def test_it_tells_each_step(plugbus) -> None:
    steps = plugbus("bisect", "app:two", *failing_with("f", code="exit 7")).err.splitlines()

    assert [step.partition(" (exit")[0] for step in steps] == [
        "plugbus: 2 of 2 plugins: bad", "plugbus: 0 of 2 plugins: good", "plugbus: 1 of 2 plugins: bad",
    ]  # fmt: skip
    assert "(exit 7, " in steps[2]
    assert steps[2].endswith("s): f")


def test_a_kernel_is_narrowed_by_what_the_command_is_given(plugbus, app: Path) -> None:
    """With real kernels: listed plugins and those of folders are switched off, and none is ever blocked."""
    ended = plugbus("bisect", "app:one", "--show-output", "--", sys.executable, "app.py")

    assert ended.code == 0
    assert ended.out.splitlines()[0] == f"guilty: inner (folder {Path('plugins/inner.py')})"


def test_plugins_that_fail_only_together_are_named_together(plugbus) -> None:
    ended = plugbus("bisect", "app:one", *failing_with("c", "h"))

    assert ended.out.splitlines()[:2] == ["guilty together: c (argument)", "guilty together: h (argument)"]


@pytest.mark.parametrize(("code", "phrase"), [
    ("exit 0", "the command passes with all 8 plugins"),
    ("exit 125", "the command cannot tell (exit 125) with all 8 plugins"),
])  # fmt: skip
def test_a_command_that_does_not_fail_with_all_is_told(plugbus, code: str, phrase: str) -> None:
    ended = plugbus("bisect", "app:one", "--", "sh", "-c", code)

    assert (ended.code, ended.out, phrase in ended.err) == (1, "", True)


@pytest.mark.parametrize(
    ("otherwise", "phrase"), [("exit 1", "fails also"), ("exit 125", "cannot tell (exit 125) also")]
)
def test_a_command_that_does_not_pass_with_none_is_told(plugbus, otherwise: str, phrase: str) -> None:
    """Then no plugin is to blame that could be switched off."""
    ended = plugbus("bisect", "app:one", *failing_with("f", otherwise=otherwise))

    assert ended.code == 1
    assert f"the command {phrase} without any plugin but a, which the kernel requires" in ended.err


def test_where_it_cannot_tell_more_plugins_may_be_left_than_guilty_ones(plugbus) -> None:
    """Without g it cannot tell, as ``git bisect run`` has it: 125."""
    ended = plugbus("bisect", "app:two", "--", "sh", "-c", (
        'case "$PLUGBUS_ENABLED" in "") exit 1;; *-f*) exit 0;; *) exit 125;; esac'
    ))  # fmt: skip

    assert ended.code == 0
    assert ended.out.splitlines()[:2] == ["guilty together: f (argument)", "guilty together: g (argument)"]
    assert "with 1 set of plugins it could not tell, so less may do" in ended.out


def test_a_command_that_fails_now_and_then_is_run_more_often(plugbus, app: Path) -> None:
    """It fails every third time, with f: three runs of each set find it, one does not."""
    flaky = failing_with("f", code="echo >>runs; test $(($(wc -l <runs) % 3)) != 0")

    assert "passes with all" in plugbus("bisect", "app:one", *flaky).err
    (app / "runs").unlink()
    ended = plugbus("bisect", "app:one", "--runs", "3", *flaky)

    assert ended.out.splitlines()[0] == "guilty: f (argument)"
    assert "(exit 0, exit 0, exit 1, " in ended.err


def test_a_run_that_takes_too_long_fails_and_is_killed_with_all_that_it_started(
    plugbus, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is up here once the command has started another one, so that a slow machine changes nothing."""
    started, pids, seconds = app / "started", list[str](), set[float]()

    def wait(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if timeout is None:
            return wait_really(process)
        seconds.add(timeout)
        while process.poll() is None:
            if started.exists() and (pid := started.read_text().strip()):
                pids.append(pid)
                started.unlink()
                raise subprocess.TimeoutExpired(process.args, timeout)
        return process.poll()

    wait_really = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    hanging = failing_with("f", code="sleep 300 & echo $! >started; wait")
    ended = plugbus("bisect", "app:two", "--timeout-seconds", "1.5", *hanging)

    assert ended.out.splitlines()[0] == "guilty: f (argument)"
    assert (ended.err.count("bad (took too long, "), len(pids), seconds) == (2, 2, {1.5})
    while any(runs(pid) for pid in pids):  # a killed process is there until init has heard of it
        pass


def test_what_a_command_leaves_behind_is_gone_before_the_next_run(plugbus, app: Path) -> None:
    """A server that still has its port would make the next set of plugins look guilty."""
    leaving = failing_with("f", code="sleep 300 & echo $! >>pids; exit 1", otherwise="exit 0")

    assert plugbus("bisect", "app:two", *leaving).out.splitlines()[0] == "guilty: f (argument)"

    pids = (app / "pids").read_text().split()
    assert len(pids) == 2
    while any(map(runs, pids)):  # a killed process is there until init has heard of it
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_ends_it_ends_the_command_too(app: Path, number: signal.Signals) -> None:
    """The command is in a session of its own, so nobody else tells it."""
    command = ("bisect", "app:two", "--", "sh", "-c", "sleep 300 & echo $$ $! >pids; wait")
    process = start(*command, folder=app)
    while not (pids := (app / "pids").read_text().split() if (app / "pids").exists() else []):
        assert process.poll() is None

    process.send_signal(number)

    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + number, told
    assert "Traceback" not in told
    while any(map(runs, pids)):
        pass


def runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_time_that_is_up_is_noticed(plugbus) -> None:
    """With a real clock: a command that always hangs."""
    ended = plugbus("bisect", "app:two", "--timeout-seconds", "0.2", "--", "sleep", "300")

    assert ended.code == 1
    assert "the command fails also without any plugin" in ended.err


def test_what_the_environment_says_already_still_holds(plugbus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGBUS_ENABLED", "inner -h")
    ended = plugbus("bisect", "app:one", *failing_with("f"))

    assert "again: PLUGBUS_ENABLED='inner -h -c -d -e -g -inner' " in ended.out


def test_what_has_no_id_stays(plugbus) -> None:
    """A name that could not be imported is told, and does not run anyway."""
    ended = plugbus("bisect", "app:lost", *failing_with("f"))

    assert (ended.code, ended.out.splitlines()[0]) == (0, "guilty: f (argument)")
    assert "nowhere.to:Find cannot be switched off" in ended.err


@pytest.mark.parametrize(("arguments", "code", "phrase"), [
    (("app:one",), 2, "there is no command to run"),
    (("app:one", "--", "no-such-program"), 2, "no-such-program cannot be run: No such file"),
    (("app:nothing", "--", "false"), 2, "there is no plugin that could be switched off"),
    (("app:one", "--runs", "0", "--", "false"), 2, "--runs"),
    (("app:none", "--", "false"), 2, "has no 'none'"),
    (("broken.toml", "--", "false"), 1, "is not a plugin id"),
])  # fmt: skip
def test_what_cannot_be_done_is_told(plugbus, app: Path, arguments: tuple[str, ...], code: int, phrase: str) -> None:
    (app / "broken.toml").write_text("[kernel]\nenabled = ['No Id']\n")
    ended = plugbus("bisect", *arguments)

    assert (ended.code, ended.out) == (code, "")
    assert phrase in ended.err


def test_the_target_may_stand_before_the_command_or_nowhere(plugbus, app: Path) -> None:
    """What stands behind ``--`` is never taken for the target."""
    (app / "plugbus.toml").write_text("[kernel]\nplugin_dirs = ['plugins']\nenabled = ['inner']\n")

    assert "guilty: inner" in plugbus("bisect", *failing_with("inner")).out
    assert "guilty: f" in plugbus("--target", "app:two", "bisect", *failing_with("f")).out


def test_it_prints_how_to_see_it_again(plugbus, app: Path) -> None:
    """A line for a shell."""
    again = plugbus("bisect", "app:two", *failing_with("f")).out.splitlines()[-1].removeprefix("again: ")
    setting, *words = shlex.split(again)

    assert os.spawnvpe(os.P_WAIT, words[0], words, os.environ | dict([setting.split("=", 1)])) == 1
