"""What of a request is too much, or cannot be meant: its headers, its path, its body.

Owns the limits, without a web framework. A body is counted as it comes: what its headers say of it is not believed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final, TypeAlias, final

import anyio

from plugbus_adapters.http.problems import ProblemError
from plugbus_adapters.http.settings import HttpSettings

__all__ = ("TIMED", "Body", "Message", "Receive", "Scope", "Send", "checked_head")

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

TIMED: Final = "plugbus.timed"
"""In the state of a scope: the server itself bounds the time that a body takes, at less cost."""
_CONTROL: Final = bytes({*range(32), 127} - {9})  # a tab may stand within a header: RFC 9110, section 5.5
_CONTROL_IN_PATH: Final = re.compile(r"[\x00-\x1f\x7f]")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_ZLIB_OF: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def checked_head(scope: Scope, settings: HttpSettings) -> Body | None:
    """Return what counts the body of a request; None if it has none.

    Args:
        scope: The ASGI scope.
        settings: The limits.

    Raises:
        ProblemError: 400, 413, 415 or 431: nothing of the body needs to be read to refuse it.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    everything = b"".join(map(b"".join, headers))
    if len(headers) > settings.max_headers or len(everything) > settings.max_header_bytes:
        raise ProblemError(431, "the headers are too many, or too large", code="too_many_headers")
    path: str = scope["path"]
    odd_path = not path.isprintable() and _CONTROL_IN_PATH.search(path)  # the former is quick, and has more in it
    if odd_path or len(everything.translate(None, _CONTROL)) != len(everything):
        raise ProblemError(400, "a control character in the path or a header", code="bad_request")
    present = dict(headers)
    chunked = b"transfer-encoding" in present
    if b"content-length" in present:
        lengths = [value for name, value in headers if name == b"content-length"]
        _check_lengths(lengths, settings.max_body_bytes)
        if chunked:  # RFC 9112, section 6.1: a server may refuse it, and whoever sends both may be smuggling
            raise ProblemError(400, "Content-Length and Transfer-Encoding contradict each other", code="bad_request")
    elif not chunked and scope.get("http_version", "1.1") < "2":
        return None  # in HTTP/1 a request that says nothing of a body has none
    encoding = _encoding(headers, settings.accept_encodings) if b"content-encoding" in present else None
    return Body(settings, encoding, timed=TIMED in scope.get("state", ()))


def _check_lengths(lengths: list[bytes], most: int) -> None:
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise ProblemError(400, "Content-Length is not one number", code="bad_request")
    if int(lengths[0]) > most:
        raise too_large(most)


def _encoding(headers: Iterable[tuple[bytes, bytes]], accepted: tuple[str, ...]) -> str | None:
    found = [value.strip().lower() for name, value in headers if name == b"content-encoding"]
    named = [each.decode("latin-1") for each in found if each not in {b"", b"identity"}]
    if not named:
        return None
    if len(named) > 1 or named[0] not in accepted:
        told = ", ".join(accepted) or "identity"
        raise ProblemError(
            415, "a body that is compressed like this is not taken", code="bad_encoding",
            headers=[("accept-encoding", told)],
        )  # fmt: skip
    return named[0]


def too_large(max_bytes: int) -> ProblemError:
    """Return what refuses a body that is too large."""
    return ProblemError(413, f"the body is larger than {max_bytes} bytes", code="too_large")


@final
class Body:
    """A body on its way in: counted, decompressed where that is allowed, and not waited for any longer than allowed.

    Args:
        settings: The limits.
        encoding: How it is compressed.
        timed: Whether the server bounds the time already.

    Attributes:
        failure: Why it was refused, once it was; whatever becomes of it above, this is the answer.
    """

    def __init__(self, settings: HttpSettings, encoding: str | None, *, timed: bool = False) -> None:
        self.failure: ProblemError | None = None
        self.encoding = encoding
        self._most = settings.max_body_bytes
        self._seconds, self._timed = settings.body_seconds, timed
        self._size = self._raw = 0
        self._over = False
        self._inflate = None if encoding is None else zlib.decompressobj(_ZLIB_OF[encoding])

    async def receive(self, receive: Receive) -> Message:
        """Return the next message of a request.

        Args:
            receive: What the server gave.

        Raises:
            ProblemError: 413, 408 or 400; the same again to who asks again.
        """
        if self._over:
            return await receive()  # until the client goes away, which may take as long as it likes
        if self.failure is not None:
            raise self.failure
        if self._timed:
            message = await receive()
            return message if message["type"] != "http.request" else self._counted(message)
        started = anyio.current_time()
        with anyio.move_on_after(self._seconds):
            message = await receive()
            self._seconds -= anyio.current_time() - started
            return message if message["type"] != "http.request" else self._counted(message)
        raise self._failed(ProblemError(408, "the body took too long to arrive", code="body_too_slow"))

    def _counted(self, message: Message) -> Message:
        part, self._over = message.get("body", b""), not message.get("more_body", False)
        self._raw += len(part)
        if self._inflate is None:
            self._size = self._raw
        else:
            part = self._inflated(part)
            self._size += len(part)
            message = {**message, "body": part}
        if self._size > self._most or self._raw > self._most:
            self._over = False
            raise self._failed(too_large(self._most))
        return message

    def _inflated(self, part: bytes) -> bytes:
        """Decompress no more than may come, plus the byte that tells that there is more."""
        decompressor = self._inflate
        assert decompressor is not None
        try:
            out = decompressor.decompress(part, self._most - self._size + 1)
        except zlib.error:
            self._over = False
            raise self._failed(ProblemError(400, "the body cannot be decompressed", code="bad_encoding")) from None
        within = len(out) + self._size <= self._most
        if within and (decompressor.unused_data or (self._over and not decompressor.eof)):
            self._over = False
            raise self._failed(ProblemError(400, "the compressed body does not end where it says", code="bad_encoding"))
        return out

    def _failed(self, error: ProblemError) -> ProblemError:
        self.failure = error
        return error
