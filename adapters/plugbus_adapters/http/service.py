"""The service ``Http``: what a plugin serves over HTTP by code instead of by decorators.

Owns the face; everything that is added through it belongs to the plugin that asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

from plugbus import Close, Owner
from plugbus_adapters.http.endpoints import EndpointMark

if TYPE_CHECKING:
    from plugbus_adapters.http._edge import Edge

__all__ = ("Http",)


@final
class Http:
    """The HTTP edge as one plugin sees it; ask for it as ``http: Http``, or by the name ``http``.

    What is added here is served as soon as the plugin is ready, and leaves with it.

    Example:
        >>> import anyio
        >>> from plugbus import Kernel, Plugin
        >>> from plugbus_adapters.http.testing import client
        >>> class Shop(Plugin):
        ...     def __init__(self, http: Http) -> None:
        ...         http.add_endpoint("/prices/{item}", "GET", self.price, auth="public")
        ...
        ...     async def price(self, item: str) -> int:
        ...         return len(item)
        >>> async def main() -> None:
        ...     async with client(Kernel([Shop])) as http:
        ...         print((await http.get("/prices/tea")).json())
        >>> anyio.run(main)
        3
    """

    def __init__(self, owner: Owner, edge: Edge) -> None:
        self._owner, self._edge = owner, edge

    def add_endpoint(
        self,
        path: str,
        method: str,
        handler: Callable[..., Any] | type,
        *,
        request_model: Any = None,
        response_model: Any = None,
        status: int = 200,
        tags: Sequence[str] = (),
        auth: str | Sequence[str] = "user",
        envelope: bool | None = None,
        errors: Mapping[type[Exception], int] | None = None,
        name: str | None = None,
        absolute: bool = False,
        summary: str | None = None,
    ) -> Close:
        """Serve a function, or a request of the bus.

        Args:
            path: The path, such as ``/products/{id}``.
            method: The HTTP method.
            handler: A function; or a request type, or an ``@answers`` function, which go through the bus.
            request_model: What the body is validated by, instead of the annotation.
            response_model: What the result is told by, instead of the annotation.
            status: Of a success.
            tags: What it is listed under in the documents.
            auth: ``"public"``, ``"user"`` (any principal), or the scope, or scopes, that a caller needs.
            envelope: Wrap results; as the app says unless given.
            errors: Status of each type of exception that is raised on purpose.
            name: What it is called.
            absolute: Leave the prefix of plugins out.
            summary: What it does, in a line.

        Returns:
            What takes it away again.

        Raises:
            ValueError: If the method, the path, the status or the scopes cannot be used.
            WiringError: If it cannot be decided where a parameter comes from, or somebody has the path.
            PluginGoneError: If the plugin has left.
        """
        mark = EndpointMark(
            method.upper(), path, status, tuple(tags), auth if isinstance(auth, str) else tuple(auth), envelope,
            tuple((errors or {}).items()), request_model, response_model, name, absolute, summary,
        )  # fmt: skip
        entry = self._edge.add(self._owner, mark, handler)
        disown = self._owner.own(lambda: self._edge.retire(entry), what=f"endpoint {entry.endpoint}", brings_work=True)

        def close() -> None:
            disown()
            self._edge.remove(entry)

        return close
