"""One endpoint as it is served: everything that a request needs, decided when it was registered.

Owns the compilation, and how many requests are under way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, final

import anyio
from pydantic import BaseModel

from plugbus import Owner, Problem, WiringError, declarations, event_type
from plugbus_adapters.http._binding import Binding, Limits, Place, arguments_of, request_of
from plugbus_adapters.http._exchange import EXCHANGE, Exchange
from plugbus_adapters.http._framework import framework
from plugbus_adapters.http._paths import template
from plugbus_adapters.http._results import teller
from plugbus_adapters.http.endpoints import Endpoint, EndpointMark
from plugbus_adapters.http.security import Access
from plugbus_adapters.http.uploads import Upload

if TYPE_CHECKING:
    from plugbus import EventBus

__all__ = ("Entry", "compiled", "request_answered_by")


@final
class Entry:
    """What serves one endpoint.

    Attributes:
        owner: Its plugin.
        endpoint: What is known of it.
        access: Who may use it.
        call: Answers a request: binds, calls, and returns the result.
        tell: Tells a result as JSON.
        exact: The class of results that nothing has to be asked about.
        statuses: Status of each type of exception that is raised on purpose.
        flying: How many requests are under way.
    """

    __slots__ = ("access", "call", "endpoint", "exact", "flying", "idle", "owner", "statuses", "tell")

    def __init__(self, owner: Owner, endpoint: Endpoint, call: Callable[[Exchange], Any]) -> None:
        self.owner, self.endpoint, self.call = owner, endpoint, call
        self.tell = teller(endpoint.result, envelope=endpoint.envelope)
        declared = endpoint.result
        self.exact = declared if isinstance(declared, type) and issubclass(declared, BaseModel) else None
        self.statuses = dict(endpoint.errors)
        self.access = Access.of(endpoint.auth)
        self.flying = 0
        self.idle: anyio.Event | None = None

    def landed(self) -> None:
        """Note that a request is over."""
        self.flying -= 1
        if self.idle is not None:
            self.idle.set()

    async def wait_idle(self) -> None:
        """Wait until no request is under way; one that waits here itself does not count."""
        here = EXCHANGE.get()
        own = here is not None and here.entry is self
        while self.flying > own:
            self.idle = anyio.Event()
            await self.idle.wait()


def request_answered_by(function: Any) -> type | None:
    """Return the request that a function answers, if it is marked with ``@answers``."""
    for each in declarations(SimpleNamespace(function=function)):
        if each.kind == "handler":
            target = each.events[0]
            return target if isinstance(target, type) else None
    return None


def compiled(  # noqa: PLR0917 - called from one place
    owner: Owner, mark: EndpointMark, target: Any, path: str, bus: EventBus, limits: Limits, *, envelope: bool
) -> Entry:
    """Compile an endpoint.

    Args:
        owner: Its plugin.
        mark: How it is served.
        target: A function of the plugin, or a request type.
        path: Its whole path.
        bus: Where requests go.
        limits: What is let in.
        envelope: Whether results are wrapped where the mark does not say.

    Raises:
        WiringError: If it cannot be decided where a parameter comes from.
    """
    request = target if isinstance(target, type) else request_answered_by(target)
    named = getattr(target, "__name__", type(target).__name__)
    where = f"{mark.method} {path} of plugin {owner.id!r}"
    place = Place(where, mark.method, template(path).names, limits)
    if request is not None:
        if not issubclass(request, BaseModel) or not event_type(request).is_request:
            raise WiringError(
                [Problem(where, f"{request.__qualname__} is no request", "give a Request, or a function")]
            )
        binding = request_of(place, request)
        bind, acall = binding.bind, bus.acall
        result = event_type(request).result

        async def call(exchange: Exchange) -> Any:
            return await acall(await bind(exchange))

    else:
        known = framework()
        bound = owner.bind(target, argument_types=(*known.requests, Upload, list[Upload]))
        binding = arguments_of(place, bound, known.requests, mark.request_model)
        bind = binding.bind
        result = bound.returns

        async def call(exchange: Exchange) -> Any:
            return await bound(**await bind(exchange))

    return Entry(owner, _endpoint(owner, mark, path, named, binding, target, request, result, envelope=envelope), call)


def _endpoint(  # noqa: PLR0917 - called from one place
    owner: Owner,
    mark: EndpointMark,
    path: str,
    named: str,
    binding: Binding,
    target: Any,
    request: type | None,
    result: Any,
    *,
    envelope: bool,
) -> Endpoint:
    described = inspect.cleandoc(getattr(target, "__doc__", None) or "") if not isinstance(target, type) else ""
    first, _, rest = described.partition("\n")
    return Endpoint(
        mark.method,
        path,
        owner.id,
        mark.name or f"{owner.id}.{named}",
        binding.parameters,
        binding.body,
        result if mark.response_model is None else mark.response_model,
        mark.status,
        mark.auth,
        mark.tags,
        mark.errors,
        envelope if mark.envelope is None else mark.envelope,
        first if mark.summary is None else mark.summary,
        rest.strip(),
        request,
        binding.body_required,
        binding.body_is,
    )
