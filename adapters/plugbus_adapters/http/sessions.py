"""Sessions of browsers: a signed cookie that says who logged in.

Owns the cookie, its flags and the change of secrets; Starlette's middleware writes and reads it. The cookie is signed
and not encrypted: who has it can read it, and it is good until it runs out, since nothing is kept here to revoke.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import MutableMapping, Sequence
from typing import Any, Final, final

from itsdangerous import TimestampSigner
from pydantic import SecretStr
from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp

from plugbus import Principal
from plugbus_adapters.http.credentials import Credentials

__all__ = ("SessionAuthenticator", "Sessions", "log_in", "log_out")

_WHO: Final = "plugbus.principal"
_SINCE: Final = "plugbus.since"
_SALT: Final = "plugbus.session"


@final
class Sessions(SessionMiddleware):
    """Starlette's middleware with a list of secrets, and flags that keep the cookie from scripts and other sites.

    Args:
        app: The app.
        secrets: The first signs, all are believed: to change it, put a new one in front, and drop the old one when
            the last session that it signed has run out.
        seconds: How long a session lasts after the last request that changed it.
        secure: Whether the cookie goes over HTTPS alone; its name begins with ``__Host-`` then, so that no other host
            of the domain can set it.

    Raises:
        ValueError: If there is no secret.
    """

    def __init__(self, app: ASGIApp, *, secrets: Sequence[SecretStr], seconds: int, secure: bool = True) -> None:
        if not secrets:
            raise ValueError("Sessions(secrets=[]): give one; session_secrets in the settings of the plugin 'http'")
        name = "__Host-session" if secure else "session"
        super().__init__(app, "", session_cookie=name, max_age=seconds, same_site="lax", https_only=secure)
        oldest_first = [secret.get_secret_value() for secret in reversed(secrets)]
        self.signer = TimestampSigner(oldest_first, salt=_SALT, digest_method=hashlib.sha256)


def log_in(session: MutableMapping[str, Any], principal: Principal) -> None:
    """Make a session that of a principal; whatever it held before is gone.

    Args:
        session: ``request.session``.
        principal: Who logged in. What it may do stands in the cookie until the session ends.

    Example:
        >>> session = {}
        >>> log_in(session, Principal("ann"))
    """
    session.clear()
    session[_WHO] = principal.to_dict()
    session[_SINCE] = int(time.time())


def log_out(session: MutableMapping[str, Any]) -> None:
    """End a session in this browser.

    Args:
        session: ``request.session``.
    """
    session.clear()


@final
class SessionAuthenticator:
    """An authenticator that believes the session of a browser.

    Args:
        seconds: How long after its login a session counts, however often it changed since.

    Example:
        >>> import anyio
        >>> session = {}
        >>> log_in(session, Principal("ann", ["orders.*"]))
        >>> anyio.run(SessionAuthenticator().authenticate, Credentials(session=session))
        Principal('ann', ['orders.*'])
    """

    def __init__(self, *, seconds: float = 12 * 60 * 60) -> None:
        self._seconds = seconds

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Return who logged in; it never suspends.

        Args:
            credentials: What the request brought.
        """
        found, since = credentials.session.get(_WHO), credentials.session.get(_SINCE)
        if not isinstance(found, dict) or not isinstance(since, int):
            return None
        return Principal.from_dict(found) if 0 <= time.time() - since <= self._seconds else None
