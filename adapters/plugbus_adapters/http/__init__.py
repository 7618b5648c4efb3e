"""The kernel behind HTTP: plugins as endpoints, events to subscribe to, and who may.

Owns the names and nothing else.

Each is imported when it is first used (PEP 562), here alone: a worker loads the same plugins without Starlette, and
``plugbus --help`` loads ``plugbus token`` without a kernel.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugbus_adapters.http._client_errors import NotConnectedError, RemoteError, RemoteTimeoutError
    from plugbus_adapters.http._client_stream import RemoteStatistics, RemoteStream
    from plugbus_adapters.http._client_sync import SyncRemoteBus, SyncRemoteStream
    from plugbus_adapters.http.app import create_app, lifespan, mount
    from plugbus_adapters.http.client import RemoteBus
    from plugbus_adapters.http.context import HttpContext
    from plugbus_adapters.http.credentials import Credentials
    from plugbus_adapters.http.endpoints import Endpoint, EndpointMark, EndpointParameter, EndpointTable, endpoint
    from plugbus_adapters.http.lifecycle import HttpSetup, HttpShutdown, HttpStartup, PreResponse
    from plugbus_adapters.http.pages import Page
    from plugbus_adapters.http.parameters import Body, Cookie, Form, Header, Path, Query
    from plugbus_adapters.http.plugin import HttpPlugin
    from plugbus_adapters.http.problems import ProblemDocument, ProblemError
    from plugbus_adapters.http.security import Access, Authenticator, BearerTokens, Unauthenticated
    from plugbus_adapters.http.server import server_config
    from plugbus_adapters.http.service import Http
    from plugbus_adapters.http.sessions import SessionAuthenticator, log_in, log_out
    from plugbus_adapters.http.settings import HttpSettings, TokenSettings
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
    "HttpSettings",
    "HttpSetup",
    "HttpShutdown",
    "HttpStartup",
    "NotConnectedError",
    "Page",
    "Path",
    "PreResponse",
    "ProblemDocument",
    "ProblemError",
    "Query",
    "RemoteBus",
    "RemoteError",
    "RemoteStatistics",
    "RemoteStream",
    "RemoteTimeoutError",
    "SessionAuthenticator",
    "SyncRemoteBus",
    "SyncRemoteStream",
    "TokenSettings",
    "Unauthenticated",
    "Upload",
    "create_app",
    "endpoint",
    "lifespan",
    "log_in",
    "log_out",
    "mount",
    "server_config",
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
    "HttpSettings": "settings",
    "HttpSetup": "lifecycle",
    "HttpShutdown": "lifecycle",
    "HttpStartup": "lifecycle",
    "NotConnectedError": "_client_errors",
    "Page": "pages",
    "Path": "parameters",
    "PreResponse": "lifecycle",
    "ProblemDocument": "problems",
    "ProblemError": "problems",
    "Query": "parameters",
    "RemoteBus": "client",
    "RemoteError": "_client_errors",
    "RemoteStatistics": "_client_stream",
    "RemoteStream": "_client_stream",
    "RemoteTimeoutError": "_client_errors",
    "SessionAuthenticator": "sessions",
    "SyncRemoteBus": "_client_sync",
    "SyncRemoteStream": "_client_sync",
    "TokenSettings": "settings",
    "Unauthenticated": "security",
    "Upload": "uploads",
    "create_app": "app",
    "endpoint": "endpoints",
    "lifespan": "app",
    "log_in": "sessions",
    "log_out": "sessions",
    "mount": "app",
    "server_config": "server",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
