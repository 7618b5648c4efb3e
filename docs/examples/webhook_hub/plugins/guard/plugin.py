"""The plugin: a listener that refuses what a rule forbids, before anything else has seen it."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hub_events import actor_of, repo_of, wire_name
from pydantic import BaseModel, ConfigDict

from plugbus import AsyncNextFn, Event, Live, Plugin, Veto, listens

__all__ = ("Guard", "Rule")


class Rule(BaseModel):
    """Forbids the events that all of its patterns match; ``*`` and ``?`` as in a shell.

    Example:
        >>> Rule(event="github.delete", repo="acme/*", reason="nothing is deleted at acme").event
        'github.delete'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)  # a misspelt pattern must not forbid everything

    reason: str
    event: str = "*"
    repo: str = "*"
    actor: str = "*"

    def forbids(self, event: object) -> bool:
        """Tell whether an event is meant; one without repository or actor only matches ``*`` there."""
        facts = ((self.event, wire_name(event)), (self.repo, repo_of(event)), (self.actor, actor_of(event)))
        return all(pattern == "*" or (fact is not None and fnmatchcase(fact, pattern)) for pattern, fact in facts)


class Guard(Plugin):
    """Vetoes an event with the reason of the first rule that forbids it.

    Args:
        settings: The rules, as they are at each moment: the operator may change them while the hub runs.
    """

    class Settings(BaseModel):
        """What the operator may set."""

        model_config = ConfigDict(extra="forbid")

        rules: tuple[Rule, ...] = ()

    def __init__(self, settings: Live[Settings]) -> None:
        self._settings = settings

    @listens("github.**", priority=10, after=["audit"])
    async def check(self, event: Event, next_fn: AsyncNextFn[Event]) -> Event:
        """Pass the event on, unless a rule forbids it."""
        for rule in self._settings.current.rules:
            if rule.forbids(event):
                raise Veto(rule.reason)
        return await next_fn(event)
