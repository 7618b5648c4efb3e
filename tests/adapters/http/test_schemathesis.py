"""Fuzzing by software that was not written here: schemathesis reads /openapi.json and tries every operation in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hub_host.making import make_kernel
from tests.adapters.http.events.tools import live
from tests.adapters.http.everything import Everything

from plugbus import Kernel, Plugin, Principal
from plugbus_adapters.http import BearerTokens, create_app, endpoint

pytestmark = [pytest.mark.timeout(150), pytest.mark.may_block("it waits for a process")]

TOKEN = "a-token-that-is-long-enough"
SECONDS, LONG = 15, 120
# No 500, and no answer whose status, headers, media type or content the document does not tell. Left out is the guess
# whether data that fits a schema has to be accepted, and other data refused: texts stand for numbers in a query, and a
# control character in a path is refused before anything has looked for a schema.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,missing_required_header,unsupported_method,ignored_auth,use_after_free"
)


@contextmanager
def serving(kernel: Kernel) -> Iterator[str]:
    with live(create_app(kernel, auth=BearerTokens({TOKEN: Principal("op", ["**"])}))) as address:
        yield f"http://{address}"


def fuzz(url: str, folder: Path, seconds: int, *options: str) -> str:
    """Run it; return what it says, and fail if it found something."""
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/openapi.json",
            "--header", f"Authorization: Bearer {TOKEN}", "--checks", CHECKS, "--continue-on-failure",
            "--exclude-path", "/events/stream",  # it has no end; its tests are in events/
            "--max-examples", "100", "--max-time", str(seconds), "--request-timeout", "10",
            "--generation-database", "none", "--seed", "4", "--no-color", "--warnings", "off", *options,
        ],
        cwd=folder, capture_output=True, text=True, timeout=LONG, check=False, env={**os.environ, "COLUMNS": "120"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def all_kinds(_environment: pytest.MonkeyPatch) -> Kernel:
    return Kernel([Everything])


def hub(environment: pytest.MonkeyPatch) -> Kernel:
    environment.setenv("PLUGBUS_WEBHOOKS__SECRET", "not-known-to-schemathesis")
    return make_kernel(seed=1)


@pytest.mark.parametrize(("make", "operations"), [(all_kinds, 20), (hub, 7)], ids=["all kinds", "the webhook hub"])
def test_nothing_that_the_document_allows_breaks_it(
    make: Callable[[pytest.MonkeyPatch], Kernel],
    operations: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    full: Any,
) -> None:
    """No server error and no undocumented answer, to requests that fit the document and to such that do not."""
    with serving(make(monkeypatch)) as url:
        told = fuzz(url, tmp_path, LONG // 2 if full else SECONDS)

    assert int(re.search(r"Tested: (\d+)", told)[1]) >= operations, told
    assert int(re.search(r"(\d+) generated", told)[1]) > 5 * operations, told  # far more where the machine is idle


def test_the_fuzzer_finds_what_is_wrong(tmp_path: Path) -> None:
    """The control: an endpoint that breaks at one number."""

    class Broken(Plugin):
        @endpoint("GET", "/inverse/{number}", auth="public")
        async def inverse(self, number: int) -> float:
            return 1 / number

    with serving(Kernel([Broken])) as url, pytest.raises(AssertionError, match="Server error"):
        fuzz(url, tmp_path, SECONDS, "--max-failures", "1")
