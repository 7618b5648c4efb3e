"""Tests of what is served: a client that talks to a kernel's app without a network.

Owns the client; what tests of plugins need beside is in ``plugbus.testing``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from starlette.applications import Starlette

from plugbus import Kernel, Principal
from plugbus_adapters.http._guard import PRINCIPAL
from plugbus_adapters.http.app import create_app

__all__ = ("client",)


@asynccontextmanager
async def client(
    target: Kernel | Starlette, *, as_: Principal | None = None, **options: Any
) -> AsyncIterator[httpx2.AsyncClient]:
    """Run an app for a block, and hand out a client that talks to it.

    Args:
        target: A kernel that has not started; or an app, such as another client of the same kernel uses, whose
            lifespan somebody runs.
        as_: Who asks in each request; nobody unless given.
        **options: Those of :func:`create_app`, for a kernel.

    Example:
        >>> import anyio
        >>> from plugbus import Kernel, Plugin
        >>> from plugbus_adapters.http import HttpContext, endpoint
        >>> class Shop(Plugin):
        ...     @endpoint("GET", "/me")
        ...     async def me(self, http: HttpContext) -> str:
        ...         return http.principal.id
        >>> async def main() -> None:
        ...     async with client(Kernel([Shop]), as_=Principal("ann")) as http:
        ...         print((await http.get("/me")).json())
        >>> anyio.run(main)
        ann
    """
    app = create_app(target, **options) if isinstance(target, Kernel) else target

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, PRINCIPAL: as_}, receive, send)

    transport = httpx2.ASGITransport(app=asked, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as found:
        if isinstance(target, Kernel):
            async with target:
                yield found
        else:
            yield found
