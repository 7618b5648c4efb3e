"""``check``, ``plugins``, ``explain`` and the program itself: what they print and how they end."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import structlog

COMMANDS = [(), ("run",), ("check",), ("plugins",), ("explain",), ("bisect",), ("trace",), ("new",), ("new", "plugin")]


@pytest.mark.parametrize("command", [each for each in COMMANDS if each != ("new",)], ids=" ".join)
def test_each_help_has_an_example(plugbus, command: tuple[str, ...]) -> None:
    ended = plugbus(*command, "--help")

    assert ended.code == 0
    assert "Example" in ended.out
    assert f"\n  plugbus {' '.join(command)}".rstrip() in ended.out.replace("    plugbus", "  plugbus")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_plain_text(plugbus, command: tuple[str, ...]) -> None:
    """No boxes, no colours: it can be piped, searched and pasted."""
    assert plugbus(*command, "--help").out.isascii()


def test_the_version_is_the_installed_one(plugbus) -> None:
    assert plugbus("--version").out == f"plugbus {version('plugbus')}\n"


@pytest.mark.parametrize("arguments", [("nonsense",), ("check", "--nonsense"), ("explain",), ("run", "--backend", "x")])
def test_what_cannot_be_understood_is_a_usage_error(plugbus, arguments: tuple[str, ...]) -> None:
    assert plugbus(*arguments).code == 2


# ------------------------------------------------------------------------------------------------------------- check


def test_check_says_that_all_is_well(plugbus) -> None:
    ended = plugbus("check", "shop:well")

    assert (ended.code, ended.out) == (0, "no problems\n")


def test_check_prints_every_problem(plugbus) -> None:
    ended = plugbus("check", "shop:wrong")

    assert ended.code == 1
    assert "problem: plugin 'absent': blocked: it requires nobody>=1" in ended.out
    assert "warning: plugins.shpo in argument: there is no such plugin (did you mean shop?)" in ended.out
    assert ended.out.endswith("1 problem, 1 warning\n")


def test_check_lets_warnings_pass_unless_it_is_strict(plugbus) -> None:
    assert plugbus("check", "shop:odd").code == 0
    assert plugbus("check", "shop:odd", "--strict").code == 1


def test_check_boots_nothing(plugbus) -> None:
    ended = plugbus("check", "shop:well")

    assert "prints while it boots" not in ended.out + ended.err


def test_check_tells_programs_the_same(plugbus) -> None:
    ended = plugbus("check", "shop:wrong", "--json")

    assert [problem["fatal"] for problem in json.loads(ended.out)] == [True, False]


def test_check_tells_who_does_what_it_may_not(plugbus, folder: Path) -> None:
    """Before anything boots; a grant in the plugbus.toml narrows what a manifest declares."""
    (folder / "plugbus.toml").write_text(
        '[kernel]\nplugins = ["shop:Shop"]\n[kernel.grants.shop]\nsubscribes = ["shop.order"]\n'
    )
    ended = plugbus("check")

    assert ended.code == 1
    assert ended.out.count("problem: ") == 2
    assert "plugin 'shop', listener Shop.guard: plugin 'shop' may not subscribe 'shop.ordered'" in ended.out
    assert "plugin 'shop', observer Shop.note: plugin 'shop' may not subscribe 'shop.ordered'" in ended.out


# ----------------------------------------------------------------------------------------------------------- plugins


def test_plugins_prints_what_each_declares_and_is_granted(plugbus, folder: Path) -> None:
    """In the table where anybody is limited, and in the data always; two places that grant are two limits."""
    (folder / "limited.py").write_text(
        "from plugbus import Kernel, Manifest, Plugin\n"
        "class Mail(Plugin):\n"
        "    manifest = Manifest(id='mail', publishes=['mail.*', 'log.sent'], permissions=[])\n"
        "class Free(Plugin, id='free'): ...\n"
        "def kernel():\n"
        "    return Kernel(plugins=[Mail, Free], grants={'mail': {'publishes': ['mail.sent']}},\n"
        "                  config={'kernel': {'grants': {'mail': {'subscribes': []}}}})\n"
    )
    table = plugbus("plugins", "limited:kernel").out
    mail, free = json.loads(plugbus("plugins", "limited:kernel", "--json").out)["plugins"]

    assert table.splitlines()[0].split() == ["plugin", "version", "state", "boot", "declares", "granted", "reason"]
    assert "publishes mail.*, log.sent; permissions nothing" in table
    assert "publishes mail.sent" in table
    assert " and " in table
    assert mail["declares"] == {"publishes": ["mail.*", "log.sent"], "permissions": []}
    assert sorted(map(str, mail["granted"])) == ["{'publishes': ['mail.sent']}", "{'subscribes': []}"]
    assert (free["declares"], free["granted"]) == ({}, [])


def test_plugins_prints_state_boot_time_and_reason_of_each(plugbus) -> None:
    """Somebody else's text stays text: no markup, one line for each plugin."""
    ended = plugbus("plugins", "shop:ill")
    rows = {line.split()[0]: line for line in ended.out.splitlines()}

    assert rows["plugin"].split() == ["plugin", "version", "state", "boot", "reason"]
    assert rows["shop"].split()[1:3] == ["1.2.0", "ready"]
    assert rows["shop"].split()[4] == "ms"
    assert "no [disk] left" in rows["broken"]
    assert "blocked" in rows["needy"]


def test_plugins_ends_with_1_when_a_plugin_is_not_well(plugbus) -> None:
    assert (plugbus("plugins", "shop:ill").code, plugbus("plugins", "shop:well").code) == (1, 0)


def test_plugins_shuts_the_kernel_down_again(plugbus) -> None:
    assert "the shop shut down" in plugbus("plugins", "shop:well").err


def test_what_plugins_print_does_not_disturb_programs(plugbus) -> None:
    """Standard output has the JSON alone; what plugins print is on standard error."""
    ended = plugbus("plugins", "shop:well", "--json")
    found = json.loads(ended.out)["plugins"]

    assert [(step["id"], step["state"]) for step in found] == [("shop", "ready")]
    assert "the shop prints while it boots" in ended.err


def test_a_kernel_that_does_not_start_is_a_problem_told_without_a_traceback(plugbus) -> None:
    ended = plugbus("plugins", "shop:insisting")

    assert (ended.code, "Traceback" in ended.err) == (1, False)
    assert "the kernel did not start" in ended.err


def test_a_narrow_screen_loses_nothing(plugbus, monkeypatch) -> None:
    """Cells are folded, not cut."""
    monkeypatch.setenv("COLUMNS", "40")
    ended = plugbus("plugins", "shop:ill")

    assert max(map(len, ended.out.splitlines())) <= 40
    assert "disk" in ended.out


@pytest.mark.parametrize(("more", "coloured"), [({"FORCE_COLOR": "1"}, True), ({"NO_COLOR": "1"}, False), ({}, False)])
def test_colour_is_there_when_it_is_wanted(plugbus, monkeypatch, more: dict[str, str], coloured: bool) -> None:
    for name, value in more.items():
        monkeypatch.setenv(name, value)

    assert ("\x1b[" in plugbus("plugins", "shop:well").out) is coloured


# ----------------------------------------------------------------------------------------------------------- explain


def test_explain_prints_each_step_with_its_reason(plugbus) -> None:
    lines = plugbus("explain", "shop.ordered", "shop:well").out.splitlines()

    assert lines[0] == "shop.ordered"
    assert lines[1].split() == ["#", "kind", "name", "plugin", "runs", "reason", "policies", "filters"]
    assert lines[2].split()[:5] == ["1", "listener", "Shop.guard", "shop", "thread"]
    assert lines[3].split()[:5] == ["2", "observer", "Shop.note", "shop", "loop"]


def test_explain_tells_programs_the_same(plugbus) -> None:
    plan = json.loads(plugbus("explain", "shop.order", "shop:well", "--json").out)

    assert [(step["kind"], step["plugin"]) for step in plan["steps"]] == [("handler", "shop")]


def test_explain_draws_a_flow_chart(plugbus) -> None:
    lines = [line.strip() for line in plugbus("explain", "shop.ordered", "shop:well", "--mermaid").out.splitlines()]

    assert lines[0] == "flowchart TD"
    assert "event --> s1" in lines
    assert "s1 -.-> s2" in lines


def test_explain_says_so_when_nobody_hears(plugbus) -> None:
    assert plugbus("explain", "plugin.ready", "shop:well").out == "plugin.ready\n(nobody)\n"


def test_explain_takes_one_form_at_a_time(plugbus) -> None:
    assert plugbus("explain", "shop.ordered", "shop:well", "--mermaid", "--json").code == 2


def test_explain_names_the_events_that_come_close_to_an_unknown_one(plugbus) -> None:
    ended = plugbus("explain", "shop.orderd", "shop:well")

    assert (ended.code, "did you mean shop.ordered" in ended.err) == (2, True)


# --------------------------------------------------------------------------------------------------- added commands


def test_a_plugin_adds_commands_that_use_the_running_kernel(plugbus) -> None:
    ended = plugbus("--target", "shop:well", "order", "7")

    assert (ended.code, ended.out) == (0, "ordered 7\n")
    assert "the shop shut down" in ended.err


def test_added_commands_stand_in_the_help(plugbus) -> None:
    assert "Order something." in plugbus("--target", "shop:well", "--help").out


def test_a_command_of_ours_boots_no_kernel_to_look_for_others(plugbus) -> None:
    assert "prints while it boots" not in plugbus("--target", "shop:well", "check").err


@pytest.fixture
def installed(folder):
    """Make the metadata of an installed distribution with an entry point for commands."""

    def install(code: str) -> None:
        (folder / "more.py").write_text(code)
        metadata = folder / "more-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: more\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[plugbus.commands]\nmore = more\n")

    return install


HOOK = "from plugbus import hookimpl\n\n@hookimpl\ndef plugbus_commands(app):\n    {}\n"


def test_an_installed_package_adds_commands(plugbus, installed, monkeypatch, folder) -> None:
    installed(HOOK.format("app.command('greet')(lambda: print('hello'))"))
    monkeypatch.syspath_prepend(folder)

    assert plugbus("greet").out == "hello\n"


def test_an_installed_package_that_fails_takes_nothing_else_away(plugbus, installed, monkeypatch, folder) -> None:
    installed(HOOK.format("raise OSError('no luck')"))
    monkeypatch.syspath_prepend(folder)

    ended = plugbus("--help")

    assert (ended.code, "Commands:" in ended.out) == (0, True)
    assert "no commands of more (more): OSError: no luck" in ended.err


def test_nobody_takes_a_name_from_us(plugbus, installed, monkeypatch, folder) -> None:
    installed(HOOK.format("app.command('check')(lambda: print('mine now'))"))
    monkeypatch.syspath_prepend(folder)

    assert plugbus("check", "shop:well").out == "no problems\n"


def test_the_log_is_as_before_when_a_command_has_ended(plugbus) -> None:
    assert plugbus("plugins", "shop:ill").code == 1

    assert not structlog.is_configured()


# ---------------------------------------------------------------------------------------------------------- settings

SECRETIVE = '''
"""Plugins with a secret in their settings: one that is well, one that is refused its settings, one that tells."""

from pydantic import BaseModel, SecretStr

from plugbus import Kernel, Plugin


class Settings(BaseModel):
    api_key: SecretStr = SecretStr("")
    count: int = 0


class Well(Plugin, id="well"):
    Settings = Settings


class Refused(Plugin, id="refused"):
    Settings = Settings


class Telling(Plugin, id="telling"):
    Settings = Settings

    def __init__(self, settings: Settings) -> None:
        raise ConnectionError(settings.api_key.get_secret_value())


kernel = Kernel(plugins=[Well, Refused, Telling])
'''


@pytest.mark.parametrize(
    "command",
    [
        ("check", "secretive:kernel"),
        ("check", "--json", "secretive:kernel"),
        ("plugins", "secretive:kernel"),
        ("plugins", "--json", "secretive:kernel"),
        ("explain", "plugin.failed", "secretive:kernel"),
    ],
    ids=" ".join,
)
def test_no_command_prints_a_secret(
    plugbus, folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Neither of the environment nor of the plugin that puts it into its error."""
    (folder / "secretive.py").write_text(SECRETIVE)
    for plugin in ("WELL", "REFUSED", "TELLING"):
        monkeypatch.setenv(f"PLUGBUS_{plugin}__API_KEY", "canary-7f1d")
    monkeypatch.setenv("PLUGBUS_REFUSED__COUNT", "canary-7f1d")

    ended = plugbus(*command)

    assert ended.out
    assert "canary" not in ended.out + ended.err


def test_the_list_of_plugins_for_programs_has_the_source_of_each_key(
    plugbus, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "secretive.py").write_text(SECRETIVE)
    monkeypatch.setenv("PLUGBUS_WELL__API_KEY", "canary-7f1d")

    plan = json.loads(plugbus("plugins", "--json", "secretive:kernel").out)

    sources = {step["id"]: step["setting_sources"] for step in plan["plugins"]}
    assert sources["well"] == {"api_key": "PLUGBUS_WELL__API_KEY", "count": "default"}
