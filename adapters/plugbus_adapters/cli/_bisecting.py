"""``plugbus bisect``: run a command with fewer and fewer plugins, until those are left that make it fail.

Owns the runs and what is told of them; which plugins are tried next is ``_ddmin.py``'s job.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, final

from plugbus import KernelStartError, PluginState
from plugbus_adapters.cli._commands import counted, not_started
from plugbus_adapters.cli._console import note, print_lines, stdout_for_data
from plugbus_adapters.cli._ddmin import closed, smallest
from plugbus_adapters.cli._errors import PROBLEMS, USAGE, CommandError
from plugbus_adapters.cli._extending import know_commands_hook
from plugbus_adapters.cli._target import load_kernel

if TYPE_CHECKING:
    from plugbus import KernelPlan, PluginStep

__all__ = ("Command", "bisect")

VARIABLE: Final = "PLUGBUS_ENABLED"
CANNOT_TELL: Final = 125
"""The exit status of a command that cannot tell, as for ``git bisect run``."""

_STDERR: Final = 2
_ID: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")


class Verdict(StrEnum):
    """What a command says of a set of plugins."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "cannot tell"


class Command(NamedTuple):
    """What is run, and how.

    Attributes:
        words: The program and its arguments.
        runs: How often for each set of plugins, until it fails.
        timeout_seconds: How long each run may take; one that takes longer fails.
        show_output: Let it print, to standard error.
    """

    words: Sequence[str]
    runs: int
    timeout_seconds: float
    show_output: bool


def bisect(target: str | None, command: Command) -> None:
    """Find the plugins that make a command fail, and print them.

    Raises:
        CommandError: If there is nothing to find: it passes with all plugins, or fails with none.
    """
    with stdout_for_data():
        kernel = load_kernel(target)
        know_commands_hook(kernel)
        try:
            plan = kernel.explain()
        except KernelStartError as error:
            raise not_started(error) from error
    search = Search(plan, command)
    with _SIGNALS.caught():
        search.check_ends()
        guilty = smallest(search.candidates, search.needs, search.fails)
    print_lines(*search.told(guilty))


@final
class Search:
    """The plugins of a kernel, and what was found out about them.

    Args:
        plan: The plan of the kernel, before it has booted.
        command: What is run.

    Attributes:
        candidates: The ids of those that may be guilty, in the order in which they boot.
        needs: What each plugin needs.
    """

    def __init__(self, plan: KernelPlan, command: Command) -> None:
        self._command = command
        self._steps = {step.id: step for step in plan.plugins if step.state is not PluginState.DISABLED}
        self.needs = {name: frozenset(step.needs) for name, step in self._steps.items()}
        self._kept = closed({name for name, step in self._steps.items() if step.required}, self.needs)
        self.candidates = [name for name in self._steps if name not in self._kept and _ID.fullmatch(name)]
        self._runs = self._unknown = 0
        for name, step in self._steps.items():
            if not _ID.fullmatch(name):
                note(f"warning: {name} cannot be switched off, for it has no id: {step.reason}")

    def check_ends(self) -> None:
        """Make sure that there is something to find.

        Raises:
            CommandError: If there is not.
        """
        if not self.candidates:
            raise CommandError("there is no plugin that could be switched off", "plugbus plugins prints what there is")
        number = counted(len(self.candidates), "plugin")
        verdict = self._try(frozenset(self.candidates))
        if verdict is not Verdict.BAD:
            told = "passes" if verdict is Verdict.GOOD else f"cannot tell (exit {CANNOT_TELL})"
            hint = "there is nothing to find; if it fails only now and then: --runs 10"
            raise CommandError(f"the command {told} with all {number}", hint, PROBLEMS)
        verdict = self._try(frozenset())
        if verdict is not Verdict.GOOD:
            told = "fails" if verdict is Verdict.BAD else f"cannot tell (exit {CANNOT_TELL})"
            but = f" but {', '.join(sorted(self._kept))}, which the kernel requires" if self._kept else ""
            hint = "so no plugin that can be switched off is to blame; --show-output shows what it prints"
            raise CommandError(f"the command {told} also without any plugin{but}", hint, PROBLEMS)

    def fails(self, enabled: frozenset[str]) -> bool:
        """Tell whether the command fails with these plugins."""
        return self._try(enabled) is Verdict.BAD

    def told(self, guilty: AbstractSet[str]) -> list[str]:
        """Say who is guilty, for people."""
        needed = frozenset(name for one in guilty for name in closed(self.needs[one], self.needs) if name != one)
        tops = [name for name in self.candidates if name in guilty - needed] or sorted(guilty)
        lines = [f"guilty{' together' * (len(tops) > 1)}: {_named(self._steps[name])}" for name in tops]
        if below := [_named(self._steps[name]) for name in self._steps if name in needed - set(tops)]:
            lines.append(f"enabled too, because it is needed: {', '.join(below)}")
        lines.append(f"found in {counted(self._runs, 'run')} of the command")
        if self._unknown:
            lines.append(f"with {counted(self._unknown, 'set')} of plugins it could not tell, so less may do")
        again = f"{VARIABLE}={shlex.quote(self._variable(guilty))} {shlex.join(self._command.words)}"
        return [*lines, f"again: {again}"]

    def _variable(self, enabled: AbstractSet[str]) -> str:
        """Return the allow list that leaves these; a plain list would not switch off what code and files name."""
        off = (f"-{name}" for name in self.candidates if name not in enabled)
        return " ".join(filter(None, (os.environ.get(VARIABLE, ""), *off)))

    def _try(self, enabled: frozenset[str]) -> Verdict:
        """Run the command with these plugins until it fails, or often enough, and tell how that went."""
        environ = os.environ | {VARIABLE: self._variable(enabled)}
        found: list[int | None] = []
        began = time.monotonic()
        while len(found) < self._command.runs and _verdict(found) is not Verdict.BAD:
            found.append(_exit_code(self._command, environ))
        self._runs += len(found)
        verdict = _verdict(found)
        self._unknown += verdict is Verdict.UNKNOWN
        names = ", ".join(name for name in self.candidates if name in enabled) or "none"
        how = ", ".join("took too long" if code is None else f"exit {code}" for code in found)
        took = f"{time.monotonic() - began:.1f} s"
        note(f"{len(enabled)} of {counted(len(self.candidates), 'plugin')}: {verdict} ({how}, {took}): {names}")
        return verdict


def _verdict(codes: Iterable[int | None]) -> Verdict:
    """Judge several runs of one set: one that fails is enough, and one that cannot tell spoils those that pass."""
    distinct = set(codes)
    if distinct - {0, CANNOT_TELL}:
        return Verdict.BAD
    return Verdict.UNKNOWN if CANNOT_TELL in distinct else Verdict.GOOD


def _exit_code(command: Command, environ: dict[str, str]) -> int | None:
    """Run a command once; None if it took too long."""
    try:
        with _SIGNALS.held():  # until what was started has a name here
            process = _start(command, environ)
    except OSError as error:
        hint = "is it installed?" if isinstance(error, FileNotFoundError) else "it must be a program, and executable"
        raise CommandError(f"{command.words[0]} cannot be run: {error.strerror}", hint, USAGE) from error
    try:
        _SIGNALS.raise_held()
        return process.wait(command.timeout_seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _start(command: Command, environ: dict[str, str]) -> subprocess.Popen[bytes]:
    output = _STDERR if command.show_output else subprocess.DEVNULL
    return subprocess.Popen(  # noqa: S603 - to run what the user typed is what this is for
        command.words, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command that still runs, and all that it started: what holds a port would make the next run fail."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # there is nobody; macOS says so in other words
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        process.kill()
    process.wait()


@final
class _Signals:
    """Has a signal that ends us end the command, too: that is in a session of its own, and would not hear of it."""

    def __init__(self) -> None:
        self._held = False
        self._came: int | None = None

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them; not in another thread than the main one, which alone may."""
        names = ("SIGINT", "SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
        before = {name: signal.signal(getattr(signal, name), self._take) for name in names if hasattr(signal, name)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(getattr(signal, name), handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let none interrupt, such as a start after which nobody would know what was started."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def raise_held(self) -> None:
        """Raise what came meanwhile."""
        if self._came == signal.SIGINT:
            raise KeyboardInterrupt
        if self._came is not None:
            raise SystemExit(128 + self._came)

    def _take(self, number: int, _: object) -> None:
        self._came = number
        if not self._held:
            self.raise_held()


_SIGNALS: Final = _Signals()


def _named(step: PluginStep) -> str:
    return f"{step.id} ({step.source})"
