"""The notifications alone: in the background, in order, retried, given up in time, held back while the chat is down."""

from __future__ import annotations

import anyio
import pytest
from hub_events import EVENT_TYPES, AskNotify, Chat, ChatDownError, NotifyReport
from plugins.notify import Notify

from plugbus import Kernel, NamedEvent

pytestmark = pytest.mark.anyio

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
    assert report == NotifyReport(asked=1, sent=1, retried=0, failed=0, timed_out=0, skipped=0)


async def test_a_failed_attempt_is_tried_again() -> None:
    """The emitter does not notice."""
    chat = ScriptedChat("fail", "take")

    report = await report_on(chat, OPENED)

    assert (chat.asked, chat.taken) == (2, ["[acme/rocket] opened: Valve leaks"])
    assert report == NotifyReport(asked=1, sent=1, retried=1, failed=0, timed_out=0, skipped=0)


async def test_a_chat_that_hangs_is_given_up_and_tried_again() -> None:
    """The bus cancels each attempt at its time limit; the event stands."""
    report = await report_on(ScriptedChat("hang", "hang", "hang", "take"), OPENED, OPENED)

    assert report == NotifyReport(asked=2, sent=1, retried=2, failed=0, timed_out=1, skipped=0)


async def test_a_chat_that_is_down_is_left_alone_for_a_while() -> None:
    """After three failures in a row the breaker opens; each message waits for it, and is then tried once more."""
    chat = ScriptedChat("fail")

    report = await report_on(chat, OPENED, OPENED, OPENED)

    assert chat.asked == 5, "two attempts for each of three messages, less the one that the breaker refused"
    assert report == NotifyReport(asked=3, sent=0, retried=3, failed=3, timed_out=0, skipped=0)


async def test_messages_of_one_repository_keep_their_order() -> None:
    """A message that is tried again holds back those after it, and nobody else's."""
    chat = ScriptedChat("fail", "take")
    titles = [("acme/rocket", "first"), ("acme/rocket", "second"), ("acme/sled", "other")]
    opened = EVENT_TYPES["github.issues.opened"]

    await report_on(chat, *(opened(repo=repo, number=1, title=title) for repo, title in titles))

    in_rocket = [text for text in chat.taken if "rocket" in text]
    assert in_rocket == ["[acme/rocket] opened: first", "[acme/rocket] opened: second"]
    assert len(chat.taken) == 3
