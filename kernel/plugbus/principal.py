"""Who acts: a user, a service, a job.

Owns what a principal is and may do; who it is, an edge finds out, and ``acting_as`` in ``context.py`` puts in force.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn, Self, final

from plugbus.registry import Pattern

__all__ = ("Principal",)


@final
class Principal:
    """Who acts, and what it may do. Frozen and hashable; as deep as its claims are.

    Args:
        id: What it is known by.
        scopes: What it may do: names of segments joined by dots, or patterns: ``*`` is one segment, ``**`` one or more.
            What is done may stand before it, as in ``publish:order.*``; wildcards stay behind the colon.
        claims: What else is known about it, such as a token says; plain data, so that it can travel.

    Example:
        >>> ann = Principal("ann", ["orders.*", "stock.read"], {"email": "ann@example.org"})
        >>> ann.may("orders.read"), ann.may("stock.write")
        (True, False)
        >>> Principal.from_dict(ann.to_dict()) == ann
        True
    """

    __slots__ = ("_patterns", "claims", "id", "scopes")

    id: str
    scopes: frozenset[str]
    claims: Mapping[str, Any]
    _patterns: tuple[Pattern, ...]

    def __init__(self, id: str, scopes: Iterable[str] = (), claims: Mapping[str, Any] | None = None) -> None:
        if isinstance(scopes, str):
            raise TypeError(f"Principal({id!r}, scopes={scopes!r}): give a list of scopes; text would be taken apart")
        known = frozenset(scopes)
        facts = {
            "id": id,
            "scopes": known,
            "claims": MappingProxyType(dict(claims or {})),
            "_patterns": tuple(Pattern(_spread(scope)) for scope in sorted(known) if "*" in scope),
        }
        for name, fact in facts.items():
            object.__setattr__(self, name, fact)

    def may(self, scope: str) -> bool:
        """Tell whether it has a scope, by its very name or by a pattern such as ``orders.*``.

        Args:
            scope: What is to be done. It may be a pattern, and come from outside: it may do that only if it may do
                all that the pattern means.
        """
        if scope in self.scopes:
            return True
        spread = _spread(scope)
        return any(pattern.covers(spread) for pattern in self._patterns)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, for a header or a message."""
        return {"id": self.id, "scopes": sorted(self.scopes), "claims": dict(self.claims)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make it from what :meth:`to_dict` returned.

        Args:
            data: The plain data; whoever takes it in has checked who wrote it.

        Raises:
            KeyError: If there is no id.
        """
        return cls(data["id"], data.get("scopes", ()), data.get("claims"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Principal):
            return NotImplemented
        return (self.id, self.scopes, self.claims) == (other.id, other.scopes, other.claims)

    def __hash__(self) -> int:
        return hash((self.id, self.scopes))  # claims may hold what cannot be hashed

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot set {name!r}: a Principal is frozen; make another one")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name!r}: a Principal is frozen; make another one")

    def __reduce__(self) -> tuple[type[Self], tuple[object, ...]]:
        return type(self), (self.id, tuple(sorted(self.scopes)), dict(self.claims))

    def __repr__(self) -> str:
        return f"Principal({self.id!r}, {sorted(self.scopes)})"  # without the claims, which may be personal


def _spread(scope: str) -> str:
    """Make what stands before the first colon a segment of its own, so that no wildcard reaches over it by accident."""
    return scope.replace(":", ":.", 1)
