"""Serves a page with an EventSource, and the events that it subscribes to, on record in a file; it is killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvicorn
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from plugbus import Event, Kernel, Plugin, Principal
from plugbus_adapters.http import BearerTokens, create_app, endpoint, log_in, server_config

PAGE = '<!doctype html><html lang="en"><title>Orders</title><script src="/page.js"></script><p>Orders</p></html>'
SCRIPT = """
window.seen = []; window.ids = []; window.errors = 0; window.resets = []; window.opened = 0;
async function subscribe() {
  const answer = await fetch("/login", {method: "POST"});
  if (!answer.ok) { window.failed = await answer.text(); return; }
  const events = new EventSource("/events/stream?type=order.*");
  events.onopen = () => { window.opened += 1; };
  events.onerror = () => { window.errors += 1; };
  events.onmessage = (message) => {
    window.seen.push(JSON.parse(message.data).data.order_id);
    window.ids.push(message.lastEventId);
  };
  events.addEventListener("reset", (message) => { window.resets.push(JSON.parse(message.data).reason); });
}
subscribe();
"""


class OrderPlaced(Event, name="order.placed"):
    order_id: int


class Orders(Plugin):
    events = (OrderPlaced,)

    @endpoint("GET", "/", auth="public")
    async def page(self) -> Response:
        return HTMLResponse(PAGE)

    @endpoint("GET", "/page.js", auth="public")
    async def script(self) -> Response:
        return Response(SCRIPT, media_type="text/javascript")

    @endpoint("POST", "/login", auth="public")
    async def login(self, request: Request) -> None:
        log_in(request.session, Principal("ann", ["subscribe:order.*"]))


def main(fd: str, folder: str, token: str) -> None:
    settings = {
        "http": {"session_secrets": ["of-a-test-that-runs-on-loopback-alone"], "secure_cookies": False},
        "events": {"log_path": str(Path(folder) / "events.db")},
    }
    tokens = BearerTokens({token: Principal("till", ["publish:order.*"])})
    app = create_app(Kernel([Orders], config={"plugins": settings}), auth=tokens)
    asyncio.run(uvicorn.Server(server_config(app, fd=int(fd), log_level="info")).serve())


if __name__ == "__main__":
    main(*sys.argv[1:])
