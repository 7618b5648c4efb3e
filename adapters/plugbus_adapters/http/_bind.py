"""Whether a server may listen where it was told to.

Owns which addresses only this machine reaches.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable

from plugbus import PlugbusError

__all__ = ("OpenBindError", "is_loopback", "refuse_open_bind")


class OpenBindError(PlugbusError):
    """A server would be reachable from other machines, and nobody tells who asks.

    Args:
        host: Where it was told to listen.

    Example:
        >>> print(OpenBindError("0.0.0.0"))
        listening on '0.0.0.0' lets other machines in, and there is no authenticator.
        Hint: make a token with 'plugbus token new', give create_app(auth=...), or listen on 127.0.0.1.
    """

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host

    def _parts(self) -> tuple[str, str]:
        what = f"listening on {self.host!r} lets other machines in, and there is no authenticator."
        return what, "make a token with 'plugbus token new', give create_app(auth=...), or listen on 127.0.0.1."


def _addresses(host: str) -> Iterable[str]:
    return {str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}


def is_loopback(host: str, resolve: Callable[[str], Iterable[str]] = _addresses) -> bool:
    """Tell whether only this machine reaches an address; of a name, whether that holds for all that it stands for.

    It may ask the name service, so call it before the event loop runs.

    Args:
        host: An address or a name; an empty one is every address of the machine.
        resolve: Returns the addresses of a name.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0"), is_loopback("")
        (True, True, False, False)
    """
    bare = host.removeprefix("[").removesuffix("]")
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        try:
            found = list(resolve(host)) if host and not host.isspace() else []
        except (OSError, UnicodeError):
            return False  # the server will say what is wrong with it; who cannot tell must not let anybody in
        return bool(found) and all(is_loopback(each, lambda _: ()) for each in found)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def refuse_open_bind(host: str | None, *, authenticated: bool, uds: str | None = None, fd: int | None = None) -> None:
    """Refuse to listen where other machines come in, as long as nobody tells who asks.

    Args:
        host: Where to listen.
        authenticated: Whether there is an authenticator.
        uds: Path of a Unix socket to listen on instead; who may open it, the file system says.
        fd: Number of a socket that is open already. Its own address counts, whatever *host* says.

    Raises:
        OpenBindError: If it must not be.

    Example:
        >>> refuse_open_bind("127.0.0.1", authenticated=False)
        >>> refuse_open_bind("0.0.0.0", authenticated=True)
        >>> refuse_open_bind("::", authenticated=False)
        Traceback (most recent call last):
        plugbus_adapters.http._bind.OpenBindError: listening on '::' lets other machines in, ...
    """
    if authenticated:
        return
    if fd is not None:
        with socket.socket(fileno=socket.dup(fd)) as inherited:
            if inherited.family == socket.AF_UNIX:
                return
            host = str(inherited.getsockname()[0])
    elif uds is not None:
        return
    if not is_loopback(host or ""):
        raise OpenBindError(host or "")
