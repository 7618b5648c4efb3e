"""The old text feed, written before the hub had classes: a module with ``manifest`` and ``register(ctx)``."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from hub_events import AskFeed, Feed, Message, Templates, actor_of, repo_of

from plugbus import Manifest, NamedEvent

if TYPE_CHECKING:
    from plugbus import PluginContext

__all__ = ("manifest", "register")

KEPT = 20

manifest = Manifest(
    id="legacy",
    version="0.9.0",
    description="The old text feed, as a register(ctx) module.",
    publishes=[],
    subscribes=["github.**", "hub.legacy.*"],
    permissions=[],
)


def register(ctx: PluginContext, templates: Templates | None = None) -> None:
    """Subscribe the feed's two functions; whatever is registered through ``ctx`` leaves with the plugin."""
    lines: deque[str] = deque(maxlen=KEPT)
    written = 0

    def write(event: NamedEvent) -> None:
        nonlocal written
        written += 1
        lines.append(f"{actor_of(event) or 'somebody'} @ {repo_of(event) or '-'}: {event.name}")

    def read(_: AskFeed) -> Feed:
        return Feed(lines=tuple(lines), written=written)

    def worded(found: Message) -> str:
        return f"{found.actor} @ {found.repo}: pull request {found.action}: {found.title}"

    if templates is not None:  # the feed is older than they are, and does without
        templates.add("pull_request", worded)
    ctx.bus.observe("github.**", write, run_in="caller", name="feed")
    ctx.bus.answer(AskFeed, read, run_in="caller")
