"""The plugin: background work with retries, a time limit and a breaker, for the chat fails and hangs now and then."""

from __future__ import annotations

from collections import Counter

import anyio
from hub_events import (
    AskNotify,
    Chat,
    DeploymentStatus,
    Issues,
    Message,
    NotifyReport,
    PullRequest,
    Release,
    Render,
)
from pydantic import BaseModel, ConfigDict, Field

from plugbus import (
    Breaker,
    BreakerOpenError,
    EventBus,
    ListenerFailed,
    ListenerTimeoutError,
    NoHandlerError,
    NotDeliveredError,
    NotFound,
    Plugin,
    Retry,
    answers,
    current,
    observes,
)

__all__ = ("Headline", "Notify")

ENDS = ("sent", "failed", "timed_out", "skipped", "left_over")
WORTH_TELLING = (Issues, PullRequest, Release, DeploymentStatus)


class Headline(BaseModel):
    """The view that this plugin takes of an event: what fits into one line."""

    repo: str
    action: str
    actor: str = "ghost"
    title: str | None = None


class Notify(Plugin):
    """Sends a line to the chat for each event worth telling; ``AskNotify`` reads how that went.

    It does so in the background, in order within each repository: who delivers an event does not wait for the chat.
    A message that the chat does not take, or not in time, is tried again. Other plugins may have the words for it.

    Args:
        bus: Where it subscribes, with what the operator has set.
        chat: The outside system; the host provides it.
        settings: How often, and how long between.
    """

    class Settings(BaseModel):
        """What the operator may set."""

        model_config = ConfigDict(extra="forbid")

        attempts: int = Field(default=2, ge=1)
        pause_seconds: float = Field(default=0.001, ge=0)

    def __init__(self, bus: EventBus, chat: Chat, settings: Settings) -> None:
        self._bus, self._chat = bus, chat
        self._count: Counter[str] = Counter()
        self._ended = anyio.Event()
        bus.observe(
            WORTH_TELLING,
            self.tell,
            name="tell",
            background=True,
            retry=Retry(attempts=settings.attempts, delay_seconds=settings.pause_seconds, jitter=False),
            timeout_seconds=0.25,
            breaker=Breaker(failures=3, cooldown_seconds=0.1),
        )

    @observes(WORTH_TELLING, run_in="caller", priority=90)
    def expect(self, _: Headline) -> None:
        """Count what is to be sent, so that a lost message would show."""
        self._count["asked"] += 1

    async def tell(self, headline: Headline) -> None:
        """Send one line.

        Raises:
            ChatDownError: If the chat did not take it.
        """
        await self._chat.send(await self._words_for(headline))
        self._end("sent")

    async def _words_for(self, headline: Headline) -> str:
        """Ask the other plugins for the words, and do without where they have none."""
        emit, title = current(), headline.title or "(no title)"
        facts = {**headline.model_dump(), "name": emit.event.removeprefix("github.") if emit else "", "title": title}
        try:
            return await self._bus.acall(Render(message=Message.model_validate(facts)))
        except (NoHandlerError, NotFound):
            return f"[{headline.repo}] {headline.action}: {title}"

    @observes(ListenerFailed, where=lambda failure: failure.plugin == "notify", run_in="caller")
    def count_failure(self, failure: ListenerFailed) -> None:
        """Count what the bus says about this plugin's messages after their last attempt."""
        kinds = {ListenerTimeoutError: "timed_out", BreakerOpenError: "skipped", NotDeliveredError: "left_over"}
        self._end(kinds.get(type(failure.error), "failed"))

    def _end(self, how: str) -> None:
        self._count[how] += 1
        self._ended.set()
        self._ended = anyio.Event()

    @answers(AskNotify)
    async def read(self, _: AskNotify) -> NotifyReport:
        """Answer with the counts, once all that was to be sent has ended."""
        while sum(self._count[how] for how in ENDS) < self._count["asked"]:
            await self._ended.wait()
        work = self._bus.statistics().plugins["notify"].background["tell"]
        figures = {**self._count, "retried": work.retried}
        return NotifyReport(**{column: figures.get(column, 0) for column in NotifyReport.model_fields})
