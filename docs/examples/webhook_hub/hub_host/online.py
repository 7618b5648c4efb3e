"""Shows the hub behind HTTP: a server of its own, deliveries posted to it, and their events read from its stream.

Owns both sides of the wire but the hub: it sends as GitHub does, and reads as a browser does.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from subprocess import DEVNULL
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import anyio
import httpx2
from anyio.abc import Process
from plugins.webhooks.signature import signature_of

from hub_host.reading import Line, read_lines

__all__ = ("Online", "over_http")

SERVER = Path(__file__).resolve().parents[1] / "serve.py"
POSTED = 50  # deliveries at most: it is a demonstration
AT_ONCE = 8
PATIENCE_SECONDS = 60.0


@dataclass
class Online:
    """What happened over HTTP.

    Attributes:
        accepted: Ids of the deliveries that the hub took.
        streamed: Ids of the deliveries whose events came out of the stream.
        statuses: How many deliveries were answered with which status.
        repeated: Status of a delivery that was sent again, and whether the hub knew it; None if none was accepted.
        forged: Status of a delivery whose signature is not right.
        exit_code: Of the server, when it was told to stop.
        skipped: Whether nothing of this happened.
    """

    accepted: list[str] = field(default_factory=list)
    streamed: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    repeated: tuple[int, bool] | None = None
    forged: int = 0
    exit_code: int | None = None
    skipped: bool = False

    @property
    def accounted(self) -> bool:
        """Whether each delivery that was accepted came out of the stream once, and the rest is as it has to be."""
        judged = (
            self.repeated in {None, (202, True)} and self.forged == httpx2.codes.UNAUTHORIZED and self.exit_code == 0
        )
        return self.skipped or (judged and sorted(self.accepted) == sorted(self.streamed))

    def lines(self) -> list[str]:
        """Return what to tell of it."""
        if self.skipped:
            return []
        answers = ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))
        told = "each accepted delivery once" if self.accounted else f"of {len(self.accepted)} deliveries accepted"
        status, known = self.repeated or (0, True)
        again = "answered as before" if known else "taken twice"
        return [
            f"over HTTP   {self.statuses.total()} deliveries posted to /webhooks/github: {answers}",
            f"            one sent again is {again} ({status}), a forged one refused ({self.forged})",
            f"            {len(self.streamed)} events read live from /events/stream, {told}",
        ]


async def over_http(paths: Sequence[Path], *, verbose: bool = False) -> Online:
    """Start the server, post deliveries of files to it while a reader has its stream open, and stop it again.

    Args:
        paths: Files of JSON lines.
        verbose: Whether to show the server's log, on standard error.
    """
    found, secret, token = Online(), secrets.token_urlsafe(), secrets.token_urlsafe()
    tokens = {"reader": {"hash": f"sha256:{sha256(token.encode()).hexdigest()}", "scopes": ["subscribe:github.**"]}}
    settings = {"PLUGBUS_WEBHOOKS__SECRET": secret, "PLUGBUS_HTTP__TOKENS": json.dumps(tokens)}
    async with _server(settings, log=None if verbose else DEVNULL) as (url, process):
        with anyio.fail_after(PATIENCE_SECONDS):
            async with httpx2.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as http:
                await _post_and_read(http, secret, token, _sample(paths), found)
                process.send_signal(signal.SIGTERM)
                found.exit_code = await process.wait()
    return found


def _sample(paths: Sequence[Path]) -> list[Line]:
    found = (line for path in paths for line in read_lines(path) if line.delivery is not None)
    return list(islice(found, POSTED))


@asynccontextmanager
async def _server(settings: Mapping[str, str], log: int | None) -> AsyncIterator[tuple[str, Process]]:
    # The socket is opened here, so that there is no port to guess, and who connects early only waits.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        number = listening.fileno()
        process = await anyio.open_process(
            [sys.executable, str(SERVER), "--fd", str(number)],
            stdin=None, stdout=log, stderr=log, pass_fds=[number], env={**os.environ, **settings},
        )  # fmt: skip
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        yield url, process
    finally:
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):  # it has ended
                process.kill()
            await process.aclose()


async def _post_and_read(http: httpx2.AsyncClient, secret: str, token: str, lines: Sequence[Line], to: Online) -> None:
    github = Sender(http, secret)
    reading = http.stream(
        "GET", "/events/stream", params={"type": "github.**"}, headers={"authorization": f"Bearer {token}"}
    )
    async with reading as stream, anyio.create_task_group() as tasks:
        stream.raise_for_status()  # whoever has the head of the answer misses nothing from now on
        told = anyio.Event()

        async def read() -> None:
            async for text in stream.aiter_lines():
                if text.startswith("data: "):
                    to.streamed.append(json.loads(text.removeprefix("data: "))["correlationid"])
                    told.set()

        tasks.start_soon(read)
        await _post_all(github, lines, to)
        while len(to.streamed) < len(to.accepted):
            told = anyio.Event()
            await told.wait()
        tasks.cancel_scope.cancel()


async def _post_all(github: Sender, lines: Sequence[Line], to: Online) -> None:
    at_once = anyio.CapacityLimiter(AT_ONCE)

    async def post(line: Line) -> None:
        async with at_once:
            answer = await github.post(line)
        to.statuses[answer.status_code] += 1
        if answer.status_code == httpx2.codes.ACCEPTED:
            to.accepted.append(answer.json()["delivery"])

    async with anyio.create_task_group() as tasks:
        for line in lines:
            tasks.start_soon(post, line)
    for line in lines:
        if github.id_of(line) in to.accepted:
            again = await github.post(line)
            to.repeated = again.status_code, again.json()["repeated"]
            break
    to.forged = (await Sender(github.http, "another-secret").post(lines[0])).status_code


@dataclass(frozen=True)
class Sender:
    """Sends deliveries as GitHub does.

    Args:
        http: Where to.
        secret: The secret of the webhook.
    """

    http: httpx2.AsyncClient
    secret: str

    @staticmethod
    def id_of(line: Line) -> str:
        """Return the id of a delivery, the same each time."""
        return str(uuid5(NAMESPACE_URL, line.where))

    async def post(self, line: Line) -> httpx2.Response:
        """Send one.

        Args:
            line: The delivery.
        """
        delivery: dict[str, Any] = line.delivery or {}
        body = json.dumps(delivery.get("payload")).encode()
        headers = {
            "content-type": "application/json",
            "x-github-event": str(delivery.get("event", "")),
            "x-github-delivery": self.id_of(line),
            "x-hub-signature-256": signature_of(self.secret, body),
        }
        return await self.http.post("/webhooks/github", content=body, headers=headers)
