"""Tokens as text: making one, and the hash that is kept in its place.

Owns the two formats. It imports no kernel, since ``plugbus token new`` needs none.

Why a plain SHA-256: it is told from its hash only by trying, and a token that :func:`new_token` made has 256 random
bits, so there is nothing to try. A salt or a slow hash protect passwords, of which many are alike or can be guessed,
and a slow one would let anybody without credentials keep the server busy.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

__all__ = ("MIN_TOKEN_LENGTH", "digest_of", "hash_of", "new_token", "parsed_hash")

MIN_TOKEN_LENGTH: Final = 16
_PREFIX: Final = "plugbus_"  # so that scanners of repositories can tell what they found
_SCHEME: Final = "sha256:"
_HASH: Final = re.compile(rf"{_SCHEME}[0-9a-f]{{64}}")


def new_token() -> str:
    """Make a token of 256 random bits, as text that fits a header, a URL and a shell."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> bytes:
    """Return the digest of a token; whatever text it is, it has one."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def hash_of(token: str) -> str:
    """Return the hash that stands for a token in settings."""
    return _SCHEME + digest_of(token).hex()


def parsed_hash(text: str) -> bytes:
    """Return the digest that a hash in settings means.

    Raises:
        ValueError: If it is none. The text is not shown: it may be the token itself.
    """
    if not _HASH.fullmatch(text):
        raise ValueError("a hash of a token is 'sha256:' and 64 hexadecimal digits, as 'plugbus token new' prints it")
    return bytes.fromhex(text.removeprefix(_SCHEME))
