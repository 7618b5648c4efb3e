"""The digest alone: near twins are found, and the work stays off the loop."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest
from hub_events import EVENT_TYPES, AskDigest, DigestReport
from hypothesis import given
from hypothesis import strategies as st
from plugins.digest import Digest
from plugins.digest.simhash import BITS, fingerprint, texts

from plugbus import Kernel, NamedEvent
from plugbus.testing import PluginConformance

pytestmark = pytest.mark.anyio

BODY = "The oxidiser valve leaks when the tank is above ninety percent and the pump is idle for a minute. "
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def opened(number: int, body: str):
    return EVENT_TYPES["github.issues.opened"](repo="acme/rocket", number=number, title="Valve leaks", body=body)


async def report_on(*events, **settings: object) -> DigestReport:
    async with Kernel(plugins=[Digest], config={"plugins": {"digest": settings}}) as kernel:
        for event in events:
            await kernel.bus.aemit(event)
        return await kernel.bus.acall(AskDigest())


async def test_two_events_that_say_the_same_are_twins() -> None:
    """Even if one is typed and the other is plain data."""
    found = await report_on(opened(1, BODY * 5), opened(2, BODY * 5), NamedEvent("github.gollum", {"page": "Home"}))

    assert (found.fingerprinted, [twins.second for twins in found.twins]) == (3, ["github.issues.opened acme/rocket"])


async def test_different_events_are_no_twins() -> None:
    """Sharing a repository and a title is not saying the same."""
    found = await report_on(
        opened(1, BODY), opened(2, "Nothing but the footer is shown on small screens, all else is blank.")
    )

    assert (found.fingerprinted, found.twins) == (2, ())


async def test_events_without_a_word_are_no_twins() -> None:
    """Nothing is like nothing only by accident."""
    found = await report_on(NamedEvent("github.ping", {}), NamedEvent("github.ping", None))

    assert (found.fingerprinted, found.twins) == (2, ())


async def test_only_so_many_are_remembered() -> None:
    """Memory is bounded: the twin that was forgotten is not found."""
    found = await report_on(opened(1, BODY), NamedEvent("github.gollum", {"page": "Home"}), opened(2, BODY), remember=1)

    assert found.twins == ()


async def test_the_work_is_done_in_a_worker_thread(monkeypatch) -> None:
    """A plain def observer never runs on the event loop."""
    threads: set[int] = set()
    monkeypatch.setattr("plugins.digest.plugin.fingerprint", lambda _: threads.add(threading.get_ident()) or 0)

    await report_on(opened(1, BODY))

    assert len(threads) == 1
    assert threading.get_ident() not in threads


@given(data=JSON)
def test_a_fingerprint_is_64_bits_of_the_text_alone(data: object) -> None:
    """Any JSON has one, and the same text has the same one."""
    parts = list(texts(data))

    assert 0 <= fingerprint(parts) < 1 << BITS
    assert fingerprint(parts) == fingerprint(texts({"wrapped": [data]}))


def test_deep_data_is_no_problem() -> None:
    """What comes from outside must not use up the stack."""
    deep: object = "bottom"
    for _ in range(100_000):
        deep = [deep]

    assert list(texts(deep)) == ["bottom"]
    while isinstance(deep, list):  # or freeing it would
        deep = deep.pop()


class TestDigestConforms(PluginConformance):
    """It boots alone, leaves no trace, keeps to its manifest, and survives what it needs."""

    plugin = Digest
    needs: ClassVar = ["plugins.intake:Intake"]
