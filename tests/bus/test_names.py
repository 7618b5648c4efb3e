"""Wire names, aliases, patterns, NamedEvent, views, and emitting by name."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import structlog.testing
from pydantic import BaseModel
from tests.bus.tools import Ask, Ping, Pong, SubPing, World, failures, in_worlds, marks, noting, plugin, run, tracer

from plugbus import (
    DuplicateNameError,
    Event,
    EventBus,
    EventTypeError,
    Invalid,
    ListenerFailed,
    NamedEvent,
    Request,
    UnknownEventError,
    event,
)

pytestmark = marks


class Placed(Event, name="names.order.placed", aliases=["names.order.created", "names.shop.order"]):
    shop: str
    number: int = 0


class Cancelled(Event, name="names.order.cancelled"):
    shop: str


class Line(Event, name="names.order.line.added"):
    pass


class Count(Request[int], name="names.count"):
    up_to: int


class Unnamed(Event):
    """Its wire name is its module and qualified name."""


@pytest.fixture
def trace() -> list[str]:
    return []


# ------------------------------------------------------------------------------------------- subscribing


@in_worlds
def test_a_wire_name_means_its_type(bus: EventBus, world: World, trace: list[str]) -> None:
    bus.declare(Placed)
    bus.observe("names.order.placed", noting("by name", trace))

    world.emit(bus, Placed(shop="berlin"))
    world.emit(bus, Cancelled(shop="berlin"))

    assert trace == ["by name"]


def test_a_wire_name_means_that_type_alone_and_not_its_subclasses(bus: EventBus, trace: list[str]) -> None:
    bus.observe("tools.ping", noting("by name", trace))
    bus.observe(Ping, noting("by type", trace))

    bus.emit(SubPing())
    bus.emit(Ping())

    assert trace == ["by type", "by name", "by type"]


def test_a_name_may_be_subscribed_to_before_its_type_is_known(bus: EventBus, trace: list[str]) -> None:
    bus.observe("names.later", noting("early bird", trace))

    class Later(Event, name="names.later"):
        pass

    bus.emit(Later())

    assert trace == ["early bird"]


@pytest.mark.parametrize("name", ["names.order.created", "names.shop.order"])
def test_an_alias_means_the_type_too(bus: EventBus, trace: list[str], name: str) -> None:
    bus.observe(name, noting("before it was known", trace))
    bus.emit(Placed(shop="berlin"))
    bus.observe(name, noting("after", trace))

    bus.emit(Placed(shop="berlin"))

    assert trace == ["before it was known", "before it was known", "after"]


def test_the_default_name_is_module_and_qualified_name(bus: EventBus, trace: list[str]) -> None:
    bus.observe(f"{__name__}.Unnamed", noting("unnamed", trace))

    bus.emit(Unnamed())

    assert trace == ["unnamed"]


def test_a_subclass_does_not_inherit_the_name(bus: EventBus) -> None:
    class Sub(Placed):
        pass

    bus.declare(Placed, Sub)

    assert bus.type_named("names.order.placed").cls is Placed
    assert bus.type_named("names.order.created").cls is Placed
    assert len({kind.name for kind in bus.types() if issubclass(kind.cls, Placed)}) == 2


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [
        ("names.order.*", ["placed", "cancelled"]),
        ("names.order.**", ["placed", "cancelled", "line"]),
        ("names.*.placed", ["placed"]),
        ("names.**", ["placed", "cancelled", "line"]),
        ("*.order.placed", ["placed"]),
        ("**", ["placed", "cancelled", "line", "ping"]),
        ("**.added", ["line"]),
        ("names.**.added", ["line"]),
        ("names.order.line.added.**", []),
        ("names.order", []),
        ("names.*", []),
        ("*", []),
        ("names.order.place", []),
        ("namesXorder.*", []),
    ],
)
def test_patterns(bus: EventBus, pattern: str, heard: list[str]) -> None:
    """One star is one segment, two stars are one or more."""
    seen: list[object] = []
    bus.observe(pattern, seen.append)
    messages = {"placed": Placed(shop="x"), "cancelled": Cancelled(shop="x"), "line": Line(), "ping": Ping()}

    for message in messages.values():
        bus.emit(message)

    assert seen == [messages[name] for name in heard]


def test_patterns_match_types_that_were_emitted_before(bus: EventBus, trace: list[str]) -> None:
    bus.emit(Placed(shop="x"))
    bus.listen("names.order.*", tracer("pattern", trace))

    bus.emit(Placed(shop="x"))

    assert trace == [">pattern", "<pattern"]


def test_a_handler_needs_a_type_and_not_only_a_name(bus: EventBus) -> None:
    with pytest.raises(UnknownEventError):
        bus.answer("names.count", lambda request: 0)

    assert list(bus.subscriptions()) == []


def test_a_pattern_does_not_hear_one_event_twice_because_of_its_aliases(bus: EventBus, trace: list[str]) -> None:
    bus.observe("names.**", noting("pattern", trace))

    bus.emit(Placed(shop="x"))

    assert trace == ["pattern"]


def test_a_listener_of_a_pattern_takes_part_in_requests_too(bus: EventBus, trace: list[str]) -> None:
    bus.listen("names.*", tracer("pattern", trace))
    bus.declare(Count)
    bus.answer("names.count", lambda request: request.up_to)

    assert bus.call(Count(up_to=3)) == 3
    assert trace == [">pattern", "<pattern"]


# ---------------------------------------------------------------------------------------- the registry


def test_types_enter_when_they_are_used_or_declared(bus: EventBus) -> None:
    bus.declare(Placed)
    bus.emit(Ping())
    bus.observe(Pong, noting("x", []))

    names = {kind.name for kind in bus.types()}
    assert names >= {"names.order.placed", "tools.ping", "tools.pong"}
    assert "names.order.cancelled" not in names


def test_the_registry_belongs_to_a_bus(bus: EventBus) -> None:
    class One(Event, name="names.same"):
        pass

    class Two(Event, name="names.same"):
        pass

    bus.declare(One)
    EventBus().declare(Two)

    assert bus.type_named("names.same").cls is One


@pytest.mark.parametrize("use", ["declare", "emit", "observe"])
def test_two_types_of_one_name_are_an_error_that_shows_both(bus: EventBus, use: str) -> None:
    class One(Event, name="names.same"):
        pass

    class Two(Event, name="names.same"):
        pass

    bus.declare(One)
    with pytest.raises(DuplicateNameError) as caught:
        {
            "declare": lambda: bus.declare(Two),
            "emit": lambda: bus.emit(Two()),
            "observe": lambda: bus.observe(Two, noting("x", [])),
        }[use]()

    assert caught.value.name == "names.same"
    assert "One" in caught.value.first
    assert "Two" in caught.value.second
    assert bus.type_named("names.same").cls is One
    assert list(bus.subscriptions()) == []


def test_an_alias_that_is_anothers_name_is_an_error(bus: EventBus) -> None:
    class Other(Event, name="names.other", aliases=["names.order.placed"]):
        pass

    bus.declare(Placed)

    with pytest.raises(DuplicateNameError) as caught:
        bus.declare(Other)

    assert caught.value.name == "names.order.placed"
    assert bus.type_named("names.other") is None, "nothing of it was registered"


def make(number: int) -> type[Event]:
    class Reloaded(Event, name="names.reloaded"):
        generation: int = number

    return Reloaded


def test_the_same_module_and_qualified_name_again_replaces(bus: EventBus, trace: list[str]) -> None:
    """What a reload does: the class is new, its name is not."""
    old, new = make(1), make(2)
    assert old is not new
    bus.declare(old)
    bus.observe("names.reloaded", lambda message: trace.append(f"generation {message.generation}"))

    bus.declare(new)
    bus.emit(new())

    assert bus.type_named("names.reloaded").cls is new
    assert trace == ["generation 2"]
    assert bus.emit_named("names.reloaded", {}) == new()


@pytest.mark.parametrize(
    "name", ["", "a b", "a\nb", "a\rb", "a\0b", "a.*", "a.**", "a..b", ".a", "a.", "\u202ea", "a\tb"]
)
def test_names_that_no_edge_could_carry_are_refused(name: str) -> None:
    with pytest.raises((TypeError, ValueError)):

        class Bad(Event, name=name):
            pass


@pytest.mark.parametrize("name", ["a\nb", "a.*", ""])
def test_bad_aliases_are_refused_too(name: str) -> None:
    with pytest.raises((TypeError, ValueError)):

        class Bad(Event, name="names.fine", aliases=[name]):
            pass


# --------------------------------------------------------------------------------------- emitting by name


EMIT_NAMED = {
    "emit_named": lambda bus, name, data: bus.emit_named(name, data),
    "aemit_named-asyncio": lambda bus, name, data: run("asyncio", bus.aemit_named, name, data),
    "aemit_named-trio": lambda bus, name, data: run("trio", bus.aemit_named, name, data),
}
CALL_NAMED = {
    "call_named": lambda bus, name, data: bus.call_named(name, data),
    "acall_named-asyncio": lambda bus, name, data: run("asyncio", bus.acall_named, name, data),
    "acall_named-trio": lambda bus, name, data: run("trio", bus.acall_named, name, data),
}
emitting = pytest.mark.parametrize("emit", EMIT_NAMED.values(), ids=EMIT_NAMED.keys())
calling = pytest.mark.parametrize("call", CALL_NAMED.values(), ids=CALL_NAMED.keys())


@emitting
@pytest.mark.parametrize("name", ["names.order.placed", "names.order.created"])
def test_emit_named_validates_and_emits_the_registered_type(bus: EventBus, emit: Any, name: str) -> None:
    seen: list[object] = []
    bus.declare(Placed)
    bus.observe(Placed, seen.append)

    result = emit(bus, name, {"shop": "berlin", "number": "5"})

    assert seen == [Placed(shop="berlin", number=5)]
    assert result == seen[0]


@emitting
@pytest.mark.parametrize("data", [{}, {"shop": "berlin", "number": "five"}, {"shop": 5}])
def test_emit_named_refuses_data_that_does_not_fit(bus: EventBus, emit: Any, data: dict[str, object]) -> None:
    seen: list[object] = []
    bus.declare(Placed)
    bus.observe(object, seen.append)

    with pytest.raises(Invalid, match=r"names\.order\.placed") as caught:
        emit(bus, "names.order.placed", data)

    assert any(problem.where in ("shop", "number") for problem in caught.value.problems)
    assert seen == []


@emitting
def test_emit_named_without_a_type_is_a_named_event(bus: EventBus, emit: Any) -> None:
    seen: list[tuple[str, object]] = []
    for target in ("github.issues.opened", "github.issues.*", "github.**", NamedEvent, Event, "github.issues.closed"):
        bus.observe(target, lambda message, target=target: seen.append((str(target), message)))
    data = {"action": "opened", "issue": {"number": 1}}

    result = emit(bus, "github.issues.opened", data)

    assert isinstance(result, NamedEvent)
    assert (result.name, result.data) == ("github.issues.opened", data)
    assert [name for name, _ in seen] == [
        "github.issues.opened",
        "github.issues.*",
        "github.**",
        str(NamedEvent),
        str(Event),
    ]
    assert all(message == result for _, message in seen)


@emitting
def test_a_named_event_passes_listeners_of_its_name(bus: EventBus, emit: Any, trace: list[str]) -> None:
    bus.listen("github.*", tracer("l", trace))
    bus.observe("github.push", noting("told", trace))

    emit(bus, "github.push", {})

    assert trace == [">l", "<l", "told"]


def test_unbounded_names_of_named_events_do_not_mix_up_chains(bus: EventBus) -> None:
    seen: list[tuple[str, str]] = []
    bus.observe("a.*", lambda message: seen.append(("a", message.name)))
    bus.observe("*.x", lambda message: seen.append(("x", message.name)))

    for name in ("a.x", "a.y", "b.x", "b.y", "a.x"):
        bus.emit_named(name, {})

    assert seen == [("a", "a.x"), ("x", "a.x"), ("a", "a.y"), ("x", "b.x"), ("a", "a.x"), ("x", "a.x")]


def test_a_named_event_of_a_registered_name_does_not_reach_those_who_ask_for_the_type(bus: EventBus) -> None:
    """Emitted by hand, as an object: it is what it is, a NamedEvent, and no Placed."""
    seen: list[object] = []
    bus.observe(Placed, seen.append)
    bus.declare(Placed)

    bus.emit(NamedEvent("names.order.placed", {"shop": "x"}))

    assert seen == []


@calling
def test_call_named_validates_and_calls(bus: EventBus, call: Any) -> None:
    bus.answer(Count, lambda request: request.up_to + 1)

    assert call(bus, "names.count", {"up_to": 4}) == 5
    with pytest.raises(Invalid):
        call(bus, "names.count", {})


@calling
def test_call_named_of_an_unknown_name_shows_the_nearest(bus: EventBus, call: Any) -> None:
    bus.answer(Count, lambda request: 0)

    with pytest.raises(UnknownEventError) as caught:
        call(bus, "names.cuont", {})

    assert caught.value.name == "names.cuont"
    assert "names.count" in caught.value.nearest


@emitting
def test_emit_named_of_a_request_says_call(bus: EventBus, emit: Any) -> None:
    bus.answer(Ask, lambda request: "")

    with pytest.raises(EventTypeError, match="call"):
        emit(bus, "tools.ask", {})


@calling
def test_call_named_of_an_event_says_emit(bus: EventBus, call: Any) -> None:
    bus.declare(Placed)

    with pytest.raises(EventTypeError, match="emit"):
        call(bus, "names.order.placed", {"shop": "x"})


@emitting
def test_emit_named_works_with_dataclasses(bus: EventBus, emit: Any) -> None:
    @event(name="names.data")
    @dataclass(frozen=True)
    class Data:
        number: int
        text: str = "x"

    seen: list[object] = []
    bus.observe(Data, seen.append)

    emit(bus, "names.data", {"number": 4})
    with pytest.raises(Invalid):
        emit(bus, "names.data", {"nummer": 4})

    assert seen == [Data(4)]


# -------------------------------------------------------------------------------------------------- views


class Glance(BaseModel):
    """A view of an order that knows nothing of the plugin which defines the event."""

    shop: str


class Wrong(BaseModel):
    """It wants what the event has not got."""

    customer: str


@in_worlds
def test_the_annotation_decides_what_an_observer_gets(bus: EventBus, world: World) -> None:
    seen: list[object] = []

    def own(event: Placed) -> None:
        seen.append(event)

    def plain(event: NamedEvent) -> None:
        seen.append(event)

    async def view(event: Glance) -> None:
        seen.append(event)

    bus.declare(Placed)
    bus.observe("names.order.placed", own)
    bus.observe("names.order.placed", plain)
    bus.observe("names.order.*", view)
    message = Placed(shop="berlin", number=3)

    world.emit(bus, message)

    assert seen[0] is message
    assert isinstance(seen[1], NamedEvent)
    assert (seen[1].name, dict(seen[1].data)) == ("names.order.placed", {"shop": "berlin", "number": 3})
    assert seen[2] == Glance(shop="berlin")


def test_a_view_of_a_named_event_is_validated(bus: EventBus) -> None:
    seen: list[object] = []

    def view(event: Glance) -> None:
        seen.append(event)

    bus.observe("github.push", view)

    bus.emit_named("github.push", {"shop": "berlin", "more": 1})

    assert seen == [Glance(shop="berlin")]


def test_a_view_that_does_not_fit_the_data_is_the_observers_error(bus: EventBus) -> None:
    seen = failures(bus)

    def view(event: Wrong) -> None:
        raise AssertionError("never called")

    bus.observe("github.push", view, name="viewer")

    bus.emit_named("github.push", {"shop": "berlin"})

    assert [failure.subscriber.rpartition(".")[2] for failure in seen] == ["viewer"]


def test_a_view_that_can_never_fit_its_type_is_a_problem(bus: EventBus) -> None:
    def view(event: Wrong) -> None: ...

    def good(event: Glance) -> None: ...

    bus.declare(Placed)
    bus.observe("names.order.placed", good)
    assert list(bus.problems()) == []

    bus.observe("names.order.placed", view, name="viewer")

    (problem,) = bus.problems()
    assert "customer" in str(problem)
    assert "viewer" in str(problem)
    assert problem.fatal, "it cannot work: the start stops"


def test_a_view_has_its_own_filter(bus: EventBus) -> None:
    """``where`` sees what the bus emitted, or the view: either way a filter on a common field works."""
    seen: list[object] = []

    def view(event: Glance) -> None:
        seen.append(event)

    bus.declare(Placed)
    bus.observe("names.order.placed", view, where=lambda event: event.shop == "berlin")

    bus.emit(Placed(shop="paris"))
    bus.emit(Placed(shop="berlin"))

    assert seen == [Glance(shop="berlin")]


def test_a_declared_type_leaves_with_its_plugin_whoever_used_it(bus: EventBus) -> None:
    """The host has emitted it; its name is free again all the same, for a class from elsewhere too."""
    owner, view = plugin(bus, "shop")
    view.declare(Placed)
    bus.emit(Placed(shop="berlin", number=1))

    assert anyio.run(owner.aclose) == []

    assert bus.type_named("names.order.placed") is None
    other = type("Placed", (Event,), {"__module__": "elsewhere"}, name="names.order.placed")
    bus.declare(other)
    assert bus.types() != ()


def test_a_type_that_is_only_used_stays_as_long_as_somebody_uses_it(bus: EventBus) -> None:
    first, one = plugin(bus, "first")
    second, two = plugin(bus, "second")
    one.observe(Placed, lambda event: None)
    two.observe(Placed, lambda event: None)

    assert anyio.run(first.aclose) == []
    assert bus.type_named("names.order.placed") is not None

    assert anyio.run(second.aclose) == []
    assert bus.type_named("names.order.placed") is None


def test_who_takes_all_as_plain_data_is_not_told_of_what_has_no_plain_form(bus: EventBus) -> None:
    """Neither by a pattern nor by a base class; live objects harm nobody who did not ask for them."""
    seen: list[str] = []
    failed: list[ListenerFailed] = []

    def note(event: NamedEvent) -> None:
        seen.append(event.name)

    bus.observe("**", note, name="pattern")
    bus.observe(object, note, name="everything")
    bus.observe(ListenerFailed, failed.append)
    bus.observe(Placed, lambda _: 1 / 0, name="broken")

    bus.emit(Placed(shop="x"))

    assert seen == ["names.order.placed"] * 2
    assert [failure.subscriber for failure in failed] == ["broken"]


def test_who_asks_for_such_an_event_itself_is_told_that_it_cannot_be(bus: EventBus) -> None:
    """It was a mistake then, and no coincidence."""
    failed: list[ListenerFailed] = []

    def note(event: NamedEvent) -> None:
        del event

    bus.observe(Live, note, name="note")
    bus.observe(ListenerFailed, failed.append)
    bus.emit(Live(threading.current_thread()))

    assert [failure.subscriber for failure in failed] == ["note"]


@event(name="names.live")
@dataclass
class Live:
    """What cannot travel."""

    thread: threading.Thread


def test_the_failure_of_an_untyped_event_is_told_by_its_wire_name(bus: EventBus) -> None:
    """Its type's name says nothing."""
    bus.observe("names.untyped", lambda _: 1 / 0, name="broken")

    with structlog.testing.capture_logs() as logs:
        bus.emit(NamedEvent("names.untyped", {}))

    assert [line["event_type"] for line in logs] == ["names.untyped"]
