"""One endpoint as it is served: everything that a request needs, decided when it was registered.

Owns the compilation, and how many requests are under way.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, final, get_origin

import anyio
from pydantic import BaseModel

from plugbus import Owner, Problem, Services, WiringError, declarations, event_type
from plugbus_adapters.http._binding import Binding, Limits, Place, arguments_of, request_of
from plugbus_adapters.http._exchange import EXCHANGE, Exchange
from plugbus_adapters.http._framework import framework
from plugbus_adapters.http._paths import template
from plugbus_adapters.http._results import teller
from plugbus_adapters.http._types import is_stream, plain_type
from plugbus_adapters.http.endpoints import Auth, Endpoint, EndpointMark
from plugbus_adapters.http.security import Access
from plugbus_adapters.http.uploads import Upload

if TYPE_CHECKING:
    from plugbus import EventBus

__all__ = ("Entry", "compiled", "compiled_websocket", "request_answered_by")


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
        streams: What ends the answers that come piece by piece.
        lasting: Whether the unit of work of a request lasts until its answer has been sent.
        disown: Takes the waiting for its requests out of its owner's record.
    """

    __slots__ = (
        "_removed", "access", "call", "disown", "endpoint", "exact", "flying", "idle", "lasting", "owner", "statuses",
        "streams", "tell",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, endpoint: Endpoint, call: Callable[[Exchange], Any], *, lasting: bool = False
    ) -> None:
        self.owner, self.endpoint, self.call = owner, endpoint, call
        self.tell = teller(endpoint.result, envelope=endpoint.envelope)
        declared = endpoint.result
        self.exact = declared if isinstance(declared, type) and issubclass(declared, BaseModel) else None
        self.statuses = dict(endpoint.errors)
        self.access = Access.of(endpoint.auth)
        self.flying = 0
        self.streams: set[anyio.CancelScope] = set()
        self.idle: anyio.Event | None = None
        self.lasting = lasting
        self.disown: Callable[[], None] | None = None
        self._removed = False

    def landed(self) -> None:
        """Note that a request is over."""
        self.flying -= 1
        if self.idle is not None:
            self.idle.set()
        if self._removed:
            self.removed()

    def removed(self) -> None:
        """Note that it is served no more: once no request is under way, nobody needs to wait for one."""
        self._removed = True
        if not self.flying and self.disown is not None:
            self.disown()

    async def wait_idle(self) -> None:
        """Wait until no request is under way; one that waits here itself does not count.

        Answers that come piece by piece, and could go on for ever, are cut off.
        """
        for stream in tuple(self.streams):
            stream.cancel()
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
        lasting = is_stream(result)

        async def call(exchange: Exchange) -> Any:
            return await acall(await bind(exchange))

    else:
        known = framework()
        function, data = _returning_iterator(target), (*known.requests, *_data_of(target))
        bound = owner.bind(function, argument_types=data)
        binding = arguments_of(place, bound, known.requests, mark.request_model)
        bind = binding.bind
        result = bound.returns
        streams = inspect.isasyncgenfunction(target) or is_stream(result)
        lasting = streams and owner.services.divide(function, argument_types=data).scoped

        async def call(exchange: Exchange) -> Any:
            return await bound(**await bind(exchange))

    found = _endpoint(owner, mark, path, named, binding, target, request, result, envelope=envelope)
    return Entry(owner, found, call, lasting=lasting)


def _returning_iterator(target: Any) -> Any:
    """Return a function that returns what an async generator function is: a call of that runs nothing yet."""
    if not inspect.isasyncgenfunction(target):
        return target

    async def call(*args: Any, **keywords: Any) -> Any:
        return target(*args, **keywords)

    call.__name__, call.__qualname__, call.__module__ = target.__name__, target.__qualname__, target.__module__
    call.__doc__, call.__annotations__ = target.__doc__, target.__annotations__
    call.__signature__ = inspect.signature(target)  # type: ignore[attr-defined]  # not __wrapped__: it is looked below
    return call


def _data_of(target: Any) -> tuple[object, ...]:
    """Return the types of parameters that are data here, beyond those that are data everywhere: ``dict[str, Any]``."""
    types = (parameter.type for parameter in Services().parameters(target))
    found = (each for each in types if issubclass(get_origin(each) or object, Collection) or each is Any)
    return (Upload, list[Upload], *found)


def compiled_websocket(  # noqa: PLR0917 - called from one place
    owner: Owner, path: str, handler: Any, auth: Auth, name: str | None, limits: Limits
) -> Entry:
    """Compile what serves a WebSocket.

    Raises:
        WiringError: If it cannot be decided where a parameter comes from, or it takes no WebSocket.
    """
    from starlette.websockets import WebSocket

    place = Place(f"WEBSOCKET {path} of plugin {owner.id!r}", "GET", template(path).names, limits)
    bound = owner.bind(handler, argument_types=(WebSocket,))
    if not any(plain_type(each.annotation) is WebSocket for each in bound.parameters):
        raise WiringError([Problem(place.where, "takes no WebSocket", "write a parameter: websocket: WebSocket")])
    binding = arguments_of(place, bound, (WebSocket,), None)

    async def call(exchange: Exchange) -> Any:
        await bound(**await binding.bind(exchange))

    named = name or f"{owner.id}.{getattr(handler, '__name__', type(handler).__name__)}"
    found = Endpoint("WEBSOCKET", path, owner.id, named, binding.parameters, auth=auth, status=101)
    return Entry(owner, found, call)


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
        mark.statuses,
    )
