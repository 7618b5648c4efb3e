"""Settings of the HTTP edge: who may, how much, and for whom browsers may ask.

Owns names, defaults and their limits; each is put in force where it says.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from plugbus_adapters.http._origins import parsed_origin
from plugbus_adapters.http._tokens import parsed_hash

__all__ = ("HttpSettings", "TokenSettings")

DEFAULT_CSP: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
)
MIN_SECRET_LENGTH: Final = 32


def _hash(text: str) -> str:
    parsed_hash(text)
    return text


def _header(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise ValueError("give printable ASCII: it is the value of a header")
    return text


def _secret(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < MIN_SECRET_LENGTH:
        raise ValueError(f"give at least {MIN_SECRET_LENGTH} characters, such as 'plugbus token new' prints")
    return secret


Origin = Annotated[str, AfterValidator(parsed_origin)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


@final
class TokenSettings(BaseModel):
    """One token, by its hash.

    Args:
        hash: What ``plugbus token new`` printed.
        scopes: What it may do.

    Example:
        >>> TokenSettings(hash="sha256:" + 64 * "0", scopes=["publish:order.*"]).scopes
        ('publish:order.*',)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    hash: Annotated[str, AfterValidator(_hash)] = Field(repr=False)
    scopes: tuple[str, ...] = ()


@final
class HttpSettings(BaseModel):
    """Settings of the plugin ``http``: ``[plugins.http]`` in the ``plugbus.toml``.

    Sizes are in bytes, times in seconds. None of the limits can be switched off, only raised.

    Args:
        tokens: Tokens by the id of their principal.
        max_body_bytes: Body of a request, counted as it comes and after it was decompressed.
        accept_encodings: Encodings in which a body may come compressed.
        body_seconds: How long a body may take to arrive, all waiting added up.
        max_json_depth: Lists and objects within each other; the parser itself stops at 200.
        max_json_digits: Digits of a whole number in JSON.
        max_headers: Headers of a request.
        max_header_bytes: All headers of a request together, with the request line.
        head_seconds: How long the headers may take to arrive, from the connection or the request before.
        idle_seconds: How long a connection may wait for its next request.
        send_seconds: How long a client may read nothing of an answer before it is cut off.
        max_connections: Connections, above which a request gets 503.
        max_streams: Streams of events, all readers together.
        max_streams_per_principal: Streams of events of one principal.
        max_message_bytes: A message that comes in over a WebSocket.
        trusted_proxies: Addresses of proxies whose ``X-Forwarded-For`` and ``-Proto`` are believed.
        cors_origins: Origins whose pages may ask and read the answer, such as ``https://shop.example``.
        cors_credentials: Whether they may do so with the user's cookies.
        websocket_origins: Origins whose pages may open a WebSocket, beside the server's own.
        content_security_policy: What pages may load; sent with HTML.
        hsts_seconds: How long browsers shall insist on HTTPS; 0 does not say.
        session_secrets: What session cookies are signed with: the first signs, all are believed.
        session_seconds: How long a session lasts after its login.
        template_folders: Where templates of pages are looked for that a plugin does not have itself.
        secure_cookies: Whether cookies go over HTTPS alone; false for a service on loopback without it.

    Example:
        >>> HttpSettings(max_body_bytes=10_000_000, cors_origins=["https://shop.example"]).cors_origins
        ('https://shop.example',)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tokens: dict[str, TokenSettings] = {}
    max_body_bytes: Count = 1024 * 1024
    accept_encodings: tuple[Literal["gzip", "deflate"], ...] = ()
    body_seconds: Seconds = 30.0
    max_json_depth: Annotated[int, Field(ge=1, le=200)] = 64
    max_json_digits: Annotated[int, Field(ge=1, le=4300)] = 100
    max_headers: Count = 100
    max_header_bytes: Annotated[int, Field(ge=512)] = 16 * 1024
    head_seconds: Seconds = 10.0
    idle_seconds: Count = 15
    send_seconds: Seconds = 30.0
    max_connections: Count = 2000
    max_streams: Count = 1000
    max_streams_per_principal: Count = 20
    max_message_bytes: Count = 64 * 1024
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: tuple[Origin, ...] = ()
    cors_credentials: bool = False
    websocket_origins: tuple[Origin, ...] = ()
    content_security_policy: Annotated[str, AfterValidator(_header)] = DEFAULT_CSP
    hsts_seconds: Annotated[int, Field(ge=0)] = 0
    session_secrets: tuple[Annotated[SecretStr, AfterValidator(_secret)], ...] = ()
    session_seconds: Count = 12 * 60 * 60
    secure_cookies: bool = True
    template_folders: tuple[str, ...] = ()
