"""The plugin: one handler that turns a delivery into an event and emits it."""

from __future__ import annotations

from hub_events import EVENT_TYPES, KINDS, Deliver, Receipt

from plugbus import EventBus, NamedEvent, Plugin, answers

from .judging import event_from, event_name

__all__ = ("Intake",)


class Intake(Plugin):
    """Answers ``Deliver``: refuses what is malformed and emits the rest.

    Args:
        bus: Where the events go.
    """

    events = (*KINDS, *EVENT_TYPES.values())

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    @answers(Deliver)
    async def deliver(self, request: Deliver) -> Receipt:
        """Emit one delivery; refusals and failures of its event reach the one who asked."""
        name = event_name(request.event, request.payload)
        event = event_from(name, request.payload, self._bus.type_named(name))
        await self._bus.aemit(event)
        return Receipt(name=name, typed=not isinstance(event, NamedEvent))
