"""The example service as a whole, over its sample, over real deliveries, and over what is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import demo
import pytest

needs_real = pytest.mark.skipif(not demo.REAL.exists(), reason="the real deliveries are not on this machine")
SCRIPT = Path(demo.__file__)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> tuple[int, str, str]:
        code = demo.main([*map(str, arguments), "--no-http"])
        return code, *capsys.readouterr()

    return call


def line_of(output: str, start: str) -> str:
    (found,) = [line for line in output.splitlines() if line.startswith(start)]
    return found


def test_the_sample_is_accounted_for(run) -> None:
    """Each of its deliveries ends as it was written to end."""
    code, out, err = run("--input", demo.SAMPLE)

    assert (code, err) == (0, "")
    assert line_of(out, "deliveries ") == (
        "deliveries  27 read = 18 typed + 5 named + 1 vetoed + 2 refused + 1 malformed + 0 failed"
    )
    assert line_of(out, "accounted ") == "accounted   every delivery"


def test_what_was_not_emitted_is_told_with_its_line(run) -> None:
    """The line number, what became of it, and why."""
    _, out, _ = run("--input", demo.SAMPLE)

    told = [line.removeprefix(f"{demo.SAMPLE}:") for line in out.splitlines() if line.startswith(str(demo.SAMPLE))]
    assert [line.partition(",")[0] for line in told] == ["15: vetoed", "22: malformed", "25: refused", "26: refused"]
    assert told[0] == "15: vetoed, flight records are kept for ever"
    assert "number" in told[3]


def test_the_plugin_table_says_why_one_does_not_run(run) -> None:
    """One fails at boot, and the others are ready."""
    _, out, _ = run("--input", demo.SAMPLE)

    assert "mirror.invalid:443 does not answer" in line_of(out, "mirror ")
    assert " failed " in line_of(out, "mirror ")
    for plugin in ("audit", "digest", "guard", "intake", "journal", "legacy", "notify", "stats", "templates"):
        assert " ready " in next(line for line in out.splitlines() if line.startswith(f"{plugin} "))


def test_one_chain_is_explained(run) -> None:
    """Every plugin that takes part in it is there."""
    _, out, _ = run("--input", demo.SAMPLE)
    chain = out.partition("one chain, explained:")[2].partition("progress")[0]

    assert all(plugin in chain for plugin in ("audit", "guard", "journal", "stats", "digest", "notify", "legacy"))
    assert "mirror" not in chain


def test_what_is_new_while_it_runs_is_shown(run) -> None:
    """A setting changes and back, a plugin is replaced, and a line of the log tells the line of the input."""
    _, out, _ = run("--input", demo.SAMPLE)
    shown = out.partition("while it runs\n")[2].partition("\n\n")[0].splitlines()

    assert [line.partition(" ")[0] for line in shown] == ["settings", "", "", "", "reload", "log"]
    assert [" is vetoed, " in line for line in shown] == [False, True, False, False, False, False]
    assert "rules.0.rpeo" in shown[2]
    assert "digest is ready as another object" in shown[4]
    assert "correlation_id=sample.jsonl:" in shown[5]


def test_the_new_plugins_report(run) -> None:
    """Background work, words and transactions are counted, and each of them adds up."""
    _, out, _ = run("--input", demo.SAMPLE)

    assert "journal     23 deliveries committed with 23 events, 3 rolled back" in out
    words = "issues.opened by journal, pull_request by legacy, release.published by stats"
    assert line_of(out, "templates   ").endswith(words)
    told = [int(word) for word in line_of(out, "notify      ").replace(";", "").split() if word.isdigit()]
    assert told[0] == sum(told[1:6]) == 7


def test_a_run_can_be_repeated(run) -> None:
    """Only times differ, and what depends on them: whether a slow machine met the time limit of a notification."""

    def facts() -> list[str]:
        _, out, _ = run("--input", demo.SAMPLE, "--seed", "3")
        report = out.partition("progress  25 %")[2].splitlines()
        return [line for line in report if not line.startswith(("emit ", "notify ", "templates ", "log ", "reload "))]

    assert facts() == facts()


@pytest.mark.anyio
async def test_a_chain_is_the_same_at_each_start() -> None:
    """Plugins boot in parallel, and two of the hub's subscribe while they do; the order must not depend on who won."""
    plans = set()
    for _ in range(10):
        async with demo.make_kernel(seed=1) as kernel:
            plans.add(str(kernel.bus.explain("github.issues.opened")))

    assert len(plans) == 1


@needs_real
def test_all_real_deliveries_are_accounted_for(run) -> None:
    """None of the 179 is refused, and kinds that have no type are carried all the same."""
    code, out, _ = run("--input", demo.REAL)

    assert code == 0
    assert line_of(out, "deliveries ") == (
        "deliveries  179 read = 87 typed + 92 named + 0 vetoed + 0 refused + 0 malformed + 0 failed"
    )


def test_a_broken_file_costs_its_broken_lines(run, tmp_path: Path) -> None:
    """Cut in the middle, with garbage between: the rest goes on."""
    sample = demo.SAMPLE.read_bytes().splitlines(keepends=True)
    path = tmp_path / "cut.jsonl"
    path.write_bytes(sample[0] + b"\xff\xfe\x80garbage\n" + b"x" * 100_000 + b"\n" + sample[1] + sample[2][:80])

    code, out, _ = run("--input", path)

    assert code == 0
    assert line_of(out, "deliveries ").startswith("deliveries  5 read = 1 typed + 1 named + 0 vetoed + 0 refused + 3 ")


def test_many_complaints_are_counted_instead_of_told(run, tmp_path: Path) -> None:
    """A garbled file does not flood the terminal."""
    path = tmp_path / "garbled.jsonl"
    path.write_bytes(demo.SAMPLE.read_bytes() + b"garbage\n" * 100)

    code, out, _ = run("--input", path)

    assert code == 0
    assert sum(line.startswith(str(path)) for line in out.splitlines()) == demo.SHOWN_COMPLAINTS
    assert line_of(out, "... and ") == "... and 84 more lines that were not emitted"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no such file"),
        (b"", "is empty"),
        (b"\0\1\2\3", "is binary data"),
        (b"garbage\nmore garbage\n", "no line of it is a JSON object"),
        (b"\n \n", "no line of it is a JSON object"),
    ],
)
def test_an_input_that_is_none_is_an_error_of_its_own(run, tmp_path: Path, content, told: str) -> None:
    """Exit code 2, the name of the file and what is wrong with it."""
    path = tmp_path / "in.jsonl"
    if content is not None:
        path.write_bytes(content)

    code, _, err = run("--input", path)

    assert code == 2
    assert err.splitlines()[-1].startswith(f"{path}: ")
    assert told in err


def test_help_shows_an_example(capsys) -> None:
    """With every option."""
    with pytest.raises(SystemExit) as caught:
        demo.main(["--help"])

    out = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(word in out for word in ("--input", "--seed", "--verbose", "example:"))


def script(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        capture_output=True, text=True, env=environment, timeout=50, check=False, **options,
    )  # fmt: skip


def test_the_script_runs_from_anywhere(tmp_path: Path) -> None:
    """Its paths are its own, whatever the working directory; its log stays quiet unless asked for; it serves, too."""
    done = script("--input", demo.SAMPLE, cwd=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert line_of(done.stdout, "over HTTP").endswith("/webhooks/github: 23 x 202, 1 x 403, 2 x 422")
    assert "sent again is answered as before (202), a forged one refused (401)" in done.stdout
    assert "23 events read live from /events/stream, each accepted delivery once" in done.stdout
    assert done.stdout.rstrip().endswith("accounted   every delivery")


def test_the_log_is_shown_on_request(tmp_path: Path) -> None:
    """On standard error, so that the report can be kept apart."""
    done = script("--input", demo.SAMPLE, "--verbose", "--no-http")

    assert done.returncode == 0
    assert "event refused" in done.stderr
    assert "event refused" not in done.stdout


def test_a_quiet_run_does_not_quieten_the_next(run) -> None:
    """In one process, as in a test or a notebook."""
    quiet, shown = run("--input", demo.SAMPLE), run("--input", demo.SAMPLE, "--verbose", "--no-http")

    assert quiet[2] == ""
    assert "correlation_id=sample.jsonl:15" in shown[2]


def test_a_reader_that_leaves_early_gets_no_traceback() -> None:
    """As with `| head -1`."""
    with subprocess.Popen(
        [sys.executable, SCRIPT, "--input", demo.SAMPLE], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()

    assert b"Traceback" not in err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_does_not_wait_for_a_silent_pipe(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C while the demo waits for the next line ends it, and so does a supervisor; the kernel drains."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen([sys.executable, SCRIPT, "--input", pipe], stderr=subprocess.PIPE)
    try:
        with pipe.open("wb"):  # returns when the demo has begun to read
            process.send_signal(number)
            _, err = process.communicate(timeout=20)
    finally:
        process.kill()

    assert (process.returncode, err) == (128 + number, f"demo: interrupted by {number.name}\n".encode())
