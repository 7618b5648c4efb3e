"""Units of work: what is open at this moment, what was built in it, and how it ends.

A unit is a tree of levels. Each pass of a listener to what is below it is a level of its own, where the unit has
listeners: what was opened in a pass that failed is closed with the failure, and a second pass opens its own. A pass
that succeeded leaves what it opened to the level above. Whoever asks sees what its level and those above it have.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple, final

from plugbus._route import NOT_CARRIED
from plugbus._services.closing import Exit
from plugbus._services.ending import Ending, cannot_wait
from plugbus._services.homes import CallersThread, Home, OwnThread
from plugbus._services.stores import ABSENT, Store

if TYPE_CHECKING:
    from plugbus._services.container import Container
    from plugbus._services.providers import Provider
    from plugbus._services.registration import Override

Seeds = Mapping[tuple[Any, str | None], object]


class After(NamedTuple):
    """What is to be done once a unit of work has succeeded: by sync code, and on the loop."""

    call: Callable[[], object]
    acall: Callable[[], Awaitable[object]] | None = None


@final
class Unit:
    """One unit of work.

    Args:
        container: Whose services.
        home: Where its sync services live.
        seeds: What is there already, by type and name.

    Attributes:
        top: Its outermost level.
    """

    __slots__ = ("container", "home", "seeds", "top")

    def __init__(self, container: Container, home: Home, seeds: Seeds | None = None) -> None:
        self.container, self.home, self.seeds = container, home, seeds or {}
        self.top = Level(self, None, UNIT.get())

    @classmethod
    def on_loop(cls, container: Container, seeds: Seeds | None = None) -> Unit:
        """Return one that async code opens."""
        return cls(container, OwnThread(), seeds)

    @classmethod
    def here(cls, container: Container, seeds: Seeds | None = None) -> Unit:
        """Return one that sync code opens, in its own thread."""
        return cls(container, CallersThread(), seeds)

    def enter(self) -> None:
        """Put it in force."""
        UNIT.set(self.top)

    async def aend(self, error: BaseException | None) -> None:
        """End it on the loop: commit, or roll back with *error*; and then do what was to be done after it.

        Raises:
            BaseException: What a commit failed with; the rest was rolled back with it then.
        """
        UNIT.set(self.top.outer)
        ending = Ending(error)
        try:
            if cannot_wait(error):
                ending.abandon(self.top.take())
            else:
                await ending.aclose(self.top.take(), self.container.clean_up_seconds)
        finally:
            self.home.leave()
        ending.settle()
        if error is None:
            await ending.afinish(self.top.after)

    def end(self, error: BaseException | None) -> None:
        """Do the same in the thread that opened it."""
        UNIT.set(self.top.outer)
        ending = Ending(error)
        ending.close(self.top.take())
        ending.settle()
        if error is None:
            ending.finish(self.top.after)


@final
class Level:
    """One level of a unit of work: what was built in it, and what is to be done after it.

    Attributes:
        adopted: Clean-up that is due for levels below that succeeded.
        after: What is to be done once the unit has succeeded.
        closed: Whether nothing more is built in it.
        merged: Whether what it had is the next level's above.
        outer: What is in force around it: a level of another unit, perhaps of another container.
        stores: What was built in it, by the override beneath which it was.
    """

    __slots__ = ("adopted", "after", "closed", "merged", "outer", "parent", "stores", "unit")

    def __init__(self, unit: Unit, parent: Level | None, outer: Level | None) -> None:
        self.unit, self.parent, self.outer = unit, parent, outer
        self.after: list[After] = []
        self.closed = self.merged = False
        self.stores: dict[Override | None, Store] = {}
        self.adopted: list[Exit] = []

    def look(self, provider: Provider, override: Override | None) -> tuple[Store, Any]:
        """Return where a service is, and itself; or where it is to be built."""
        level: Level | None = self
        while level is not None:
            store = level.stores.get(override)
            if store is not None:
                instance = store.instances.get(provider, ABSENT)
                if instance is not ABSENT:
                    return store, instance
            level = level.parent
        own = self.stores.get(override)
        if own is None:
            own = self.stores.setdefault(override, Store(home=self.unit.home))
            own.closed = own.closed or self.closed
        return own, ABSENT

    def take(self) -> list[Exit]:
        """Close it, and return the clean-up that is due."""
        self.closed = True
        adopted, self.adopted = self.adopted, []
        return [*adopted, *(exit_ for store in tuple(self.stores.values()) for exit_ in store.close())]

    def merge(self) -> None:
        """Leave everything to the level above: it succeeded so far."""
        assert self.parent is not None, "the outermost level ends with its unit"
        for override, store in tuple(self.stores.items()):
            self.parent.adopt(override, store)
        self.parent.adopted += self.adopted
        self.parent.after += self.after
        self.merged = True

    def adopt(self, override: Override | None, store: Store) -> None:
        """Take over what a level below has built."""
        instances = dict(store.instances)
        self.adopted += store.close()
        if instances:
            own = self.stores.setdefault(override, Store(home=self.unit.home))
            own.instances.update({key: found for key, found in instances.items() if key not in own.instances})

    async def afail(self, error: BaseException) -> None:
        """Close what was opened in it, with the failure, on the loop."""
        exits = self.take()
        if cannot_wait(error):
            Ending(error).abandon(exits)
        elif exits:
            await Ending(error).aclose(exits, self.unit.container.clean_up_seconds)

    def fail(self, error: BaseException, through_loop: Callable[[Callable[[Any], Any], Any], Any]) -> None:
        """Do the same from a thread; what cannot be closed now sees the failure when the unit ends."""
        exits = self.take()
        if not exits:
            return
        if not self.unit.home.is_async:
            Ending(error).close(exits)
            return
        left = {exit_.number: exit_ for exit_ in exits}
        try:
            through_loop(self._closing(exits, error, left), None)
        finally:
            for exit_ in left.values():
                exit_.doom = error
            if self.parent is not None:
                self.parent.adopted += left.values()

    def _closing(self, exits: list[Exit], error: BaseException, left: dict[int, Exit]) -> Callable[[Any], Any]:
        async def close(_: Any) -> None:
            left.clear()
            await Ending(error).aclose(exits, self.unit.container.clean_up_seconds)

        return close


UNIT: Final[ContextVar[Level | None]] = ContextVar("plugbus_unit", default=None)
"""The level of the unit of work that is in force."""
NOT_CARRIED.append((UNIT, None))


@contextmanager
def detached() -> Iterator[None]:
    """Be in no unit of work for a while."""
    mark = UNIT.set(None)
    try:
        yield
    finally:
        UNIT.reset(mark)


def current(container: Container | None) -> Level | None:
    """Return the level of a container's unit of work that is in force, or of anybody's without a container.

    What outlived its unit has none.
    """
    level = UNIT.get()
    while level is not None:
        if container is None or level.unit.container is container:
            while level.merged and level.parent is not None:
                level = level.parent
            if not level.closed:
                return level
        level = level.outer
    return None
