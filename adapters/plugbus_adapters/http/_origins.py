"""Origins, as browsers send them: whose page is asking.

Owns their form (RFC 6454, section 6.2) and whether one is the server's own.
"""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

__all__ = ("origin_allowed", "parsed_origin")

_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def parsed_origin(text: str) -> str:
    """Return an origin of the settings as browsers write it: in lower case, without the default port.

    Raises:
        ValueError: If it is none. ``*`` and ``null`` are none: both would let any page in.
    """
    lowered = text.lower()
    if not _ORIGIN.fullmatch(lowered):
        raise ValueError("give an origin such as https://shop.example, without a path; '*' and 'null' are not taken")
    return lowered.removesuffix(_DEFAULT_PORTS[lowered.partition(":")[0]])


def origin_allowed(origin: str | None, *, scheme: str, host: str | None, allowed: Container[str]) -> bool:
    """Tell whether a page of an origin may ask with the user's cookies.

    A page over HTTPS may ask over HTTP: what looks like that is a proxy which ends TLS. The other way round, a page
    that somebody on the way could have changed would ask over HTTPS.

    Args:
        origin: The header ``Origin``; None where there was none, as with any client that is no browser.
        scheme: Of the request: ``http``, ``https``, ``ws`` or ``wss``.
        host: The header ``Host``.
        allowed: Further origins, as :func:`parsed_origin` returns them.

    Example:
        >>> origin_allowed("https://shop.example", scheme="wss", host="shop.example", allowed=())
        True
        >>> origin_allowed("https://evil.example", scheme="wss", host="shop.example", allowed=())
        False
    """
    if origin is None or origin in allowed:
        return True
    if host is None or (scheme in {"https", "wss"} and not origin.startswith("https:")):
        return False
    try:
        return parsed_origin(origin) == parsed_origin(f"{origin.partition(':')[0]}://{host}")
    except ValueError:
        return False
