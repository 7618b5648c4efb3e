"""On a bus with services, listener classes are built by them, and further parameters come from them."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from tests.bus.tools import Ask, Ping, World, in_worlds, marks, plugin

from plugbus import EventBus, Listener, Named, NextFn, Owner, PlugbusError, Services

pytestmark = marks


class Ledger:
    """A service that notes what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []


class Absent:
    """A service that nobody provides."""


class Mine:
    """A service of which each plugin has its own."""

    asked: ClassVar[list[str]] = []

    def __init__(self, owner: Owner) -> None:
        self.asked.append(owner.id)
        self.owner = owner


class Audit(Listener[Ping]):
    """Built by the container, once."""

    built = 0

    def __init__(self, ledger: Ledger) -> None:
        type(self).built += 1
        self.ledger = ledger

    def handle(self, event: Ping, next_fn: NextFn[Ping]) -> Ping:
        self.ledger.lines.append("audit")
        return next_fn(event)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def services(ledger: Ledger) -> Services:
    services = Services()
    services.value(Ledger, ledger, name="book")
    return services


@pytest.fixture
def bus(services: Services) -> EventBus:
    return EventBus(services=services)


@in_worlds
def test_a_listener_class_is_built_once_with_its_services(bus: EventBus, ledger: Ledger, world: World) -> None:
    Audit.built = 0
    bus.listen(Ping, Audit)

    world.emit(bus, Ping())
    world.emit(bus, Ping())

    assert ledger.lines == ["audit", "audit"]
    assert Audit.built == 1


@in_worlds
def test_further_parameters_are_injected_by_type_and_by_name(bus: EventBus, ledger: Ledger, world: World) -> None:
    def listener(event: Ping, next_fn: NextFn[Ping], ledger: Ledger) -> Ping:
        ledger.lines.append("listener")
        return next_fn(event)

    async def observer(event: Ping, book, missing: Absent | None = None, *, also: Annotated[Ledger, Named("book")]):
        assert missing is None
        assert also is book
        book.lines.append("observer")

    bus.listen(Ping, listener)
    bus.observe(Ping, observer)

    world.emit(bus, Ping())

    assert ledger.lines == ["listener", "observer"]


@in_worlds
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_handler_with_services_keeps_its_colour(
    bus: EventBus, ledger: Ledger, world: World, asynchronous: bool
) -> None:
    def handler(request: Ask, ledger: Ledger) -> str:
        ledger.lines.append("handler")
        return "answer"

    async def ahandler(request: Ask, ledger: Ledger) -> str:
        return handler(request, ledger)

    bus.answer(Ask, ahandler if asynchronous else handler)

    assert world.call(bus, Ask()) == "answer"
    assert ledger.lines == ["handler"]


def test_methods_are_injected_beyond_self(bus: EventBus, ledger: Ledger) -> None:
    class Shop:
        def told(self, event: Ping, ledger: Ledger) -> None:
            ledger.lines.append(type(self).__name__)

    bus.observe(Ping, Shop().told)
    bus.emit(Ping())

    assert ledger.lines == ["Shop"]


def test_services_are_resolved_when_it_is_registered(bus: EventBus, ledger: Ledger, services: Services) -> None:
    def observer(event: Ping, ledger: Ledger) -> None:
        ledger.lines.append("told")

    bus.observe(Ping, observer)
    other = Ledger()
    with services.override(Ledger, other):
        bus.emit(Ping())

    assert (ledger.lines, other.lines) == (["told"], [])


@pytest.mark.parametrize("how", ["parameter", "class"])
def test_a_service_that_nobody_provides_is_refused_and_leaves_nothing(bus: EventBus, how: str) -> None:
    def needy(event: Ping, absent: Absent) -> None: ...

    class Needy(Listener[Ping]):
        def __init__(self, absent: Absent) -> None: ...

        def handle(self, event: Ping, next_fn: NextFn[Ping]) -> Ping:
            return next_fn(event)

    with pytest.raises(PlugbusError, match="Absent"):
        bus.observe(Ping, needy) if how == "parameter" else bus.listen(Ping, Needy)

    assert list(bus.subscriptions()) == []
    bus.emit(Ping())


def test_a_view_injects_what_its_owner_sees(bus: EventBus, services: Services) -> None:
    """Scope "plugin": each plugin gets an own one, told by its Owner."""
    Mine.asked.clear()
    services.factory(Mine, Mine, scope="plugin")
    seen: list[str] = []

    def observer(event: Ping, mine: Mine) -> None:
        seen.append(mine.owner.id)

    for name in ("one", "two"):
        _, view = plugin(bus, name)
        view.observe(Ping, observer)

    bus.emit(Ping())

    assert seen == ["one", "two"]
    assert sorted(Mine.asked) == ["one", "two"]


def test_the_count_of_parameters_is_still_checked(bus: EventBus) -> None:
    with pytest.raises(PlugbusError):
        bus.listen(Ping, lambda event: event)
    with pytest.raises(PlugbusError):
        bus.observe(Ping, lambda: None)
