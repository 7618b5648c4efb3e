"""Server-sent events as they come out of a connection, within bounds.

Owns the format (https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6) without any transport.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple, final

__all__ = ("Frame", "FrameError", "Frames")

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_ID: Final = re.compile("[\x21-\x7e]{0,256}")  # it goes back in a header
_BOM: Final = b"\xef\xbb\xbf"


class FrameError(ValueError):
    """What came is no stream of events, or more than a client holds."""


@final
class Frame(NamedTuple):
    """One event as it was sent.

    Attributes:
        event: What kind; ``message`` unless said, and ``place`` for an id without content.
        data: Its content.
        id: The last id that was sent, with this event or before; empty if there was none.
    """

    event: str
    data: str
    id: str


@final
class Frames:
    r"""Takes bytes and gives events; holds at most one event, and that within its bound.

    Args:
        max_bytes: How long an event may be, all its lines together, in bytes.

    Attributes:
        alive: How many events and comments there were: signs of a server that is well.

    Example:
        >>> frames = Frames(max_bytes=100)
        >>> [(frame.data, frame.id) for frame in frames.feed(b"id: 7\ndata: a\n\n: well\n\ndata: b")]
        [('a', '7')]
    """

    __slots__ = ("_begun", "_data", "_event", "_id", "_last_id", "_max_bytes", "_rest", "_searched", "_size", "alive")

    def __init__(self, max_bytes: int) -> None:
        self._last_id, self.alive = "", 0
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._searched = 0
        self._begun = False
        self._id = ""
        self._clear()

    def _clear(self) -> None:
        self._event, self._data, self._size = "", list[bytes](), 0

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the events that are complete with a chunk.

        Raises:
            FrameError: If an event is longer than its bound, or no event at all.
        """
        for line in self._lines(chunk):
            if line:
                self._take(line)
            elif (frame := self._dispatch()) is not None:
                yield frame
        if self._size + len(self._rest) > self._max_bytes:
            self._refuse()

    def _lines(self, chunk: bytes) -> list[bytes]:
        """Return the lines that are complete with a chunk, and keep the rest."""
        rest, lines, start = self._rest, list[bytes](), 0
        rest += chunk
        for end in list(_LINE_END.finditer(rest, self._searched)):  # a list, for nothing may look on while it shrinks
            if end.group() == b"\r" and end.end() == len(rest):
                break  # it may be half of a line end
            lines.append(bytes(rest[start : end.start()]))
            start = end.end()
        del rest[:start]
        self._searched = max(0, len(rest) - 1)
        return lines

    def _take(self, line: bytes) -> None:
        if not self._begun:
            self._begun, line = True, line.removeprefix(_BOM)
        self._size += len(line)
        if self._size > self._max_bytes:
            self._refuse()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not name:
            self.alive += 1
        elif name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = _text(value)
        elif name == b"id" and b"\0" not in value:
            self._id = _text(value)
            if not _ID.fullmatch(self._id):
                raise FrameError("the id of an event is no cursor")

    def _dispatch(self) -> Frame | None:
        """Return the event that an empty line ends."""
        event, data, moved = self._event, self._data, self._id != self._last_id
        self._last_id = self._id
        self._clear()
        if not data:
            return Frame("place", "", self._id) if moved else None
        self.alive += 1
        return Frame(event or "message", _text(b"\n".join(data)), self._id)

    def _refuse(self) -> None:
        raise FrameError(f"an event is longer than {self._max_bytes} bytes")


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise FrameError("an event is no text in UTF-8") from None
