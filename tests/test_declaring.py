"""Whatever a decorator was put on: it is subscribed when its plugin boots, or refused with a reason."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from plugbus import Event, Kernel, Logger, Plugin, SubscriptionError, observes

pytestmark = pytest.mark.anyio

HEARD: list[object] = []


class Told(Event, name="declaring.told"): ...


def method(self: object, event: Told) -> None:
    HEARD.append((type(self).__name__, type(event)))


def function(event: Told) -> None:
    HEARD.append(("function", type(event)))


class Callable:
    def __call__(self, event: Told) -> None:
        HEARD.append(("object", type(event)))


class FunctionAsAttribute(Plugin):
    see = observes(Told)(method)


class PartialMethod(Plugin):
    def _see(self, level: int, event: Told, log: Logger) -> None:
        HEARD.append((level, type(event)))

    see = observes(Told)(functools.partialmethod(_see, 3))


class CachedAbove(Plugin):
    @functools.lru_cache  # noqa: B019 - what is tested
    @observes(Told)
    def see(self, event: Told) -> None:
        HEARD.append(("cached", type(event)))


class CachedBelow(Plugin):
    @observes(Told)
    @functools.cache  # noqa: B019
    def see(self, event: Told) -> None:
        HEARD.append(("cached", type(event)))


class StaticAbove(Plugin):
    @staticmethod
    @observes(Told)
    def see(event: Told) -> None:
        HEARD.append(("static", type(event)))


class StaticBelow(Plugin):
    @observes(Told)
    @staticmethod
    def see(event: Told) -> None:
        HEARD.append(("static", type(event)))


class ClassBelow(Plugin):
    @observes(Told)
    @classmethod
    def see(cls, event: Told) -> None:
        HEARD.append((cls.__name__, type(event)))


class Partial(Plugin):
    see = observes(Told)(functools.partial(function))


class CallableObject(Plugin):
    see = observes(Told)(Callable())


WAYS: dict[type[Plugin], object] = {
    FunctionAsAttribute: "FunctionAsAttribute",
    PartialMethod: 3,
    CachedAbove: "cached",
    CachedBelow: "cached",
    StaticAbove: "static",
    StaticBelow: "static",
    ClassBelow: "ClassBelow",
    Partial: "function",
    CallableObject: "object",
}


@pytest.mark.filterwarnings("ignore:functools.partial will be a method descriptor:FutureWarning")  # Python's, in 3.13
@pytest.mark.parametrize("plugin", WAYS)
async def test_whatever_is_decorated_in_a_class_is_subscribed(plugin: type[Plugin]) -> None:
    """Check finds nothing wrong with it, and it hears each event once."""
    HEARD.clear()
    assert Kernel(plugins=[plugin]).check() == []

    async with Kernel(plugins=[plugin], checked=True) as kernel:
        await kernel.bus.aemit(Told())

    assert [(WAYS[plugin], Told)] == HEARD


@pytest.mark.parametrize(("call", "name"), [(print, "print"), (HEARD.append, "append"), (Callable().__call__, "call")])
def test_what_a_decorator_cannot_mark_is_refused(call: Any, name: str) -> None:
    """The error says what it is and what to do instead."""
    with pytest.raises(
        SubscriptionError, match=r"decorator can put nothing on it, since.*type .*\n.*bus\.observe\(\)"
    ) as caught:
        observes(Told)(call)

    assert name in caught.value.subscriber
