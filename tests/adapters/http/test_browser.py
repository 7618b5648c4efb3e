"""A browser that was not written here: Chromium's EventSource reads the stream through kills of the server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).parents[3]
SERVER = Path(__file__).parent / "browser_server.py"
TOKEN = "of-a-till-that-publishes"
BATCH, KILLS = 20, 2
SECONDS = 60.0


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chrome]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        told = "needs Chromium and its driver: apt-get install chromium chromium-driver"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    options = ChromeOptions()
    options.binary_location = chromium
    for each in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", f"user-data-dir={tmp_path}/c"):
        options.add_argument(f"--{each}")
    found = Chrome(options=options, service=Service(driver))
    try:
        yield found
    finally:
        found.quit()


class Server:
    """The process that serves; the socket outlives it, so that its port stays the same, as behind a supervisor."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._folder = folder
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        number = self._socket.fileno()
        command = [sys.executable, str(SERVER), str(number), str(self._folder), TOKEN]
        with (self._folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                command, pass_fds=[number], cwd=ROOT, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            )  # fmt: skip

    def kill_and_start(self) -> None:
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL
        self.process = self._start()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._socket.close()

    def log(self) -> str:
        return (self._folder / "server.log").read_text()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    yield found
    found.close()


def publish(server: Server, *numbers: int) -> None:
    """Publish an order for each number; what is acknowledged is on record."""
    with httpx2.Client(base_url=server.url, timeout=SECONDS) as http:
        for number in numbers:
            event = {
                "specversion": "1.0", "type": "order.placed", "source": "/till", "id": f"order-{number}",
                "data": {"order_id": number},
            }  # fmt: skip
            headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/cloudevents+json"}
            answer = http.post("/events", json=event, headers=headers)
            assert answer.status_code == 202, answer.text


def wait_for(browser: Chrome, server: Server, expression: str, fits: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + SECONDS
    while True:
        found = browser.execute_script(f"return {expression}")
        if fits(found):
            return found
        if time.monotonic() > end:
            pytest.fail(f"{expression} is {found!r} after {SECONDS} s\n{browser.get_log('browser')}\n{server.log()}")


@pytest.mark.timeout(180)
def test_an_event_source_reads_on_after_the_server_was_killed(browser: Chrome, server: Server) -> None:
    """Kill -9 and a new process on the same log: the page has every event once, in order, and was told of no gap."""
    browser.get(server.url)
    wait_for(browser, server, "window.opened", lambda count: count == 1)
    publish(server, *range(BATCH))
    wait_for(browser, server, "window.seen.length", lambda count: count >= BATCH)

    for kill in range(1, KILLS + 1):
        first = kill * 2 * BATCH - BATCH
        publish(server, *range(first, first + BATCH))  # the page may have them before the kill, or not
        server.kill_and_start()
        publish(server, *range(first + BATCH, first + 2 * BATCH))
        wait_for(browser, server, "window.opened", lambda count, kill=kill: count >= kill + 1)

    total = BATCH * (2 * KILLS + 1)
    seen = wait_for(browser, server, "window.seen", lambda found: len(found) >= total)
    assert seen == list(range(total))
    assert browser.execute_script("return window.errors") >= KILLS  # the proof that it lost its connection each time
    assert browser.execute_script("return window.resets") == []
    assert len(set(browser.execute_script("return window.ids"))) == total
