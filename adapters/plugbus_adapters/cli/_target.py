"""From what the user typed to a kernel: ``module:kernel``, a function that makes one, or a ``plugbus.toml``.

Owns the messages for everything that can be wrong with it; the kernel is not started here.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tomllib
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import pydantic

import plugbus
from plugbus import Kernel
from plugbus_adapters.cli._errors import CommandError
from plugbus_adapters.cli._log import calm_log
from plugbus_adapters.cli._settings import override, read_settings

__all__ = ("DEFAULT_FILE", "load_app", "load_kernel")

DEFAULT_FILE: Final = "plugbus.toml"
_NAME: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_DOTTED: Final = re.compile(rf"(?P<module>{_NAME})(?::(?P<attribute>{_NAME}))?")
_LINE: Final = re.compile(r" \(at line (\d+), column (\d+)\)| \(at end of document\)")
_HOW: Final = "a target is 'module:kernel' (a Kernel, or a function that returns one) or the path of a plugbus.toml"


def load_kernel(target: str | None, given: Sequence[str] | None = None, *, dev: bool = False) -> Kernel:
    """Return the kernel that a target means, not started.

    Args:
        target: What the user typed; the ``plugbus.toml`` of this folder unless given.
        given: Settings that go over every other source, each as ``plugins.ID.KEY=VALUE``.
        dev: Check what subscribers do; only for a ``plugbus.toml``, since code says that itself.

    Raises:
        CommandError: If it means none, or if a setting cannot be read or belongs to no plugin.
    """
    calm_log()
    settings = read_settings(given or ())
    kernel = _loaded(target, dev=dev)
    override(kernel, settings)
    return kernel


def load_app(target: str | None) -> Any | None:
    """Return the ASGI app that a target means; None where it means something else, or nothing.

    Raises:
        CommandError: If the module that the target names cannot be imported, or has nothing of that name.
    """
    if target is None or target.endswith(".toml"):
        return None
    calm_log()
    _import_from(Path.cwd())
    _, found = _named(target)
    return found if not isinstance(found, Kernel) and _takes_connections(found) else None


def _takes_connections(found: Any) -> bool:
    """Tell whether it is called with scope, receive and send, and not a function that makes a kernel."""
    if not callable(found) or inspect.isclass(found):
        return False
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # some builtins do not say what they take
        return False
    return sum(each.default is each.empty for each in parameters) == len(("scope", "receive", "send"))


def _loaded(target: str | None, *, dev: bool) -> Kernel:
    if target is None:
        if not Path(DEFAULT_FILE).is_file():
            raise CommandError(f"which kernel? There is no {DEFAULT_FILE} in this folder", _HOW)
        target = DEFAULT_FILE
    _import_from(Path.cwd())
    if target.endswith(".toml"):
        return _from_file(Path(target), dev=dev)
    if dev:
        hint = "make it with Kernel(checked=True)"
        raise CommandError(f"--dev is for a plugbus.toml; {target} makes its kernel itself", hint)
    return _from_module(target)


def _import_from(folder: Path) -> None:
    """Let modules of a folder be imported; the script of an installed command has its own folder there instead."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _from_file(file: Path, *, dev: bool) -> Kernel:
    try:
        tomllib.loads(file.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CommandError(_place(file, str(error)), "this is no TOML; see https://toml.io") from error
    except FileNotFoundError as error:
        raise CommandError(f"{file}: there is no such file", _HOW) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file}: cannot be read: {error}") from error
    _import_from(file.resolve().parent)
    return Kernel(config=file, checked=dev)


def _place(file: Path, message: str) -> str:
    """Put line and column where editors look for them."""
    found = _LINE.search(message)
    if found is None:
        return f"{file}: {message}"
    if found[1] is None:
        return f"{file}: {message[: found.start()]}, at the end of the file"
    return f"{file}:{found[1]}:{found[2]}: {message[: found.start()]}"


def _from_module(target: str) -> Kernel:
    return _kernel_of(*_named(target))


def _named(target: str) -> tuple[str, Any]:
    """Return what a target names, and the whole name."""
    parts = _DOTTED.fullmatch(target)
    if parts is None or parts["module"].endswith(".py"):
        hint = f"did you mean '{_as_module(target)}'? {_HOW}" if _as_module(target) else _HOW
        raise CommandError(f"{target!r} is no target", hint)
    module, attribute = parts["module"], parts["attribute"] or "kernel"
    found: Any = _imported(module)
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = get_close_matches(part, dir(found), n=3)
            hint = f"did you mean {' or '.join(f'{module}:{name}' for name in near)}?" if near else _HOW
            raise CommandError(f"module {module!r} has no {attribute!r}", hint)
        found = getattr(found, part)
    return f"{module}:{attribute}", found


def _as_module(target: str) -> str:
    """Return the dotted name of a path such as ``shop/app.py:kernel``, if it is one."""
    path, _, attribute = target.partition(":")
    dotted = path.removeprefix("./").removesuffix(".py").replace("/", ".")
    told = f"{dotted}:{attribute}" if attribute else dotted
    return told if _DOTTED.fullmatch(told) else ""


def _imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module}.".startswith(f"{error.name}."):
            hint = f"looked in {Path.cwd()} and in what is installed"
            raise CommandError(f"there is no module {error.name!r}", hint) from error
        raise CommandError(_failed(f"importing {module!r}", error)) from error
    except (Exception, SystemExit) as error:
        raise CommandError(_failed(f"importing {module!r}", error)) from error


def _kernel_of(target: str, found: Any) -> Kernel:
    made = found
    if _takes_connections(found):
        raise CommandError(f"{target} is an app, not a Kernel", f"serve it: plugbus run {target} --http 127.0.0.1:8000")
    if not isinstance(found, Kernel) and callable(found):
        try:
            made = found()
        except (Exception, SystemExit) as error:
            raise CommandError(_failed(f"calling {target}", error)) from error
    if isinstance(made, Kernel):
        return made
    if inspect.iscoroutine(made):
        made.close()  # a coroutine that nobody awaits would warn
        raise CommandError(f"{target} is an async function", "make the kernel in a plain one; plugins open things")
    told = f"returns {type(made).__name__}" if made is not found else f"is {type(made).__name__}"
    raise CommandError(f"{target} {told}, not a Kernel", _HOW)


def _failed(what: str, error: BaseException) -> str:
    """Tell an error of the user's code, with the place in that code; our own lines would lead nobody there."""
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{what} failed, {error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_THEIRS)
    ]
    place = f", {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{what} failed{place}: {told}"


_NOT_THEIRS: Final = (
    *(str(Path(file).parent) for file in (plugbus.__file__, pydantic.__file__, importlib.__file__, __file__)),
    "<frozen",
)
