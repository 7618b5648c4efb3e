"""A fingerprint of text that changes little when the text changes little (Charikar's SimHash).

Plain computation, all of it on the processor, which is why the plugin runs it in worker threads.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import zip_longest

__all__ = ("BITS", "fingerprint", "texts")

BITS = 64
_WORD = re.compile(r"\w+")


def texts(data: object) -> Iterator[str]:
    """Yield every text in plain data, at any depth, in order.

    Args:
        data: What JSON can hold.

    Example:
        >>> list(texts({"title": "Leak", "labels": ["bug", 1], "user": {"login": "mira"}}))
        ['Leak', 'bug', 'mira']
    """
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(reversed(item.values()))
        elif isinstance(item, list | tuple):
            waiting.extend(reversed(item))


def fingerprint(parts: Iterable[str]) -> int:
    """Return the 64-bit SimHash over the pairs of neighbouring words, 0 where there is no word.

    Args:
        parts: The texts.

    Example:
        >>> fingerprint(["no words are different"]) == fingerprint(["No words", "are different!"])
        True
    """
    words = [word.lower() for part in parts for word in _WORD.findall(part)]
    weights = [0] * BITS
    for pair in zip_longest(words, words[1:], fillvalue=""):
        digest = int.from_bytes(hashlib.blake2b(" ".join(pair).encode(), digest_size=BITS // 8).digest())
        for bit in range(BITS):
            weights[bit] += 1 if digest >> bit & 1 else -1
    return sum(1 << bit for bit in range(BITS) if weights[bit] > 0)
