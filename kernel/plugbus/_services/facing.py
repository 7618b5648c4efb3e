"""What a callable wants that is another at each call: who acts, and which emit runs.

It is no service, for no container makes it: it is looked up in the context when the callable is called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from plugbus._context import HERE, WANTED, Current
from plugbus._services.keys import place
from plugbus._services.messages import differs
from plugbus.context import current
from plugbus.errors import NoPrincipalError, WiringError
from plugbus.principal import Principal

if TYPE_CHECKING:
    from plugbus._services.container import Container
    from plugbus._services.parameters import Parameter


def principal_now() -> Principal | None:
    """Return who acts."""
    here = HERE.get()
    return None if here is None else here.principal


FACED: Final[dict[object, Callable[[], object]]] = {Principal: principal_now, Current: current}
"""How to look it up, by type."""


def value_of(parameter: Parameter, where: str) -> object:
    """Return what a parameter gets at this moment.

    Raises:
        NoPrincipalError: If there is none, and it cannot do without.
    """
    value = FACED[parameter.type]()
    if value is None and not parameter.optional:
        raise NoPrincipalError(where, parameter.type.__name__)
    return value


class _Facing(functools.partial[Any]):
    """A callable that is given at each call what is in force then; a partial, as everybody knows to look below one."""

    parameters: tuple[Parameter, ...]

    def __call__(self, /, *args: Any, **keywords: Any) -> Any:
        for parameter in self.parameters:
            if parameter.name in keywords or (parameter.has_default and FACED[parameter.type]() is None):
                continue
            keywords[parameter.name] = value_of(parameter, place(self.func))
        return self.func(*args, **keywords)


def facing(
    container: Container, call: Callable[..., Any], parameters: tuple[Parameter, ...]
) -> tuple[Callable[..., Any], tuple[Parameter, ...]]:
    """Have a callable given what is in force at each call.

    Returns:
        The callable, and what it wants beside.

    Raises:
        WiringError: If it is a class: what it makes lives longer than a call.
    """
    faced = tuple(each for each in parameters if each.type in FACED and not container.find(each))
    if not faced:
        return call, parameters
    if isinstance(call, type):
        raise WiringError([differs(call, each) for each in faced])
    if any(each.type is Current for each in faced):
        WANTED.turn_on()
    made = _Facing(call)
    made.parameters = faced
    return made, tuple(each for each in parameters if each not in faced)
