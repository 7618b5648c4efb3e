"""``plugbus token new``: a token, printed once, and the hash that stands for it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable

import pytest
from tests.adapters.cli.conftest import folder, plugbus  # noqa: F401 - fixtures
from tests.adapters.cli.tools import Ended

from plugbus import Principal
from plugbus_adapters.http import BearerTokens, Credentials

Run = Callable[..., Ended]
pytestmark = pytest.mark.anyio


async def test_the_hash_that_is_printed_stands_for_the_token_that_is_printed(plugbus: Run) -> None:  # noqa: F811
    """Nothing else has to be done than to copy the lines."""
    ended = plugbus("token", "new", "--name", "ci", "--scope", "publish:order.*", "--scope", "subscribe:order.**")
    token, _, settings = ended.out.partition("\n")
    kept = tomllib.loads(settings)["plugins"]["http"]["tokens"]["ci"]
    tokens = BearerTokens.from_hashes({kept["hash"]: Principal("ci", kept["scopes"])})

    found = await tokens.authenticate(Credentials("bearer", token))

    assert found == Principal("ci", ["publish:order.*", "subscribe:order.**"])
    assert (ended.code, "once" in ended.err, token in settings + ended.err) == (0, True, False)


def test_programs_read_json(plugbus: Run) -> None:  # noqa: F811
    ended = plugbus("token", "new", "--json")
    made = json.loads(ended.out)

    assert (made["name"], made["scopes"], made["hash"][:7]) == ("token", [], "sha256:")
    assert ended.err == ""


def test_each_token_is_another(plugbus: Run) -> None:  # noqa: F811
    assert plugbus("token", "new").out != plugbus("token", "new").out


@pytest.mark.parametrize("wrong", [("--name", "a.b"), ("--name", 'a"]'), ("--scope", 'a"'), ("--scope", "a b")])
def test_what_would_break_the_settings_is_refused(plugbus: Run, wrong: tuple[str, str]) -> None:  # noqa: F811
    ended = plugbus("token", "new", *wrong)

    assert (ended.code, ended.out) == (2, "")
    assert "Hint:" in ended.err
