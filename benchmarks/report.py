"""Show what came out: a table for people, JSON for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from benchmarks.harness import REPORTED, Result

PACKAGES = (
    "plugbus",
    "anyio",
    "pluggy",
    "pydantic",
    "structlog",
    "packaging",
    "typing_extensions",
    "trio",
    "blinker",
    "pyee",
    "mediatr",
    "starlette",
    "uvicorn",
    "h11",
    "fastapi",
)
HEADER = ("row", "what", "against", "ours", "theirs", "ratio", "spread", "bar", "holds")


def table(results: Sequence[Result]) -> str:
    """Return the results as a table of plain text."""
    lines = [HEADER, *(_cells(result) for result in results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([rows[0], "  ".join("-" * width for width in widths), *rows[1:]])


def _cells(result: Result) -> tuple[str, ...]:
    case, (low, high) = result.case, result.spread
    bar = "-" if case.bar == REPORTED else f"{'<' if case.below else '<='} {case.bar:.4g}x"
    holds = "-" if case.bar == REPORTED else "yes" if result.holds else "NO"
    told = duration if case.unit == "s" else size
    figures = (told(result.ours), told(result.theirs), f"{result.ratio:.3f}", f"{low:.2f}..{high:.2f}")
    return case.row, case.what, case.against, *figures, bar, holds


def duration(seconds: float) -> str:
    """Return a time in the unit that reads best."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def size(held: float) -> str:
    """Return a number of bytes in the unit that reads best."""
    return f"{held / 1024:.3g} KiB" if held >= 1024 else f"{held:.0f} B"


def write_json(path: Path, results: Sequence[Result]) -> None:
    """Write the results, with what they were measured on, as JSON."""
    path.write_text(json.dumps({**surroundings(), "rows": [_plain(result) for result in results]}, indent=2) + "\n")


def surroundings() -> dict[str, object]:
    """Return what a figure depends on besides the code: machine, Python, versions."""
    return {
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
        "python": {"version": platform.python_version(), "implementation": sys.implementation.name},
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _plain(result: Result) -> dict[str, object]:
    case = result.case
    return {
        "row": case.row,
        "what": case.what,
        "against": case.against,
        "unit": case.unit,
        "ours": result.ours,
        "theirs": result.theirs,
        "ratio": result.ratio,
        "spread": result.spread,
        "bar": None if case.bar == REPORTED else case.bar,
        "below": case.below,
        "holds": result.holds,
        "rounds": len(result.ratios),
        "ratios": result.ratios,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def summary(results: Sequence[Result]) -> str:
    """Return one line: how many bars hold."""
    held = [result for result in results if result.case.bar != REPORTED]
    missed = [f"{result.case.row} {result.case.what}" for result in held if not result.holds]
    rounds = round(median(len(result.ratios) for result in results)) if results else 0
    text = f"{len(held) - len(missed)} of {len(held)} bars hold, {rounds} rounds each"
    return f"{text}; missed: {'; '.join(missed)}" if missed else text
