"""Units of work in chains: opened by the outermost emit that needs one, joined by those within.

Owns where a unit begins and ends; what is built in one is the business of ``_services/``. Compiled in only where
units of work may be open at all (docs/adr/0009-the-unit-of-work-is-compiled-in.md).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

import anyio

from plugbus._chain.links import Call, Entry, Link, ThroughLoop
from plugbus._context import Carried, carried, resumed
from plugbus._services.units import UNIT, After, Unit, current
from plugbus._threads import Overrun, Threads, back_to_loop

if TYPE_CHECKING:
    from plugbus._services.container import Container
    from plugbus._services.late import Late


# Where a unit begins and ends


def joining(event: Any, rest: tuple[Container, Entry, Entry]) -> Any:
    """Run a chain that needs no unit of work itself: another one where it is within one."""
    container, plain, joined = rest
    first, below = (
        plain if UNIT.get() is None or current(container) is None else joined
    )  # the first look is the quick one
    return first(event, below)


def opened(event: Any, rest: tuple[Container, Call, Any]) -> Any:
    """Run a chain within the unit of work that is open, or in one of its own, in this thread."""
    container, first, below = rest
    if current(container) is not None:
        return first(event, below)
    unit = Unit.here(container)
    unit.enter()
    try:
        result = first(event, below)
    except BaseException as error:
        unit.end(error)
        raise
    unit.end(None)
    return result


async def aopened(event: Any, rest: tuple[Container, Call, Any]) -> Any:
    """Do the same on the loop."""
    container, first, below = rest
    if current(container) is not None:
        return await first(event, below)
    unit = Unit.on_loop(container)
    unit.enter()
    try:
        result = await first(event, below)
    except BaseException as error:
        await unit.aend(error)
        raise
    await unit.aend(None)
    return result


def opened_on_loop(event: Any, rest: tuple[Container, Entry, ThroughLoop, Call]) -> Any:
    """Run a sync emit that needs the loop as a unit of work of the loop as a whole, unless it is within one."""
    container, joined, through_loop, acall = rest
    if current(container) is not None:
        return joined[0](event, joined[1])
    return through_loop(acall, event)


def own_unit(call: Call, container: Container) -> Call:
    """Give each call a unit of work of its own."""

    def first(event: Any, rest: tuple[Call, ...]) -> Any:
        return call(event, *rest)

    def alone(event: Any, *next_fn: Call) -> Any:
        mark = UNIT.set(None)
        try:
            return opened(event, (container, first, next_fn))
        finally:
            UNIT.reset(mark)

    return alone


def aown_unit(acall: Call, container: Container) -> Call:
    """Do the same on the loop."""

    async def first(event: Any, rest: tuple[Call, ...]) -> Any:
        return await acall(event, *rest)

    async def alone(event: Any, *next_fn: Call) -> Any:
        mark = UNIT.set(None)
        try:
            return await aopened(event, (container, first, next_fn))
        finally:
            UNIT.reset(mark)

    return alone


# What waits for the outermost success


def after_success(container: Container | None, call: Callable[[], object]) -> None:
    """Run something quick once the unit of work that is open has succeeded, or now if there is none.

    Whichever thread or task that is in then; not at all if the unit fails.
    """
    level = None if container is None else current(container)
    if level is None:
        call()
    else:
        level.after.append(After(call))


def once_scoping(container: Container, call: Callable[[], object]) -> None:
    """Have a method called once units of work may be open; its object may be gone long before."""
    weak = WeakMethod(call)
    container.on_scoping(lambda: (method := weak()) and method())


def deferring(link: Link, tell: Call, atell: Call, container: Container) -> Link:
    """Have a bottom tell observers of each event that it let through, once the unit of work has succeeded."""

    def later(event: Any) -> bool:
        level = current(container)
        if level is not None:
            facts = carried()
            level.after.append(After(partial(_tell, tell, event, facts), partial(_atell, atell, event, facts)))
        return level is not None

    def call(event: Any) -> Any:
        result = link.call(event)  # type: ignore[misc]  # only where there is one
        if not later(event):
            tell(event)
        return result

    async def acall(event: Any) -> Any:
        result = await link.acall(event)
        if not later(event):
            await atell(event)
        return result

    return Link(None if link.call is None else call, acall, link.threads)


def _tell(tell: Call, event: Any, facts: Carried | None) -> None:
    if facts is None:
        tell(event)
        return
    with resumed(facts, event):
        tell(event)


async def _atell(atell: Call, event: Any, facts: Carried | None) -> None:
    if facts is None:
        await atell(event)
        return
    with resumed(facts, event):
        await atell(event)


# Sync functions whose services need the loop


def building_first(late: Late, threads: Threads, seconds: float | None) -> Call:
    """Have the services of a sync subscriber built on the loop, and then itself run in a worker thread.

    With a time limit, which is around all of it, the thread is given up when the time is up.
    """

    async def acall(event: Any, *next_fn: Call) -> Any:
        services = await late.aresolve()

        def work(event: Any) -> Any:
            level = current(late.container)
            assert level is not None, "its services were built in it"
            back = (partial(back_to_loop, below) for below in next_fn)
            return late.at_home(level.unit.home, partial(late.with_services, services), (event, *back))

        if seconds is None:
            return await threads.run(work, event, place=late)
        with suppress(Overrun):
            return await threads.run_bounded(work, event, seconds, place=late)
        await anyio.sleep_forever()  # until the time limit around it, which began earlier, says so
        return None

    return acall
