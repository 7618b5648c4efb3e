"""Hands line after line to the intake, and books how each one ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import anyio.to_thread
from hub_events import Deliver

from hub_host.ledger import Ledger
from hub_host.progress import Progress
from hub_host.reading import InputError, Line, read_lines
from plugbus import EventBus, Principal, Refused, Veto, acting_as

__all__ = ("deliver_all",)

READER = Principal("reader")
_BATCH = 64  # lines per visit to the thread that reads


async def deliver_all(
    bus: EventBus, paths: Sequence[Path], ledger: Ledger, progress: Progress, tell: Callable[[str], None]
) -> list[str]:
    """Deliver every line of every file, in order; what is wrong with one never stops the rest.

    Args:
        bus: Where the intake answers.
        paths: Files of JSON lines.
        ledger: Takes the entries.
        progress: Is told about each line.
        tell: Is told why a line was not emitted.

    Returns:
        What is wrong with files that could not be read to their end, or hold no JSON object at all.
    """
    problems: list[str] = []
    for path in paths:
        try:
            await _deliver_file(bus, path, ledger, progress, tell)
        except InputError as error:
            problems.append(str(error))
    return problems


async def _deliver_file(
    bus: EventBus, path: Path, ledger: Ledger, progress: Progress, tell: Callable[[str], None]
) -> None:
    lines = read_lines(path)
    objects = 0
    # Abandoned when cancelled: a pipe may have nothing to say for hours, and Ctrl-C must not wait for it.
    while batch := await anyio.to_thread.run_sync(lambda: list(islice(lines, _BATCH)), abandon_on_cancel=True):
        for line in batch:
            ledger.read += 1
            objects += line.delivery is not None
            if complaint := await _deliver(bus, line, ledger):
                tell(f"{line.where}: {complaint}")
            progress.advance(line.size)
    if not objects:
        raise InputError(f"{path}: no line of it is a JSON object, so there is nothing to deliver")


async def _deliver(bus: EventBus, line: Line, ledger: Ledger) -> str:
    """Deliver one line and return why it was not emitted, or nothing."""
    if line.delivery is None:
        ledger.malformed += 1
        return f"malformed, {line.problem}"
    began = time.perf_counter()
    try:
        with acting_as(READER, correlation_id=line.label):  # so that each line of the log tells the line of the input
            receipt = await bus.acall(Deliver(event=line.delivery.get("event"), payload=line.delivery.get("payload")))
    except Veto as veto:
        ledger.vetoed += 1
        return f"vetoed, {veto.reason}"
    except Refused as refusal:
        ledger.refused += 1
        return f"refused, {'; '.join([refusal.reason, *map(str, refusal.problems)])}"
    except Exception as error:  # noqa: BLE001 - one delivery that fails is booked and told, and the rest goes on
        ledger.failed += 1
        return f"failed, {type(error).__name__}: {error}"
    ledger.emit_seconds.append(time.perf_counter() - began)
    ledger.typed += receipt.typed
    ledger.named += not receipt.typed
    return ""
