"""Reading an answer as it comes, and leaving off in the middle without leaving anything behind.

Owns one context manager, for answers as a whole and for streams.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import httpx2

__all__ = ("chunks_of",)


@asynccontextmanager
async def chunks_of(response: httpx2.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    """Hand out the bytes of an answer as they come; whoever stops reading may just leave the block.

    Args:
        response: An answer whose body has not been read.
    """
    chunks = response.aiter_raw()
    try:
        yield chunks
    finally:
        # The generators are nested, and closing the outer one leaves the inner ones to the garbage collector, which
        # trio complains of. A cancelled read ends all of them.
        with anyio.CancelScope() as scope, suppress(httpx2.TransportError):
            scope.cancel()
            async for _ in chunks:
                pass
