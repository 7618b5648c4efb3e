"""The kernel behind HTTP: plugins as endpoints, events to subscribe to, and who may.

Owns the names and nothing else.

Each is imported when it is first used (PEP 562), here alone: a worker loads the same plugins without Starlette, and
``plugbus --help`` loads ``plugbus token`` without a kernel.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugbus_adapters.http.credentials import Credentials
    from plugbus_adapters.http.security import Access, Authenticator, BearerTokens, Unauthenticated

__all__ = ("Access", "Authenticator", "BearerTokens", "Credentials", "Unauthenticated")

_MODULES = {
    "Access": "security",
    "Authenticator": "security",
    "BearerTokens": "security",
    "Credentials": "credentials",
    "Unauthenticated": "security",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
