"""The OpenAPI document and its page as endpoints of the plugin ``http``.

Owns what is told to whom: the page is empty without the documents, so everybody may have it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from plugbus_adapters.http.context import HttpContext
from plugbus_adapters.http.documents.openapi import openapi_document

if TYPE_CHECKING:
    from plugbus_adapters.http._served import Served
    from plugbus_adapters.http.service import Http

__all__ = ("Documents",)

_FOLDER: Final = Path(__file__).parent / "page"
_MEDIA: Final = {"index.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}


class Documents:
    """What describes an app; made again when something came or went.

    Args:
        served: What is served.
        title: Of the app.
        version: Of the app.
    """

    def __init__(self, served: Served, *, title: str, version: str) -> None:
        self._served, self._title, self._version = served, title, version
        self._made: tuple[object, bytes] | None = None

    def openapi(self, http: HttpContext) -> Response:
        """Return the OpenAPI document of all that is served at this moment."""
        root = http.scope.get("root_path") or "/"
        version = self._served.version, root
        made = self._made
        if made is None or made[0] != version:
            active = [each for each, entry in self._served.table.entries() if entry.owner.active]
            document = openapi_document(
                active, title=self._title, version=self._version, server=root, others=self._others()
            )
            self._made = made = version, to_json(document)
        return Response(made[1], media_type="application/json")

    def _others(self) -> list[tuple[str, str, dict[str, Any]]]:
        routes = self._served.routes or ()
        return [(each.owner.id, *each.documents()) for each in routes if each.documents and each.owner.active]

    def serve(self, http: Http, *, auth: str) -> None:
        """Serve the document and its page.

        Args:
            http: The view of the plugin ``http``.
            auth: Who may have the document.
        """
        http.add_endpoint("/openapi.json", "GET", self.openapi, auth=auth, tags=["documents"])
        paths = {"/docs": "index.html", "/docs/page.css": "page.css", "/docs/page.js": "page.js"}
        http.include([Route(path, _file(name)) for path, name in paths.items()], auth="public")


def _file(name: str) -> Any:
    def send(_request: Request) -> Response:  # a worker thread's business: it reads
        return Response((_FOLDER / name).read_bytes(), media_type=f"{_MEDIA[name]}; charset=utf-8")

    return send
