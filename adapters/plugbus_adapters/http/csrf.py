"""Requests that another site's page makes a browser send.

Owns telling them apart, by what the browser itself says: ``Sec-Fetch-Site``, and ``Origin`` where that is missing.
Every browser since 2023 sends the former and since 2020 the latter with whatever is not a GET or HEAD, and no page can
change them; so forms need no secret field. See docs/concepts/threat-model.md.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final

from plugbus_adapters.http._origins import origin_allowed

__all__ = ("is_cross_site",)

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110, section 9.2.1
_OWN: Final = frozenset({b"same-origin", b"none"})  # none: the user typed the address


def is_cross_site(method: str, headers: Iterable[tuple[bytes, bytes]], *, scheme: str, allowed: Container[str]) -> bool:
    """Tell whether a request that may change something comes from another site's page, with the user's cookies.

    One with ``Authorization`` does not: a browser adds none by itself, and lets no other site add it unless CORS does.

    Args:
        method: The method.
        headers: Names in lower case, and values.
        scheme: ``http`` or ``https``.
        allowed: Origins that may.

    Example:
        >>> evil = [(b"host", b"shop.example"), (b"origin", b"https://evil.example")]
        >>> (
        ...     is_cross_site("POST", evil, scheme="https", allowed=()),
        ...     is_cross_site("GET", evil, scheme="https", allowed=()),
        ... )
        (True, False)
    """
    if method in _SAFE:
        return False
    found = dict(headers)
    if b"authorization" in found:
        return False
    origin = found[b"origin"].decode("latin-1") if b"origin" in found else None
    if origin is not None and origin in allowed:
        return False
    if b"sec-fetch-site" in found:
        return found[b"sec-fetch-site"] not in _OWN
    host = found[b"host"].decode("latin-1") if b"host" in found else None
    return not origin_allowed(origin, scheme=scheme, host=host, allowed=())
