"""P10: what ``import plugbus`` costs above what it imports.

structlog is imported when something is logged first. The second case imports it on our side too: there the ratio is
what our own modules cost, while the first is what a user of the bus waits for.

Each figure is taken inside a fresh process, around the import alone, so starting the interpreter is not in it.
"""

from __future__ import annotations

import ast
import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import plugbus
from benchmarks.harness import Case
from benchmarks.sides import Pair, Run, Side

FROM = ("anyio", "pluggy", "pydantic", "structlog", "packaging")
TIMED = "from time import perf_counter\nstarted = perf_counter()\n{}\nprint(perf_counter() - started, {})"
MODEL = "from pydantic import BaseModel\nclass Model(BaseModel):\n    number: int"


def imported_by(module: Path) -> Iterator[ast.stmt]:
    """Yield what a module imports when it is imported itself: nothing inside functions or for type checkers only."""
    waiting: list[ast.stmt] = ast.parse(module.read_text()).body
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield statement
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            waiting.extend(statement.orelse)
        elif isinstance(statement, (ast.If, ast.Try, ast.With)):
            waiting.extend(part for part in ast.iter_child_nodes(statement) if isinstance(part, ast.stmt))


def is_outside(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return (statement.module or "").partition(".")[0] in FROM and not statement.level
    return isinstance(statement, ast.Import) and any(name.name.partition(".")[0] in FROM for name in statement.names)


def outside_imports() -> str:
    """Return the import statements that plugbus itself runs, of the packages it stands on."""
    ours = [module for name, module in sys.modules.items() if name.partition(".")[0] == plugbus.__name__]
    sources = [Path(module.__file__) for module in ours if module.__file__]
    found = {ast.unparse(statement) for path in sources for statement in imported_by(path) if is_outside(statement)}
    return "\n".join(sorted(found))


def bytecode_kept() -> dict[str, str]:
    """Return an environment in which every module is compiled once, as where a service runs."""
    folder = tempfile.mkdtemp(prefix="plugbus-benchmarks-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": folder}


def fresh_process(statements: str, answer: str, environment: dict[str, str]) -> Run:
    command = [sys.executable, "-c", TIMED.format(statements, answer)]

    async def run(times: int) -> tuple[float, object]:
        total, last = 0.0, ""
        for _ in range(times):
            done = subprocess.run(  # noqa: ASYNC221  # no loop here
                command, env=environment, capture_output=True, text=True, check=True
            )
            seconds, last = done.stdout.split()
            total += float(seconds)
        return total, last

    return run


def pair(also: str) -> Pair:
    environment = bytecode_kept()
    ours = fresh_process(f"import plugbus{also}", "plugbus.EventBus.__name__", environment)
    theirs = fresh_process(f"{outside_imports()}\nimport structlog\n{MODEL}", "Model(number=1).number", environment)
    return Pair(Side(ours, "EventBus"), Side(theirs, "1"))


CASES = tuple(
    Case("P10", f"import plugbus{also}", "its imports, structlog and one model", 1.15, partial(pair, also))
    for also in ("", ", structlog")
)
