"""H3 and H4: what readers of server-sent events cost, and what those that are slow cost everybody else.

As with requests, the figure is what a worker's core spends; of memory, what the server's process grows by.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from functools import partial

from benchmarks.harness import Case, WrongAnswerError
from benchmarks.http_apps import ANSWER, BODY, TOKEN
from benchmarks.http_load import Load, request_of
from benchmarks.http_server import Server
from benchmarks.memory import KIB, allowed
from benchmarks.sides import Pair, Side

STREAM = f"GET /events/stream HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {TOKEN}\r\n\r\n".encode()
IDLE = 1_000
SLOW = 200
SLOW_BYTES, SLOW_SECONDS = 8 * KIB, 1.0
"""What a slow reader reads, and how often: less than it is sent, and more than would have it cut off."""
FILL = 5_000
"""Events that a slow reader has before it: more than it reads in the time of a row."""
SAMPLE = 400


class _Reader(asyncio.Protocol):
    """Counts events; a chunk may end anywhere, so the end of each is looked at again."""

    def __init__(self, told: Callable[[], None]) -> None:
        self._told, self._tail = told, b""
        self.events, self.wanted = 0, 0
        self.greeted = False
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        transport.write(STREAM)

    def data_received(self, data: bytes) -> None:
        if not self.greeted:
            self.greeted = True
            if not data.startswith(b"HTTP/1.1 200 "):
                raise WrongAnswerError(f"the stream began with {data!r}")
            self._told()
        text = self._tail + data
        self._tail = text[-5:]
        found = text.count(b"\ndata:")
        if found:
            before, self.events = self.events, self.events + found
            if before < self.wanted <= self.events:
                self._told()


class Streams:
    """A server and its readers."""

    def __init__(self, app: str, readers: int) -> None:
        _allow_files()
        self.server = Server(app)
        self._readers: list[_Reader] = []
        self._count = readers
        self._waiting = 0
        self._done: asyncio.Future[None]
        self._emits: dict[int, Load] = {}

    async def open(self) -> None:
        """Have all readers read."""
        if self._readers:
            return
        loop = asyncio.get_running_loop()
        self._expect()
        for _ in range(self._count):
            _, reader = await loop.create_connection(lambda: _Reader(self._told), "127.0.0.1", self.server.port)
            self._readers.append(reader)
        await self._done

    async def deliver(self, events: int) -> float:
        """Have events emitted, wait until every reader has all, and return what that took of the core."""
        before = self.server.core_seconds()
        self._expect()
        for reader in self._readers:
            reader.wanted = reader.events + events
        await self.emit(events)
        await self._done
        seconds = self.server.core_seconds() - before
        if any(reader.events != reader.wanted for reader in self._readers):
            raise WrongAnswerError("a reader got more events than there were")
        return seconds

    async def emit(self, events: int, path: str = "/emit") -> None:
        load = self._emits.get(events)
        if load is None:
            request = request_of(f"{path}/{events}", b"")
            load = self._emits[events] = Load(self.server.port, request, b"true", 1)
        await load.open()
        await load.run(1)

    def _expect(self) -> None:
        self._waiting = self._count
        self._done = asyncio.get_running_loop().create_future()

    def _told(self) -> None:
        self._waiting -= 1
        if not self._waiting and not self._done.done():
            self._done.set_result(None)

    async def close(self) -> None:
        for reader in self._readers:
            reader.transport.abort()
        for load in self._emits.values():
            load.close()
        await asyncio.sleep(0)
        self.server.close()


def _allow_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, most), most))


def fan_out(readers: int) -> Pair:
    """Compare what delivering one event to one reader takes."""
    events = max(20, 1000 // readers)

    def side(streams: Streams) -> Side:
        async def run(times: int) -> tuple[float, object]:
            await streams.open()
            return await streams.deliver(events) * times / (events * readers), True

        return Side(run, answer=True)

    ours, theirs = (Streams(app, readers) for app in ("ours-streams", "bare-streams"))

    async def close() -> None:
        await theirs.close()
        await ours.close()

    return Pair(side(ours), side(theirs), close)


def idle_readers() -> Pair:
    """Weigh what the process grows by with each reader that hears nothing."""
    streams = Streams("ours-streams", IDLE)
    held: list[float] = []

    async def run(times: int) -> tuple[float, object]:
        if not held:
            await streams.emit(1)
            before = streams.server.resident_bytes()
            await streams.open()
            held.append((streams.server.resident_bytes() - before) / IDLE)
        return times * held[0], True

    return Pair(Side(run, answer=True), Side(allowed(64 * KIB), answer=True), streams.close)


class SlowReaders:
    """Readers that take a little now and then, so that the server always has more for them than they take."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._sockets: list[socket.socket] = []
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        if self._sockets:
            return
        loop = asyncio.get_running_loop()
        for _ in range(SLOW):
            found = socket.socket()
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            found.settimeout(0)
            self._sockets.append(found)
            await loop.sock_connect(found, ("127.0.0.1", self._streams.server.port))
            await loop.sock_sendall(found, STREAM)
            if not (await loop.sock_recv(found, 1024)).startswith(b"HTTP/1.1 200 "):
                raise WrongAnswerError("a slow reader was refused")
        await self._streams.emit(FILL, "/fill")
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            for found in self._sockets:
                await asyncio.sleep(SLOW_SECONDS / SLOW)
                try:
                    data = found.recv(SLOW_BYTES)
                except BlockingIOError:
                    continue
                if not data:
                    raise WrongAnswerError("a slow reader was cut off")

    def check(self) -> None:
        """Raise what ended the reading, if something did."""
        if self._reading is not None and self._reading.done():
            self._reading.result()

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        for found in self._sockets:
            found.close()


def beside_slow_readers() -> Pair:
    """Compare how long the slowest of a hundred requests takes, with and without slow readers."""
    crowded, alone = Streams("ours-streams", 0), Streams("ours-streams", 0)
    slow = SlowReaders(crowded)
    loads = [Load(each.server.port, request_of("/orders", BODY), ANSWER, 4) for each in (crowded, alone)]

    async def run(load: Load, times: int) -> tuple[float, object]:
        if load is loads[0]:
            await slow.open()
            slow.check()
        await load.open()
        await load.run(SAMPLE)
        return sorted(load.seconds)[SAMPLE * 99 // 100] * times, True

    async def close() -> None:
        await slow.close()
        for load in loads:
            load.close()
        for each in (alone, crowded):
            await each.close()

    ours, theirs = (Side(partial(run, load), answer=True) for load in loads)
    return Pair(ours, theirs, close)


CASES = (
    *(
        Case(
            "H3",
            f"core time of one event to each of {readers:,} readers",
            "a queue each in bare Starlette",
            1 / 0.8,
            partial(fan_out, readers),
            loop="asyncio",
            rounds=9,
            turns=3,
        )
        for readers in (1, 100, 1_000)
    ),
    Case(
        "H3", f"held by each of {IDLE:,} idle readers", "64 KiB", 1.0, idle_readers,
        loop="asyncio", rounds=2, turns=1, unit="B",
    ),
    Case(
        "H4", f"p99 of a request beside {SLOW} slow readers", "without them", 1.3, beside_slow_readers,
        loop="asyncio", rounds=15, turns=3,
    ),
)  # fmt: skip
