"""The commands, their options and their help; what they do is in modules of their own, imported when they run.

Owns what the user types and the exit codes.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer
from typer.main import get_command

from plugbus_adapters.cli._console import note
from plugbus_adapters.cli._dashes import TakesCommand, words_behind
from plugbus_adapters.cli._errors import CommandError
from plugbus_adapters.cli._extending import Commands, Session
from plugbus_adapters.cli._log import restored_log
from plugbus_adapters.cli.commands import Json, Settings, Target

__all__ = ("app", "run")

EPILOG: Final = """\b
Examples:
  plugbus run shop.app:kernel
  plugbus check plugbus.toml
  plugbus explain order.placed

Exit codes: 0 all is well, 1 the kernel or a plugin has problems, 2 it cannot be used like this.
"""

app = typer.Typer(
    cls=Commands,
    name="plugbus",
    help="Run kernels and look into them.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
new = typer.Typer(help="Make something from a template.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(new, name="new")


class Backend(StrEnum):
    """The event loops."""

    ASYNCIO = "asyncio"
    TRIO = "trio"


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a reason may hold what this terminal cannot show
    session = Session()
    try:
        with restored_log(session):
            get_command(app).main(args=None if argv is None else list(argv), prog_name="plugbus", obj=session)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except CommandError as error:
        if session.traceback and error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        note(f"error: {error.message}")
        if error.hint:
            sys.stderr.write(f"Hint: {error.hint}\n")
        return error.code
    return 0


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the value of the flag
    if wanted:
        typer.echo(f"plugbus {version('plugbus')}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            envvar="PLUGBUS_TARGET",
            is_eager=True,
            callback=lambda context, value: context.obj.remember(value),
            help="The kernel: the default TARGET of each command, and the plugins that may add commands.",
        ),
    ] = None,
    *,
    show_traceback: Annotated[
        bool,
        typer.Option(
            "--traceback",
            is_eager=True,
            callback=lambda context, value: context.obj.show_traceback(value),
            help="Show where an error comes from.",
        ),
    ] = False,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Run kernels and look into them."""
    del context, target, show_traceback, show_version  # their callbacks did all there is to do


@app.command(
    "run",
    short_help="Run a kernel until SIGTERM or Ctrl-C.",
    epilog="\b\nExample:\n  plugbus run shop.app:kernel --backend trio",
)
def run_kernel(
    context: typer.Context,
    target: Target = None,
    *,
    given: Settings = None,
    backend: Annotated[Backend, typer.Option(help="The event loop.")] = Backend.ASYNCIO,
    http: Annotated[
        str | None, typer.Option("--http", metavar="HOST:PORT", help="Serve it over HTTP there; needs plugbus[http].")
    ] = None,
    dev: Annotated[
        bool,
        typer.Option(
            "--dev", help="Check what subscribers do and name culprits (plugbus.toml only); with --http, make a token."
        ),
    ] = False,
) -> None:
    """Run a kernel until SIGTERM or Ctrl-C, then drain it and end with exit code 0."""
    from plugbus_adapters.cli._commands import serve

    serve(context.obj.target_or(target), backend.value, given, http=http, dev=dev)


@app.command(
    short_help="Print everything that is wrong with a kernel.",
    epilog="\b\nExample:\n  plugbus check shop.app:kernel --strict",
)
def check(
    context: typer.Context,
    target: Target = None,
    *,
    given: Settings = None,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings be problems.")] = False,
    as_json: Json = False,
) -> None:
    """Print everything that is wrong with a kernel, without booting it; exit code 1 if there is something."""
    from plugbus_adapters.cli._commands import check_kernel

    raise typer.Exit(check_kernel(context.obj.target_or(target), given, strict=strict, as_json=as_json))


@app.command(
    short_help="Print state, reason and boot time of each plugin.",
    epilog="\b\nExample:\n  plugbus plugins shop.app:kernel --json",
)
def plugins(context: typer.Context, target: Target = None, *, given: Settings = None, as_json: Json = False) -> None:
    """Boot a kernel, print its plugins with state, reason and boot time, and shut it down.

    The exit code is 1 if a plugin failed or is blocked.
    """
    from plugbus_adapters.cli._commands import list_plugins

    raise typer.Exit(list_plugins(context.obj.target_or(target), given, as_json=as_json))


@app.command(
    short_help="Print who hears an event, in which order, and why.",
    epilog="\b\nExample:\n  plugbus explain order.placed shop.app:kernel --mermaid",
)
def explain(
    context: typer.Context,
    event: Annotated[
        str, typer.Argument(metavar="EVENT", help="The wire name of an event or request.", show_default=False)
    ],
    target: Target = None,
    *,
    given: Settings = None,
    as_json: Json = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid flow chart.")] = False,
) -> None:
    """Boot a kernel, print who hears an event, in which order and why, and shut it down."""
    from plugbus_adapters.cli._commands import explain_event

    if as_json and mermaid:
        raise CommandError("--json and --mermaid are two answers", "ask for one of them")
    explain_event(event, context.obj.target_or(target), "json" if as_json else "mermaid" if mermaid else "table", given)


@app.command(
    cls=TakesCommand,
    short_help="Find the plugin that makes a command fail.",
    epilog="\b\nExample:\n  plugbus bisect shop.app:kernel -- pytest -q tests/test_orders.py",
)
def bisect(
    context: typer.Context,
    target: Target = None,
    *,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs for each set of plugins, until one fails.")] = 1,
    timeout_seconds: Annotated[
        float, typer.Option("--timeout-seconds", min=0.001, help="Time for each run; one that takes longer fails.")
    ] = 600.0,
    show_output: Annotated[
        bool, typer.Option("--show-output", help="Show what COMMAND prints, on standard error.")
    ] = False,
) -> None:
    """Run a command with fewer and fewer plugins, until those are left that make it fail.

    COMMAND starts the kernel itself, or what has it; PLUGBUS_ENABLED tells it which plugins not to load. It ends with
    0 if all is well, with 125 if it cannot tell, with anything else if not.
    """
    from plugbus_adapters.cli._bisecting import Command
    from plugbus_adapters.cli._bisecting import bisect as find_guilty

    words = words_behind(context)
    if not words:
        raise CommandError("there is no command to run", "plugbus bisect TARGET -- COMMAND...")
    find_guilty(context.obj.target_or(target), Command(words, runs, timeout_seconds, show_output))


@new.command("plugin", epilog="\b\nExample:\n  plugbus new plugin order-mail --into plugins")
def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its id, such as order-mail.", show_default=False)],
    *,
    into: Annotated[Path, typer.Option("--into", help="The folder in which its own folder is made.")] = Path(),
) -> None:
    """Make a package with a plugin, its manifest, tests that pass, and an entry point.

    A service loads it once its id is enabled: from --into, if plugin_dirs names that folder, or installed by pip.
    """
    from plugbus_adapters.cli._scaffold import make_plugin

    make_plugin(name, into)
