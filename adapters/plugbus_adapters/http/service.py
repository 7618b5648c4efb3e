"""The service ``Http``: what a plugin serves over HTTP by code instead of by decorators.

Owns the face; everything that is added through it belongs to the plugin that asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, final

from plugbus import Close, Owner
from plugbus_adapters.http.endpoints import EndpointMark

if TYPE_CHECKING:
    from plugbus_adapters.http._entries import Entry
    from plugbus_adapters.http._layers import Layers
    from plugbus_adapters.http._routes import Routed
    from plugbus_adapters.http._served import Served

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

    def __init__(self, owner: Owner, served: Served, layers: Layers) -> None:
        self._owner, self._served, self._layers = owner, served, layers

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
        statuses: Sequence[int] = (),
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
            statuses: Others that the function may set, for the documents.

        Returns:
            What takes it away again.

        Raises:
            ValueError: If the method, the path, the status or the scopes cannot be used.
            WiringError: If it cannot be decided where a parameter comes from, or somebody has the path.
            PluginGoneError: If the plugin has left.
        """
        mark = EndpointMark(
            method.upper(), path, status, tuple(tags), auth if isinstance(auth, str) else tuple(auth), envelope,
            tuple((errors or {}).items()), request_model, response_model, name, absolute, summary, tuple(statuses),
        )  # fmt: skip
        return self._kept(self._served.add(self._owner, mark, handler), f"endpoint {mark.method} {path}")

    def add_websocket(
        self,
        path: str,
        handler: Callable[..., Any],
        *,
        auth: str | Sequence[str] = "user",
        name: str | None = None,
        absolute: bool = False,
    ) -> Close:
        """Serve a WebSocket.

        Args:
            path: The path.
            handler: ``async def handler(websocket: WebSocket, ...)`` with Starlette's ``WebSocket``; it accepts, and
                what else it takes comes from path, query, headers and services.
            auth: Who may connect; others are refused before it is called.
            name: What it is called.
            absolute: Leave the prefix of plugins out.

        Returns:
            What takes it away again.

        Raises:
            WiringError: If it cannot be decided where a parameter comes from, or somebody has the path.
        """
        given = auth if isinstance(auth, str) else tuple(auth)
        entry = self._served.add_websocket(self._owner, path, handler, given, name, absolute=absolute)
        return self._kept(entry, f"websocket {path}")

    def include(self, routes: Any, *, prefix: str = "", auth: str | Sequence[str] = "user") -> Close:
        """Serve routes that are written for a web framework.

        Args:
            routes: A Starlette route, several, or an ``APIRouter`` where FastAPI is installed.
            prefix: In front of their paths.
            auth: Who may use them; checked before they are.

        Returns:
            What takes them away again.

        Raises:
            WiringError: If somebody answers the same requests.
            TypeError: If they are no routes.
        """
        given = auth if isinstance(auth, str) else tuple(auth)
        found = self._served.include(self._owner, routes, prefix, given)
        return self._kept(found, f"routes {found.label}")

    def mount(self, path: str, app: Any, *, auth: str | Sequence[str] = "user") -> Close:
        """Serve all below a path by an ASGI app; its lifespan is not run.

        Args:
            path: The path.
            app: The app.
            auth: Who may use it; checked before it is called.

        Returns:
            What takes it away again.

        Raises:
            WiringError: If somebody answers the same requests.
        """
        from starlette.routing import Mount

        return self.include(Mount(path, app), auth=auth)

    def static(self, path: str, folder: str | PathLike[str], *, auth: str | Sequence[str] = "user") -> Close:
        """Serve the files of a folder.

        Args:
            path: Where.
            folder: The folder.
            auth: Who may have them.

        Returns:
            What takes them away again.

        Raises:
            WiringError: If somebody answers the same requests.
            RuntimeError: If there is no such folder.
        """
        import mimetypes

        from starlette.staticfiles import StaticFiles

        mimetypes.init()  # it reads files, which the first request would wait for
        return self.mount(path, StaticFiles(directory=folder), auth=auth)

    def add_middleware(self, middleware: Callable[..., Any], *args: Any, **options: Any) -> Close:
        """Put a layer around the whole app, endpoints of others included; the newest is the outermost.

        Args:
            middleware: Called with an ASGI app and what follows; returns an ASGI app, as Starlette's middleware does.
            *args: What it takes behind the app.
            **options: What it takes by name.

        Returns:
            What takes it away again.
        """
        remove = self._layers.add(self._owner, lambda app: middleware(app, *args, **options))
        disown = self._owner.own(remove, what=f"middleware {getattr(middleware, '__name__', middleware)}")
        return _both(disown, remove)

    def map_error(self, kind: type[Exception], status: int) -> Close:
        """Give a type of exception, and those below it, a status; its text is told to the caller.

        Args:
            kind: The type; what an endpoint says of it itself goes before.
            status: From 400 to 599.

        Returns:
            What takes that back.

        Raises:
            ValueError: If the status is no failure.
        """
        remove = self._served.map_error(kind, status)
        disown = self._owner.own(remove, what=f"status of {kind.__name__}")
        return _both(disown, remove)

    def _kept(self, entry: Entry | Routed, what: str) -> Close:
        try:
            disown = self._owner.own(lambda: self._served.retire(entry), what=what, brings_work=True)
        except BaseException:
            self._served.remove(entry)
            raise
        return _both(disown, lambda: self._served.remove(entry))


def _both(disown: Callable[[], None], remove: Callable[[], None]) -> Close:
    def close() -> None:
        disown()
        remove()

    return close
