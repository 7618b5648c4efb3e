"""``--set KEY=VALUE``: settings of plugins from the command line, over every other source."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.adapters.cli.tools import Ended

Run = Callable[..., Ended]

SHELF = """
from pydantic import BaseModel
from plugbus import Kernel, Plugin

class Smtp(BaseModel):
    host: str = "localhost"
    port: int = 25

class Shelf(Plugin, id="top-shelf"):
    class Settings(BaseModel):
        max_items: int = 1
        names: list[str] = []
        smtp: Smtp = Smtp()

    def __init__(self, settings: Settings) -> None:
        print("settings", settings)

kernel = Kernel(plugins=[Shelf], config={"plugins": {"top_shelf": {"max_items": 2, "smtp": {"host": "mx"}}}})
"""


@pytest.fixture
def shelf(folder: Path) -> str:
    (folder / "shelf.py").write_text(SHELF)
    (folder / "plugbus.toml").write_text('[kernel]\nplugins = ["shelf:Shelf"]\n')
    return "shelf"


@pytest.mark.parametrize("command", [("plugins",), ("trace",), ("explain", "kernel.ready")])
def test_a_setting_goes_over_every_other_source(
    plugbus: Run, shelf: str, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the argument of a kernel that code makes, and over the environment; the rest stays as it is."""
    monkeypatch.setenv("PLUGBUS_TOP_SHELF__MAX_ITEMS", "3")
    given = ["--set", "plugins.top-shelf.max_items=5", "--set", 'plugins.top_shelf.names=["a"]']

    ended = plugbus(*command, shelf, *given, "--set", "plugins.top-shelf.smtp.port = 26")

    assert ended.code == 0, ended.err
    assert "settings max_items=5 names=['a'] smtp=Smtp(host='mx', port=26)" in ended.err


def test_it_works_for_a_file_and_shows_where_it_comes_from(plugbus: Run, shelf: str) -> None:
    ended = plugbus("plugins", "plugbus.toml", "--json", "--set", "plugins.top-shelf.max_items=5")

    [plugin] = json.loads(ended.out)["plugins"]
    assert plugin["setting_sources"]["max_items"] == "--set"


def test_of_two_the_later_one_wins(plugbus: Run, shelf: str) -> None:
    ended = plugbus(
        "plugins", shelf, "--set", "plugins.top-shelf.max_items=5", "--set", "plugins.top-shelf.max_items=6"
    )

    assert "max_items=6" in ended.err


def test_check_finds_a_wrong_value_without_printing_it(plugbus: Run, shelf: str) -> None:
    ended = plugbus(
        "check", shelf, "--set", 'plugins.top-shelf.max_items="s3cret"', "--set", "plugins.top-shelf.size=1"
    )

    assert ended.code == 1
    assert "max_items: Input should be a valid integer" in ended.out
    assert "size: there is no such setting" in ended.out
    assert ended.out.count("(from --set)") == 2
    assert "s3cret" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("plugins.top-shelf.max_items", "there is no value", "--set plugins.ID.KEY=VALUE"),
        ("top-shelf.max_items=5", "begins with 'top-shelf', not with 'plugins'", "mean plugins.top-shelf.max_items?"),
        ("kernel=5", "begins with 'kernel'", "--set plugins.ID.KEY=VALUE"),
        ("plugins.top-shelf=5", "names no key of a plugin", "--set plugins.ID.KEY=VALUE"),
        ("plugins=5", "names no key of a plugin", "--set plugins.ID.KEY=VALUE"),
        ("=5", "this is no key", "--set plugins.ID.KEY=VALUE"),
        ("plugins.top shelf.x=5", "this is no key", "--set plugins.ID.KEY=VALUE"),
        (
            "plugins.top-shelf.smtp.host=s3cret",
            "is no TOML",
            "a text needs quotes: --set 'plugins.top-shelf.smtp.host=",
        ),
        ("plugins.top-shelf.max_items=5\nx=1", "is no TOML", "lists are [1, 2]"),
        ("plugins.top-shlf.max_items=5", "there is no such plugin", "did you mean top-shelf?"),
        ("plugins.zoo.max_items=5", "there is no such plugin", "this kernel has top-shelf"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_to_write(
    plugbus: Run, shelf: str, given: str, message: str, hint: str
) -> None:
    """The key and the form, and never the value."""
    ended = plugbus("run", shelf, "--set", given)

    assert ended.code == 2
    assert message in ended.err
    assert hint in ended.err
    assert "s3cret" not in ended.err


def test_a_kernel_whose_configuration_cannot_be_used_says_so(plugbus: Run, folder: Path) -> None:
    (folder / "plugbus.toml").write_text("[kernl]\n")

    ended = plugbus("run", "--set", "plugins.shop.size=1")

    assert ended.code == 1
    assert "there is no such table" in ended.err
