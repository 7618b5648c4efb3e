"""Middleware that plugins bring: layers around the whole app, built again when one comes or goes.

Owns the layers; a request runs through those that there were when it began.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias, final

from plugbus import Owner
from plugbus_adapters.http._exchange import Receive, Scope, Send

__all__ = ("App", "Layers")

App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Layer(NamedTuple):
    owner: Owner
    make: Callable[[App], App]


@final
class Layers:
    """The layers of one app.

    Args:
        inner: What they are around.

    Attributes:
        app: The outermost.
    """

    def __init__(self, inner: App) -> None:
        self._inner, self._layers = inner, tuple[_Layer, ...]()
        self.app: App = inner

    def add(self, owner: Owner, make: Callable[[App], App]) -> Callable[[], None]:
        """Put one around all others, as soon as its plugin is ready; return what takes it away."""
        layer = _Layer(owner, make)
        self._build((*self._layers, layer))
        return lambda: self._build(tuple(each for each in self._layers if each is not layer))

    def _build(self, layers: tuple[_Layer, ...]) -> None:
        """Build all; nothing has changed if one of them cannot be built."""
        app = self._inner
        for layer in layers:
            app = _while_active(layer.owner, layer.make(app), app)
        self._layers, self.app = layers, app


def _while_active(owner: Owner, layer: App, below: App) -> App:
    def run(scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        return (layer if owner.active else below)(scope, receive, send)

    return run
