"""P6 and P7: subscriptions that an event has nothing to do with cost it nothing."""

from __future__ import annotations

from benchmarks.harness import Case
from benchmarks.parts import Tick, observer, pass_through
from benchmarks.sides import Pair, Side, sync_run
from plugbus import Event, EventBus

TICK = Tick(number=1)
OTHER_TYPES = 10_000
SUBSCRIPTIONS_EACH = 10
OTHER_KEYS = 10_000


class Sale(Event, name="benchmarks.sale", key="shop"):
    """An event that subscriptions filter by its shop."""

    shop: str


SALE = Sale(shop="berlin")


def crowd(bus: EventBus) -> None:
    """Subscribe to many other types, and emit each once, so that its chain is compiled and in the way."""

    def ignore(other: object) -> None:
        pass

    for number in range(OTHER_TYPES):
        other = type(f"Other{number}", (), {})
        for _ in range(SUBSCRIPTIONS_EACH):
            bus.observe(other, ignore)
        bus.emit(other())


def emit_tick(bus: EventBus) -> Side:
    bus.listen(Tick, pass_through())
    bus.observe(Tick, observer())
    return Side(sync_run(bus.emit, TICK), TICK, {"handle": 1, "observe": 1})


def other_types() -> Pair:
    crowded = EventBus()
    crowd(crowded)
    return Pair(emit_tick(crowded), emit_tick(EventBus()))


def emit_sale(bus: EventBus, others: int) -> Side:
    def observe(sale: Sale) -> None:
        pass

    for number in range(others):
        bus.observe(Sale, observe, key=f"shop{number}")
    bus.observe(Sale, observe, key="berlin")
    for number in range(others):
        bus.emit(Sale(shop=f"shop{number}"))
    return Side(sync_run(bus.emit, SALE), SALE, {"observe": 1})


def other_keys() -> Pair:
    return Pair(emit_sale(EventBus(), OTHER_KEYS), emit_sale(EventBus(), 0))


CASES = (
    Case("P6", "emit, 100,000 subscriptions to other types", "none", 1.1, other_types),
    Case("P7", "emit by key, 10,000 subscriptions to other keys", "one subscription", 1.5, other_keys),
)
