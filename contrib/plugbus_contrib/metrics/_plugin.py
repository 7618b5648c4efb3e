"""Metrics as a plugin that a service enables."""

from __future__ import annotations

from typing import Any, Final, final

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, field_validator

from plugbus import (
    Clock,
    EventBus,
    ListenerFailed,
    Manifest,
    Owner,
    PermissionDeniedError,
    Plugin,
    Plugins,
    PluginUnloaded,
    Services,
    observes,
    provides,
)
from plugbus_contrib.metrics._metrics import (
    BUCKETS,
    MAX_EVENTS,
    MAX_NAMED_EVENTS,
    Metrics,
    Rendered,
    checked_buckets,
)

__all__ = ("PERMISSION", "MetricsPlugin")

PERMISSION: Final = "metrics"
"""The permission that the service is tied to: who reads it learns which events there are, and how many."""


@final
class MetricsPlugin(Plugin):
    """Counts what happens in a kernel, for Prometheus: the service :class:`Metrics`, permission ``metrics``.

    Where the kernel has HTTP, they are served at ``/metrics`` to whoever has the scope ``metrics.read``.
    Plugin states and health need the permission ``kernel.manage``; where the operator does not grant it, the rest is
    told without them.

    Example:
        >>> from plugbus import Kernel
        >>> with Kernel([MetricsPlugin]).portal() as kernel:
        ...     _ = kernel.bus.emit_named("order.placed", {})
        ...     text = kernel.services.get(Metrics).text()
        >>> 'plugbus_emits_total{event="order.placed",outcome="ok"} 1.0' in text
        True
    """

    manifest = Manifest(
        id="metrics",
        version="1.0.0",
        description="Prometheus metrics: what runs, for how long, what fails, and how full it is.",
        publishes=(),
        subscribes=("**",),
        permissions=("kernel.manage",),
    )

    class Settings(BaseModel):
        """Its settings.

        Attributes:
            buckets: Upper bounds of the histograms, in seconds, ascending.
            max_events: How many event types have a label value of their own; the rest is ``other``.
            max_named_events: The same for the names of events without a type, which remote callers choose.
            paused: Watch no emits until somebody calls ``Metrics.resume()``; the rest is told.
            health: Ask the plugins how they are, whenever the metrics are asked for.
            health_timeout_seconds: Time for each plugin to answer, in seconds.
            path: Where they are served, where there is HTTP.
            auth: Who may ask there: the scope, or scopes, ``"user"`` (any principal), or ``"public"``.
        """

        buckets: tuple[float, ...] = BUCKETS
        max_events: PositiveInt = MAX_EVENTS
        max_named_events: NonNegativeInt = MAX_NAMED_EVENTS
        paused: bool = False
        health: bool = True
        health_timeout_seconds: float = Field(default=2.0, gt=0)
        path: str = "/metrics"
        auth: str | tuple[str, ...] = "metrics.read"

        @field_validator("buckets")
        @classmethod
        def _checked(cls, buckets: tuple[float, ...]) -> tuple[float, ...]:
            return checked_buckets(buckets)

    def __init__(self, bus: EventBus, clock: Clock, settings: Settings, services: Services, owner: Owner) -> None:
        self._settings = settings
        self._context: Any = None
        self._write = owner.bind(self._write_out)
        self._metrics = Metrics(
            bus,
            plugins=_if_it_may(services),
            buckets=settings.buckets,
            max_events=settings.max_events,
            max_named_events=settings.max_named_events,
            clock=clock,
        )

    @provides(permission=PERMISSION)
    def metrics(self) -> Metrics:
        """Return the metrics."""
        return self._metrics

    async def on_boot(self, http: Any = None, http_context: Any = None) -> None:
        """Begin to watch, and serve the metrics where there is HTTP.

        Args:
            http: The service ``Http`` of the HTTP adapter, by its name: contrib knows no adapter.
            http_context: Its ``HttpContext``.
        """
        if not self._settings.paused:
            self._metrics.resume()
        self._context = http_context
        if callable(getattr(http, "add_endpoint", None)):  # or the host calls something else so, such as a client
            options = {"auth": self._settings.auth, "name": "metrics", "summary": "Metrics of this service."}
            http.add_endpoint(self._settings.path, "GET", self.serve, absolute=True, **options)

    def _write_out(self, accept: str) -> Rendered:
        return self._metrics.render(accept)

    async def serve(self) -> Any:
        """Answer a scrape in the format that it asks for."""
        from starlette.responses import Response

        rendered = await self.render(self._context.header("accept") or "")
        return Response(rendered.body, headers={"content-type": rendered.content_type, "cache-control": "no-store"})

    @observes(ListenerFailed, run_in="caller")
    def count_failure(self, failure: ListenerFailed) -> None:
        """Count a failure that no emitter saw."""
        self._metrics.failed(failure)

    @observes(PluginUnloaded, run_in="caller")
    def forget_plugin(self, event: PluginUnloaded) -> None:
        """Drop the series of a plugin that has left."""
        self._metrics.forget(event.plugin)

    async def render(self, accept: str = "") -> Rendered:
        """Return the metrics with their media type, after asking the plugins how they are; suspends.

        They are written in a worker thread: those of a thousand event types take half a second.

        Args:
            accept: The ``Accept`` header of whoever asks.
        """
        if self._settings.health:
            await self._metrics.check_health(timeout_seconds=self._settings.health_timeout_seconds)
        rendered: Rendered = await self._write(accept)
        return rendered


def _if_it_may(services: Services) -> Plugins | None:
    """Ask by hand: a parameter ``Plugins | None`` that is not permitted would fail the whole plugin."""
    try:
        return services.get(Plugins)
    except PermissionDeniedError:
        return None
