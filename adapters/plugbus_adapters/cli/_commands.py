"""What the commands do once a kernel is there: serve, check, list, explain.

Owns what is printed; the kernel knows the answers.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

from plugbus import Kernel, KernelReady, KernelStartError, KernelStopping, PlugbusError, PluginState, UnknownEventError
from plugbus_adapters.cli._console import note, print_lines, print_table, stdout_for_data
from plugbus_adapters.cli._errors import PROBLEMS, USAGE, CommandError
from plugbus_adapters.cli._extending import know_commands_hook
from plugbus_adapters.cli._mermaid import flow_chart
from plugbus_adapters.cli._target import load_app, load_kernel

if TYPE_CHECKING:
    from plugbus import KernelPlan, KernelPortal, Plan, PluginStep

__all__ = ("booted", "check_kernel", "counted", "explain_event", "list_plugins", "not_started", "serve")

_NOT_WELL = frozenset({PluginState.FAILED, PluginState.BLOCKED})
_MANY = 30
_INSTALL_HTTP = "pip install 'plugbus[http]'"


def serve(
    target: str | None,
    backend: Literal["asyncio", "trio"],
    given: Sequence[str] | None = None,
    *,
    http: str | None = None,
    dev: bool,
) -> None:
    """Run a kernel for the life of the process."""
    if http is not None and backend != "asyncio":
        raise CommandError(f"--http and --backend {backend}: the server knows asyncio alone", "leave --backend out")
    if http is not None and (app := load_app(target)) is not None:
        _serve_app(app, http, given, dev=dev)
    else:
        _serve_kernel(target, backend, given, http=http, dev=dev)
    note("stopped")


def _serve_kernel(
    target: str | None, backend: Literal["asyncio", "trio"], given: Sequence[str] | None, *, http: str | None, dev: bool
) -> None:
    kernel = load_kernel(target, given, dev=dev)
    know_commands_hook(kernel)

    def ready(_: KernelReady) -> None:
        plan = kernel.explain()
        up = [step.id for step in plan.plugins if step.state is PluginState.READY]
        note(*_not_well(plan), f"ready with {', '.join(up) or 'no plugins'}; SIGTERM or Ctrl-C stops it")

    def stopping(event: KernelStopping) -> None:
        note(f"stopping: {event.reason}" if event.reason else "stopping")

    kernel.bus.observe(KernelReady, ready)
    kernel.bus.observe(KernelStopping, stopping)
    try:
        if http is None:
            kernel.run(backend=backend)
        else:
            _run_http(kernel, http, dev=dev)
    except KernelStartError as error:
        raise not_started(error) from error
    except LookupError as error:
        if backend not in str(error):
            raise
        raise CommandError(f"the event loop {backend} is not installed", f"pip install {backend}") from error


def _serve_app(app: Any, address: str, given: Sequence[str] | None, *, dev: bool) -> None:
    if given:
        raise CommandError("--set is for kernels, and the target is an app", "set it where the app makes its kernel")
    try:
        _run_http(app, address, dev=dev)
    except KernelStartError as error:
        raise not_started(error) from error


def _run_http(served: Any, address: str, *, dev: bool) -> None:
    """Run a kernel or an app behind HTTP, by whoever the entry point names: this adapter does without that one."""
    try:
        [point] = entry_points(group="plugbus.runners", name="http")
        run: Callable[..., None] = point.load()
    except ValueError:
        raise CommandError("--http needs the HTTP adapter, which is not installed", _INSTALL_HTTP) from None
    except ModuleNotFoundError as error:
        raise CommandError(f"--http needs {error.name}, which is not installed", _INSTALL_HTTP) from error
    try:
        run(served, address, note, dev=dev)
    except KernelStartError:
        raise
    except PlugbusError as error:
        message, _, hint = str(error).partition("\nHint: ")
        raise CommandError(message, hint, PROBLEMS) from error
    except ValueError as error:
        raise CommandError(str(error), "plugbus run --http 127.0.0.1:8000") from error
    except OSError as error:
        raise CommandError(str(error), "give another port, or 0 for any that is free", PROBLEMS) from error


def _not_well(plan: KernelPlan) -> Iterator[str]:
    for step in plan.plugins:
        if step.state in _NOT_WELL:
            yield f"warning: plugin {step.id!r} {step.state}: {step.reason}"


def not_started(error: KernelStartError) -> CommandError:
    """Return how a command fails whose kernel cannot start."""
    return CommandError(str(error), "plugbus check prints everything that is wrong", PROBLEMS)


def check_kernel(target: str | None, given: Sequence[str] | None = None, *, strict: bool, as_json: bool) -> int:
    """Print all problems; return the exit code."""
    with stdout_for_data():
        kernel = load_kernel(target, given)
        know_commands_hook(kernel)
        problems = kernel.check()
    wrong = [problem for problem in problems if problem.fatal or strict]
    if as_json:
        print_lines(json.dumps([asdict(problem) for problem in problems], indent=2))
        return PROBLEMS if wrong else 0
    for problem in problems:
        print_lines(f"{'problem' if problem in wrong else 'warning'}: {problem}")
    told = [counted(len(wrong), "problem")]
    if len(problems) > len(wrong):
        told.append(counted(len(problems) - len(wrong), "warning"))
    print_lines(", ".join(told))
    return PROBLEMS if wrong else 0


def counted(count: int, noun: str) -> str:
    """Return a number of things, in words."""
    return f"{count or 'no'} {noun}{'s' * (count != 1)}"


@contextlib.contextmanager
def booted(kernel: Kernel, *, tell: bool = True) -> Iterator[KernelPortal]:
    """Have a kernel run in a thread of its own, and what it prints on standard error.

    Args:
        kernel: Which.
        tell: Warn of each plugin that does not run; not for a command whose result says so.

    Raises:
        CommandError: If it does not start.
    """
    know_commands_hook(kernel)
    portal = kernel.portal()
    try:
        with stdout_for_data():
            running = portal.__enter__()
    except KernelStartError as error:
        raise not_started(error) from error
    try:
        if tell:
            note(*_not_well(running.explain()))
        yield running
    finally:
        with stdout_for_data():
            portal.close()


def list_plugins(target: str | None, given: Sequence[str] | None = None, *, as_json: bool) -> int:
    """Print all plugins of a kernel that was booted for it; return the exit code."""
    with stdout_for_data():
        kernel = load_kernel(target, given)
        with booted(kernel, tell=False) as running:
            plan = running.explain()
    if as_json:
        print_lines(plan.model_dump_json(indent=2))
    else:
        _print_plugins(plan.plugins)
    return PROBLEMS if any(step.state in _NOT_WELL for step in plan.plugins) else 0


def _print_plugins(steps: Sequence[PluginStep]) -> None:
    columns = {
        "plugin": [step.id for step in steps],
        "version": [step.version or "-" for step in steps],
        "state": [step.state.value for step in steps],
        "boot": [f"{step.boot_seconds * 1000:.1f} ms" if step.boot_seconds else "-" for step in steps],
        "declares": [_declared(step.declares) for step in steps],
        "granted": [" and ".join(map(_declared, step.granted)) or "-" for step in steps],
        "reason": [step.reason or "-" for step in steps],
    }
    for name in ("declares", "granted"):  # wide, and of interest where somebody is limited
        if set(columns[name]) <= {"-"}:
            del columns[name]
    print_table(tuple(columns), list(zip(*columns.values(), strict=True)))


def _declared(limits: Mapping[str, tuple[str, ...]]) -> str:
    said = (f"{field} {', '.join(patterns) or 'nothing'}" for field, patterns in limits.items())
    return "; ".join(said) or "-"


def explain_event(
    event: str,
    target: str | None,
    form: Literal["table", "json", "mermaid"],
    given: Sequence[str] | None = None,
) -> None:
    """Print the plan of an event of a kernel that was booted for it."""
    with stdout_for_data():
        kernel = load_kernel(target, given)
        with booted(kernel) as running:
            try:
                plan = running.bus.explain(event)
            except UnknownEventError as error:
                raise _unknown(error, running) from error
    if form == "json":
        print_lines(plan.model_dump_json(indent=2))
    elif form == "mermaid":
        print_lines(flow_chart(plan))
    else:
        _print_plan(plan)


def _unknown(error: UnknownEventError, running: KernelPortal) -> CommandError:
    known = ", ".join(sorted(declared.name for declared in running.bus.types())[:_MANY])
    near = f"did you mean {' or '.join(error.nearest)}? " if error.nearest else ""
    return CommandError(f"nobody knows an event {error.name!r}", f"{near}This kernel knows {known}", USAGE)


def _print_plan(plan: Plan) -> None:
    heads = ("#", "kind", "name", "plugin", "runs", "reason", "policies", "filters")
    rows: list[tuple[str, ...]] = [_step(step) for step in plan.steps]
    print_lines(plan.event)
    if rows:
        print_table(heads, rows)
    else:
        print_lines("(nobody)")
    print_lines(*(f"! {problem}" for problem in plan.problems))


def _step(step: Any) -> tuple[str, ...]:
    listed = (", ".join(step.policies) or "-", ", ".join(step.filters) or "-")
    return (str(step.position), step.kind, step.name, step.plugin, step.runs, step.reason, *listed)
