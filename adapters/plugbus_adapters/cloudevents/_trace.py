"""W3C trace contexts, as headers and attributes have them: https://www.w3.org/TR/trace-context/."""

from __future__ import annotations

import re
from typing import Final

__all__ = ("trace_context",)

_FIELDS: Final = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<parent>(?!0{16})[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-[\x21-\x7e]*)?"
)
_SAMPLED: Final = 1


def trace_context(text: str) -> str | None:
    """Return a ``traceparent`` of version 00, or None for what is none, which is to be passed over (section 4.3).

    Args:
        text: The header or attribute as it came; of a later version, what is known of that is kept.

    Example:
        >>> trace_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        >>> trace_context("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-07-more")
        '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    """
    found = _FIELDS.fullmatch(text)
    if found is None:
        return None
    if found["version"] == "00":
        return None if found["more"] else text
    return f"00-{found['trace']}-{found['parent']}-{int(found['flags'], 16) & _SAMPLED:02x}"
