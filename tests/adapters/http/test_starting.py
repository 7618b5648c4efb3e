"""An app starts with its kernel, strict ones too, or says why it does not."""

from __future__ import annotations

import pytest

from plugbus import Kernel, KernelStartError, Manifest, Plugin, PluginState
from plugbus_adapters.http import create_app, endpoint
from plugbus_adapters.http.testing import client

pytestmark = pytest.mark.anyio


class Shop(Plugin):
    manifest = Manifest(id="shop", publishes=[], subscribes=[], permissions=[])

    @endpoint("GET", "/price", auth="public")
    async def price(self) -> int:
        return 3


async def test_a_strict_kernel_is_served() -> None:
    """What the adapter brings along declares what it does, as every plugin of such a kernel has to."""
    kernel = Kernel([Shop], strict=True)
    async with client(kernel) as http:
        assert (await http.get("/price")).json() == 3
        states = {record.id: record.state for record in kernel.plugins.values() if record.state != "disabled"}
        assert set(states.values()) == {PluginState.READY}, states


async def test_an_app_that_could_serve_nothing_does_not_start() -> None:
    """The plugin http is what serves: without it every answer would be 503, and only the log would say why."""
    app = create_app(Kernel([Shop], config={"plugins": {"http": {"max_body_bytes": "a lot"}}}))
    with pytest.raises(KernelStartError, match=r"(?s)plugin 'http'.*max_body_bytes"):
        async with app.router.lifespan_context(app):
            pass
