"""The plugin: one handler that turns a delivery into an event and emits it."""

from __future__ import annotations

from hub_events import EVENT_TYPES, KINDS, Deliver, Receipt

from plugbus import Clock, EventBus, NamedEvent, Plugin, answers

from .judging import event_from, event_name

__all__ = ("Intake",)


class Intake(Plugin):
    """Answers ``Deliver``: refuses what is malformed, emits the rest, and says how long the emit took.

    Args:
        bus: Where the events go.
        clock: Measures the emits.
    """

    events = (*KINDS, *EVENT_TYPES.values())

    def __init__(self, bus: EventBus, clock: Clock) -> None:
        self._bus, self._clock = bus, clock

    @answers(Deliver)
    async def deliver(self, request: Deliver) -> Receipt:
        """Emit one delivery; refusals and failures of its event reach the one who asked."""
        name = event_name(request.event, request.payload)
        event = event_from(name, request.payload, self._bus.type_named(name))
        began = self._clock.monotonic()
        await self._bus.aemit(event)
        seconds = self._clock.monotonic() - began
        return Receipt(name=name, typed=not isinstance(event, NamedEvent), emit_seconds=seconds)
