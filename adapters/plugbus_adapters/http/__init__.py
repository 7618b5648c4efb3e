"""The kernel behind HTTP: plugins as endpoints, events to subscribe to, and who may.

Owns the names and nothing else.

Each is imported when it is first used (PEP 562), here alone: a worker loads the same plugins without Starlette, and
``plugbus --help`` loads ``plugbus token`` without a kernel.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugbus_adapters.http.app import create_app, lifespan, mount
    from plugbus_adapters.http.context import HttpContext
    from plugbus_adapters.http.credentials import Credentials
    from plugbus_adapters.http.endpoints import Endpoint, EndpointMark, EndpointParameter, EndpointTable, endpoint
    from plugbus_adapters.http.parameters import Body, Cookie, Form, Header, Path, Query
    from plugbus_adapters.http.plugin import HttpPlugin
    from plugbus_adapters.http.problems import ProblemDocument, ProblemError
    from plugbus_adapters.http.security import Access, Authenticator, BearerTokens, Unauthenticated
    from plugbus_adapters.http.service import Http
    from plugbus_adapters.http.uploads import Upload

__all__ = (
    "Access",
    "Authenticator",
    "BearerTokens",
    "Body",
    "Cookie",
    "Credentials",
    "Endpoint",
    "EndpointMark",
    "EndpointParameter",
    "EndpointTable",
    "Form",
    "Header",
    "Http",
    "HttpContext",
    "HttpPlugin",
    "Path",
    "ProblemDocument",
    "ProblemError",
    "Query",
    "Unauthenticated",
    "Upload",
    "create_app",
    "endpoint",
    "lifespan",
    "mount",
)

_MODULES = {
    "Access": "security",
    "Authenticator": "security",
    "BearerTokens": "security",
    "Body": "parameters",
    "Cookie": "parameters",
    "Credentials": "credentials",
    "Endpoint": "endpoints",
    "EndpointMark": "endpoints",
    "EndpointParameter": "endpoints",
    "EndpointTable": "endpoints",
    "Form": "parameters",
    "Header": "parameters",
    "Http": "service",
    "HttpContext": "context",
    "HttpPlugin": "plugin",
    "Path": "parameters",
    "ProblemDocument": "problems",
    "ProblemError": "problems",
    "Query": "parameters",
    "Unauthenticated": "security",
    "Upload": "uploads",
    "create_app": "app",
    "endpoint": "endpoints",
    "lifespan": "app",
    "mount": "app",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
