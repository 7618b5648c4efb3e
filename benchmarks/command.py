"""The command line: which rows, how thoroughly, where to."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Case, Effort, Progress, Result, measure
from benchmarks.report import summary, table, write_json

SHORT = Effort(rounds=9, seconds=0.016, turns=8)


def main(cases: Sequence[Case], arguments: Sequence[str] | None = None) -> int:
    """Measure the cases asked for and print them.

    Returns:
        0 when every bar holds, 1 when one is missed or could not be measured.
    """
    options = _parse(cases, arguments)
    chosen = [case for case in cases if case.row in options.rows]
    results, failed = _measure_all(chosen, SHORT if options.short else Effort())
    print(table(results))
    print(summary(results))
    for problem in failed:
        print(problem, file=sys.stderr)
    if options.json:
        write_json(options.json, results)
    return 1 if failed or not all(result.holds for result in results) else 0


def _parse(cases: Sequence[Case], arguments: Sequence[str] | None) -> argparse.Namespace:
    known = list(dict.fromkeys(case.row for case in cases))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the performance bars.")
    parser.add_argument("row", nargs="*", help=f"the rows to measure, all unless given: {' '.join(known)}")
    parser.add_argument("--rows", default="", metavar="P1,P4", help="the same, as one list")
    parser.add_argument("--short", action="store_true", help="fewer and shorter rounds: quick, and less sure")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there too")
    options = parser.parse_args(arguments)
    asked = [row.strip().upper() for text in [*options.row, options.rows] for row in text.split(",") if row.strip()]
    if unknown := [row for row in asked if row not in known]:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(known)}")
    options.rows = set(asked or known)
    return options


def _measure_all(cases: Sequence[Case], effort: Effort) -> tuple[list[Result], list[str]]:
    results: list[Result] = []
    failed: list[str] = []
    for number, case in enumerate(cases, start=1):
        try:
            results.append(measure(case, effort, _progress(case, f"{number}/{len(cases)}", effort)))
        except Exception as error:  # noqa: BLE001 - the other rows are worth measuring
            failed.append(f"{case.row} {case.what}: {''.join(traceback.format_exception(error))}")
    _show("")
    return results, failed


def _progress(case: Case, place: str, effort: Effort) -> Progress:
    start = f"{place} {case.row} {case.what}"
    _show(f"{start}: warming up")
    return lambda number: _show(f"{start}: round {number}/{effort.rounds}")


def _show(text: str) -> None:
    """Overwrite the line of progress, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)
