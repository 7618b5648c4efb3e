"""Who asks, and whether they may: credentials, authenticators, and what an endpoint demands.

Owns the decision, without a web framework; what a request looks like, the edge knows. Denied unless allowed: an
endpoint that says nothing demands a principal.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, final, runtime_checkable

from plugbus import Forbidden, Principal, Refused
from plugbus_adapters.http._tokens import MIN_TOKEN_LENGTH, digest_of, parsed_hash
from plugbus_adapters.http.credentials import Credentials

__all__ = ("Access", "Authenticator", "BearerTokens", "Unauthenticated")


@runtime_checkable
class Authenticator(Protocol):
    """What tells who asks. A plugin that provides one is asked like those that the host gave.

    Example:
        >>> class TrustedProxy:
        ...     async def authenticate(self, credentials: Credentials) -> Principal | None:
        ...         user = credentials.headers.get("x-user")
        ...         return Principal(user) if user and credentials.client == "10.0.0.1" else None
        >>> isinstance(TrustedProxy(), Authenticator)
        True
    """

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Return who asks, or None if these credentials say nothing to it; it never answers for an error with None.

        Args:
            credentials: What the request brought.
        """
        ...


class Unauthenticated(Refused):
    """Nobody known asks, where somebody must: 401, with a challenge.

    Args: those of `Refused`, and *challenge*, the value of ``WWW-Authenticate`` (RFC 9110, section 11.6.1).

    Example:
        >>> Unauthenticated("give a bearer token").challenge
        'Bearer realm="plugbus"'
    """

    default_code = "unauthenticated"

    def __init__(self, reason: str, *, challenge: str = 'Bearer realm="plugbus"', **options: Any) -> None:
        super().__init__(reason, **options)
        self.challenge = challenge


@final
class BearerTokens:
    """An authenticator that knows some tokens, by their SHA-256 alone.

    Each look-up compares with every one of them in constant time, so how long it takes tells nothing; a thousand take
    about 0.1 ms.

    Args:
        tokens: What each token may do: scopes, or a principal of its own. With scopes alone, the id of the principal
            is ``token:`` and the first eight digits of the hash.

    Raises:
        ValueError: If a token is shorter than 16 characters, for then it can be guessed; ``plugbus token new`` makes
            one that cannot.
        TypeError: If scopes are a text instead of a list.

    Example:
        >>> import anyio
        >>> tokens = BearerTokens({"a-long-secret-text": Principal("ci", ["publish:order.*"])})
        >>> anyio.run(tokens.authenticate, Credentials("bearer", "a-long-secret-text"))
        Principal('ci', ['publish:order.*'])
        >>> anyio.run(tokens.authenticate, Credentials("bearer", "another-text")) is None
        True
        >>> tokens
        BearerTokens(1)
    """

    __slots__ = ("_known",)

    def __init__(self, tokens: Mapping[str, Iterable[str] | Principal]) -> None:
        if any(len(token) < MIN_TOKEN_LENGTH for token in tokens):
            raise ValueError(
                f"a token is shorter than {MIN_TOKEN_LENGTH} characters, so it can be guessed; "
                "'plugbus token new' makes one that cannot"
            )
        self._known = _known((digest_of(token), grant) for token, grant in tokens.items())

    @classmethod
    def from_hashes(cls, hashes: Mapping[str, Iterable[str] | Principal]) -> Self:
        """Make it from what ``plugbus token new`` printed, so that no token stands in the settings.

        Args:
            hashes: What the token of each hash may do, as for tokens.

        Raises:
            ValueError: If a text is no hash.

        Example:
            >>> BearerTokens.from_hashes({"sha256:" + 64 * "0": ["subscribe:order.*"]})
            BearerTokens(1)
        """
        tokens = cls({})
        tokens._known = _known((parsed_hash(text), grant) for text, grant in hashes.items())
        return tokens

    async def authenticate(self, credentials: Credentials) -> Principal | None:
        """Return the principal of a bearer token; it never suspends.

        Args:
            credentials: What the request brought.
        """
        if credentials.scheme != "bearer":
            return None
        given, found = digest_of(credentials.token), None
        for digest, principal in self._known:
            if hmac.compare_digest(digest, given):
                found = principal  # and on: leaving here would tell by the time which one it was
        return found

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return f"BearerTokens({len(self._known)})"


def _known(grants: Iterable[tuple[bytes, Iterable[str] | Principal]]) -> tuple[tuple[bytes, Principal], ...]:
    return tuple(
        (digest, grant if isinstance(grant, Principal) else Principal(f"token:{digest.hex()[:8]}", grant))
        for digest, grant in grants
    )


@final
@dataclass(frozen=True, slots=True)
class Access:
    """What an endpoint demands of who asks; made once, when the endpoint is registered.

    Args:
        public: Whether anybody may.
        scopes: What the principal must be allowed, all of it.

    Example:
        >>> Access.of(["orders.read"]).check(Principal("ann", ["orders.*"]))
        >>> Access.of("public").check(None)
        >>> Access.of("user").check(None)
        Traceback (most recent call last):
        plugbus_adapters.http.security.Unauthenticated: this needs credentials, and the request has none that are known
    """

    public: bool = False
    scopes: tuple[str, ...] = ()

    @classmethod
    def of(cls, auth: str | Iterable[str]) -> Self:
        """Read what an endpoint says.

        Args:
            auth: ``"public"``; ``"user"``, which is any principal; or a scope, or several that are all needed.

        Raises:
            ValueError: If it is empty, or ``public`` or ``user`` stand among scopes.
        """
        needed = (auth,) if isinstance(auth, str) else tuple(auth)
        if needed in {("public",), ("user",)}:
            return cls(public=needed == ("public",))
        if not needed or not all(needed) or {"public", "user"} & set(needed):
            raise ValueError(f"auth={auth!r}: give 'public', 'user', or the scopes that are needed")
        return cls(scopes=needed)

    def check(self, principal: Principal | None) -> None:
        """Do nothing if the principal may.

        Args:
            principal: Who asks; None for nobody known.

        Raises:
            Unauthenticated: If somebody must be known and nobody is.
            Forbidden: If a scope is missing.
        """
        if self.public:
            return
        if principal is None:
            raise Unauthenticated("this needs credentials, and the request has none that are known")
        missing = [scope for scope in self.scopes if not principal.may(scope)]
        if missing:
            raise Forbidden(f"this needs the scope {' and '.join(map(repr, missing))}", code="insufficient_scope")
