"""How messages are told apart in a pipe: eight bytes of length, then the message."""

from __future__ import annotations

from typing import IO, Final

_HEAD: Final = 8


def write(pipe: IO[bytes], message: bytes) -> None:
    """Send a message.

    Raises:
        OSError: If nobody reads any more.
    """
    pipe.write(len(message).to_bytes(_HEAD, "big"))
    pipe.write(message)
    pipe.flush()


def read(pipe: IO[bytes]) -> bytes | None:
    """Wait for a message; ``None`` if the other end is gone, also in the middle of one."""
    head = pipe.read(_HEAD)
    length = int.from_bytes(head, "big")
    if len(head) < _HEAD:
        return None
    message = pipe.read(length)
    return message if len(message) == length else None
