"""A kernel as a Starlette app, alone or within somebody else's.

Owns the app and its lifespan; what a request goes through is ``_edge.py``'s job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Literal, final

from starlette.applications import Starlette
from starlette.routing import Router

from plugbus import Kernel, KernelStartError, PluginState, Problem
from plugbus_adapters.http._authenticating import HostAuthenticator
from plugbus_adapters.http._edge import Edge
from plugbus_adapters.http._front import Front
from plugbus_adapters.http._guard import Guard
from plugbus_adapters.http._served import Served
from plugbus_adapters.http.documents._serving import Documents
from plugbus_adapters.http.events.plugin import EventsPlugin
from plugbus_adapters.http.lifecycle import HttpShutdown, HttpStartup
from plugbus_adapters.http.plugin import HttpPlugin
from plugbus_adapters.http.problems import ProblemError
from plugbus_adapters.http.security import Authenticator

__all__ = ("create_app", "lifespan", "mount")

Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


def create_app(
    kernel: Kernel,
    *,
    auth: Authenticator | HostAuthenticator | None = None,
    prefix: str = "",
    plugin_prefix: str = "",
    envelope: bool = False,
    events: bool = True,
    docs: bool | Literal["public"] = True,
    title: str = "plugbus",
    version: str = "1.0.0",
) -> Starlette:
    """Make a Starlette app of a kernel; its lifespan starts and stops the kernel.

    Args:
        kernel: The kernel, not started. It gets the plugin ``http``.
        auth: Finds out who asks: an :class:`Authenticator`, or a function of :class:`Credentials`. Without it, and
            without a plugin that provides one, only endpoints with ``auth="public"`` are served.
        prefix: In front of all paths, such as ``/api``.
        plugin_prefix: In front of the paths of plugins, such as ``/plugins/{plugin}``.
        envelope: Wrap results as ``{"success", "data", "error"}``.
        events: Serve the event API: publish, call, subscribe.
        docs: Serve ``/openapi.json`` to whoever is known, or to everybody (``"public"``), and the page ``/docs``,
            which shows it and works without any other server.
        title: Of the app, in the documents.
        version: Of the app, in the documents.

    Raises:
        ValueError: If the kernel has an app already.
        PluginError: If the kernel has started.

    Example:
        >>> from plugbus import Kernel, Plugin
        >>> from plugbus_adapters.http import create_app, endpoint
        >>> class Shop(Plugin):
        ...     @endpoint("GET", "/prices/{item}", auth="public")
        ...     async def price(self, item: str) -> int:
        ...         return len(item)
        >>> app = create_app(Kernel([Shop]))  # uvicorn module:app
    """
    if kernel.services.has(Edge):
        raise ValueError(f"create_app({kernel!r}): has an app already; mount that one, or make another kernel")
    served = Served(kernel.bus, prefix=prefix, plugin_prefix=plugin_prefix, envelope=envelope)
    edge = Edge(kernel.bus, Guard(auth), served)
    kernel.services.value(Edge, edge)
    kernel.plugins.add(HttpPlugin)
    if events:
        kernel.plugins.add(EventsPlugin)
    app = Starlette(lifespan=lifespan(kernel))
    app.router = _Routing(edge, lifespan=lifespan(kernel))
    edge.app = app
    if docs:
        documents = Documents(served, title=title, version=version)
        edge.documents = partial(documents.serve, auth="public" if docs == "public" else "user")
    app.add_middleware(Front, settings=lambda: edge.settings)
    app.state.http_settings = lambda: edge.settings
    app.state.http_stopping = edge.stop
    app.state.http_authenticated = lambda: edge.guard.knows_anybody
    return app


@final
class _Routing(Router):
    """Serves endpoints, and below them whatever routes the host adds to the app."""

    def __init__(self, edge: Edge, **options: Any) -> None:
        super().__init__(**options)
        self._edge = edge
        edge.fallback = super().app

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await super().app(scope, receive, send)
        else:
            await self._edge.layers.app(scope, receive, send)

    async def not_found(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse what nobody serves."""
        if scope["type"] != "http":
            await super().not_found(scope, receive, send)
        elif not self._edge.attached:
            told = "the kernel does not run; the lifespan of the app has to"
            await self._edge.refuse(ProblemError(503, told, code="not_running"), scope, receive, send)
        elif "plugbus.methods" in scope:
            allow = ", ".join(scope["plugbus.methods"])
            error = ProblemError(405, f"use {allow}", code="method_not_allowed", headers=[("allow", allow)])
            await self._edge.refuse(error, scope, receive, send)
        else:
            await self._edge.refuse(ProblemError(404, "there is nothing here", code="no_route"), scope, receive, send)


def lifespan(*kernels: Kernel) -> Lifespan:
    """Return a lifespan that starts kernels in this order and stops them in reverse, for an app of your own.

    Args:
        kernels: The kernels.

    Example:
        >>> from plugbus import Kernel, KernelStartError, PluginState, Problem
        >>> from starlette.applications import Starlette
        >>> app = Starlette(lifespan=lifespan(Kernel()))
    """

    @asynccontextmanager
    async def run(_app: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for kernel in kernels:
                await stack.enter_async_context(kernel)
                _check_served(kernel)
                await kernel.bus.aemit(HttpStartup())
                stack.push_async_callback(kernel.bus.aemit, HttpShutdown())
            yield

    return run


def _check_served(kernel: Kernel) -> None:
    """Stop the start where what the app is for is not served: only the log would say why it answers 503 or 404."""
    records = [kernel.plugins[id] for id in ("http", "events") if id in kernel.plugins]
    problems = [
        Problem(f"plugin {each.id!r}", f"is {each.state}: {each.reason}", "without it the app does not serve")
        for each in records
        if each.state in {PluginState.FAILED, PluginState.BLOCKED}
    ]
    if problems and kernel.services.has(Edge):
        raise KernelStartError(problems)


def mount(app: Any, kernel: Kernel, path: str, **options: Any) -> Starlette:
    """Mount a kernel into a Starlette or FastAPI app; it starts and stops with that app.

    Starlette does not run the lifespan of mounted apps, so the host's own is wrapped; mount before it starts.

    Args:
        app: The host's app.
        kernel: The kernel.
        path: Where; several kernels are mounted at several paths.
        **options: Those of :func:`create_app`.

    Returns:
        The app that was mounted.

    Example:
        >>> from plugbus import Kernel, KernelStartError, PluginState, Problem
        >>> from starlette.applications import Starlette
        >>> host = Starlette()
        >>> shop = mount(host, Kernel(), "/shop")
    """
    mounted = create_app(kernel, **options)
    outer = app.router.lifespan_context

    @asynccontextmanager
    async def both(host: Any) -> AsyncIterator[Any]:
        async with lifespan(kernel)(mounted), outer(host) as state:
            yield state

    app.router.lifespan_context = both
    app.mount(path, mounted)
    _tell_server(app, mounted)
    return mounted


def _tell_server(host: Any, mounted: Starlette) -> None:
    """Let ``server_config`` take the host: the limits of the first kernel, and what it asks of all of them."""
    state = host.state
    state.http_mounted = every = (*getattr(state, "http_mounted", ()), mounted)
    state.http_settings = every[0].state.http_settings
    state.http_authenticated = lambda: all(each.state.http_authenticated() for each in every)

    def stop() -> None:
        for each in every:
            each.state.http_stopping()

    state.http_stopping = stop
