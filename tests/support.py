"""What tests share: virtual time. Import it as ``from tests.support import virtual_time``."""

from __future__ import annotations

import pytest

__all__ = ("virtual_time",)

virtual_time = pytest.mark.parametrize("anyio_backend", ["trio-virtual"], indirect=True)
"""Run an async test on trio alone, on a clock that jumps as soon as every task waits: a minute costs nothing.

A task that waits for a worker thread counts as waiting, so the clock runs past a thread's deadline at once:
test time limits of threads on the real clock, with the limit itself made small.
"""
