"""``plugbus token new``: make a token, and the hash that stands for it in the settings.

Owns what the user types. It imports no kernel, since the help of the program lists it; that is why the mark of the hook
is pluggy's own, with the name that plugbus has there.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final

from pluggy import HookimplMarker

from plugbus_adapters.cli.commands import CommandError, Json, Option, note, print_lines
from plugbus_adapters.http._tokens import hash_of, new_token

__all__ = ("plugbus_commands",)

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCOPE: Final = re.compile(r"[^\s,\"\\\x00-\x1f\x7f]+")
_hookimpl: Final = HookimplMarker("plugbus")


@_hookimpl
def plugbus_commands(app: Any) -> None:
    """Add the command."""
    tokens = type(app)(help="Make tokens for the HTTP edge.", no_args_is_help=True, rich_markup_mode=None)
    tokens.command(
        "new",
        epilog="\b\nExample:\n  plugbus token new --name ci --scope 'publish:order.*' --scope 'subscribe:order.**'",
    )(new)
    app.add_typer(tokens, name="token")


def new(
    *,
    name: Annotated[
        str, Option("--name", help="Who has it: letters, digits, '-' and '_'; the id of its principal.")
    ] = "token",
    scope: Annotated[
        list[str] | None, Option("--scope", metavar="SCOPE", help="What it may do; once for each scope.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a token, print it this once, and the hash for the settings.

    The token goes to who calls the service, as "Authorization: Bearer TOKEN"; the settings have only its hash.
    """
    scopes = scope or []
    if not _BARE_KEY.fullmatch(name):
        raise CommandError(f"--name {name!r} is no name", "letters, digits, '-' and '_'")
    for each in scopes:
        if not _SCOPE.fullmatch(each):
            raise CommandError(f"--scope {each!r} is no scope", "one without spaces, such as 'publish:order.*'")
    token = new_token()
    if as_json:
        print_lines(json.dumps({"token": token, "name": name, "hash": hash_of(token), "scopes": scopes}, indent=2))
        return
    print_lines(token)
    note("shown this once; in the plugbus.toml of the service:")
    print_lines("", f"[plugins.http.tokens.{name}]", f'hash = "{hash_of(token)}"', f"scopes = {json.dumps(scopes)}")
