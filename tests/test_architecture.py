"""The layers, the names and the sizes that the design promises, because a rule that nobody checks is a drawing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from itertools import chain
from statistics import mean

import pytest
from importlinter.cli import lint_imports
from tests.sources import ROOT, Source, sources

PACKAGES = ("plugbus", "plugbus_adapters", "plugbus_contrib")
KERNEL_MAY_IMPORT = {
    "anyio",
    "packaging",
    "pluggy",
    "plugbus",
    "pydantic",
    "pydantic_core",
    "structlog",
    "typing_extensions",
}
STANDARD = {*sys.stdlib_module_names, "annotationlib"}  # the newest Python's, whichever runs the test
# Each adapter and the outside system that is its own; adding an adapter means adding a line.
OUTSIDE = {
    "cli": {"click", "rich", "typer"},
    "client": set[str](),
    "http": {"fastapi", "httpx2", "itsdangerous", "jinja2", "starlette", "uvicorn"},
    "inprocess": set[str](),
    "queue": {"aio_pika", "asyncpg", "nats", "redis"},
    "cloudevents": set[str](),
    "sqlite_log": set[str](),
}
# A plugin of contrib whose whole point is an outside system; it, too, imports without it.
CONTRIB_OUTSIDE = {"metrics": {"prometheus_client", "starlette"}}
MAX_KERNEL_LINES = 14_950  # of code: docs/adr/0024-how-large-the-kernel-is.md
MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 30  # of code, for 9 in 10 functions ...
MAX_LONG_FUNCTION_LINES = 60  # ... and for the rest


def every_source() -> list[Source]:
    return list(chain.from_iterable(map(sources, PACKAGES)))


def outsiders(source: Source, *allowed: str) -> list[str]:
    """Imports that are neither allowed nor of the standard library; the kernel's allow list goes without saying."""
    inside = {*KERNEL_MAY_IMPORT, *allowed, *STANDARD}
    return [f"{source.path.name}:{line} {name}" for name, line in source.imports() if name.split(".")[0] not in inside]


def adapters_of(source: Source) -> set[str]:
    parts = source.module.split(".")
    return OUTSIDE.get(parts[1].lstrip("_"), set()) if len(parts) > 1 else set()


def test_imports_point_one_way() -> None:
    """The contracts of import-linter in pyproject.toml hold."""
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_the_kernel_imports_nothing_but_its_own_dependencies() -> None:
    """Six libraries, the standard library, and no event loop: docs/adr/0002-anyio-inside.md."""
    of_pytest = ROOT / "kernel/plugbus/testing/pytest_plugin.py"  # imported by pytest alone
    found = [each for source in sources("plugbus") if source.path != of_pytest for each in outsiders(source)]
    loops = [f"{source.path.name}:{line} {name}" for source in sources("plugbus") for name, line in source.imports()
             if name.split(".")[0] in {"asyncio", "trio"}]  # fmt: skip

    assert found + loops == []


def test_an_adapter_imports_its_own_outside_system_only() -> None:
    """So that an extra brings all that its adapter needs, and no more."""
    found = [
        each
        for source in sources("plugbus_adapters")
        for each in outsiders(source, "plugbus_adapters", *adapters_of(source))
    ]

    assert found == []


def test_contrib_imports_no_outside_system() -> None:
    """It proves that the public API is enough; what it needs from outside, an adapter brings, or it is named here."""
    found = [
        each
        for source in sources("plugbus_contrib")
        for each in outsiders(
            source, *PACKAGES, *CONTRIB_OUTSIDE.get(source.module.partition(".")[2].split(".")[0], ())
        )
    ]

    assert found == []


@pytest.mark.parametrize(
    "adapter", sorted({source.module.split(".")[1] for source in sources("plugbus_adapters") if "." in source.module})
)
def test_an_adapter_imports_without_its_outside_system(adapter: str) -> None:
    """Its marks and annotations do, so that a worker loads a plugin with endpoints without the HTTP server."""
    assert adapter.lstrip("_") in OUTSIDE, f"new adapter {adapter!r}: add it and its outside system to OUTSIDE"
    blocked = "; ".join(f"sys.modules[{name!r}] = None" for name in sorted(set().union(*OUTSIDE.values())))

    subprocess.run([sys.executable, "-c", f"import sys; {blocked}; import plugbus_adapters.{adapter}"], check=True)


@pytest.mark.parametrize("package", ["plugbus_adapters", "plugbus_contrib"])
def test_nobody_reaches_into_private_modules_of_another_package(package: str) -> None:
    """What an adapter needs is public, because contrib needs it too."""
    found = [
        f"{source.module}:{line} {name}"
        for source in sources(package)
        for name, line in source.imports()
        if name.split(".")[0] in set(PACKAGES) - {package} and "._" in name
    ]

    assert found == []


def test_a_public_name_has_one_path() -> None:
    """Beside the re-export at the top of its package, a name stands in one public module."""
    modules = [source for source in every_source() if source.public and source.module not in PACKAGES]
    packages = {source.module for source in modules if source.path.name == "__init__.py"}
    homes = Counter(
        (source.module.split(".")[0], name)
        for source in modules
        if source.module not in packages
        for name in source.exports
    )

    assert [name for (_, name), count in homes.items() if count > 1] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_it_exports(package: str) -> None:
    """Each public module has an ``__all__`` without doublets, and the top of a package has no logic."""
    wrong = [
        source.module
        for source in sources(package)
        if source.public and len(set(source.exports)) != len(source.exports)
    ]
    top = next(source for source in sources(package) if source.module == package)

    assert wrong == []
    assert [function.where for function in top.functions()] == []
    assert (top.path.parent / "py.typed").exists()


@pytest.mark.parametrize(
    "room", sorted({s.path.parent.name for s in sources("plugbus") if s.path.parent.name.startswith("_")})
)
def test_a_room_of_the_kernel_has_a_map(room: str) -> None:
    """Its docstring names each of its modules, and none that has gone, so that a newcomer finds the right one."""
    folder = ROOT / "kernel/plugbus" / room
    there = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    named = set(re.findall(r"``(\w+)``", (folder / "__init__.py").read_text()))

    assert named == there


def test_modules_are_short() -> None:
    """300 lines, docstrings and comments included: longer ones are two modules."""
    assert [(s.module, n) for s in every_source() if (n := s.text.count("\n")) > MAX_MODULE_LINES] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_functions_are_short(package: str) -> None:
    """Nine in ten are under 30 lines of code; none is above 60."""
    functions = [function for source in sources(package) for function in source.functions()]

    assert [(f.where, f.lines) for f in functions if f.lines > MAX_LONG_FUNCTION_LINES] == []
    assert not functions or mean(function.lines < MAX_FUNCTION_LINES for function in functions) >= 0.9


def test_the_kernel_grows_by_decision_only() -> None:
    """More lines of code than these need a reason: docs/adr/0024-how-large-the-kernel-is.md."""
    assert 0 < sum(len(source.code) for source in sources("plugbus")) <= MAX_KERNEL_LINES
