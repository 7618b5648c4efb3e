"""Forms: fields and files.

Owns reading them; Starlette's parsers take them apart.
"""

from __future__ import annotations

from typing import Any, final

import anyio

from plugbus_adapters.http._exchange import DisconnectedError, Exchange, Message, too_large
from plugbus_adapters.http._reading import says_form
from plugbus_adapters.http.problems import ProblemError
from plugbus_adapters.http.uploads import Upload

__all__ = ("Form", "form_of")


@final
class Form:
    """What came with a form.

    Args:
        data: Starlette's.
    """

    __slots__ = ("_data",)

    def __init__(self, data: Any) -> None:
        self._data = data

    def get(self, name: str, *, many: bool, absent: object) -> Any:
        """Return a field or a file, or all of this name."""
        found = [_told(each) for each in self._data.getlist(name)]
        if not found:
            return absent
        return found if many else found[-1]

    def values(self) -> dict[str, Any]:
        """Return each field by its name."""
        return {name: _told(each) for name, each in self._data.multi_items()}

    async def close(self) -> None:
        """Give files back."""
        with anyio.CancelScope(shield=True):
            await self._data.close()


def _told(each: Any) -> Any:
    if isinstance(each, str):
        return each
    return Upload(each.filename or "", each.content_type or "", each.size or 0, each.file)


async def form_of(exchange: Exchange, max_bytes: int) -> Form:
    """Read the body as a form; its size is counted.

    Raises:
        ProblemError: 415 if it says that it is something else, 400 if it cannot be read, 413 if it is too large.
        DisconnectedError: If the client went away.
    """
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request

    if not says_form(exchange):
        raise ProblemError(415, "send a form: multipart/form-data or application/x-www-form-urlencoded", code="no_form")
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await exchange.receive()
        size += len(message.get("body", b""))
        if size > max_bytes:
            raise too_large(max_bytes)
        return message

    try:
        return Form(await Request(exchange.scope, counted).form())
    except ClientDisconnect:
        raise DisconnectedError from None
    except (HTTPException, ValueError, KeyError) as error:
        detail = error.detail if isinstance(error, HTTPException) else "the form cannot be read"
        raise ProblemError(400, str(detail), code="bad_form") from None
