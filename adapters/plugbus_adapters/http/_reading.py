"""Values out of the parts of a request, each validated by its own type.

Owns reading; what is read is decided once, when an endpoint is registered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from plugbus import Problem
from plugbus_adapters.http._exchange import Exchange
from plugbus_adapters.http._types import is_many, is_scalar, takes_upload
from plugbus_adapters.http.endpoints import EndpointParameter
from plugbus_adapters.http.problems import ProblemError, problems_of

__all__ = ("ABSENT", "Read", "check_json", "invalid", "is_malformed", "raw_reader", "reader", "says_form")

ABSENT: Final = object()
"""What is read where nothing is."""

FORMS: Final = (b"multipart/form-data", b"application/x-www-form-urlencoded")

Read: TypeAlias = Callable[[Exchange], Any]


def raw_reader(parameter: EndpointParameter, path_names: tuple[str, ...]) -> Read:
    """Return what reads a parameter as the text that came, or as a list of texts, or as ABSENT."""
    alias, many = parameter.alias, is_many(parameter.annotation)
    if parameter.source == "path":
        index = path_names.index(alias)
        return lambda exchange: exchange.values[index]
    if parameter.source == "query":
        if many:
            return lambda exchange: exchange.query.get(alias, ABSENT)
        return lambda exchange: exchange.query[alias][-1] if alias in exchange.query else ABSENT
    if parameter.source == "header":
        name = alias.lower().encode("latin-1")

        def header(exchange: Exchange) -> Any:
            found = exchange.header(name)
            if found is None:
                return ABSENT
            return [part.strip() for part in found.split(",")] if many else found

        return header
    if parameter.source == "cookie":
        return lambda exchange: ABSENT if (found := exchange.cookie(alias)) is None else found
    return lambda exchange: exchange.form.get(alias, many=many, absent=ABSENT)


def reader(parameter: EndpointParameter, path_names: tuple[str, ...]) -> Read:
    """Return what reads and validates a parameter; it raises pydantic's ValidationError, or returns ABSENT."""
    read = raw_reader(parameter, path_names)
    adapter = TypeAdapter[Any](parameter.annotation)
    if parameter.annotation is str and parameter.source == "path":
        return read
    of_text = is_scalar(parameter.annotation) and not takes_upload(parameter.annotation)
    validate = adapter.validate_strings if of_text else adapter.validate_python

    def checked(exchange: Exchange) -> Any:
        raw = read(exchange)
        return raw if raw is ABSENT else validate(raw)

    return checked


def check_json(exchange: Exchange) -> None:
    """Refuse a body that does not say that it is JSON: a form of another site could send it otherwise.

    Raises:
        ProblemError: 415.
    """
    given = exchange.headers.get(b"content-type", b"")
    if given == b"application/json":
        return
    media = given.split(b";", 1)[0].strip().lower()
    if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
        raise ProblemError(415, "send JSON, with the header Content-Type: application/json", code="not_json")


def says_form(exchange: Exchange) -> bool:
    """Tell whether a body says that it is a form."""
    return exchange.headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower() in FORMS


def is_malformed(error: ValidationError) -> bool:
    """Tell whether a validation error says that the text is no JSON at all."""
    return (
        error.error_count() == 1 and error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid"
    )


def invalid(error: ValidationError, source: str) -> ProblemError:
    """Return what a caller is told of a body, or a part of a request, that does not fit."""
    if is_malformed(error):
        told = error.errors(include_url=False, include_input=False)[0]["msg"]
        return ProblemError(400, f"the body is no JSON: {told.removeprefix('Invalid JSON: ')}", code="bad_json")
    return unfit(problems_of(error, source))


def unfit(problems: tuple[Problem, ...]) -> ProblemError:
    """Return what a caller is told of values that do not fit."""
    return ProblemError(422, "the request does not fit", code="invalid", problems=problems)
