"""What the command line costs before it does anything, and what it says where its extra is missing."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from tests.adapters.cli.tools import clean_environment
from tests.sources import ROOT


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=clean_environment()
    )


@pytest.mark.parametrize("module", ["plugbus_adapters", "plugbus_adapters.cli"])
def test_importing_an_adapter_imports_nothing_from_outside(module: str) -> None:
    done = python(f"import sys, {module}; print(sorted({{'typer', 'rich', 'pydantic', 'plugbus'}} & set(sys.modules)))")

    assert done.stdout == "[]\n"


def test_importing_the_hook_imports_no_typer() -> None:
    """A plugin that adds commands is served where the extra is not installed."""
    assert python("import sys, plugbus_adapters.cli.hooks; print('typer' in sys.modules)").stdout == "False\n"


def test_help_imports_no_kernel() -> None:
    code = "import sys; from plugbus_adapters.cli import main; main(['--help']); print('plugbus' in sys.modules)"

    assert python(code).stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    done = python(
        f"import sys; sys.modules[{missing!r}] = None; from plugbus_adapters.cli import main; sys.exit(main())"
    )

    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "pip install 'plugbus[cli]'" in done.stderr


def test_the_program_and_the_module_are_one() -> None:
    """``plugbus`` of the installed distribution is what ``python -m plugbus_adapters.cli`` runs."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    done = subprocess.run(
        [sys.executable, "-m", "plugbus_adapters.cli", "--version"], check=True, capture_output=True, text=True
    )

    assert scripts == {"plugbus": "plugbus_adapters.cli:main"}
    assert done.stdout.startswith("plugbus ")
