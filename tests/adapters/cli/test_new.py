"""``plugbus new plugin``: a package that works as it is, or nothing at all."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from tests.adapters.cli.tools import clean_environment


def test_the_tests_of_a_new_plugin_pass(plugbus, folder) -> None:
    """They really run, in a process and a folder of their own."""
    assert plugbus("new", "plugin", "order-mail").code == 0

    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        check=False,
        cwd=folder / "order-mail",
        env=clean_environment(),
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


@pytest.mark.parametrize("name", ["order-mail", "alpha"])
def test_a_new_plugin_is_formatted_and_free_of_lint(plugbus, folder, name: str) -> None:
    plugbus("new", "plugin", name)

    for tool in (["check"], ["format", "--check", "--line-length", "120"]):
        command = [sys.executable, "-m", "ruff", *tool, "--isolated", "."]
        done = subprocess.run(command, check=False, cwd=folder / name, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_its_entry_point_leads_to_the_class_with_the_manifest(plugbus, folder, monkeypatch) -> None:
    plugbus("new", "plugin", "order-mail")
    project = tomllib.loads((folder / "order-mail/pyproject.toml").read_text())["project"]
    monkeypatch.syspath_prepend(folder / "order-mail/src")

    from order_mail import OrderMail

    assert project["entry-points"]["plugbus.plugins"] == {"order-mail": "order_mail.plugin:OrderMail"}
    assert OrderMail.manifest.id == "order-mail"


def test_it_can_be_checked_at_once(plugbus, folder, monkeypatch) -> None:
    plugbus("new", "plugin", "order-mail")
    monkeypatch.syspath_prepend(folder / "order-mail/src")
    (folder / "plugbus.toml").write_text('[kernel]\nplugins = ["order_mail"]')

    assert plugbus("check", "--strict").code == 0


def test_it_has_all_that_a_package_needs(plugbus, folder) -> None:
    plugbus("new", "plugin", "mail", "--into", "plugins/own")
    made = folder / "plugins/own/mail"

    assert {str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()} == {
        "README.md",
        "pyproject.toml",
        "src/mail/__init__.py",
        "src/mail/plugin.py",
        "src/mail/py.typed",
        "tests/test_plugin.py",
    }


def test_it_overwrites_nothing(plugbus, folder) -> None:
    (folder / "mail").mkdir()
    ended = plugbus("new", "plugin", "mail")

    assert (ended.code, "mail is there already" in ended.err) == (2, True)
    assert list((folder / "mail").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_without_a_traceback(plugbus, folder) -> None:
    ended = plugbus("new", "plugin", "mail", "--into", "shop.py")

    assert (ended.code, "cannot be written" in ended.err) == (2, True)


@pytest.mark.parametrize("name", ["../mail", "Mail", "9mail", "mail.box", "", "class", "json", "plugbus", "a" * 65])
def test_a_name_that_cannot_be_a_plugin_leaves_nothing_behind(plugbus, folder, name: str) -> None:
    before = sorted(folder.parent.rglob("*"))
    ended = plugbus("new", "plugin", name)

    assert (ended.code, "Traceback" in ended.err) == (2, False)
    assert sorted(folder.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ["event", "kernel", "greet"])
def test_a_name_that_plugbus_uses_for_a_class_still_makes_a_plugin(plugbus, folder, monkeypatch, name: str) -> None:
    plugbus("new", "plugin", name)
    monkeypatch.syspath_prepend(folder / name / "src")

    (folder / "plugbus.toml").write_text(f'[kernel]\nplugins = ["{name}"]')
    assert plugbus("plugins").code == 0


@pytest.mark.parametrize("name", ["order-mail", "mail"])
def test_a_service_loads_it_from_the_folder_it_was_made_in(plugbus, folder, name: str) -> None:
    """As the example of the help has it: nothing is installed, and its id is enabled."""
    plugbus("new", "plugin", name, "--into", "plugins")
    (folder / "plugbus.toml").write_text(
        f'[kernel]\nplugin_dirs = ["plugins"]\nenabled = ["{name}"]\n[plugins.{name}]\ngreeting = "good morning"\n'
    )

    assert plugbus("check", "--strict").code == 0
    assert plugbus("plugins").out.splitlines()[1].split()[:3] == [name, "0.1.0", "ready"]
    assert plugbus("explain", f"{name}.greet").code == 0


def test_it_says_how_a_service_gets_it(plugbus) -> None:
    made = plugbus("new", "plugin", "mail", "--into", "plugins").out

    assert "pip install plugins/mail" in made
    assert "plugin_dirs = ['plugins']" in made
    assert "enabled = ['mail']" in made
