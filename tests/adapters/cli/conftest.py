"""The command line, run in this process, in a folder with the shop in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.adapters.cli.tools import SHOP, Ended, clean_environment

from plugbus_adapters.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The current folder; what was imported from it is forgotten afterwards."""
    (tmp_path / "shop.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in set(os.environ) - set(clean_environment()):
        monkeypatch.delenv(name)
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def plugbus(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run ``plugbus`` with arguments."""
    del folder

    def run(*arguments: str) -> Ended:
        code = main(arguments)
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run
