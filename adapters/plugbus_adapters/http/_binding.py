"""From a request to what a handler takes: arguments of a function, or a request for the bus.

Owns what is compiled, once for each endpoint: a call finds everything decided, and does no more than it needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeAlias, final

from pydantic import BaseModel, TypeAdapter, ValidationError

from plugbus import Bound, Problem, WiringError
from plugbus_adapters.http._exchange import Exchange
from plugbus_adapters.http._json import is_plain, parse_json
from plugbus_adapters.http._reading import ABSENT, Read, check_json, invalid, raw_reader, reader, says_form, unfit
from plugbus_adapters.http._sources import WITHOUT_BODY, Sorted, fields_of, sorted_fields, sorted_parameters
from plugbus_adapters.http._types import admits_none, is_many, plain_type
from plugbus_adapters.http.endpoints import EndpointParameter
from plugbus_adapters.http.problems import ProblemError, problems_of
from plugbus_adapters.http.settings import HttpSettings

__all__ = ("Binding", "Limits", "Place", "arguments_of", "request_of")

BodyIs: TypeAlias = Literal["json", "form", "json or form", "bytes"]
Bind: TypeAlias = Callable[[Exchange], Awaitable[Any]]


class Limits:
    """What an app lets in; its settings change it while it runs.

    Attributes:
        settings: All settings.
        max_body_bytes: How large a body may be.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self.apply(settings)

    def apply(self, settings: HttpSettings) -> None:
        """Let in what other settings say from now on."""
        self.settings = settings
        self.max_body_bytes = settings.max_body_bytes
        self._depth, self._digits = settings.max_json_depth, settings.max_json_digits

    def is_plain(self, text: bytes) -> bool:
        """Tell whether a JSON text is within the limits for sure, so that it need not be looked at by itself."""
        return is_plain(text, max_depth=self._depth, max_digits=self._digits)

    def json(self, text: bytes) -> Any:
        """Return what a JSON text says.

        Raises:
            ProblemError: 400, if it is none, or beyond the limits.
        """
        try:
            return parse_json(text, max_depth=self._depth, max_digits=self._digits)
        except ValueError as error:
            raise ProblemError(400, f"the body is no JSON that is taken: {error}", code="bad_json") from None


@final
class Place(NamedTuple):
    """Which endpoint it is.

    Attributes:
        where: In words, for problems.
        method: The HTTP method.
        names: Names of the parameters of its path.
        limits: What is let in.
    """

    where: str
    method: str
    names: tuple[str, ...]
    limits: Limits


@final
class Binding(NamedTuple):
    """How an endpoint gets what it takes.

    Attributes:
        parameters: What it takes from path, query, headers, cookies and forms.
        body: Type of the body; None: it takes none.
        body_is: What the body is written in.
        body_required: Whether there must be one.
        bind: Makes arguments by name, or the request for the bus.
    """

    parameters: tuple[EndpointParameter, ...]
    body: Any
    body_is: BodyIs
    body_required: bool
    bind: Bind


def arguments_of(place: Place, bound: Bound[Any], requests: Sequence[type], request_model: Any) -> Binding:
    """Compile how a function gets its arguments.

    Raises:
        WiringError: If it cannot be decided where one comes from; all of them at once.
    """
    found = sorted_parameters(place.where, bound.parameters, place.method, place.names, requests)
    _raise(found)
    body = found.bodies[0] if found.bodies else None
    if request_model is not None:
        if body is None:
            raise WiringError([Problem(place.where, "has a request_model, and the function takes no body")])
        body = replace(body, annotation=request_model)
    forms = any(each.source == "form" for each in found.parameters)
    bind = _binder(
        [_Step(each, reader(each, place.names)) for each in found.parameters],
        _body_reader(body, place.limits),
        found.requests,
        place.limits if forms else None,
    )
    kind: BodyIs = "form" if forms else "bytes" if body and plain_type(body.annotation) is bytes else "json"
    required = body.required if body else any(each.required for each in found.parameters if each.source == "form")
    return Binding(tuple(found.parameters), body and body.annotation, kind, required, bind)


def _raise(found: Sorted) -> None:
    if found.problems:
        raise WiringError(found.problems)


def _body_reader(body: EndpointParameter | None, limits: Limits) -> tuple[str, Bind] | None:
    if body is None:
        return None
    adapter = TypeAdapter[Any](body.annotation)
    validate, required = adapter.validator.validate_json, body.required

    async def raw(exchange: Exchange) -> Any:
        return await exchange.body(limits.max_body_bytes)

    async def read(exchange: Exchange) -> Any:
        data = await exchange.body(limits.max_body_bytes)
        if not data and not required:
            return ABSENT
        check_json(exchange)
        if not limits.is_plain(data):
            limits.json(data)  # which refuses it, unless it only looks odd
        try:
            return validate(data)
        except ValidationError as error:
            raise invalid(error, "body") from None

    return body.name, raw if plain_type(body.annotation) is bytes else read


class _Step(NamedTuple):
    parameter: EndpointParameter
    read: Read

    def fill(self, exchange: Exchange, arguments: dict[str, Any]) -> tuple[Problem, ...]:
        """Add the argument; return what is wrong with it."""
        name, source, alias, annotation, required, default = self.parameter.facts
        try:
            value = self.read(exchange)
        except ValidationError as error:
            return problems_of(error, f"{source}.{alias}")
        if value is not ABSENT:
            arguments[name] = value
        elif required:
            return (Problem(f"{source}.{alias}", "Field required"),)
        elif default is None and admits_none(annotation):
            arguments[name] = None
        return ()


def _binder(
    steps: Sequence[_Step], body: tuple[str, Bind] | None, requests: Sequence[str], form: Limits | None
) -> Bind:
    """Return what makes arguments by name, with all that does not fit told at once."""

    async def bind(exchange: Exchange) -> dict[str, Any]:
        if form is not None:
            await exchange.read_form(form.max_body_bytes)
        arguments: dict[str, Any] = {}
        problems: list[Problem] = []
        for step in steps:
            problems += step.fill(exchange, arguments)
        if problems:
            raise unfit(tuple(problems))
        if body is not None and (value := await body[1](exchange)) is not ABSENT:
            arguments[body[0]] = value
        for name in requests:
            arguments[name] = exchange.framework_request()
        return arguments

    return bind


def request_of(place: Place, model: type[BaseModel]) -> Binding:
    """Compile how a request for the bus is made: path and query fill fields by name, the body is the rest.

    Where a field is marked with ``Form()``, the body may be a form, too. Others take JSON alone, which no page of
    another site can have a browser send.

    Raises:
        WiringError: If it cannot be decided where a field comes from; all of them at once.
    """
    method, limits = place.method, place.limits
    found = sorted_fields(place.where, model, method, place.names)
    _raise(found)
    sole = found.bodies[0] if found.bodies else None
    takes_body = method not in WITHOUT_BODY or sole is not None
    key_of = {name: alias for name, alias, *_ in fields_of(model)}
    elsewhere = [each for each in found.parameters if each.source != "form"]
    fills = [(key_of[each.name], each, raw_reader(each, place.names)) for each in elsewhere]
    always = [each for each in fills if each[1].source != "query"]
    marked = {each.name for each in elsewhere if each.source != "query"}
    form = _fields_of_form(model, marked) if len(elsewhere) < len(found.parameters) else None
    in_body = takes_body and sole is None
    validate_json = model.__pydantic_validator__.validate_json
    required = any(described.is_required() for name, described in model.model_fields.items() if name not in marked)

    async def bind(exchange: Exchange) -> Any:
        if form is not None and says_form(exchange):
            await exchange.read_form(limits.max_body_bytes)
            return _validated(model, _filled_in(exchange, form), fills, exchange)
        body = await exchange.body(limits.max_body_bytes) if takes_body else b""
        if body:
            check_json(exchange)
        if in_body and body and not always and not exchange.scope["query_string"] and limits.is_plain(body):
            try:
                return validate_json(body)
            except ValidationError as error:
                raise invalid(error, "body") from None
        data = limits.json(body) if body else {}
        if sole is not None:
            data = {key_of[sole.name]: data} if body else {}
        elif not isinstance(data, dict):
            raise unfit((Problem("body", "Input should be an object"),))
        return _validated(model, data, fills, exchange)

    documented = [each for each in elsewhere if each.source != "query" or not in_body]
    body_type = sole.annotation if sole else (model if in_body and len(marked) < len(model.model_fields) else None)
    kind: BodyIs = "json" if form is None else "json or form"
    return Binding(tuple(documented), body_type, kind, required if sole is None else sole.required, bind)


def _fields_of_form(model: type[BaseModel], elsewhere: Collection[str]) -> dict[str, bool]:
    """Return what a form may say, and what of it several times."""
    return {alias: is_many(annotation) for name, alias, annotation, _ in fields_of(model) if name not in elsewhere}


def _filled_in(exchange: Exchange, fields: Mapping[str, bool]) -> dict[str, Any]:
    """Return what a form says, with what comes several times as a list where the field is one."""
    read = ((name, exchange.form.get(name, many=many, absent=ABSENT)) for name, many in fields.items())
    return {**exchange.form.values(), **{name: value for name, value in read if value is not ABSENT}}


def _validated(
    model: type[BaseModel],
    data: dict[str, Any],
    fills: Sequence[tuple[str, EndpointParameter, Read]],
    exchange: Exchange,
) -> Any:
    sources: dict[str, str] = {}
    for key, parameter, read in fills:
        value = read(exchange)
        if value is not ABSENT:
            data[key] = value
            sources[key] = parameter.source
    try:
        return model.__pydantic_validator__.validate_python(data)
    except ValidationError as error:
        problems = problems_of(error)
        told = (
            Problem(f"{sources.get(each.where.split('.')[0], 'body')}.{each.where}", each.message) for each in problems
        )
        raise unfit(tuple(told)) from None
