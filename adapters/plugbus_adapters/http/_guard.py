"""Who asks, at the door of one app: what the host gave as ``auth=``, and what plugins provide.

Owns the list of whom to ask; whether somebody may is decided in ``security.py``.
"""

from __future__ import annotations

from typing import Any, Final, final

from plugbus import Principal
from plugbus_adapters.http._authenticating import HostAuthenticator, as_authenticator, find_principal
from plugbus_adapters.http._exchange import Scope
from plugbus_adapters.http.credentials import credentials_from
from plugbus_adapters.http.security import Authenticator

__all__ = ("PRINCIPAL", "Guard")

PRINCIPAL: Final = "plugbus.principal"
"""Key of the ASGI scope where a host that has found out itself who asks puts the principal."""


@final
class Guard:
    """Finds out who asks.

    Args:
        auth: The host's authenticator, or several; without one, nobody is known.

    Attributes:
        configured: The authenticators that the settings ask for.
        provided: The authenticator that a plugin provides, if one does.
    """

    def __init__(self, auth: Authenticator | HostAuthenticator | None = None) -> None:
        self._given = [] if auth is None else [as_authenticator(auth)]
        self.configured: tuple[Authenticator, ...] = ()
        self.provided: Authenticator | None = None

    @property
    def knows_anybody(self) -> bool:
        """Whether there is somebody to ask."""
        return bool(self._given or self.configured) or self.provided is not None

    async def principal(self, scope: Scope) -> Principal | None:
        """Return who asks, or None for nobody who is known."""
        found: Any = scope.get(PRINCIPAL)
        if isinstance(found, Principal):
            return found
        if not self.knows_anybody:
            return None
        client = scope.get("client")
        credentials = credentials_from(
            scope["headers"], client=None if client is None else client[0], session=scope.get("session") or {}
        )
        provided = () if self.provided is None else (self.provided,)
        return await find_principal((*self._given, *self.configured, *provided), credentials)
