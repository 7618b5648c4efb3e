"""Generic events and requests: what a parametrized class is called, who hears it, what it is answered with."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Generic, TypeVar

import pydantic
import pytest
from tests.bus.tools import World, in_worlds, marks

from plugbus import DuplicateNameError, Event, EventBus, EventTypeError, Kernel, Plugin, Request, event_type

pytestmark = marks

T = TypeVar("T")
U = TypeVar("U")
N = TypeVar("N", bound=int)


class Page(pydantic.BaseModel, Generic[T]):
    items: list[T]


class Changed(Event, Generic[T], name="generics.changed", aliases=["generics.edited"], key="shop"):
    new: T
    shop: str = "berlin"


class Ask(Request[list[T]], Generic[T], name="generics.ask"):
    wanted: T


class Further(Ask[U], Generic[U]): ...


class Swapped(Page[U], Request[dict[T, U]], Generic[U, T]): ...


class Closed(Ask[int], name="generics.closed"): ...


class Count(Request[int], name="generics.count"): ...


class Bounded(Request[N], Generic[N]): ...


class Paged(Request[Page[T]], Generic[T]): ...


class Maybe(Request[T | None], Generic[T]): ...


@pytest.mark.parametrize(
    ("cls", "result"),
    [
        (Ask[int], list[int]),
        (Further[str], list[str]),
        (Further[list[int]], list[list[int]]),
        (Swapped[int, str], dict[str, int]),
        (Swapped[int, U][bytes], dict[bytes, int]),  # type: ignore[misc,valid-type]
        (Closed, list[int]),
        (Paged[int], Page[int]),
        (Maybe[int], int | None),
        (Ask, list[object]),
        (Bounded, int),
        (Paged, Page),
        (Request[str], str),
        (Request, object),
    ],
    ids=str,
)
def test_the_result_is_what_the_class_was_parametrized_with(cls: type, result: Any) -> None:
    """No type variable is left, however far up the request was made generic."""
    assert event_type(cls).result == result


def test_a_parametrized_class_is_named_after_its_generic_class() -> None:
    """Whoever parametrizes it, and wherever: pydantic makes it a class of that module."""

    class Item(pydantic.BaseModel): ...

    names = [event_type(cls).name for cls in (Changed[int], Changed[dict[str, Item]], Changed[T])]

    assert names == ["generics.changed[int]", "generics.changed[dict[str,Item]]", "generics.changed"]
    assert event_type(Changed[int]).aliases == ("generics.edited[int]",)
    assert event_type(Changed[int]).key == "shop"


@in_worlds
def test_a_listener_of_the_generic_class_hears_every_parametrized_one(bus: EventBus, world: World) -> None:
    heard: list[tuple[str, object]] = []
    bus.observe(Changed, lambda event: heard.append(("all", event.new)))
    bus.observe(Changed[int], lambda event: heard.append(("int", event.new)))
    bus.observe("generics.changed[int]", lambda event: heard.append(("named", event.new)))
    bus.observe("generics.*", lambda event: heard.append(("pattern", event.new)), key="berlin")

    world.emit(bus, Changed[int](new=1))
    world.emit(bus, Changed[str](new="b"))

    assert heard == [("all", 1), ("int", 1), ("named", 1), ("pattern", 1), ("all", "b"), ("pattern", "b")]


def test_a_parametrized_class_is_emitted_by_name_once_it_is_used(bus: EventBus) -> None:
    bus.declare(Changed[int])

    assert bus.emit_named("generics.edited[int]", {"new": "1"}) == Changed[int](new=1)


@in_worlds
def test_the_handler_of_a_generic_request_answers_what_no_other_does(bus: EventBus, world: World) -> None:
    bus.answer(Ask, lambda request: ["any", request.wanted])
    bus.answer(Ask[int], lambda request: [request.wanted])

    assert world.call(bus, Ask[int](wanted=1)) == [1]
    assert world.call(bus, Ask[str](wanted="x")) == ["any", "x"]
    assert world.call(bus, Ask(wanted=1)) == ["any", 1]


def test_the_result_of_a_parametrized_request_is_checked() -> None:
    bus = EventBus(checked=True)
    bus.answer(Ask[int], lambda request: [str(request.wanted)])

    with pytest.raises(Exception, match=r"it returned a list where list\[int\] goes"):
        bus.call(Ask[int](wanted=1))


def test_two_arguments_with_one_name_are_two_types(bus: EventBus) -> None:
    """Or the second would silently take the place of the first, as a reloaded class does."""
    items = [type("Item", (pydantic.BaseModel,), {"__module__": module}) for module in ("one", "two")]
    bus.declare(Changed[items[0]])

    with pytest.raises(DuplicateNameError, match=r"Changed\[one\.Item\].*Changed\[two\.Item\]"):
        bus.declare(Changed[items[1]])


def test_the_same_argument_made_again_replaces(bus: EventBus) -> None:
    """After a reload the classes are new."""
    items = [type("Item", (pydantic.BaseModel,), {"__module__": "one"}) for _ in range(2)]
    for item in items:
        bus.declare(Changed[item])

    assert bus.type_named("generics.changed[Item]") == event_type(Changed[items[1]])


def test_request_of_something_is_a_base_and_no_request(bus: EventBus) -> None:
    """It can be listened to, as ``Request`` can; nobody can answer it, and it has no place among the names."""
    heard: list[object] = []
    bus.observe(Request[int], heard.append)
    bus.answer(Count, lambda request: 1)

    bus.call(Count())

    assert heard == [Count()]
    assert [known.name for known in bus.types()] == ["generics.count"]
    with pytest.raises(EventTypeError, match="nobody can answer it"):
        bus.answer(Request[int], lambda request: 1)


SCANNED = """
from typing import Generic, TypeVar
from plugbus import Event, Manifest, Plugin, Request

T = TypeVar("T")

class Changed(Event, Generic[T], name="scanned.changed"):
    new: T

class Receipt: ...

class Ask(Request[Receipt], name="scanned.ask"): ...

Numbered = Changed[int]

class Scanned(Plugin):
    manifest = Manifest(id="scanned", version="1")
"""


async def test_only_classes_that_were_written_are_found_in_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """pydantic enters ``Request[Receipt]`` and ``Changed[int]`` into the module; the plugin defines neither."""
    module = ModuleType("scanned_plugin")
    monkeypatch.setitem(sys.modules, "scanned_plugin", module)
    exec(SCANNED, vars(module))
    scanned: type[Plugin] = module.Scanned
    for written in (module.Ask, module.Changed[int]):  # as pydantic does itself, but not each version of it
        parametrized = next(cls for cls in written.__mro__ if "[" in cls.__name__)
        setattr(module, parametrized.__name__, parametrized)

    async with Kernel(plugins=[scanned]) as kernel:
        names = [known.name for known in kernel.bus.types()]

    assert {"Request[Receipt]", "Changed[int]"} <= set(vars(module))
    assert [name for name in names if "scanned" in name or "Request" in name] == ["scanned.changed", "scanned.ask"]
