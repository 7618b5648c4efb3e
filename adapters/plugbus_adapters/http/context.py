"""The request that is being served, as code behind it sees it: who asks, and what its answer is to have.

Owns the service ``HttpContext``; plugins import it without a web framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, final

from plugbus_adapters.http._exchange import EXCHANGE, Exchange

if TYPE_CHECKING:
    from plugbus import Principal

__all__ = ("HttpContext",)


@final
class HttpContext:
    """What endpoints, and subscribers behind them, ask for to see the request and to shape its answer.

    It is a service, one for all: what it tells and sets is that of the request which is being served where it is used.

    Example:
        >>> import anyio
        >>> from plugbus import Kernel, Plugin
        >>> from plugbus_adapters.http import endpoint
        >>> from plugbus_adapters.http.testing import client
        >>> class Shop(Plugin):
        ...     @endpoint("POST", "/orders", auth="public")
        ...     async def order(self, http: HttpContext) -> dict[str, int]:
        ...         http.set_status(201)
        ...         http.set_header("Location", "/orders/7")
        ...         return {"id": 7}
        >>> async def main() -> None:
        ...     async with client(Kernel([Shop])) as http:
        ...         answer = await http.post("/orders")
        ...         print(answer.status_code, answer.headers["location"], answer.json())
        >>> anyio.run(main)
        201 /orders/7 {'id': 7}
    """

    __slots__ = ()

    @property
    def active(self) -> bool:
        """Whether a request is being served here."""
        return EXCHANGE.get() is not None

    @property
    def principal(self) -> Principal | None:
        """Who asks; None for nobody.

        Raises:
            LookupError: If no request is being served here; so do the others.
        """
        return _here().principal

    @property
    def method(self) -> str:
        """The HTTP method."""
        found: str = _here().scope["method"]
        return found

    @property
    def path(self) -> str:
        """The path, as it was asked for."""
        found: str = _here().scope["path"]
        return found

    @property
    def client(self) -> str | None:
        """The address of who is connected, which may be a proxy."""
        found = _here().scope.get("client")
        return None if found is None else str(found[0])

    @property
    def scope(self) -> Any:
        """The ASGI scope."""
        return _here().scope

    def header(self, name: str) -> str | None:
        """Return a header of the request.

        Args:
            name: Its name, in any case.
        """
        return _here().header(name.lower().encode("latin-1"))

    def cookie(self, name: str) -> str | None:
        """Return a cookie of the request.

        Args:
            name: Its name.
        """
        return _here().cookie(name)

    def set_status(self, status: int) -> None:
        """Set the status of the answer, unless it fails.

        Args:
            status: From 200 to 599.

        Raises:
            ValueError: If it is none.
        """
        if not 200 <= status <= 599:  # noqa: PLR2004 - RFC 9110, section 15
            raise ValueError(f"set_status({status!r}): must be between 200 and 599")
        _here().status = status

    def set_header(self, name: str, value: str) -> None:
        """Add a header to the answer.

        Args:
            name: Its name.
            value: Its value; latin-1, without line ends.

        Raises:
            ValueError: If a header cannot have that name or value.
        """
        _add(_here(), name, value)

    def set_cookie(
        self,
        name: str,
        value: str,
        *,
        max_age_seconds: int | None = None,
        path: str = "/",
        domain: str | None = None,
        secure: bool = True,
        http_only: bool = True,
        same_site: Literal["lax", "strict", "none"] = "lax",
    ) -> None:
        """Add a cookie to the answer; out of scripts' reach and for HTTPS alone, unless said otherwise.

        Args:
            name: Its name.
            value: Its value: no blanks, commas, semicolons, quotes, backslashes or control characters.
            max_age_seconds: How long it lasts, in seconds; until the browser ends unless given, 0 deletes it.
            path: Where it is sent to.
            domain: To which domain and those below; this host alone unless given.
            secure: Over HTTPS alone.
            http_only: Not readable by scripts.
            same_site: What other sites' requests carry it.

        Raises:
            ValueError: If name, value, path or domain cannot be in a cookie.
        """
        for part in (name, value, path, domain or ""):
            if any(sign in part for sign in ' ",;\\') or not part.isascii() or not (part + "a").isprintable():
                raise ValueError(f"set_cookie({name!r}, ...): {part!r} cannot be in a cookie; encode it")
        if not name or "=" in name:
            raise ValueError(f"set_cookie({name!r}, ...): is no name of a cookie")
        age = "" if max_age_seconds is None else f"; Max-Age={max_age_seconds}"
        within = f"{age}; Path={path}" + (f"; Domain={domain}" if domain else "")
        flags = ("; Secure" if secure else "") + ("; HttpOnly" if http_only else "")
        _add(_here(), "set-cookie", f"{name}={value}{within}{flags}; SameSite={same_site.capitalize()}")

    def redirect(self, url: str, status: int = 303) -> None:
        """Send the caller elsewhere; the handler returns nothing then.

        Args:
            url: Where to; who builds it of what a caller sent, sends callers wherever that one wants.
            status: 303 unless given: the next request is a ``GET``.

        Raises:
            ValueError: If the status is no redirection, or the URL has line ends.
        """
        if not 300 <= status <= 399:  # noqa: PLR2004 - RFC 9110, section 15.4
            raise ValueError(f"redirect(status={status!r}): must be between 300 and 399")
        _add(_here(), "location", url)
        self.set_status(status)


def _here() -> Exchange:
    found = EXCHANGE.get()
    if found is None:
        raise LookupError(
            "HttpContext was used where no HTTP request is being served; look at HttpContext.active first"
        )
    return found


def _add(exchange: Exchange, name: str, value: str) -> None:
    if not name or not all(sign.isalnum() or sign in "!#$%&'*+-.^_`|~" for sign in name) or not name.isascii():
        raise ValueError(f"set_header({name!r}, ...): is no name of a header")
    if any(sign in value for sign in "\r\n\0"):
        raise ValueError(f"set_header({name!r}, {value!r}): a header has no line ends and no NUL")
    try:
        encoded = value.encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(f"set_header({name!r}, {value!r}): a header is latin-1; encode it") from error
    exchange.out = [*(exchange.out or ()), (name.lower().encode("ascii"), encoded)]
