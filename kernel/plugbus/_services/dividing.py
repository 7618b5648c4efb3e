"""The one rule for callables that take both services and arguments: which of their parameters is which.

A registered type, or ``Annotated[X, Inject]``, is a service; a scalar, model, dict or list is an argument; anything
else is a mistake that is told with both readings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, NewType, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel
from typing_extensions import is_typeddict

from plugbus._annotations import class_hints
from plugbus._services import messages
from plugbus._services.late import FACED
from plugbus._services.parameters import Parameter, parameters_of
from plugbus._services.stores import ABSENT
from plugbus.errors import Problem, WiringError

if TYPE_CHECKING:
    from plugbus._services.container import Container
    from plugbus.owner import Owner

_SCALARS: Final = (
    BaseModel, Decimal, Enum, NoneType, PurePath, UUID, bool, bytes, complex, date, float, int, str, time, timedelta,
)  # fmt: skip
_MANY: Final = (Mapping, Sequence, AbstractSet)


class Divided(NamedTuple):
    """What a callable wants: services, and arguments.

    ``scoped`` tells whether one of the services is made for each unit of work.
    """

    services: tuple[Parameter, ...]
    arguments: tuple[Parameter, ...]
    scoped: bool


def divide(
    container: Container, call: Callable[..., Any], given: int, asker: Owner | None, argument_types: Collection[object]
) -> Divided:
    """Divide what a callable wants into services and arguments.

    Raises:
        WiringError: If a parameter is neither: all of them at once.
    """
    services: list[Parameter] = []
    arguments: list[Parameter] = []
    problems: list[Problem] = []
    for parameter in parameters_of(call, given):
        if _is_service(container, parameter, asker):
            services.append(parameter)
        elif parameter.type in argument_types or is_data(parameter.type):
            arguments.append(parameter)
        elif parameter.has_default or parameter.optional:
            services.append(parameter)  # one that nobody provides, and that it can do without
        else:
            problems.append(messages.neither(call, parameter, container.registry))
    if problems:
        raise WiringError(problems)
    scoped = any(provider.scope == "call" for parameter in services for provider in container.find(parameter, asker))
    return Divided(tuple(services), tuple(arguments), scoped)


def _is_service(container: Container, parameter: Parameter, asker: Owner | None) -> bool:
    if parameter.marked or parameter.named is not None or parameter.type in FACED:
        return True
    return bool(container.find(parameter, asker)) or container.built_in(parameter, asker) is not ABSENT


def is_data(type_: Any, above: tuple[object, ...] = ()) -> bool:
    """Tell whether a type is that of data which may come from outside: a scalar, a model, many of such.

    Args:
        type_: The type.
        above: The classes whose fields are being looked at.
    """
    origin, parts = get_origin(type_), get_args(type_)
    if origin is Literal:
        return True
    if origin is Annotated or isinstance(type_, NewType):
        return is_data(parts[0] if parts else type_.__supertype__, above)
    if origin not in (Union, UnionType) and not _is_data_class(origin or type_, above):
        return False
    return all(is_data(part, above) for part in parts if part is not ...)


def _is_data_class(cls: Any, above: tuple[object, ...]) -> bool:
    if not isinstance(cls, type):
        return False
    if issubclass(cls, (*_SCALARS, *_MANY)) and not hasattr(cls, "_fields"):
        return True
    if dataclasses.is_dataclass(cls) or is_typeddict(cls) or hasattr(cls, "_fields"):
        return cls in above or all(is_data(hint, (*above, cls)) for hint in class_hints(cls).values())
    return hasattr(cls, "__get_pydantic_core_schema__")
