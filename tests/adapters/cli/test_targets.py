"""What a target may be, and what the user reads when it is none: a message, a place, a hint, no traceback."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("target", ["shop:kernel", "shop", "shop:well"])
def test_a_target_is_a_kernel_in_a_module_or_a_function_that_makes_one(plugbus, target: str) -> None:
    """Without an attribute, ``kernel`` is meant."""
    assert plugbus("check", target).code == 0


def test_a_target_may_be_a_file_whose_neighbours_are_imported(plugbus, folder) -> None:
    (folder / "deploy").mkdir()
    (folder / "shop.py").rename(folder / "deploy/shop.py")
    (folder / "deploy/plugbus.toml").write_text('[kernel]\nplugins = ["shop:Shop"]')

    ended = plugbus("plugins", "deploy/plugbus.toml")

    assert (ended.code, "shop" in ended.out) == (0, True)


def test_the_default_is_the_plugbus_toml_of_the_folder(plugbus, folder) -> None:
    (folder / "plugbus.toml").write_text('[kernel]\nplugins = ["shop:Shop"]')

    assert "shop" in plugbus("plugins").out


def test_the_environment_may_name_the_target(plugbus, monkeypatch) -> None:
    monkeypatch.setenv("PLUGBUS_TARGET", "shop:well")

    assert "shop" in plugbus("plugins").out


def test_the_target_of_a_command_goes_over_the_one_before_it(plugbus) -> None:
    assert plugbus("--target", "nowhere", "plugins", "shop:well").code == 0


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("shopp:kernel", "there is no module 'shopp'"),
        ("shop.inner:kernel", "there is no module 'shop.inner'"),
        ("shop:kernle", "did you mean shop:kernel"),
        ("shop:not_a_kernel", "shop:not_a_kernel is int, not a Kernel"),
        ("shop:Ordered.key", "has no 'Ordered.key'"),
        ("shop:eventually", "shop:eventually is an async function"),
        ("shop:exploding", "calling shop:exploding failed, "),
        ("shop.py:kernel", "did you mean 'shop:kernel'?"),
        ("./deploy/shop.py", "did you mean 'deploy.shop'?"),
        ("a b", "'a b' is no target"),
        ("absent.toml", "absent.toml: there is no such file"),
    ],
)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_target_that_is_none_is_a_usage_error(plugbus, command: str, target: str, told: str) -> None:
    ended = plugbus(command, target)

    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_no_target_at_all_is_a_usage_error(plugbus) -> None:
    ended = plugbus("check")

    assert (ended.code, "which kernel?" in ended.err) == (2, True)


def test_an_error_in_an_imported_module_is_told_with_its_place(plugbus, folder) -> None:
    (folder / "deep.py").write_text("import json\n\n1 / 0\n")
    (folder / "flat.py").write_text("import deep\n")

    ended = plugbus("check", "flat:kernel")

    assert ended.code == 2
    assert f"importing 'flat' failed, {folder / 'deep.py'}:3: ZeroDivisionError: division by zero" in ended.err


def test_a_syntax_error_is_told_with_its_place(plugbus, folder) -> None:
    (folder / "askew.py").write_text("x = 1\nx = = 2\n")

    assert f"{folder / 'askew.py'}:2: SyntaxError" in plugbus("check", "askew").err


def test_a_module_that_misses_another_one_is_not_called_missing_itself(plugbus, folder) -> None:
    (folder / "lacking.py").write_text("import not_installed_anywhere\n")

    assert "ModuleNotFoundError: No module named 'not_installed_anywhere'" in plugbus("check", "lacking").err


def test_the_traceback_is_shown_on_request(plugbus) -> None:
    ended = plugbus("--traceback", "check", "shop:exploding")

    assert (ended.code, "Traceback" in ended.err) == (2, True)


def test_an_error_that_plugbus_raises_is_told_with_the_line_that_made_it(plugbus, folder) -> None:
    """Where it is wrong, not where it was noticed."""
    (folder / "wrongly.py").write_text("from plugbus import Manifest\n\nManifest(id='../x')\n")

    assert f"{folder / 'wrongly.py'}:3: ManifestError" in plugbus("check", "wrongly").err


@pytest.mark.parametrize(
    ("text", "place"),
    [("[kernel]\nplugins = = 1\n", "plugbus.toml:2:11: "), ("[kernel]\nplugins = [", "at the end of the file")],
)
def test_a_file_that_is_no_toml_is_told_with_line_and_column(plugbus, folder, text: str, place: str) -> None:
    (folder / "plugbus.toml").write_text(text)

    ended = plugbus("check")

    assert (ended.code, place in ended.err) == (2, True)


@pytest.mark.parametrize(
    "make", [lambda file: file.mkdir(), lambda file: file.write_bytes(b"\xff")], ids=["folder", "bytes"]
)
def test_a_file_that_cannot_be_read_is_a_usage_error(plugbus, folder, make) -> None:
    make(folder / "odd.toml")
    ended = plugbus("check", "odd.toml")

    assert (ended.code, "odd.toml: cannot be read" in ended.err) == (2, True)


def test_a_table_that_no_kernel_knows_is_a_problem_of_the_kernel(plugbus, folder) -> None:
    (folder / "plugbus.toml").write_text("[kernel]\nplugin = []\nenable = []\n")

    ended = plugbus("check")

    assert (ended.code, ended.out.count("problem: ")) == (1, 2)


def test_contract_checks_are_switched_on_for_a_file_only(plugbus) -> None:
    ended = plugbus("run", "shop:well", "--dev")

    assert (ended.code, "Kernel(checked=True)" in ended.err) == (2, True)
