"""What the hub's plugins can be asked, what they answer, and what they ask of the host."""

from __future__ import annotations

from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from plugbus import Request

__all__ = (
    "AskAudit",
    "AskDigest",
    "AskFeed",
    "AskJournal",
    "AskNotify",
    "AskStats",
    "AskTemplates",
    "AuditBook",
    "Chat",
    "ChatDownError",
    "Deliver",
    "DigestReport",
    "Feed",
    "JournalReport",
    "NotifyReport",
    "Receipt",
    "StatsTable",
    "TemplatesReport",
    "Twins",
)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Receipt(_Answer):
    """A delivery became an event, and nobody objected."""

    name: str
    typed: bool


class Deliver(Request[Receipt], name="hub.deliver"):
    """One delivery as it came in; anything goes here, since judging it is the handler's job.

    Refused with ``Invalid`` when it is malformed, and with whatever a listener refuses its event with.
    """

    event: Any = None
    payload: Any = None


class AuditBook(_Answer):
    """How the events went that entered the chain: entered = passed + refused + failed once all is quiet."""

    entered: int
    passed: int
    refused: int
    failed: int


class AskAudit(Request[AuditBook], name="hub.audit.book"):
    """Read the audit's book."""


class StatsTable(_Answer):
    """Events that went through, by wire name, and those of the watched repositories."""

    by_name: dict[str, int]
    watched: dict[str, int]


class AskStats(Request[StatsTable], name="hub.stats.table"):
    """Read the statistics."""


class Twins(_Answer):
    """Two events whose content is nearly the same."""

    first: str
    second: str
    differing_bits: int


class DigestReport(_Answer):
    """What the fingerprints of the events say."""

    fingerprinted: int
    twins: tuple[Twins, ...]


class AskDigest(Request[DigestReport], name="hub.digest.report"):
    """Read what the digests found."""


class NotifyReport(_Answer):
    """How the notifications went: asked = sent + failed + timed_out + skipped + left_over."""

    asked: int
    sent: int
    retried: int
    failed: int
    timed_out: int
    skipped: int
    left_over: int


class AskNotify(Request[NotifyReport], name="hub.notify.report"):
    """Read how the notifications went."""


class TemplatesReport(_Answer):
    """Which plugin has the words for which messages, and how many were put into words."""

    owners: dict[str, str]
    rendered: int


class AskTemplates(Request[TemplatesReport], name="hub.templates.report"):
    """Read what templates there are."""


class JournalReport(_Answer):
    """The deliveries whose transactions were committed, and how many were rolled back."""

    deliveries: int
    events: int
    rolled_back: int


class AskJournal(Request[JournalReport], name="hub.journal.report"):
    """Read how much is in the journal."""


class Feed(_Answer):
    """The newest lines of the old text feed."""

    lines: tuple[str, ...]
    written: int


class AskFeed(Request[Feed], name="hub.legacy.feed"):
    """Read the old text feed."""


class ChatDownError(Exception):
    """The chat did not take a message; trying again may help."""


class Chat(Protocol):
    """The chat that notifications go to; the host provides one."""

    async def send(self, text: str) -> None:
        """Deliver one message; may take long.

        Raises:
            ChatDownError: If the chat did not take it.
        """
