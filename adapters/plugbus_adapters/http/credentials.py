"""What a request brings to say who asks.

Owns the reading of headers; whether anybody believes them is for ``security.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Final, final

__all__ = ("Credentials", "credentials_from")

# RFC 6750, section 2.1, and RFC 9110, section 11.4: a scheme and a token68
_AUTHORIZATION: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+) +([0-9A-Za-z._~+/-]+=*)")
_NO_MAPPING: Final[Mapping[str, Any]] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return _NO_MAPPING


@final
@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brings to say who asks. Only the scheme and the client's address show in its ``repr``.

    Args:
        scheme: The scheme of ``Authorization``, in lower case, such as ``bearer``; empty without a valid one.
        token: What follows the scheme.
        headers: All headers by their names in lower case; of one that came twice, the values joined by commas.
        cookies: The cookies by name.
        client: The address of the peer, or None where there is none.
        session: What the session cookie holds, checked and decoded; empty without one.

    Example:
        >>> Credentials("bearer", "plugbus_secret")
        Credentials(scheme='bearer', client=None)
    """

    scheme: str = ""
    token: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=_nothing, repr=False)
    cookies: Mapping[str, str] = field(default_factory=_nothing, repr=False)
    client: str | None = None
    session: Mapping[str, Any] = field(default_factory=_nothing, repr=False)


def credentials_from(
    headers: Iterable[tuple[bytes, bytes]], *, client: str | None = None, session: Mapping[str, Any] = _NO_MAPPING
) -> Credentials:
    """Read the credentials out of the headers of a request.

    A second ``Authorization`` or one of another form counts as none: which of two to believe is a guess, and a proxy
    before us may have guessed otherwise.

    Args:
        headers: Names and values, as ASGI has them.
        client: The address of the peer.
        session: What a session middleware found.

    Example:
        >>> credentials_from([(b"authorization", b"Bearer abc")]).token
        'abc'
    """
    given = tuple(headers)
    values = [value.decode("latin-1") for name, value in given if name.lower() == b"authorization"]
    found = _AUTHORIZATION.fullmatch(", ".join(values)) if values else None
    scheme, token = (found[1].lower(), found[2]) if found else ("", "")
    joined = _Looked(partial(_joined, given))
    return Credentials(scheme, token, joined, _Looked(partial(_cookies_in, joined)), client, session)


def _joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw, value in headers:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        separator = "; " if name == "cookie" else ", "
        joined[name] = f"{joined[name]}{separator}{text}" if name in joined else text
    return joined


def _cookies_in(headers: Mapping[str, str]) -> dict[str, str]:
    pairs = (each.partition("=") for each in headers.get("cookie", "").split(";"))
    return {name.strip(): value.strip() for name, equals, value in pairs if equals}


@final
class _Looked(Mapping[str, str]):
    """A mapping that is made when somebody looks: who knows a token by its hash does not, and every request pays."""

    __slots__ = ("_found", "_make")

    def __init__(self, make: Callable[[], dict[str, str]]) -> None:
        self._make = make
        self._found: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._found is None:
            self._found = self._make()
        return self._found

    def __getitem__(self, key: str) -> str:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())
