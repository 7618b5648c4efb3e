"""The plugin: one observer for all events, and one per watched repository that only hears that one."""

from __future__ import annotations

from collections import Counter

from hub_events import AskStats, GithubEvent, Message, StatsTable, message, wire_name
from pydantic import BaseModel, ConfigDict

from plugbus import Event, EventBus, Plugin, answers, observes

__all__ = ("Stats",)


class Stats(Plugin):
    """Counts events by wire name, and typed events of the watched repositories; ``AskStats`` reads both.

    Args:
        bus: Where the watched repositories are subscribed to.
        settings: Which repositories are watched.
    """

    class Settings(BaseModel):
        """What the operator may set."""

        model_config = ConfigDict(extra="forbid")

        watch: tuple[str, ...] = ()

    def __init__(self, bus: EventBus, settings: Settings) -> None:
        self._bus, self._watch = bus, settings.watch
        self._by_name: Counter[str] = Counter()
        self._watched: Counter[str] = Counter()

    def on_boot(self) -> None:
        """Subscribe to each watched repository by its key: the events of all others cost nothing here."""
        for repo in dict.fromkeys(self._watch):
            self._bus.observe(GithubEvent, self.count_watched, key=repo, run_in="caller", name=f"watch {repo}")

    @observes("github.**", run_in="caller")  # a counter is quicker than a hop into a thread
    def count(self, event: Event) -> None:
        """Count one event under its name."""
        self._by_name[wire_name(event)] += 1

    def count_watched(self, event: GithubEvent) -> None:
        """Count one event of a watched repository."""
        self._watched[event.repo] += 1

    @message("release.published")
    async def released(self, found: Message) -> str:
        """Put a release into words, with how many there have been."""
        return f"[{found.repo}] released: {found.title} (no. {self._by_name['github.release.published']} of all)"

    @answers(AskStats)
    async def read(self, _: AskStats) -> StatsTable:
        """Answer with the counts as they are now; a watched repository without events counts zero."""
        watched = {repo: self._watched[repo] for repo in self._watch}
        return StatsTable(by_name=dict(sorted(self._by_name.items())), watched=watched)
