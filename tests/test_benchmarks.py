"""The harness of ``benchmarks/`` tells slow from fast and right from wrong; its rows are measured by ``make bench``."""

from __future__ import annotations

import ast
import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle

import anyio
import pytest
from benchmarks.command import SHORT, main
from benchmarks.harness import REPORTED, Case, Effort, Result, WrongAnswerError, measure
from benchmarks.http_load import Load, request_of
from benchmarks.http_requests import KNOWN, in_process
from benchmarks.imports import imported_by
from benchmarks.report import duration, table
from benchmarks.sides import Pair, Run, Side, async_run, own_code, sync_run

QUICK = Effort(rounds=9, seconds=0.001)


def scripted(seconds: Iterator[float], answer: object = "done") -> Side:
    """Return a side that claims to have taken so long, so that a test does not depend on the machine."""

    async def run(times: int) -> tuple[float, object]:
        return times * next(seconds), answer

    return Side(run, "done")


def case(ours: float, theirs: float = 1.0, *, row: str = "P1", bar: float = 1.1, below: bool = False) -> Case:
    def build() -> Pair:
        return Pair(scripted(cycle([ours])), scripted(cycle([theirs])))

    return Case(row, "ours", "theirs", bar, build, below=below)


def unbuildable(row: str) -> Case:
    return Case(row, "ours", "theirs", 1.0, lambda: pytest.fail(f"{row} was not asked for"))


def quiet(number: int) -> None:
    pass


def adding_up(size: int) -> Run:
    return sync_run(lambda numbers: sum(numbers) * 0, range(size))


def test_a_slower_function_is_reported_slower() -> None:
    """Twenty times the work comes out as much slower, whatever the machine is doing."""
    uneven = Case("P1", "ours", "theirs", 1.1, lambda: Pair(Side(adding_up(4000), 0), Side(adding_up(200), 0)))

    result = measure(uneven, QUICK, quiet)

    assert result.ratio > 3
    assert result.ours > result.theirs
    assert not result.holds


def scripted_pair(ours: list[float], theirs: list[float]) -> Case:
    return Case("P1", "ours", "theirs", 1.1, lambda: Pair(scripted(iter(ours)), scripted(iter(theirs))))


def test_the_figure_is_the_median_of_the_paired_ratios() -> None:
    """A stall that hits both sides of a round leaves the ratio alone; one that hits one side is outvoted."""
    start = [1.0] * 2  # calibration, warm-up
    ours = [*start, 2, 2, 100, 2, 2, 90, 2, 2, 2]
    theirs = [*start, 1, 1, 50, 1, 1, 1, 1, 1, 1]

    result = measure(scripted_pair(ours, theirs), Effort(9, 0.001, turns=1), quiet)

    assert result.ratio == 2.0
    assert result.spread == (2.0, 2.0)
    assert max(result.ratios) == 90.0
    assert len(result.ratios) == 9


def test_the_quickest_turn_of_each_side_counts() -> None:
    """A stall in one turn of a round is not in the figure at all."""
    start = [1.0] * 3  # calibration, two turns of warm-up
    ours, theirs = [*start, *[2, 70] * 9], [*start, *[40, 1] * 9]

    result = measure(scripted_pair(ours, theirs), Effort(9, 0.001, turns=2), quiet)

    assert set(result.ratios) == {2.0}


def test_the_bar_is_met_at_it_and_where_asked_only_below_it() -> None:
    assert measure(case(1.1, bar=1.1), QUICK, quiet).holds
    assert measure(case(0.9, bar=1.0, below=True), QUICK, quiet).holds
    assert not measure(case(1.0, bar=1.0, below=True), QUICK, quiet).holds
    assert not measure(case(1.2, bar=1.1), QUICK, quiet).holds


def test_every_run_has_the_rounds_that_the_bars_ask_for() -> None:
    assert SHORT.rounds >= 9
    assert Effort().rounds >= 9


def test_a_wrong_answer_is_refused() -> None:
    wrong = Case("P1", "ours", "theirs", 9.9, lambda: Pair(scripted(cycle([1.0]), "wrong"), scripted(cycle([1.0]))))

    with pytest.raises(WrongAnswerError, match="the answer was 'wrong', not 'done'"):
        measure(wrong, QUICK, quiet)


def test_a_side_that_calls_less_than_it_should_is_refused() -> None:
    """A quick side may be quick because it does nothing; watching one call shows it, and the profiler is put back."""

    def observe(_: int) -> None: ...

    def once(number: int) -> int:
        observe(number)
        return number

    side = Side(sync_run(once, 1), 1, {"observe": 1})
    lazy = Side(sync_run(once, 1), 1, {"observe": 2})
    before = sys.getprofile()

    assert measure(Case("P4", "ours", "theirs", 9.9, lambda: Pair(side, side)), QUICK, quiet).holds
    with pytest.raises(WrongAnswerError, match=r"called {'observe': 1}, not {'observe': 2}"):
        measure(Case("P4", "ours", "theirs", 9.9, lambda: Pair(side, lazy)), QUICK, quiet)
    assert sys.getprofile() is before


async def checkpoint(answer: str) -> str:
    await anyio.lowlevel.checkpoint()
    return answer


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_what_waits_is_measured_on_an_event_loop(loop) -> None:
    side = Side(async_run(checkpoint, "done"), "done")

    result = measure(Case("P5", "ours", "theirs", 99.0, lambda: Pair(side, side), loop=loop), QUICK, quiet)

    assert result.holds


def test_what_waits_without_an_event_loop_is_refused() -> None:
    side = Side(async_run(lambda answer: Waiting(), "done"), "done")

    with pytest.raises(RuntimeError, match="give it loop="):
        measure(Case("P5", "ours", "theirs", 99.0, lambda: Pair(side, side)), QUICK, quiet)


class Waiting:
    def __await__(self) -> Iterator[None]:
        yield


def test_a_copy_of_a_function_shares_no_code_and_nothing_else_is_different() -> None:
    base = 40

    def add(number: int = 1, *, more: int = 1) -> int:
        return base + number + more

    copy = own_code(add)

    assert copy.__code__ is not add.__code__
    assert (copy(), copy(2, more=3)) == (add(), add(2, more=3))
    assert (copy.__qualname__, copy.__annotations__) == (add.__qualname__, add.__annotations__)


def test_only_the_rows_asked_for_are_measured(capsys) -> None:
    cases = [case(1.0, row="P1"), unbuildable("P2"), case(1.0, row="P10")]

    assert main(cases, ["--short", "--rows", "p10,P1"]) == 0
    assert main(cases, ["--short", "P10", "P1"]) == 0
    out = capsys.readouterr().out
    assert out.count("P10 ") == 2
    assert "P2" not in out


def test_an_unknown_row_is_refused_with_those_that_there_are(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([case(1.0), case(1.0, row="P4")], ["--rows", "P44"])

    assert stopped.value.code == 2
    assert "no such row: P44; there are P1, P4" in capsys.readouterr().err


def test_the_exit_code_says_whether_every_bar_holds(capsys) -> None:
    assert main([case(1.0), case(1.0)], ["--short"]) == 0
    assert "2 of 2 bars hold" in capsys.readouterr().out
    assert main([case(1.0), case(2.0)], ["--short"]) == 1
    assert "1 of 2 bars hold, 9 rounds each; missed: P1 ours" in capsys.readouterr().out


def test_a_wrong_answer_fails_the_run_and_the_other_rows_are_measured(capsys) -> None:
    wrong = Case("P4", "ours", "theirs", 9.9, lambda: Pair(scripted(cycle([1.0]), "wrong"), scripted(cycle([1.0]))))

    assert main([wrong, case(1.0)], ["--short"]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("P4 ours: Traceback")
    assert "the answer was 'wrong', not 'done'" in captured.err
    assert "1 of 1 bars hold" in captured.out


def test_the_json_says_what_was_measured_on_what(tmp_path, capsys) -> None:
    path = tmp_path / "figures.json"

    main([case(2.0, 1.0)], ["--short", "--json", str(path)])

    figures = json.loads(path.read_text())
    assert figures["python"]["version"] == ".".join(map(str, sys.version_info[:3]))
    assert figures["machine"]["cores"]
    assert figures["versions"]["pydantic"]
    (row,) = figures["rows"]
    assert (row["row"], row["ratio"], row["bar"], row["holds"], len(row["ratios"])) == ("P1", 2.0, 1.1, False, 9)


@pytest.mark.parametrize(
    ("seconds", "text"), [(2, "2 s"), (0.43, "430 ms"), (9.04e-5, "90.4 us"), (8.2e-8, "82 ns"), (4e-10, "0.4 ns")]
)
def test_a_time_is_shown_in_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_imports_inside_functions_and_for_type_checkers_are_not_counted(tmp_path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        "import anyio\n"
        "if TYPE_CHECKING:\n    import never\n"
        "try:\n    from pydantic import BaseModel\nexcept ImportError:\n    pass\n"
        "def later():\n    import never\n"
    )

    assert {ast.unparse(found) for found in imported_by(module)} == {"import anyio", "from pydantic import BaseModel"}


def test_a_case_says_how_often_it_is_measured_at_most() -> None:
    """What takes long is measured in fewer rounds and turns than the others."""
    ours = theirs = [1.0] * 4  # calibration, warm-up, two rounds

    result = measure(replace(scripted_pair(ours, theirs), rounds=2, turns=1), Effort(9, 0.001, turns=5), quiet)

    assert len(result.ratios) == 2


def test_bytes_are_shown_as_bytes() -> None:
    """A case that weighs shows its figures in bytes, in the unit that reads best."""
    case = replace(scripted_pair([3.0 * 1024] * 3, [512.0] * 3), rounds=2, turns=1, unit="B")

    shown = table([Result(case, 3 * 1024.0, 512.0, (6.0, 6.0))])

    assert "3 KiB" in shown
    assert "512 B" in shown


def test_what_is_only_reported_misses_nothing(capsys) -> None:
    """It is shown beside the bars, as neither held nor missed."""
    code = main([case(1.0), case(9.0, row="P2", bar=REPORTED)], ["--short"])

    told = capsys.readouterr().out
    assert code == 0
    assert "1 of 1 bars hold" in told
    assert "inf" not in told


def test_what_a_pair_has_started_is_ended_also_when_an_answer_is_wrong() -> None:
    """Servers do not outlive the figure that they were for."""
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    pair = Pair(scripted(cycle([1.0]), "another"), scripted(cycle([1.0])), close)
    with pytest.raises(WrongAnswerError):
        measure(Case("P1", "ours", "theirs", 1.1, lambda: pair), QUICK, quiet)

    assert closed == [True]


@pytest.mark.parametrize("peer", ["bare", "fastapi"])
@pytest.mark.parametrize("path", ["/orders", "/private/orders"])
def test_all_sides_of_the_http_rows_give_the_same_answer(peer: str, path: str) -> None:
    """They are timed for the same work: so says the harness, which compares every answer."""
    compared = Case("H1", "ours", "theirs", 99.0, lambda: in_process(peer, path, KNOWN), loop="asyncio", rounds=2)

    assert len(measure(compared, QUICK, quiet).ratios) == 2


def test_a_load_refuses_a_server_that_answers_something_else() -> None:
    """A server that fails fast does not come out as a fast one."""

    async def answer_wrongly() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 500 \r\ncontent-length: 4\r\n\r\noops")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            load = Load(server.sockets[0].getsockname()[1], request_of("/", b""), b"fine", connections=1)
            await load.open()
            try:
                await load.run(1)
            finally:
                load.close()

    with pytest.raises(WrongAnswerError, match="oops"):
        asyncio.run(answer_wrongly())
