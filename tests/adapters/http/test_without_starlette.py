"""The endpoint table where there is no web framework: another edge reads it, and serves what it says."""

from __future__ import annotations

import json
import subprocess
import sys

READ = """
import sys
for name in ("starlette", "uvicorn", "fastapi"):
    sys.modules[name] = None  # importing it is an ImportError from now on

import json
from collections.abc import AsyncIterator
import anyio
from pydantic import BaseModel
from plugbus import Kernel, Plugin, Request, answers
from plugbus_adapters.http import EndpointTable, HttpPlugin, endpoint

class Tea(BaseModel):
    name: str

class Brew(Request[Tea], name="brew"):
    pot: int
    leaves: list[Tea]

class Shop(Plugin, id="shop"):
    @endpoint("GET", "/teas/{id}", auth="public", tags=["teas"])
    async def tea(self, id: int, full: bool = False) -> Tea:
        raise NotImplementedError

    @endpoint("POST", "/pots/{pot}", auth=["brew"], status=201, errors={OSError: 503})
    @answers(Brew)
    async def brew(self, request: Brew) -> Tea:
        return request.leaves[0]

def facts(each):
    parameters = [[item.name, item.source, item.annotation.__name__, item.required] for item in each.parameters]
    return [str(each), each.owner, each.name, parameters, each.result.__name__, each.status, each.auth]

async def main():
    async with Kernel([HttpPlugin, Shop]) as kernel:
        table = await kernel.services.aget(EndpointTable)
        found = [each for each in table if each.owner == "shop"]
        request = next(each.request for each in found if each.request is not None)
        answer = await kernel.bus.acall(request.model_validate({"pot": 1, "leaves": [{"name": "green"}]}))
        await kernel.unload("shop")
        left = [str(each) for each in table if each.owner == "shop"]
        print(json.dumps([[facts(each) for each in found], answer.name, left]))

anyio.run(main)
assert not any(name.startswith(("starlette.", "uvicorn.")) for name in sys.modules)
"""


def test_the_table_is_read_without_starlette() -> None:
    """With all that an edge needs: paths, parameters with their sources, types, who may; and the request to call."""
    done = subprocess.run([sys.executable, "-c", READ], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stderr
    endpoints, answer, left = json.loads(done.stdout.splitlines()[-1])
    assert endpoints == [
        [
            "GET /teas/{id}", "shop", "shop.tea",
            [["id", "path", "int", True], ["full", "query", "bool", False]], "Tea", 200, "public",
        ],
        ["POST /pots/{pot}", "shop", "shop.brew", [["pot", "path", "int", True]], "Tea", 201, ["brew"]],
    ]  # fmt: skip
    assert (answer, left) == ("green", [])
