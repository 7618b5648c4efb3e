"""JSON from outside: what is odd in it is refused before a handler sees it.

Owns depth and size of numbers; the parser itself (pydantic's) stops at 201 levels, at numbers of 4,300 digits, at bad
UTF-8 and at lone surrogates, each with a ValueError and in the time that the text up to there takes.
"""

from __future__ import annotations

import math
import re
from typing import Any, Final

from pydantic_core import from_json

__all__ = ("is_plain", "parse_json")

# An exponent of three digits may be infinite, and 90 digits may be too many. Each is looked for by what is quick at it:
# one expression for all takes four times as long.
_EXPONENT: Final = re.compile(rb"[0-9][eE]\+?0*[1-9][0-9]{2}")
_FEW_DIGITS: Final = 90
_MANY_DIGITS: Final = b"0" * _FEW_DIGITS
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")


def is_plain(text: bytes, *, max_depth: int, max_digits: int) -> bool:
    """Tell whether a JSON text cannot be beyond the limits; if not, it may only look so, and is to be parsed by itself.

    Args:
        text: The text.
        max_depth: As for :func:`parse_json`.
        max_digits: As for :func:`parse_json`.
    """
    few = text.count(b"[") + text.count(b"{") <= max_depth
    return (
        few
        and max_digits >= _FEW_DIGITS
        and b"NaN" not in text
        and b"Infinity" not in text
        and _MANY_DIGITS not in text.translate(_DIGITS)
        and _EXPONENT.search(text) is None
    )


def parse_json(text: bytes, *, max_depth: int, max_digits: int) -> Any:
    """Return what a JSON text says, as plain data.

    Args:
        text: UTF-8 without a byte order mark (RFC 8259, section 8.1).
        max_depth: How many lists and objects may be within each other.
        max_digits: How many digits a whole number may have.

    Raises:
        ValueError: If it is no JSON, too deep, or a number in it is too large, infinite or none. What it says can be
            shown: it names the place, and nothing of the text.

    Example:
        >>> parse_json(b'{"a": [1, 2]}', max_depth=2, max_digits=10)
        {'a': [1, 2]}
        >>> parse_json(b"[[[1]]]", max_depth=2, max_digits=10)
        Traceback (most recent call last):
        ValueError: more than 2 lists and objects within each other
    """
    value = from_json(text, allow_inf_nan=False)
    if not is_plain(text, max_depth=max_depth, max_digits=max_digits):
        _judge(value, max_depth, 10**max_digits)
    return value


def _judge(value: Any, max_depth: int, bound: int) -> None:
    """Look at all of it, level by level; no recursion, and each level costs what stands on it."""
    level: list[Any] = [[value]]
    depth = -1
    while level:
        depth += 1
        if depth > max_depth:
            raise ValueError(f"more than {max_depth} lists and objects within each other")
        below: list[Any] = []
        for container in level:
            for child in container.values() if type(container) is dict else container:
                kind = type(child)
                if kind is dict or kind is list:
                    below.append(child)
                elif (kind is int and not -bound < child < bound) or (kind is float and not math.isfinite(child)):
                    raise ValueError("number out of range")
        level = below
