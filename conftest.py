"""Every async test runs on asyncio and trio; a blocking call on the event loop fails the test that made it.

Python blocks of README.md and the pages under docs/ are tests too.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings
from tests.blocking import detect_blocking_calls
from tests.pages import Page
from trio.testing import MockClock

from plugbus import _early
from plugbus._context import WANTED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Not by its entry point: that would import the kernel before coverage begins (see addopts in pyproject.toml).
pytest_plugins = ["plugbus.testing.pytest_plugin"]
collect_ignore = ["docs/conf.py", "docs/_build"]

# Shared machines stall, so no deadline per example; anyio's backend is a function's fixture without state of its own.
settings.register_profile("plugbus", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("plugbus")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the fault tests with their full numbers")


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Page | None:
    return Page.from_parent(parent, path=file_path) if file_path.suffix == ".md" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Measure coverage on: a RecursionError in the wrong place switches tracing off for the rest of the process."""
    tracing = sys.gettrace()
    result = yield
    if tracing is not None and sys.gettrace() is None:
        sys.settrace(tracing)
    return result


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the full numbers of a fault test are asked for (``make faults``), or the short ones."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str | tuple[str, dict[str, object]]:
    """The event loop of an async test: each in turn, or trio on virtual time (see ``tests.support.virtual_time``)."""
    if request.param == "trio-virtual":
        return "trio", {"clock": MockClock(autojump_threshold=0)}  # a new one each time: a clock never goes back
    return str(request.param)


@pytest.fixture(autouse=True)
def nobody_has_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin each test as a process in which nobody has asked for the context yet: once asked, chains are others."""
    monkeypatch.setattr(WANTED, "on", False)
    monkeypatch.setattr(_early, "_found", {})


@pytest.fixture(autouse=True)
def nobody_has_configured_the_log() -> None:
    """Begin each test as a process whose host has not configured structlog: ``capture_logs`` alone leaves it so."""
    structlog.reset_defaults()


@pytest.fixture(autouse=True)
def no_blocking_calls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which something blocks the thread of a running event loop."""
    if request.node.get_closest_marker("may_block"):
        yield
        return
    with detect_blocking_calls() as found:
        yield
    if found:
        pytest.fail("blocking calls on the event loop:\n" + "\n".join(map(str, found)), pytrace=False)
