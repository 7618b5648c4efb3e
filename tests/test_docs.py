"""The documentation is complete: what is public stands in the reference, with an example that runs."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from typing import TypeVar, get_origin

import pluggy
import pytest
from tests.sources import ROOT, sources

import plugbus
from plugbus import hookspecs
from plugbus.errors import PlugbusError

DIRECTIVE = re.compile(r"^\s*\.\. (?:auto|py:)(?:class|data|decorator|exception|function)::\s+([\w.]+)", re.MULTILINE)
VARIABLE = re.compile(r"\bPLUGBUS_[A-Z][A-Z_]*\b")
PUBLIC = sorted(getattr(plugbus, "__all__", ()))


@cache
def reference() -> str:
    return "\n".join(path.read_text() for path in sorted((ROOT / "docs/reference").rglob("*.md")))


@cache
def documented() -> Counter[str]:
    """The names in the reference, as they are written there."""
    return Counter(DIRECTIVE.findall(reference()))


def errors(base: type[BaseException] = PlugbusError) -> set[type[BaseException]]:
    below = {error for error in base.__subclasses__() if error.__module__.startswith("plugbus.")}
    return {base}.union(*map(errors, below))


def test_every_public_name_stands_in_the_reference_once() -> None:
    """Under the one path that it has."""
    expected = {f"plugbus.{name}" for name in PUBLIC if not name.startswith("__")}

    assert sorted(expected - set(documented())) == []
    assert [name for name, count in documented().items() if count > 1] == []


def test_the_reference_names_nothing_that_is_not_there() -> None:
    """A name that went leaves the reference too."""
    gone = []
    for name in documented():
        module, _, attribute = name.rpartition(".")
        if not hasattr(importlib.import_module(module), attribute):
            gone.append(name)

    assert gone == []


def test_every_error_is_public() -> None:
    """Whatever we raise, a caller can catch by a name from the top of the package."""
    assert sorted(error.__name__ for error in errors() if error.__name__ not in PUBLIC) == []


def test_every_hook_stands_in_the_reference() -> None:
    """A hook is what a plugin writes, so it is as public as a class."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    hooks = {f"plugbus.hookspecs.{name}" for name, value in vars(hookspecs).items() if hasattr(value, "plugbus_spec")}

    assert hooks
    assert sorted(hooks - set(documented())) == []


def test_every_environment_variable_stands_in_the_reference() -> None:
    """A setting that nobody can find is no setting."""
    used = {
        name
        for package in ("plugbus", "plugbus_adapters", "plugbus_contrib")
        for source in sources(package)
        for name in VARIABLE.findall(source.text)
    }

    assert sorted(used - set(VARIABLE.findall(reference()))) == []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example(name: str) -> None:
    """One that runs: ``--doctest-modules`` sees to that."""
    value = getattr(plugbus, name)
    if not (inspect.isclass(value) or inspect.isfunction(value)) or isinstance(value, TypeVar) or get_origin(value):
        return
    own = value.__doc__ or ""

    assert ">>> " in own, f"{value.__module__}.{name} has no example in its docstring"


def test_the_picture_of_the_chain_is_what_the_script_draws() -> None:
    """Nobody edits it by hand."""
    subprocess.run([sys.executable, ROOT / "scripts/draw_chain.py", "--check"], check=True)
