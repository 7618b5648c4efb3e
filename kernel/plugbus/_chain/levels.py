"""Levels of a unit of work in a chain: what failed of it, and what others made of that.

Owns where a level begins and ends; what it holds is the business of ``_services/units.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sized
from typing import TYPE_CHECKING, Any

from plugbus._services.units import UNIT, Level, current

if TYPE_CHECKING:
    from plugbus._chain.links import Call, ThroughLoop
    from plugbus._services.container import Container


def repeatable(call: Call, container: Container, through_loop: ThroughLoop) -> Call:
    """Let a sync listener call ``next_fn`` again: what the first pass opened is closed by then, if it failed."""

    def listener(event: Any, next_fn: Call) -> Any:
        return call(event, lambda changed: _in_level(next_fn, (changed,), container, through_loop))

    return listener


def arepeatable(acall: Call, container: Container) -> Call:
    """Let an async listener do so."""

    def listener(event: Any, next_fn: Call) -> Any:
        return acall(event, lambda changed: _ain_level(next_fn, (changed,), container))

    return listener


def tries(call: Call, container: Container, through_loop: ThroughLoop) -> Call:
    """Have what a sync subscriber opened closed with its own failure, which others put up with.

    Not once it has handed on to what is below it, for that may use the same.
    """

    def attempt(event: Any, *next_fn: Call) -> Any:
        shared: list[Any] = []
        return _in_level(call, (event, *_noting(next_fn, shared)), container, through_loop, shared)

    return attempt


def atries(acall: Call, container: Container) -> Call:
    """Do the same for an async one."""

    async def attempt(event: Any, *next_fn: Call) -> Any:
        shared: list[Any] = []
        return await _ain_level(acall, (event, *_noting(next_fn, shared)), container, shared)

    return attempt


def _noting(next_fn: tuple[Call, ...], shared: list[Any]) -> Iterator[Call]:
    for below in next_fn:

        def noted(changed: Any, below: Call = below) -> Any:
            shared.append(changed)
            return below(changed)

        yield noted


def _in_level(
    call: Call, args: tuple[Any, ...], container: Container, through_loop: ThroughLoop, shared: Sized = ()
) -> Any:
    level = _branch(container)
    if level is None:
        return call(*args)
    mark = UNIT.set(level)
    try:
        result = call(*args)
    except BaseException as error:
        UNIT.reset(mark)
        level.merge() if shared else level.fail(error, through_loop)
        raise
    UNIT.reset(mark)
    level.merge()
    return result


async def _ain_level(acall: Call, args: tuple[Any, ...], container: Container, shared: Sized = ()) -> Any:
    level = _branch(container)
    if level is None:
        return await acall(*args)
    mark = UNIT.set(level)
    try:
        result = await acall(*args)
    except BaseException as error:
        UNIT.reset(mark)
        if shared:
            level.merge()
        else:
            await level.afail(error)
        raise
    UNIT.reset(mark)
    level.merge()
    return result


def _branch(container: Container) -> Level | None:
    above = current(container)
    return None if above is None else Level(above.unit, above, UNIT.get())
