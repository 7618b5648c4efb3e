"""Whether the process lives, and whether the kernel is ready for work.

Owns the two endpoints; how well plugins are, the kernel asks them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

import anyio
from pydantic_core import to_jsonable_python

from plugbus import Clock, KernelHealth, Plugins, Principal
from plugbus_adapters.http.context import HttpContext

if TYPE_CHECKING:
    from plugbus_adapters.http.service import Http

__all__ = ("HEALTH_SCOPE", "HealthEndpoints")

HEALTH_SCOPE: Final = "health.read"
"""The scope that shows how each plugin is."""
_KEPT_SECONDS: Final = 1.0


@final
class HealthEndpoints:
    """``/health/live`` and ``/health/ready``, for everybody; how each plugin is, for those with ``health.read``.

    Plugins are asked once a second at most, however often somebody asks.

    Args:
        plugins: The plugins of the kernel.
        clock: What the second is measured with.

    Example:
        >>> HEALTH_SCOPE
        'health.read'
    """

    def __init__(self, plugins: Plugins, clock: Clock) -> None:
        self._plugins, self._clock = plugins, clock
        self._asked: tuple[float, KernelHealth] | None = None
        self._asking: anyio.Lock | None = None

    def serve(self, http: Http) -> None:
        """Serve both."""
        http.add_endpoint("/health/live", "GET", self.live, auth="public", tags=["health"])
        http.add_endpoint("/health/ready", "GET", self.ready, auth="public", tags=["health"], statuses=[503])

    async def live(self) -> dict[str, str]:
        """Tell that the process answers."""
        return {"status": "up"}

    async def ready(self, http: HttpContext, who: Principal | None) -> dict[str, Any]:
        """Tell whether every required plugin is ready: 200, or 503."""
        health = await self._health()
        if not health.ok:
            http.set_status(503)
            http.set_header("Retry-After", "5")
        told: dict[str, Any] = {"status": health.status}
        if who is not None and who.may(HEALTH_SCOPE):
            told["plugins"] = to_jsonable_python(health.plugins)
        return told

    async def _health(self) -> KernelHealth:
        self._asking = self._asking or anyio.Lock()
        async with self._asking:
            now = self._clock.monotonic()
            if self._asked is None or now - self._asked[0] > _KEPT_SECONDS:
                self._asked = now, await self._plugins.health()
            return self._asked[1]
