"""The plugin: a plain ``def`` observer, so that the bus runs it in a worker thread and the loop stays free."""

from __future__ import annotations

import threading
from collections import deque

from hub_events import AskDigest, DigestReport, Twins, repo_of
from pydantic import BaseModel, ConfigDict, Field

from plugbus import NamedEvent, Plugin, answers, observes

from .simhash import BITS, fingerprint, texts

__all__ = ("Digest",)


class Digest(Plugin):
    """Compares each event with the ones before it; ``AskDigest`` reads what it found.

    It asks for ``NamedEvent``, and so gets plain data, whatever the event's own type is.

    Args:
        settings: How many are remembered, and how near is nearly the same.
    """

    class Settings(BaseModel):
        """What the operator may set."""

        model_config = ConfigDict(extra="forbid")

        remember: int = Field(default=500, ge=1)
        differing_bits: int = Field(default=3, ge=0, lt=64)

    def __init__(self, settings: Settings) -> None:
        self._near = settings.differing_bits
        self._lock = threading.Lock()  # several events may be in worker threads at once
        self._seen: deque[tuple[str, int]] = deque(maxlen=settings.remember)
        self._twins: deque[Twins] = deque(maxlen=settings.remember)
        self._count = 0

    @observes("github.**")
    def compare(self, event: NamedEvent) -> None:
        """Fingerprint one event and look for its twin."""
        mark = fingerprint(texts(event.data))
        label = f"{event.name} {repo_of(event) or ''}".rstrip()
        with self._lock:
            self._count += 1
            if not mark:
                return  # without a word there is nothing to compare
            bits, nearest = min((((mark ^ other).bit_count(), name) for name, other in self._seen), default=(BITS, ""))
            if bits <= self._near:
                self._twins.append(Twins(first=nearest, second=label, differing_bits=bits))
            self._seen.append((label, mark))

    @answers(AskDigest)
    async def read(self, _: AskDigest) -> DigestReport:
        """Answer with what was found so far."""
        with self._lock:
            return DigestReport(fingerprinted=self._count, twins=tuple(self._twins))
