"""What plugins may take and return of Starlette, known only where it is installed.

Owns the look: an endpoint of a plugin is registered in a worker without Starlette too, and is not served there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

__all__ = ("Framework", "framework")


class Framework(NamedTuple):
    """Types of the web framework.

    Attributes:
        requests: What a handler may ask for.
        responses: What a handler may return as it is.
        failures: What a handler may raise, with a status and a detail.
    """

    requests: tuple[Any, ...] = ()
    responses: tuple[Any, ...] = ()
    failures: tuple[Any, ...] = ()


@lru_cache(maxsize=1)
def framework() -> Framework:
    """Return them; none where Starlette is not installed."""
    try:
        from starlette.exceptions import HTTPException
        from starlette.requests import HTTPConnection, Request
        from starlette.responses import Response
    except ImportError:
        return Framework()
    return Framework((Request, HTTPConnection), (Response,), (HTTPException,))
