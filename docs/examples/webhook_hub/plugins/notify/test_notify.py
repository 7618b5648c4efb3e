"""The notifications alone: in the background, in order, retried, given up in time, held back while the chat is down."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import anyio
import anyio.lowlevel
import pytest
from hub_events import EVENT_TYPES, AskNotify, Chat, ChatDownError, NotifyReport, Render
from plugins.notify import Notify

from plugbus import Kernel, ListenerFailed, NamedEvent, NotDeliveredError, NotFound, Plugin, answers
from plugbus.testing import FakeClock, KernelFactory, PluginConformance, capture, settle

pytestmark = pytest.mark.anyio

FOLDER = Path(__file__).parents[1]
OPENED = EVENT_TYPES["github.issues.opened"](repo="acme/rocket", number=1, title="Valve leaks")


class ScriptedChat:
    """Does with each message what the script says: "take", "fail" or "hang"; the last one for ever."""

    def __init__(self, *script: str) -> None:
        self._script = list(script)
        self.taken: list[str] = []
        self.asked = 0

    async def send(self, text: str) -> None:
        self.asked += 1
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if step == "hang":
            await anyio.sleep_forever()
        if step == "fail":
            raise ChatDownError("503")
        self.taken.append(text)


async def report_on(chat: ScriptedChat, *events) -> NotifyReport:
    kernel = Kernel(plugins=[Notify], config={"plugins": {"notify": {"pause_seconds": 0}}})
    kernel.services.value(Chat, chat)
    with anyio.fail_after(20):
        async with kernel:
            for event in events:
                assert await kernel.bus.aemit(event) == event
            return await kernel.bus.acall(AskNotify())


async def test_a_line_is_sent_for_what_is_worth_telling() -> None:
    """Other events are none of the chat's business."""
    chat = ScriptedChat("take")

    report = await report_on(chat, OPENED, EVENT_TYPES["github.star.created"](repo="a/b"), NamedEvent("github.gollum"))

    assert chat.taken == ["[acme/rocket] opened: Valve leaks"]
    assert report == NotifyReport(asked=1, sent=1, retried=0, failed=0, timed_out=0, skipped=0, left_over=0)


async def test_a_failed_attempt_is_tried_again() -> None:
    """The emitter does not notice."""
    chat = ScriptedChat("fail", "take")

    report = await report_on(chat, OPENED)

    assert (chat.asked, chat.taken) == (2, ["[acme/rocket] opened: Valve leaks"])
    assert report == NotifyReport(asked=1, sent=1, retried=1, failed=0, timed_out=0, skipped=0, left_over=0)


async def test_a_chat_that_hangs_is_given_up_and_tried_again() -> None:
    """The bus cancels each attempt at its time limit; the event stands."""
    report = await report_on(ScriptedChat("hang", "hang", "hang", "take"), OPENED, OPENED)

    assert report == NotifyReport(asked=2, sent=1, retried=2, failed=0, timed_out=1, skipped=0, left_over=0)


async def test_a_chat_that_is_down_is_left_alone_for_a_while() -> None:
    """After three failures in a row the breaker opens; each message waits for it, and is then tried once more."""
    chat = ScriptedChat("fail")

    report = await report_on(chat, OPENED, OPENED, OPENED)

    assert chat.asked == 5, "two attempts for each of three messages, less the one that the breaker refused"
    assert report == NotifyReport(asked=3, sent=0, retried=3, failed=3, timed_out=0, skipped=0, left_over=0)


async def test_a_second_attempt_waits_for_its_pause(kernel_factory: KernelFactory) -> None:
    """As long as the operator has set, and no longer."""
    chat, clock = ScriptedChat("fail", "take"), FakeClock()
    config = {"plugins": {"notify": {"pause_seconds": 60}}}
    async with kernel_factory(Notify, overrides={Chat: chat}, clock=clock, config=config) as kernel:
        await kernel.bus.aemit(OPENED)
        await clock.advance(59)
        assert (chat.asked, chat.taken) == (1, [])

        await clock.advance(1)
        await settle(kernel)
        assert (chat.asked, chat.taken) == (2, ["[acme/rocket] opened: Valve leaks"])


async def test_what_is_left_over_at_the_end_is_told(kernel_factory: KernelFactory) -> None:
    """A message that waits for its next attempt when the plugin leaves is not lost without a word."""
    config = {"plugins": {"notify": {"pause_seconds": 60}}}
    options = {"config": config, "clock": FakeClock(), "drain_seconds": 0.1}
    async with kernel_factory(Notify, overrides={Chat: ScriptedChat("fail")}, **options) as kernel:
        with capture(kernel.bus, ListenerFailed) as failures:
            await kernel.bus.aemit(OPENED)
            await kernel.unload("notify")

    (failure,) = failures
    assert isinstance(failure.error, NotDeliveredError)
    assert (failure.event, failure.plugin, failure.attempt) == (OPENED, "notify", 1)


class Words(Plugin, id="words"):
    """Has words for new issues, and for nothing else."""

    @answers(Render)
    async def render(self, request: Render) -> str:
        if request.message.name != "issues.opened":
            raise NotFound("no words")
        return f"{request.message.actor}: {request.message.title}"


async def test_others_may_have_the_words(kernel_factory: KernelFactory) -> None:
    """They are told the name of the event, and what they have no words for is told plainly."""
    chat = ScriptedChat("take")
    closed = EVENT_TYPES["github.issues.closed"](repo="acme/rocket", number=1, title="Valve leaks")
    async with kernel_factory(Words, Notify, overrides={Chat: chat}) as kernel:
        await kernel.bus.aemit(OPENED)
        await kernel.bus.aemit(closed)
        await settle(kernel)

    assert chat.taken == ["ghost: Valve leaks", "[acme/rocket] closed: Valve leaks"]


async def test_messages_of_one_repository_keep_their_order() -> None:
    """A message that is tried again holds back those after it, and nobody else's."""
    chat = ScriptedChat("fail", "take")
    titles = [("acme/rocket", "first"), ("acme/rocket", "second"), ("acme/sled", "other")]
    opened = EVENT_TYPES["github.issues.opened"]

    await report_on(chat, *(opened(repo=repo, number=1, title=title) for repo, title in titles))

    in_rocket = [text for text in chat.taken if "rocket" in text]
    assert in_rocket == ["[acme/rocket] opened: first", "[acme/rocket] opened: second"]
    assert len(chat.taken) == 3


class TestNotifyConforms(PluginConformance):
    """It boots alone, leaves no trace, keeps to its manifest, and survives what it needs."""

    plugin = Notify
    fakes: ClassVar = {Chat: ScriptedChat("take")}


@pytest.mark.parametrize("way", ["class", "folder"])
async def test_settings_that_change_under_load_cost_no_message(way: str) -> None:
    """Each change is a reload: the old one sends what it was asked for, the new one the rest, nobody anything twice."""
    chat, asked, ended = ScriptedChat("take"), list[str](), anyio.Event()
    known = {"plugins": [Notify]} if way == "class" else {"plugin_dirs": [FOLDER], "enabled": ["notify"]}
    kernel = Kernel(**known)  # type: ignore[arg-type]
    kernel.services.value(Chat, chat)

    async def deliver(kernel: Kernel) -> None:
        while not ended.is_set():
            asked.append(f"[acme/rocket] opened: {len(asked)}")
            event = EVENT_TYPES["github.issues.opened"](repo="acme/rocket", number=1, title=str(len(asked) - 1))
            await kernel.bus.aemit(event)
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(30):
        async with kernel:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(deliver, kernel)
                for attempts in (3, 4, 5):
                    assert await kernel.plugins.configure("notify", {"attempts": attempts}) == ("attempts",)
                ended.set()
            await settle(kernel)
            assert (await kernel.bus.acall(AskNotify())).failed == 0

    assert chat.taken == asked, "in order, too"
    assert len(asked) > 3
