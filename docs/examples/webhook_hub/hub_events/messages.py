"""What is told to people, and how a plugin says that it has the words for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from plugbus import Request, mark

__all__ = ("Message", "MessageMark", "Render", "Templates", "message")

F = TypeVar("F", bound=Callable[..., Any])


class Message(BaseModel):
    """One thing to tell, before it has been put into words."""

    model_config = ConfigDict(frozen=True)

    name: str
    repo: str
    action: str
    actor: str = "ghost"
    title: str = ""


class MessageMark(NamedTuple):
    """Marks a function that puts messages of a name into words."""

    name: str


def message(name: str) -> Callable[[F], F]:
    """Return a decorator for a function of a plugin that puts messages of a name into words.

    It is called with the :class:`Message`, further parameters are services, and it returns the text. Nothing happens
    with it where no plugin reads such marks.

    Args:
        name: ``"issues.opened"`` for one action of a kind, ``"issues"`` for those without a function of their own.

    Example:
        >>> @message("issues.opened")
        ... def opened(found: Message) -> str:
        ...     return f"{found.actor} has a question"
        >>> opened(Message(name="issues.opened", repo="acme/rocket", action="opened", actor="mira"))
        'mira has a question'
    """
    return mark(MessageMark(name))


class Templates(Protocol):
    """What a plugin asks for that makes up its templates while it runs; each has a view of its own."""

    def add(self, name: str, function: Callable[..., Any]) -> None:
        """Have a function of the plugin put messages of a name into words, until the plugin leaves.

        Args:
            name: As for :func:`message`.
            function: As for :func:`message`.

        Raises:
            ValueError: If there is one for this name, or it is no function of a message that returns a text.
        """


class Render(Request[str], name="hub.templates.render"):
    """Put a message into words; ``NotFound`` where nobody has any for it."""

    message: Message
