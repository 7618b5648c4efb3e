"""The problems that a graph of services can have, in words: what, where, what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from plugbus._errors.base import did_you_mean
from plugbus._services.keys import BY_NAME, label, place
from plugbus._services.parameters import Parameter
from plugbus._services.providers import Provider, Registry
from plugbus.errors import PermissionDeniedError, Problem

Where = str | Callable[..., Any]

_LIVES: Final[dict[str, str]] = {
    "app": "as long as the app",
    "plugin": "for one plugin",
    "call": "for one unit of work",
}
_TOO_MANY = "take all but one away, or give each its own name=..."


def where_is(where: Where, parameter: Parameter) -> str:
    """A callable and one of its parameters, such as ``shop.Audit(db: Database)``."""
    return f"{where if isinstance(where, str) else place(where)}({parameter})"


def differs(where: Where, parameter: Parameter) -> Problem:
    """It is looked up at each call, and what asks for it is made once for many."""
    hint = "ask for it in the function that is called with the event, or give this factory scope='call'"
    return Problem(where_is(where, parameter), "it differs from call to call", hint)


def missing(where: Where, parameter: Parameter, hint: str) -> Problem:
    """Nothing provides it."""
    if parameter.type is not BY_NAME:
        what = f"nothing provides {label(parameter.type, parameter.named)}"
    elif parameter.unresolved is None:
        what = f"no service is named {parameter.name!r}, and it has no annotation"
    else:
        what = f"its annotation {parameter.unresolved!r} cannot be resolved, and no service is named {parameter.name!r}"
    return Problem(where_is(where, parameter), what, hint)


def neither(where: Where, parameter: Parameter, registry: Registry) -> Problem:
    """Not to be read as a service, and not as an argument."""
    problem = missing(where, parameter, "")
    hint = f"as a service: {hint_for(parameter, registry)}; as an argument: make it a scalar, a model, a dict or a list"
    return Problem(problem.where, f"is neither a service nor an argument: {problem.message}, and it is no data", hint)


def hint_for(parameter: Parameter, registry: Registry) -> str:
    """What comes close to something that is missing, and what to do; it looks at every provider."""
    if parameter.type is BY_NAME:
        told = "import the type at run time, not under TYPE_CHECKING alone, and outside of functions"
        if parameter.unresolved is None:
            told = "annotate it, or register a service with this name"
        return " ".join(filter(None, (did_you_mean(parameter.name, registry.parameter_names()), told)))
    providers = registry.providers()
    hints = [did_you_mean(label(parameter.type, parameter.named), [provider.label for provider in providers])]
    fits = [provider.label for provider in providers if _is_subclass(provider.type, parameter.type)]
    if fits and parameter.named is None:
        hints.append(f"{fits[0]} is one: register it as {label(parameter.type)} too;")
    hints.append("load the plugin that provides it, write one (@provides), or register it with services.value()")
    return " ".join(filter(None, hints))


def ambiguous(where: Where, parameter: Parameter, found: Sequence[Provider]) -> Problem:
    """Several provide it, and nothing says which is meant."""
    options = ", ".join(f"{provider.label} ({provider.place})" for provider in found)
    hint = "choose one with Annotated[..., Named(...)], or register one without a name"
    if same_thing(found):
        hint = _TOO_MANY
    return Problem(where_is(where, parameter), f"several services fit: {options}", hint)


def same_thing(found: Sequence[Provider]) -> bool:
    """Whether providers differ neither by type nor by name."""
    return len({(provider.type, provider.name) for provider in found}) == 1


def duplicate(found: Sequence[Provider]) -> Problem:
    """Two registrations of one thing."""
    places = ", ".join(provider.place for provider in found)
    return Problem(found[0].label, f"is provided {len(found)} times, by {places}", _TOO_MANY)


def too_short(where: Where, parameter: Parameter, wanted: Provider, reader: Provider | None) -> Problem:
    """Something that lives longer asks for something that is gone earlier."""
    told = where_is(where, parameter)
    if reader is None:
        message = f"{wanted.label} is made for each plugin, and no plugin asks here"
        return Problem(told, message, "ask through the plugin's own services, or pass owner=...")
    message = (
        f"{reader.label} lives {_LIVES[reader.scope]}, and asks for {wanted.label}, which lives {_LIVES[wanted.scope]}"
    )
    if wanted.scope == "call":
        return Problem(told, message, 'give the factory scope="call", or ask within a unit of work, where it is used')
    return Problem(told, message, 'give the factory scope="plugin", or register it through a plugin\'s services')


def no_unit(where: Where, parameter: Parameter, wanted: Provider) -> Problem:
    """Something that is made once per unit of work, and there is none."""
    message = f"{wanted.label} is made once per unit of work, and none is open here"
    hint = "take it as a parameter of a subscriber, or open one with services.scope()"
    return Problem(where_is(where, parameter), message, hint)


def cycle(path: Sequence[Provider]) -> Problem:
    """Services that need each other."""
    told = " -> ".join(provider.label for provider in (*path, path[0]))
    hint = "let one of them take `services: Services`, and ask when it needs the other"
    return Problem(path[0].place, f"services need each other in a circle: {told}", hint)


def not_by_name(where: Where, parameter: Parameter) -> Problem:
    """A service for a parameter that only a position can fill."""
    return Problem(where_is(where, parameter), "a positional-only parameter cannot be injected", "take the `/` away")


def not_permitted(where: Where, parameter: Parameter, wanted: Provider, error: PermissionDeniedError) -> Problem:
    """A service that is tied to a permission which the plugin has not."""
    what, _, hint = str(error).partition("\nHint: ")
    return Problem(where_is(where, parameter), f"{what.rstrip('.')}, which {wanted.label} is tied to", hint.rstrip("."))


def _is_subclass(type_: Any, base: Any) -> bool:
    try:
        return base is not object and issubclass(type_, base)
    except TypeError:  # not classes, or a Protocol that cannot be asked at run time
        return False
