"""The plugin: it serves the others, by a mark that it reads and by a view that it hands out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from hub_events import AskTemplates, MessageMark, Render, Templates, TemplatesReport

from plugbus import Bound, Close, Marked, NotFound, Owner, Plugin, Problem, answers, checks, provides, reads

__all__ = ("TemplateBook",)


class TemplateBook(Plugin):
    """Answers ``Render`` with what the function of some plugin makes of a message.

    A function gets here by the mark ``@message`` or by the service ``Templates``. Either way it is called as the bus
    calls a subscriber of its plugin, with its services and in its threads, and leaves with its plugin.
    """

    def __init__(self) -> None:
        self._known: dict[str, Bound[str]] = {}
        self._rendered = 0

    @provides(scope="plugin")
    def view(self, owner: Owner) -> Templates:
        """Hand out a view of the plugin that asks."""
        return _View(owner, self)

    @reads(MessageMark)
    def attach(self, found: Marked[MessageMark]) -> Close:
        """Take the function of a mark; what is returned is called when either plugin leaves."""
        return self.enter(found.owner, found.mark.name, found.function)

    @staticmethod
    @checks(MessageMark)
    def check_names(found: Iterable[Marked[MessageMark]]) -> Iterator[Problem]:
        """Complain of names that two functions claim, before anything boots."""
        first: dict[str, Marked[MessageMark]] = {}
        for each in found:
            other = first.setdefault(each.mark.name, each)
            if other is not each:
                yield Problem(f"plugin {each.owner.id!r}", f"{other.owner.id!r} has words for {each.mark.name!r} too")

    def enter(self, owner: Owner, name: str, function: Callable[..., Any]) -> Callable[[], object]:
        """Take a function and return what takes it out again.

        Args:
            owner: Whose it is.
            name: Of the messages that it is for.
            function: What puts them into words.

        Raises:
            ValueError: If there is one for this name, or it is no function of a message that returns a text.
        """
        if name in self._known:
            raise ValueError(f"{self._known[name].owner.id!r} has words for {name!r} already")
        bound = owner.bind(function, name=f"words for {name}")
        if len(bound.parameters) != 1 or bound.returns is not str:
            raise ValueError(f"{function!r} is no function of a message that returns a str")
        self._known[name] = bound
        return lambda: self._known.pop(name)

    @answers(Render)
    async def render(self, request: Render) -> str:
        """Put one message into words: by its name, else by the kind that the name begins with.

        Raises:
            NotFound: If nobody has any for it.
        """
        name = request.message.name
        bound = self._known.get(name) or self._known.get(name.partition(".")[0])
        if bound is None:
            raise NotFound(f"nobody has words for {name!r}")
        text = await bound(request.message)
        self._rendered += 1
        return text

    @answers(AskTemplates)
    async def read(self, _: AskTemplates) -> TemplatesReport:
        """Answer with the templates as they are now."""
        owners = {name: bound.owner.id for name, bound in sorted(self._known.items())}
        return TemplatesReport(owners=owners, rendered=self._rendered)


class _View:
    """The templates of one plugin."""

    def __init__(self, owner: Owner, book: TemplateBook) -> None:
        self._owner, self._book = owner, book

    def add(self, name: str, function: Callable[..., Any]) -> None:
        self._owner.own(self._book.enter(self._owner, name, function), what=f"words for {name}", brings_work=True)
