"""The events that an HTTP edge emits for plugins: set up, started, shut down, and before each answer.

Owns what is told; nothing here needs a web framework.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

from plugbus import Event, Owner, event
from plugbus_adapters.http.service import Http

__all__ = ("HttpSetup", "HttpShutdown", "HttpStartup", "PreResponse")


@final
@event(name="http.setup", sticky=True)
@dataclass(frozen=True)
class HttpSetup:
    """There is an HTTP edge; told to those who subscribe later, too.

    For plugins that serve something only where there is an edge: unlike one that asks for ``Http``, they boot without.
    An observer asks for ``owner: Owner`` beside it.

    Example:
        >>> from plugbus import Plugin, observes
        >>> class Shop(Plugin):
        ...     @observes(HttpSetup)
        ...     async def serve(self, setup: HttpSetup, owner: Owner) -> None:
        ...         setup.http(owner).add_endpoint("/price", "GET", self.price, auth="public")
        ...
        ...     async def price(self) -> int:
        ...         return 3
    """

    _http: Callable[[Owner], Http] = field(repr=False)
    _app: Callable[[Owner], Any] = field(repr=False)

    def http(self, owner: Owner) -> Http:
        """Return the view of a plugin; what it adds there leaves with it.

        Args:
            owner: The plugin.
        """
        return self._http(owner)

    def app(self, owner: Owner) -> Any:
        """Return the Starlette app itself. What is done to it stays: nobody can undo it when the plugin leaves.

        That is why a plugin that asked for it cannot be reloaded any more; it can be unloaded.

        Args:
            owner: The plugin.

        Raises:
            LookupError: If there is no app, because the plugin ``http`` was loaded without one.
        """
        return self._app(owner)


@final
class HttpStartup(Event, name="http.startup", defer_build=True):
    """The app takes requests from now on.

    Example:
        >>> HttpStartup()
        HttpStartup()
    """


@final
class HttpShutdown(Event, name="http.shutdown", defer_build=True):
    """The app takes no more requests; the kernel runs still.

    Example:
        >>> HttpShutdown()
        HttpShutdown()
    """


@final
@event(name="http.pre_response", key="endpoint")
@dataclass(slots=True)
class PreResponse:
    """An endpoint has a result, which is to be told; a listener may put another one in its place.

    Subscribe with ``key=`` for one endpoint. A refusal becomes the answer.

    Attributes:
        endpoint: Name of the endpoint.
        result: What it returned; what comes out of the chain is told, by the type that the endpoint declares.

    Example:
        >>> from plugbus import EventBus, replace
        >>> bus = EventBus()
        >>> def hide(event: PreResponse, next_fn) -> PreResponse:
        ...     return next_fn(replace(event, result={**event.result, "cost": None}))
        >>> _ = bus.listen(PreResponse, hide, key="shop.product")
        >>> bus.emit(PreResponse("shop.product", {"name": "tea", "cost": 2})).result
        {'name': 'tea', 'cost': None}
    """

    endpoint: str
    result: Any
