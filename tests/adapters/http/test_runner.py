"""``plugbus run --http``: a process that serves a kernel until it is told to stop."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

APP = """
import anyio
from plugbus import Kernel, Plugin
from plugbus_adapters.http import endpoint

class Shop(Plugin, id="shop"):
    @endpoint("GET", "/slow", auth="public")
    async def slow(self) -> str:
        print("began", flush=True)
        await anyio.sleep(0.3)
        return "done"

    @endpoint("GET", "/mine")
    async def mine(self) -> str:
        return "yours"

    async def on_shutdown(self) -> None:
        print("shop down", flush=True)

kernel = Kernel([Shop])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop_app.py").write_text(APP)
    (tmp_path / "plugbus.toml").write_text('[kernel]\nplugins = ["shop_app:Shop"]\n')
    return tmp_path


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "import sys; from plugbus_adapters.cli import main; sys.exit(main())", "run"]
    return subprocess.Popen(
        [*command, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until(process: subprocess.Popen[str], pattern: str) -> tuple[str, str]:
    """Read what it tells until a line fits; return all of it, and what the group is."""
    told = ""
    assert process.stderr is not None
    for line in process.stderr:
        told += line
        if found := re.search(pattern, line):
            return told, found[1]
    raise AssertionError(told)


def test_it_serves_and_drains_on_sigterm(folder: Path) -> None:
    """A request that is under way is answered, plugins shut down, the exit code is 0."""
    with start(folder, "shop_app:kernel", "--http", "127.0.0.1:0") as process:
        _, url = until(process, r"serving (http://\S+)")
        assert httpx2.get(f"{url}/health/live").json() == {"status": "up"}
        assert httpx2.get(f"{url}/mine").status_code == 401
        asking = f"import httpx2; print(httpx2.get('{url}/slow').text)"
        with subprocess.Popen([sys.executable, "-c", asking], stdout=subprocess.PIPE, text=True) as request:
            assert process.stdout is not None
            assert process.stdout.readline() == "began\n"
            process.terminate()
            assert request.communicate(timeout=30)[0] == '"done"\n'
        out, err = process.communicate(timeout=30)

    assert (process.returncode, out) == (0, "shop down\n"), err


def test_a_token_for_development_is_told(folder: Path) -> None:
    """It may do everything, as long as the process runs."""
    with start(folder, "--dev", "--http", ":0") as process:
        _, token = until(process, r"which may do everything: (\S+)")
        _, url = until(process, r"serving (http://127.0.0.1:\d+)")
        assert httpx2.get(f"{url}/mine", headers={"authorization": f"Bearer {token}"}).json() == "yours"
        process.terminate()
        process.communicate(timeout=30)

    assert process.returncode == 0


HOST = """
from contextlib import asynccontextmanager
from plugbus_adapters.http import create_app, mount
from shop_app import kernel
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

@asynccontextmanager
async def lifespan(app):
    yield {"given": "of the lifespan"}

async def given(request):
    return PlainTextResponse(request.state.given)

host = Starlette(routes=[Route("/given", given)], lifespan=lifespan)
mount(host, kernel, "/shop")
foreign = Starlette()
"""


def test_an_app_is_served_with_its_own_lifespan_and_a_token_for_development(folder: Path) -> None:
    """A host, with all that is its own, and the kernels that are mounted into it."""
    (folder / "host_app.py").write_text(HOST)
    with start(folder, "host_app:host", "--dev", "--http", ":0") as process:
        _, token = until(process, r"which may do everything: (\S+)")
        _, url = until(process, r"serving (http://127.0.0.1:\d+)")
        assert httpx2.get(f"{url}/given").text == "of the lifespan"
        assert httpx2.get(f"{url}/shop/mine").status_code == 401
        assert httpx2.get(f"{url}/shop/mine", headers={"authorization": f"Bearer {token}"}).json() == "yours"
        process.terminate()
        out, err = process.communicate(timeout=30)

    assert (process.returncode, out) == (0, "shop down\n"), err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("host_app:foreign", "--http", ":0"), 2, "into which a kernel is mounted"),
        (("host_app:host", "--http", "0.0.0.0:0"), 1, "did not start"),
        (("host_app:host", "--http", ":0", "--set", "plugins.shop.x=1"), 2, "is an app"),
        (("host_app:host",), 2, "not a Kernel"),
    ],
)
def test_an_app_that_cannot_be_served_is_refused(
    folder: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """One without a kernel, one that would be open to all, and settings of a kernel that is not ours to make."""
    (folder / "host_app.py").write_text(HOST)
    with start(folder, *arguments) as process:
        _, err = process.communicate(timeout=30)

    assert process.returncode == code, err
    assert told in err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--http", "0.0.0.0:0"), 1, "lets other machines in, and there is no authenticator"),
        (("--http", "nowhere"), 2, "is no address"),
        (("--http", ":0", "--backend", "trio"), 2, "asyncio"),
    ],
)
def test_what_cannot_be_served_is_refused(folder: Path, arguments: tuple[str, ...], code: int, told: str) -> None:
    """With the reason, and without a traceback."""
    with start(folder, "shop_app:kernel", *arguments) as process:
        _, err = process.communicate(timeout=30)

    assert (process.returncode, "Traceback" in err) == (code, False), err
    assert told in err


def test_streams_end_when_it_is_told_to_stop(folder: Path) -> None:
    """They have no end of their own, and the server waits for answers: readers are let go at once, in order."""
    with start(folder, "--dev", "--http", ":0") as process:
        _, token = until(process, r"which may do everything: (\S+)")
        _, url = until(process, r"serving (http://127.0.0.1:\d+)")
        with httpx2.stream(
            "GET", f"{url}/events/stream", headers={"authorization": f"Bearer {token}"}, timeout=60
        ) as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("id: ")
            process.terminate()
            assert not any(line.startswith("data:") for line in lines)  # to its end, without an error
        _, err = process.communicate(timeout=30)

    assert (process.returncode, "Cancel" in err) == (0, False), err
