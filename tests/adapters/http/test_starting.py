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


@pytest.mark.parametrize(("plugin", "setting"), [("http", "max_body_bytes"), ("events", "heartbeat_seconds")])
async def test_an_app_that_could_not_serve_does_not_start(plugin: str, setting: str) -> None:
    """Without what the adapter brings along the answers would be 503 or 404, and only the log would say why."""
    app = create_app(Kernel([Shop], config={"plugins": {plugin: {setting: "a lot"}}}))
    with pytest.raises(KernelStartError, match=rf"(?s)plugin '{plugin}'.*{setting}"):
        async with app.router.lifespan_context(app):
            pass


async def test_an_operator_may_do_without_the_event_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken out of the allow list it is disabled, which is no failure."""
    monkeypatch.setenv("PLUGBUS_ENABLED", "-events")
    async with client(Kernel([Shop])) as http:
        assert ((await http.get("/events")).status_code, (await http.get("/price")).json()) == (404, 3)
