"""Endpoints as plugins write them, and the table of all of them.

Owns what is known of an endpoint; nothing here needs a web framework, so that a worker loads the same plugin without
one, and another edge can read the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, TypeVar, final

from plugbus import Problem, WiringError, mark
from plugbus_adapters.http._paths import Template, template
from plugbus_adapters.http.parameters import Source
from plugbus_adapters.http.security import Access

__all__ = ("Auth", "Endpoint", "EndpointMark", "EndpointParameter", "EndpointTable", "endpoint")

F = TypeVar("F", bound=Callable[..., Any])

Auth: TypeAlias = str | tuple[str, ...]
"""Who may use an endpoint: ``"public"``, ``"user"`` (whoever is known), or the scopes that it takes."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@final
@dataclass(frozen=True, slots=True)
class EndpointMark:
    """What ``@endpoint`` notes on a function, and ``Http.add_endpoint`` is given.

    Attributes:
        method: The HTTP method.
        path: The path template, such as ``/products/{id}``.
        status: Of a success.
        tags: What it is listed under.
        auth: Who may use it.
        envelope: Whether results are wrapped; None: as the app says.
        errors: Status of each type of exception that is raised on purpose.
        request_model: What the body is validated by, instead of what the function says.
        response_model: What the result is told by, instead of what the function says.
        name: What it is called; plugin and function unless given.
        absolute: Whether the prefix of plugins is left out.
        summary: What it does, in a line; the first line of the function's docstring unless given.
        statuses: Others that a success may have.
    """

    method: str
    path: str
    status: int = 200
    tags: tuple[str, ...] = ()
    auth: Auth = "user"
    envelope: bool | None = None
    errors: tuple[tuple[type[Exception], int], ...] = ()
    request_model: Any = None
    response_model: Any = None
    name: str | None = None
    absolute: bool = False
    summary: str | None = None
    statuses: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could never work.

        Raises:
            ValueError: If the method, the path, the status or the scopes cannot be used.
        """
        if self.method not in _METHODS:
            raise ValueError(f"endpoint({self.method!r}, {self.path!r}): the method must be one of {sorted(_METHODS)}")
        template(self.path)
        if not 200 <= self.status <= 399:  # noqa: PLR2004 - what is below is no answer, what is above an error
            raise ValueError(f"endpoint({self.path!r}, status={self.status}): a success is between 200 and 399")
        Access.of(self.auth)


def endpoint(
    method: str,
    path: str,
    *,
    status: int = 200,
    tags: Sequence[str] = (),
    auth: str | Sequence[str] = "user",
    envelope: bool | None = None,
    errors: Mapping[type[Exception], int] | None = None,
    request_model: Any = None,
    response_model: Any = None,
    name: str | None = None,
    absolute: bool = False,
    summary: str | None = None,
    statuses: Sequence[int] = (),
) -> Callable[[F], F]:
    """Return a decorator that serves a function of a plugin over HTTP, and changes nothing else.

    On an ``@answers`` function the request goes through the bus, so that every listener applies; any other function
    is called directly, with what its parameters say by name and type (see *Parameters* in the reference).

    Args:
        method: ``"GET"``, ``"POST"``, ``"PUT"``, ``"PATCH"``, ``"DELETE"``, ``"HEAD"`` or ``"OPTIONS"``.
        path: The path: ``/products/{id}`` has a parameter, ``/files/{name:path}`` takes the rest of the path.
        status: Of a success.
        tags: What it is listed under in the documents.
        auth: ``"public"``, ``"user"`` (any principal), or the scope, or scopes, that a caller needs.
        envelope: Wrap results as ``{"success", "data", "error"}``; as the app says unless given.
        errors: Status of each type of exception that the function raises on purpose; its text is told to the caller.
        request_model: What the body is validated by, instead of the annotation.
        response_model: What the result is told by, instead of the annotation.
        name: What it is called, for ``PreResponse`` and the documents; ``<plugin>.<function>`` unless given.
        absolute: Leave the prefix of plugins out.
        summary: What it does, in a line; the first line of the docstring unless given.
        statuses: Others that the function may set by ``HttpContext.set_status``, for the documents.

    Raises:
        ValueError: If the method, the path, the status or the scopes cannot be used.

    Example:
        >>> from plugbus import Plugin
        >>> class Shop(Plugin):
        ...     @endpoint("GET", "/prices/{item}", auth="public")
        ...     async def price(self, item: str) -> int:
        ...         return len(item)
    """
    return mark(
        EndpointMark(
            method.upper(),
            path,
            status,
            tuple(tags),
            auth if isinstance(auth, str) else tuple(auth),
            envelope,
            tuple((errors or {}).items()),
            request_model,
            response_model,
            name,
            absolute,
            summary,
            tuple(statuses),
        )
    )


@final
@dataclass(frozen=True, slots=True)
class EndpointParameter:
    """One thing that an endpoint takes from a request.

    Attributes:
        name: Name of the parameter, or of the field of the request.
        source: The part of the HTTP request.
        alias: What it is called there.
        annotation: Its type.
        required: Whether it must be there.
        default: What it is otherwise.
    """

    name: str
    source: Source
    alias: str
    annotation: Any
    required: bool = True
    default: Any = None

    @property
    def facts(self) -> tuple[str, Source, str, Any, bool, Any]:
        """All of these, in this order."""
        return self.name, self.source, self.alias, self.annotation, self.required, self.default


@final
@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint that is served.

    Attributes:
        method: The HTTP method.
        path: The whole path, with prefixes.
        owner: Id of its plugin.
        name: What it is called.
        parameters: What it takes from path, query, headers, cookies and forms.
        body: Type of the body; None: it takes none.
        result: Type of the result; ``Any`` where nobody said.
        status: Of a success.
        auth: Who may use it.
        tags: What it is listed under.
        errors: Status of each type of exception that is raised on purpose.
        envelope: Whether results are wrapped.
        summary: What it does, in a line.
        description: What it does, at length.
        request: The type of the request that goes through the bus, if it does.
        statuses: Others that a success may have.
        template: Its path, taken apart.
    """

    method: str
    path: str
    owner: str
    name: str
    parameters: tuple[EndpointParameter, ...] = ()
    body: Any = None
    result: Any = Any
    status: int = 200
    auth: Auth = "user"
    tags: tuple[str, ...] = ()
    errors: tuple[tuple[type[Exception], int], ...] = ()
    envelope: bool = False
    summary: str = ""
    description: str = ""
    request: type | None = None
    body_required: bool = True
    body_is: Literal["json", "form", "json or form", "bytes"] = "json"
    statuses: tuple[int, ...] = ()
    template: Template = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "template", template(self.path))

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@final
class EndpointTable:
    """All endpoints of one app, in the order in which they came.

    Another edge reads it to serve them, documents read it to list them.

    Example:
        >>> table = EndpointTable()
        >>> table.add(Endpoint("GET", "/products/{id}", "shop", "shop.product"), object())
        >>> [str(each) for each in table]
        ['GET /products/{id}']
        >>> table.add(Endpoint("GET", "/products/{name}", "stock", "stock.product"), object())
        Traceback (most recent call last):
        plugbus.errors.WiringError: ... GET /products/{id} of plugin 'shop' answers the same requests ...
    """

    def __init__(self) -> None:
        self._entries: list[tuple[Endpoint, object]] = []
        self.version = 0
        """Counts changes."""

    def __iter__(self) -> Iterator[Endpoint]:
        """Endpoints; of two generations of one plugin that is being reloaded, both."""
        return iter([found for found, _ in self._entries])

    def __len__(self) -> int:
        return len(self._entries)

    def entries(self) -> tuple[tuple[Endpoint, Any], ...]:
        """Return endpoints with what was added along."""
        return tuple(self._entries)

    def add(self, found: Endpoint, entry: object) -> None:
        """Add one; the same plugin may have it twice while it is reloaded.

        Args:
            found: The endpoint.
            entry: What serves it.

        Raises:
            WiringError: If another plugin, or the same one, has it already.
        """
        owner_of = getattr(entry, "owner", None)
        others = [
            other
            for other, served in self._entries
            if other.owner != found.owner or getattr(served, "owner", None) is owner_of
        ]
        for other in others:
            if problems := list(collisions([other, found])):
                raise WiringError(problems)
        self._entries = [*self._entries, (found, entry)]
        self.version += 1

    def remove(self, entry: object) -> None:
        """Take away what was added along with an entry; once more does nothing."""
        self._entries = [(found, other) for found, other in self._entries if other is not entry]
        self.version += 1


def collisions(endpoints: Iterable[Endpoint]) -> Iterator[Problem]:
    """Find endpoints that would answer the same requests; the later one is the problem."""
    paths: dict[Any, Endpoint] = {}
    for each in endpoints:
        first = paths.setdefault((each.method, each.template.shape), each)
        if first is not each:
            told = f"{first} of plugin {first.owner!r} answers the same requests"
            hint = "give one of them another path, or plugins a prefix of their own: create_app(plugin_prefix=...)"
            yield Problem(f"{each} of plugin {each.owner!r}", told, hint)
