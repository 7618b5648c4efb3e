"""The templates alone: whose function puts a message into words, and until when."""

from __future__ import annotations

import threading

import pytest
from hub_events import AskTemplates, Message, Render, Templates, message
from plugins.templates import TemplateBook

from plugbus import Kernel, KernelStartError, NotFound, Plugin, PluginBootError
from plugbus.testing import KernelFactory, PluginConformance

pytestmark = pytest.mark.anyio


class Punctuation:
    """A service."""

    mark = "!"


class Shouting(Plugin, id="shouting"):
    """Has words by a mark, made in a worker thread of its own, with a service."""

    @message("issues.opened")
    def shout(self, found: Message, punctuation: Punctuation) -> str:
        assert threading.current_thread() is not threading.main_thread()
        return f"{found.title.upper()}{punctuation.mark}"


class Whispering(Plugin, id="whispering"):
    """Has words for everything else about issues, by the view."""

    def __init__(self, templates: Templates) -> None:
        templates.add("issues", self.whisper)

    async def whisper(self, found: Message) -> str:
        return f"({found.title.lower()})"


def asking(name: str) -> Render:
    return Render(message=Message(name=name, repo="acme/rocket", action=name.rpartition(".")[2], title="Valve"))


@pytest.mark.parametrize("order", [1, -1])
async def test_the_name_goes_before_the_kind(kernel_factory: KernelFactory, order: int) -> None:
    """By mark or by view, whichever plugin came first; what nobody has words for is not found."""
    plugins = [TemplateBook, Shouting, Whispering][::order]
    async with kernel_factory(*plugins, overrides={Punctuation: Punctuation()}) as kernel:
        assert await kernel.bus.acall(asking("issues.opened")) == "VALVE!"
        assert await kernel.bus.acall(asking("issues.closed")) == "(valve)"
        with pytest.raises(NotFound):
            await kernel.bus.acall(asking("push"))
        report = await kernel.bus.acall(AskTemplates())

    assert report.owners == {"issues": "whispering", "issues.opened": "shouting"}
    assert report.rendered == 2


async def test_words_leave_with_their_plugin(kernel_factory: KernelFactory) -> None:
    """Those of the mark and those of the view; they stand in the records until then."""
    plugins = (TemplateBook, Shouting, Whispering)
    async with kernel_factory(*plugins, overrides={Punctuation: Punctuation()}) as kernel:
        assert "words for issues" in kernel.plugins["whispering"].owns
        assert any("MessageMark on Shouting.shout" in what for what in kernel.plugins["shouting"].owns)

        await kernel.unload("shouting")
        assert await kernel.bus.acall(asking("issues.opened")) == "(valve)"
        await kernel.unload("whispering")
        with pytest.raises(NotFound):
            await kernel.bus.acall(asking("issues.opened"))


async def test_two_plugins_with_words_for_one_name_do_not_start() -> None:
    """It is found out before anything boots, and says who they are."""

    class Echo(Plugin, id="echo"):
        @message("issues.opened")
        def echo(self, found: Message) -> str:
            return found.title

    kernel = Kernel(plugins=[TemplateBook, Shouting, Echo])
    kernel.services.value(Punctuation, Punctuation())
    with pytest.raises(KernelStartError, match=r"has words for 'issues\.opened' too"):
        async with kernel:
            pass


async def test_a_second_view_with_the_name_fails_alone(kernel_factory: KernelFactory) -> None:
    """Which names a view will be given cannot be known before; the first one keeps its words."""

    class Late(Whispering, id="late"):
        pass

    async with kernel_factory(TemplateBook, Whispering) as kernel:
        with pytest.raises(PluginBootError, match="'whispering' has words for 'issues' already"):
            await kernel.load(Late)

        assert await kernel.bus.acall(asking("issues.closed")) == "(valve)"


async def test_what_makes_no_text_of_a_message_is_refused(kernel_factory: KernelFactory) -> None:
    """A function of something else would only be found out when the first message is told."""

    class Wrong(Plugin, id="wrong"):
        @message("issues")
        def count(self, found: Message, times: int) -> str:
            return found.title * times

    async with kernel_factory(TemplateBook) as kernel:
        with pytest.raises(PluginBootError, match="no function of a message"):
            await kernel.load(Wrong)


class TestTemplatesConforms(PluginConformance):
    """It boots alone, leaves no trace, keeps to its manifest, and survives what it needs."""

    plugin = TemplateBook
