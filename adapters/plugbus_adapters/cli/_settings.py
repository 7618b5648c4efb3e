"""Settings from the command line: ``--set plugins.products.max_items=5``.

Owns reading them; a value is never printed, because it may be a secret.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from plugbus import Kernel, KernelStartError
from plugbus_adapters.cli._errors import CommandError

__all__ = ("override", "read_settings")

_ORIGIN: Final = "--set"
_HOW: Final = "--set plugins.ID.KEY=VALUE, such as --set plugins.products.max_items=5"


def read_settings(given: Sequence[str]) -> list[tuple[str, str, Any]]:
    """Return the settings that were given: the id of the plugin, the key, the value.

    Raises:
        CommandError: If one cannot be read.
    """
    return [_read(text) for text in given]


def _read(text: str) -> tuple[str, str, Any]:
    written, equals, value = text.partition("=")
    key = written.strip()
    if not equals:
        raise CommandError(f"--set {key}: there is no value", _HOW)
    top, plugin_id, *keys = (*_parts(key), "", "")
    keys = keys[:-2]
    if top != "plugins":
        hint = f"did you mean plugins.{key}? {_HOW}" if plugin_id else _HOW
        raise CommandError(f"--set {key}: begins with {top!r}, not with 'plugins'", hint)
    if not keys:
        raise CommandError(f"--set {key}: names no key of a plugin", _HOW)
    return plugin_id, ".".join(keys), _value(key, value)


def _parts(key: str) -> list[str]:
    """Split a key as TOML does, which may have quoted parts."""
    try:
        found: Any = tomllib.loads(f"{key} = 0") if "\n" not in key else {}
    except tomllib.TOMLDecodeError:
        found = {}
    parts: list[str] = []
    while isinstance(found, Mapping) and len(found) == 1:
        [(part, found)] = found.items()
        parts.append(part)
    if found != 0:
        raise CommandError(f"--set {key!r}: this is no key", _HOW)
    return parts


def _value(key: str, text: str) -> Any:
    try:
        found = tomllib.loads(f"value = {text}")
        if list(found) == ["value"]:
            return found["value"]
    except tomllib.TOMLDecodeError:
        pass
    hint = f"a text needs quotes: --set '{key}=\"...\"'; lists are [1, 2], tables {{port = 25}}, flags true and false"
    raise CommandError(f"--set {key}: its value is no TOML", hint)


def override(kernel: Kernel, settings: Sequence[tuple[str, str, Any]]) -> None:
    """Put settings over every other source.

    Raises:
        CommandError: If one belongs to no plugin of the kernel.
    """
    if not settings:
        return
    try:
        known = [step.id for step in kernel.explain().plugins]
    except KernelStartError as error:
        raise CommandError(str(error), "plugbus check prints everything that is wrong", 1) from error
    for plugin_id, key, value in settings:
        if _same(plugin_id) not in map(_same, known):
            near = get_close_matches(plugin_id, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"this kernel has {', '.join(known) or 'none'}"
            raise CommandError(f"--set plugins.{plugin_id}: there is no such plugin", hint)
        kernel.override_setting(plugin_id, key, value, origin=_ORIGIN)


def _same(plugin_id: str) -> str:
    return plugin_id.replace("-", "_")
