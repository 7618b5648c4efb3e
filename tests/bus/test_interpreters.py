"""Observers in subinterpreters: who can be one, and on the Pythons that have them, that it works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.apart import Note, write_modules
from tests.outside import Told, Work, tell, work
from tests.sources import ROOT

import plugbus.options
from plugbus import EventBus, SubscriptionError


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask what is asked on Python 3.14, whichever runs the test."""
    monkeypatch.setattr(plugbus.options, "FIRST_WITH_INTERPRETERS", (3, 11))


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there it is not refused")
def test_a_subinterpreter_is_refused_where_python_has_none() -> None:
    with pytest.raises(SubscriptionError, match=r"needs Python 3\.14, and this is 3\.") as caught:
        EventBus().observe(Note, write_modules, run_in="interpreter")

    assert "run_in='process'" in caught.value.hint


@pytest.mark.usefixtures("allowed")
def test_what_needs_pydantic_is_refused_because_that_loads_in_none() -> None:
    bus = EventBus()
    for subscribe in (
        lambda: bus.observe(Told, tell, run_in="interpreter"),
        lambda: bus.answer(Work, work, run_in="interpreter"),
    ):
        with pytest.raises(SubscriptionError, match="loads in no subinterpreter"):
            subscribe()


@pytest.mark.usefixtures("allowed")
def test_a_time_limit_is_refused_because_nothing_could_enforce_it() -> None:
    with pytest.raises(SubscriptionError, match="cannot be given a time limit"):
        EventBus().observe(Note, write_modules, run_in="interpreter", timeout_seconds=1)


@pytest.mark.usefixtures("allowed")
def test_explain_says_that_it_runs_in_an_interpreter() -> None:
    bus = EventBus()
    with bus.observe(Note, write_modules, run_in="interpreter"):
        assert [step.runs for step in bus.explain(Note).steps] == ["interpreter"]


SCRIPT = """
import sys, anyio
import plugbus.options
plugbus.options.FIRST_WITH_INTERPRETERS = (3, 13)
from plugbus import EventBus, ListenerFailed
from tests.apart import Note, fail, write_modules
bus = EventBus()
bus.observe(ListenerFailed, lambda event: print(event.subscriber, event.error), run_in="caller")
bus.observe(Note, write_modules, run_in="interpreter")
bus.observe(Note, fail, run_in="interpreter")
anyio.run(bus.aemit, Note(sys.argv[1]), backend=sys.argv[2])
"""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="this Python has no subinterpreters that can be called")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_observer_runs_in_a_subinterpreter(tmp_path: Path, backend: str) -> None:
    """In one where plugbus is not loaded; what it raises arrives here. In a process of its own: both live as long."""
    note = tmp_path / "note"
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(note), backend],
        capture_output=True, text=True, check=True, timeout=30, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip

    assert note.read_text() == "False"
    assert f"fail {note}" in ended.stdout.splitlines()
