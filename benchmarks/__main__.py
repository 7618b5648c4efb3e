"""The rows that there are, in the order in which they are printed."""

from __future__ import annotations

import sys

from benchmarks import (
    boot,
    calls,
    chains,
    hops,
    http_readers,
    http_requests,
    imports,
    instruments,
    memory,
    observers,
    scale,
    threads,
)
from benchmarks.command import main

if __name__ == "__main__":
    modules = (
        chains,
        observers,
        hops,
        scale,
        calls,
        boot,
        imports,
        memory,
        threads,
        instruments,
        http_requests,
        http_readers,
    )
    sys.exit(main([case for module in modules for case in module.CASES]))
