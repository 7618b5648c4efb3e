"""``plugbus trace``: what comes of one event, or of some seconds of a kernel.

Owns what the user types. It imports no kernel before it runs, since the help of the program lists it; that is why the
mark of the hook is pluggy's own, with the name that plugbus has there.
"""

from __future__ import annotations

import json
import threading
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final

from pluggy import HookimplMarker

from plugbus_adapters.cli.commands import (
    CommandError,
    Context,
    Json,
    Option,
    Settings,
    Target,
    note,
    print_lines,
    running_kernel,
    stdout_for_data,
)

if TYPE_CHECKING:
    from plugbus import Kernel, KernelPortal
    from plugbus_contrib.trace import Span, Trace

__all__ = ("plugbus_commands",)

_KEEP: Final = 10_000
_hookimpl: Final = HookimplMarker("plugbus")


@_hookimpl
def plugbus_commands(app: Any) -> None:
    """Add the command."""
    app.command(
        "trace",
        short_help="Print who caused what, for how long, and what failed.",
        epilog="\b\nExample:\n  plugbus trace shop.app:kernel --event order.placed --data '{\"order_id\": 1}'",
    )(trace)


def trace(
    context: Context,
    target: Target = None,
    *,
    event: Annotated[
        str | None,
        Option("--event", metavar="NAME", help="Emit this event, or call this request; print what came of it."),
    ] = None,
    data: Annotated[str, Option("--data", metavar="JSON", help="The fields of the event.")] = "{}",
    seconds: Annotated[float, Option("--seconds", min=0, help="Let the kernel run for so long.")] = 0.0,
    show_data: Annotated[
        bool, Option("--show-data", help="Print events and messages of errors, too; either may hold secrets.")
    ] = False,
    given: Settings = None,
    as_json: Json = False,
) -> None:
    """Boot a kernel, print who caused what as trees, and shut it down.

    Without --event these are the trees of all that is emitted, by the start and the end of the kernel too. What an
    event leaves to be done in the background is waited for. The exit code is 1 if the event was refused or failed.
    """
    fields = _parsed(data)
    watching: list[Trace] = []
    failure: Exception | None = None
    correlation_id = None if event is None else uuid.uuid4().hex

    def watch(kernel: Kernel) -> None:
        from plugbus_contrib.trace import Trace

        watching.append(Trace(kernel.bus, keep=_KEEP, data=show_data))
        watching[0].resume()

    with stdout_for_data(), running_kernel(context, target, watch, given=given) as kernel:
        if event is not None:
            failure = _emit(kernel, event, fields, correlation_id)
        with suppress(KeyboardInterrupt):  # enough was seen
            threading.Event().wait(seconds)
    trees = watching[0].recent(correlation_id=correlation_id)
    if failure is not None and not trees:
        raise CommandError(f"{event}: {failure}", "--data has the fields of the event as JSON") from failure
    _print(trees, as_json=as_json)
    if failure is not None:
        note(f"{event} failed: {type(failure).__name__}: {failure}")
        raise SystemExit(1)


def _parsed(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise CommandError(f"--data is no JSON: {error}", "--data '{\"order_id\": 1}'") from error


def _emit(kernel: KernelPortal, name: str, fields: Any, correlation_id: str | None) -> Exception | None:
    """Emit an event by its wire name, or call a request; return what it failed with."""
    from plugbus import UnknownEventError, acting_as

    bus = kernel.bus
    try:
        bus.explain(name)
    except UnknownEventError as error:
        message, _, hint = str(error).partition("\nHint: ")
        raise CommandError(message, hint) from error
    declared = bus.type_named(name)
    send = bus.call_named if declared is not None and declared.is_request else bus.emit_named
    try:
        with acting_as(None, correlation_id=correlation_id):
            send(name, fields)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was asked for
        return error
    return None


def _print(trees: tuple[Span, ...], *, as_json: bool) -> None:
    if as_json:
        print_lines(json.dumps([tree.as_dict() for tree in trees], indent=2))
    elif trees:
        print_lines(*"\n\n".join(map(str, trees)).splitlines())
    else:
        print_lines("(nothing was emitted)")
