"""The plugin: an async observer with a time limit and a breaker, because the chat fails and hangs now and then."""

from __future__ import annotations

from collections import Counter

from hub_events import (
    AskNotify,
    Chat,
    ChatDownError,
    DeploymentStatus,
    Issues,
    NotifyReport,
    PullRequest,
    Release,
)
from pydantic import BaseModel, ConfigDict, Field

from plugbus import (
    Breaker,
    BreakerOpenError,
    Clock,
    ListenerFailed,
    ListenerTimeoutError,
    Plugin,
    answers,
    observes,
)

__all__ = ("Headline", "Notify")

WORTH_TELLING = (Issues, PullRequest, Release, DeploymentStatus)


class Headline(BaseModel):
    """The view that this plugin takes of an event: what fits into one line."""

    repo: str
    action: str
    title: str | None = None


class Notify(Plugin):
    """Sends a line to the chat for each event worth telling; ``AskNotify`` reads how that went.

    A message that the chat does not take is tried again; one that hangs is given up by the bus.

    Args:
        chat: The outside system; the host provides it.
        clock: Waits between attempts.
        settings: How often, and how long between.
    """

    class Settings(BaseModel):
        """What the operator may set."""

        model_config = ConfigDict(extra="forbid")

        attempts: int = Field(default=2, ge=1)
        pause_seconds: float = Field(default=0.001, ge=0)

    def __init__(self, chat: Chat, clock: Clock, settings: Settings) -> None:
        self._chat, self._clock, self._settings = chat, clock, settings
        self._count: Counter[str] = Counter()

    @observes(WORTH_TELLING, run_in="caller", priority=90)
    def expect(self, _: Headline) -> None:
        """Count what is to be sent, so that a lost message would show."""
        self._count["asked"] += 1

    @observes(WORTH_TELLING, timeout_seconds=0.25, breaker=Breaker(failures=3, cooldown_seconds=0.5))
    async def tell(self, headline: Headline) -> None:
        """Send one line.

        Raises:
            ChatDownError: If the chat did not take it in any attempt.
        """
        text = f"[{headline.repo}] {headline.action}: {headline.title or '(no title)'}"
        for left in reversed(range(self._settings.attempts)):
            try:
                await self._chat.send(text)
            except ChatDownError:
                if not left:
                    raise
                self._count["retried"] += 1
                await self._clock.sleep(self._settings.pause_seconds)
            else:
                self._count["sent"] += 1
                return

    @observes(ListenerFailed, where=lambda failure: failure.plugin == "notify", run_in="caller")
    def count_failure(self, failure: ListenerFailed) -> None:
        """Count what the bus says about this plugin's own failures: it alone sees time limit and breaker."""
        kinds = {ListenerTimeoutError: "timed_out", BreakerOpenError: "skipped"}
        self._count[kinds.get(type(failure.error), "failed")] += 1

    @answers(AskNotify)
    async def read(self, _: AskNotify) -> NotifyReport:
        """Answer with the counts as they are now."""
        return NotifyReport(**{column: self._count[column] for column in NotifyReport.model_fields})
