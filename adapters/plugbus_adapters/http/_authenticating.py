"""Asking authenticators: a host's function counts as one, and the first that knows who asks is believed."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, cast, final

import anyio.to_thread

from plugbus import Principal
from plugbus_adapters.http.credentials import Credentials
from plugbus_adapters.http.security import Authenticator

__all__ = ("HostAuthenticator", "as_authenticator", "find_principal")

HostAuthenticator: TypeAlias = Callable[[Credentials], Principal | Awaitable[Principal | None] | None]


@final
class _Called:
    """A function of the host's own, as an authenticator."""

    def __init__(self, function: HostAuthenticator) -> None:
        self._function = function
        call = getattr(function, "__call__", None)  # noqa: B004 - an object may be called asynchronously
        self._async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        # As with handlers: a plain function may block, so it runs in a worker thread.
        answer = self._function(credentials) if self._async else await _in_thread(self._function, credentials)
        return await answer if inspect.isawaitable(answer) else cast("Principal | None", answer)


async def _in_thread(function: HostAuthenticator, credentials: Credentials) -> Any:
    return await anyio.to_thread.run_sync(function, credentials)


def as_authenticator(auth: Authenticator | HostAuthenticator) -> Authenticator:
    """Return what was given as ``auth=`` as an authenticator.

    Args:
        auth: An authenticator, or a function of the host's own, ``def`` (in a worker thread) or ``async def``, that
            takes :class:`Credentials` and returns a principal or None.

    Raises:
        TypeError: If it is neither.

    Example:
        >>> async def ask(credentials: Credentials) -> Principal | None:
        ...     return None
        >>> isinstance(as_authenticator(ask), Authenticator)
        True
    """
    if isinstance(auth, type):
        raise TypeError(f"auth={auth!r} is a class: give an instance")
    if isinstance(auth, Authenticator):
        return auth
    if not callable(auth):
        raise TypeError(f"auth={type(auth).__name__}(...) has no 'authenticate', and cannot be called")
    return _Called(auth)


async def find_principal(authenticators: Iterable[Authenticator], credentials: Credentials) -> Principal | None:
    """Ask authenticators one after another, and return the first principal.

    Args:
        authenticators: Whom to ask; an error of one reaches the caller, because to go on could let somebody in.
        credentials: What the request brought.

    Raises:
        TypeError: If an authenticator answers with something else than a principal or None.
    """
    for authenticator in authenticators:
        found = await authenticator.authenticate(credentials)
        if found is None:
            continue
        if not isinstance(found, Principal):
            raise TypeError(
                f"{type(authenticator).__name__}.authenticate() answered with a {type(found).__name__}: "
                "return a Principal, or None"
            )
        return found
    return None
