"""Which parameter of a function, or field of a request, comes from which part of an HTTP request.

Owns the decision, made once when an endpoint is registered; what cannot be decided is told with both readings.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, final

from pydantic import BaseModel

from plugbus import Problem
from plugbus_adapters.http._types import admits_none, is_many, is_scalar, marker_of, plain_type, takes_upload
from plugbus_adapters.http.endpoints import EndpointParameter
from plugbus_adapters.http.parameters import From, Source

__all__ = ("WITHOUT_BODY", "Sorted", "fields_of", "sorted_fields", "sorted_parameters")

WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
"""Methods whose requests have no body unless somebody says so."""


@final
class Sorted(NamedTuple):
    """Parameters by where they come from.

    Attributes:
        parameters: From path, query, headers, cookies and forms.
        bodies: Those that take the whole body.
        requests: Names of those that take the request of the web framework.
        problems: What could not be decided.
    """

    parameters: list[EndpointParameter]
    bodies: list[EndpointParameter]
    requests: list[str]
    problems: list[Problem]


def sorted_parameters(
    where: str, given: Sequence[inspect.Parameter], method: str, path_names: Sequence[str], requests: Sequence[type]
) -> Sorted:
    """Sort the parameters of a function.

    Args:
        where: What endpoint it is, for problems.
        given: Parameters that services do not fill, with resolved annotations.
        method: The HTTP method.
        path_names: Names of the parameters of the path.
        requests: Types of the web framework's request.
    """
    found = Sorted([], [], [], [])
    for each in given:
        if each.kind in {each.VAR_POSITIONAL, each.VAR_KEYWORD}:
            continue
        if plain_type(each.annotation) in requests:
            found.requests.append(each.name)
            continue
        annotation = str if each.annotation is each.empty and each.name in path_names else each.annotation
        source = _source_of(where, each.name, annotation, method, path_names)
        if isinstance(source, Problem):
            found.problems.append(source)
            continue
        required = each.default is each.empty and not admits_none(annotation)
        default = None if each.default is each.empty else each.default
        mark = marker_of(annotation)
        parameter = _parameter(each.name, source, mark, annotation, required=required, default=default)
        (found.bodies if source == "body" else found.parameters).append(parameter)
    taken = {each.alias for each in found.parameters if each.source == "path"}
    found.problems.extend(
        Problem(where, f"its path has {{{name}}}, and the function no parameter for it", "add one, or take it out")
        for name in path_names
        if name not in taken
    )
    found.problems.extend(_one_body(where, found))
    return found


def _one_body(where: str, found: Sorted) -> Iterator[Problem]:
    forms = [each.name for each in found.parameters if each.source == "form"]
    bodies = [each.name for each in found.bodies]
    if len(bodies) > 1 or (bodies and forms):
        told = f"each of {', '.join(map(repr, [*bodies, *forms]))} reads as the body or a part of it, and there is one"
        yield Problem(where, told, "put the fields into one model, or mark where they come from: Annotated[X, Query()]")


def _parameter(
    name: str, source: Source, mark: From | None, annotation: Any, *, required: bool, default: Any
) -> EndpointParameter:
    alias = (mark.name if mark else None) or (name.replace("_", "-") if source == "header" else name)
    return EndpointParameter(name, source, alias, annotation, required, default)


def _source_of(where: str, name: str, annotation: Any, method: str, path_names: Sequence[str]) -> Source | Problem:
    mark = marker_of(annotation)
    if mark is not None:
        if (mark.source == "path") != ((mark.name or name) in path_names):
            told = f"says it comes from the {mark.source}, and the path has parameters {list(path_names)}"
            return Problem(f"{where}, {name}", told, "use one name in both")
        return mark.source
    if name in path_names:
        return "path"
    if takes_upload(annotation):
        return "form"
    return "query" if is_scalar(annotation) else _body_or_not(f"{where}, {name}", annotation, method)


def _body_or_not(where: str, annotation: Any, method: str) -> Source | Problem:
    if is_many(annotation):
        if method in WITHOUT_BODY:
            return "query"
        told = "reads as a parameter of the query that is given several times, and as a list in the body"
        return Problem(where, told, "say which: Annotated[..., Query()] or Annotated[..., Body()]")
    if method in WITHOUT_BODY:
        told = f"reads as the body, which {method} does not have, and as fields of the query"
        return Problem(where, told, "say which: Annotated[..., Body()], or one parameter for each field")
    return "body"


def fields_of(model: type[BaseModel]) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield name, alias, annotation and description of each field of a model."""
    for name, described in model.model_fields.items():
        alias = described.validation_alias if isinstance(described.validation_alias, str) else described.alias
        yield name, alias or name, described.annotation, described


def sorted_fields(where: str, model: type[BaseModel], method: str, path_names: Sequence[str]) -> Sorted:
    """Sort the fields of a request that goes through the bus: path and query fill fields by name, the body the rest."""
    found = Sorted([], [], [], [])
    taken: set[str] = set()
    for name, alias, annotation, described in fields_of(model):
        mark = marker_of(annotation, described.metadata)
        facts: dict[str, Any] = {"required": described.is_required(), "default": described.get_default()}
        in_path = next((each for each in (name, alias, mark.name if mark else None) if each in path_names), None)
        if in_path is not None:
            taken.add(in_path)
            found.parameters.append(EndpointParameter(name, "path", in_path, annotation))
        elif mark is not None and mark.source == "body":
            found.bodies.append(EndpointParameter(name, "body", alias, annotation, **facts))
        elif mark is not None:
            found.parameters.append(_parameter(name, mark.source, mark, annotation, **facts))
        elif is_scalar(annotation) or is_many(annotation):
            found.parameters.append(EndpointParameter(name, "query", alias, annotation, **facts))
        elif method in WITHOUT_BODY and described.is_required():
            told = f"is neither in the path nor can it come from a query, and {method} has no body"
            found.problems.append(Problem(f"{where}, {name}", told, "use POST, or mark it: Annotated[..., Body()]"))
    found.problems.extend(
        Problem(where, f"its path has {{{name}}}, and {model.__qualname__} no such field", "add one, or take it out")
        for name in path_names
        if name not in taken
    )
    found.problems.extend(_one_body(where, found))
    return found
