"""The trace as a plugin that a service enables."""

from __future__ import annotations

from typing import Final, final

from pydantic import BaseModel, PositiveInt

from plugbus import Clock, EventBus, Manifest, Plugin, provides
from plugbus_contrib.trace._trace import Trace

__all__ = ("PERMISSION", "TracePlugin")

PERMISSION: Final = "trace"
"""The permission that the service is tied to: who reads it learns of everybody's events."""


@final
class TracePlugin(Plugin):
    """Keeps the last emits of a kernel, and lets others read them: the service :class:`Trace`, permission ``trace``.

    Example:
        >>> from plugbus import Kernel
        >>> with Kernel([TracePlugin], config={"plugins": {"trace": {"keep": 50}}}).portal() as kernel:
        ...     _ = kernel.bus.emit_named("order.placed", {})
        ...     print(kernel.services.get(Trace).recent()[-1])
        emit order.placed [host]    ... ms
    """

    manifest = Manifest(
        id="trace",
        version="1.0.0",
        description="Keeps the last emits as trees: who caused what, for how long, and what failed.",
        publishes=(),
        subscribes=("**",),
        permissions=(),
    )

    class Settings(BaseModel):
        """Its settings; a change is in force at once.

        Attributes:
            keep: How many emits are kept.
            data: Keep events and messages of errors as text, too; either may hold secrets.
            paused: Do not watch until somebody calls ``Trace.resume()``.
        """

        keep: PositiveInt = 200
        data: bool = False
        paused: bool = False

    def __init__(self, bus: EventBus, clock: Clock, settings: Settings) -> None:
        self._trace = Trace(bus, keep=settings.keep, data=settings.data, clock=clock)
        self._paused = settings.paused  # when it boots

    @provides(permission=PERMISSION)
    def trace(self) -> Trace:
        """Return the trace."""
        return self._trace

    def on_settings(self, old: Settings, new: Settings) -> None:
        """Follow a change: what is kept stays, as far as there is room for it."""
        self._trace.adjust(keep=new.keep, data=new.data)
        if new.paused != old.paused:  # else it stays as somebody paused or resumed it
            (self._trace.pause if new.paused else self._trace.resume)()

    def on_boot(self) -> None:
        """Begin to watch."""
        if not self._paused:
            self._trace.resume()
