"""The example service: a hub for GitHub webhooks, run over files of deliveries.

Exit code 0: every delivery is accounted for. 1: some are not. 2: an input cannot be read. 3: the hub cannot start.
Above 128: a signal ended it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import structlog
from hub_host.delivering import deliver_all
from hub_host.ending import InterruptedRunError, until_signal
from hub_host.ledger import Ledger
from hub_host.making import make_kernel
from hub_host.online import Online, over_http
from hub_host.progress import progress_for
from hub_host.reading import InputError, check_inputs, total_bytes
from hub_host.report import ask, differences, plugin_table, summary
from hub_host.showing import at_run_time

from plugbus import KernelStartError

if TYPE_CHECKING:
    from structlog.typing import EventDict

HERE = Path(__file__).resolve().parent
SAMPLE = HERE / "sample.jsonl"
REAL = HERE.parents[2].parent / "shared" / "data" / "github-webhooks.jsonl"
SHOWN_COMPLAINTS = 20
BROKEN_PIPE = 128 + 13
EXAMPLE = """example:
  python docs/examples/webhook_hub/demo.py --input deliveries.jsonl more.jsonl --seed 7
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    options = _options(arguments)
    paths = options.input or [path for path in (SAMPLE, REAL) if path.exists()]
    log = Log(verbose=options.verbose)
    try:
        check_inputs(paths)
        return anyio.run(_run, paths, options, log)
    except InputError as error:
        print(f"demo: cannot read the input\n{error}", file=sys.stderr)
        return 2
    except KernelStartError as error:
        print(f"demo: the hub cannot start\n{error}", file=sys.stderr)
        return 3
    except InterruptedRunError as signal:
        print(f"demo: interrupted by {signal.name}", file=sys.stderr)
        return signal.exit_code
    except KeyboardInterrupt:  # before the kernel listened to signals
        print("demo: interrupted", file=sys.stderr)
        return 128 + 2


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=f"{__doc__}".partition("\n")[0],
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--input",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="files of JSON lines with 'event' and 'payload' (default: the sample beside this file, and the real "
        "deliveries in ../shared/data if they are there)",
    )
    parser.add_argument("--seed", type=int, default=1, help="chooses when the fake chat fails and hangs (default: 1)")
    parser.add_argument("--no-http", action="store_true", help="leave out the part that starts a server")
    parser.add_argument("--verbose", action="store_true", help="show the log of the hub and its plugins on stderr")
    return parser.parse_args(arguments)


class Log:
    """Shows the log only if asked for: the chat fails on purpose, and the report counts it. Keeps one line anyhow.

    Args:
        verbose: Whether to show it, on standard error.
    """

    def __init__(self, *, verbose: bool) -> None:
        self.line = ""
        self._verbose = verbose
        structlog.reset_defaults()  # or it would stand before what an earlier run configured
        structlog.configure(
            processors=[self._keep, *structlog.get_config()["processors"]],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        )

    def _keep(self, _: object, level: str, facts: EventDict) -> EventDict:
        if not self.line and "correlation_id" in facts:
            told = ", ".join(f"{key}={value}" for key, value in facts.items() if key not in {"event", "exception"})
            self.line = f"{level}: {facts['event']} ({told})"
        if not self._verbose:
            raise structlog.DropEvent
        return facts


async def _run(paths: Sequence[Path], options: argparse.Namespace, log: Log) -> int:
    ledger, tell = Ledger(), Complaints()
    async with make_kernel(options.seed) as kernel:
        print(*plugin_table(kernel.plugins.values()), sep="\n")
        print(f"\none chain, explained: {kernel.bus.explain('github.issues.opened')}\n")
        async with until_signal(kernel):
            with progress_for(total_bytes(paths)) as progress:
                unreadable = await deliver_all(kernel.bus, paths, ledger, progress, tell)
        answers = await ask(kernel.bus)
        print(*tell.rest(), "\nwhile it runs", *[line async for line in at_run_time(kernel)], sep="\n")
    print(f"log         {log.line}")
    files = [path for path in paths if path.is_file()]  # a pipe cannot be read twice
    quiet = options.no_http or unreadable or not files
    online = Online(skipped=True) if quiet else await over_http(files, verbose=options.verbose)
    print(*online.lines(), "", *summary(ledger, answers), sep="\n")
    if unreadable:
        raise InputError("\n".join(unreadable))
    return 0 if ledger.balanced and not differences(ledger, answers) and online.accounted else 1


class Complaints:
    """Prints why lines were not emitted, the first few of them: a garbled file has millions."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, text: str) -> None:
        """Print one, unless there were enough."""
        self._count += 1
        if self._count <= SHOWN_COMPLAINTS:
            print(text)

    def rest(self) -> list[str]:
        """Return a line that tells of those that were not printed, if there are any."""
        left = self._count - SHOWN_COMPLAINTS
        return [f"... and {left} more lines that were not emitted"] if left > 0 else []


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    if code > 128:
        os._exit(code)  # a thread may still wait for a pipe, and a normal exit would wait for the thread
    sys.exit(code)
