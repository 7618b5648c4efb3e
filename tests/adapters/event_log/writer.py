"""Appends events for ever and prints the cursor of each that is committed; somebody kills it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime

import anyio
import anyio.to_thread

from plugbus import LoggedEvent
from plugbus_adapters.sqlite_log import SQLiteEventLog


async def main(log: SQLiteEventLog, number: int) -> None:
    while True:
        for _ in range(10):
            log.append(LoggedEvent("tick", str(number), str(number), datetime.now(UTC)))
            number += 1
        await log.flush()
        sys.stdout.write(f"{number - 1} {log.cursor}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main, SQLiteEventLog(sys.argv[1]), int(sys.argv[2]))
