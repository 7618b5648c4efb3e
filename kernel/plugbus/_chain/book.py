"""The book of subscriptions: names, owners, order of arrival, the index over them, and the exchange of generations.

What else of a plugin is exchanged when it is reloaded is in ``_kernel/reloading.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, final
from weakref import WeakKeyDictionary

from plugbus._chain.hearing import Shelves
from plugbus._chain.targets import is_root
from plugbus.errors import DuplicateHandlerError, SubscriptionError
from plugbus.event_types import EventType, event_type
from plugbus.options import ABSENT, OUTSIDE, Kind, Options, Target
from plugbus.subscribers import label
from plugbus.subscription import Subscription

if TYPE_CHECKING:
    from plugbus._background.runner import Runner
    from plugbus._chain.policies import BreakerState
    from plugbus._chain.register import Prepared
    from plugbus._core import Core
    from plugbus._generations import Generations
    from plugbus.owner import Owner


@final
class Book:
    """All subscriptions of one bus; guarded by its lock."""

    def __init__(self) -> None:
        self.shelves = Shelves()
        self.generations: Generations | None = None
        self._count = 0
        self._ranks: WeakKeyDictionary[Owner, int] = WeakKeyDictionary()
        self._edges = 0
        self._numbers: WeakKeyDictionary[Owner, dict[str, int]] = WeakKeyDictionary()
        self._owned: dict[Owner, dict[str, Subscription]] = {}
        self._disown: dict[tuple[int, int], Callable[[], None]] = {}

    def __iter__(self) -> Iterator[Subscription]:
        found = [subscription for owned in self._owned.values() for subscription in owned.values()]
        return iter(sorted(found, key=lambda subscription: subscription.sequence))

    def of(self, owner: Owner) -> tuple[Subscription, ...]:
        """Return the subscriptions of an owner."""
        return tuple(self._owned.get(owner, {}).values())

    def draft(  # noqa: PLR0917 - called from one place
        self,
        kind: Kind,
        targets: tuple[Target, ...],
        options: Options,
        owner: Owner,
        ready: Prepared,
        breaker: Callable[[Options, str, Owner], BreakerState | None],
        close: Callable[[Subscription], None],
    ) -> Subscription:
        """Make a subscription that is not in the book yet.

        Raises:
            SubscriptionError: If the owner has another one of the name that was asked for.
        """
        name = self._name(options, owner, ready)
        made = Subscription(kind, targets, options, owner, name, self._sequence(owner), ready, close)
        made.breaker = breaker(options, name, owner)
        return made

    def enlist(self, owner: Owner) -> None:
        """Give an owner its place: what it registers while it boots counts as registered now.

        So plugins that boot in parallel are ordered as their views were made, whichever is quicker.
        """
        self._count += 1
        self._ranks[owner] = self._count

    def owners(self) -> list[Owner]:
        """Return the plugins that have a view and have not left, with subscriptions or without."""
        return [owner for owner in self._ranks if not owner.gone]

    def succeed(self, owner: Owner, old: Owner) -> None:
        """Give an owner the place of another one, in whose place it comes."""
        self._ranks[owner] = self._ranks.get(old, self._count)

    def _sequence(self, owner: Owner) -> tuple[int, int]:
        number = self._count + 1
        return (number, 0) if owner.active else (self._ranks.get(owner, number), number)

    def _name(self, options: Options, owner: Owner, ready: Prepared) -> str:
        taken = self._owned.get(owner, {})
        if options.name is not None:
            if options.name in taken:
                raise SubscriptionError(
                    options.name, f"{owner.id!r} has a subscriber of that name", "Choose another name."
                )
            return options.name
        name = base = label(ready.target)
        numbers = self._numbers.setdefault(owner, {})
        number = numbers.get(base, 1)
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        numbers[base] = number  # or a thousand of one name would each be tried again
        return name

    def check(self, subscription: Subscription) -> None:
        """Refuse one that filters by a key that its type has not, or a second handler."""
        for target in subscription.events:
            if isinstance(target, str) or is_root(target):
                continue
            declared = event_type(target)
            if subscription.options.key is not ABSENT and declared.key is None:
                raise SubscriptionError(subscription.name, f"{declared.name!r} has no key", "Declare one: key='field'.")
            if subscription.kind == "handler":
                self._check_handler(subscription, declared)

    def _check_handler(self, subscription: Subscription, declared: EventType) -> None:
        key = subscription.options.key
        for other in self.shelves.exactly(declared.cls, key):
            if other.kind == "handler" and other is not subscription and not self.apart(other, subscription):
                first, second = (f"{item.name!r} of plugin {item.plugin!r}" for item in (other, subscription))
                raise DuplicateHandlerError(declared.name, first, second, None if key is ABSENT else key)

    def apart(self, item: Subscription, subscription: Subscription) -> bool:
        """Tell whether two are of different generations, so that no chain has both."""
        return self.generations is not None and self.generations.hides(item.owner, subscription.owner)

    def beside(self, subscription: Subscription, declared: EventType) -> list[Subscription]:
        """Return those of its kind that may be in a chain with it."""
        heard = self.shelves.on_shelves(declared, subscription.options.key)
        return [item for item in heard if item.kind == subscription.kind and not self.apart(item, subscription)]

    @staticmethod
    def equip(subscription: Subscription, runner: Runner | None) -> None:
        """Give a background observer its queue; refuse it where nobody runs such work."""
        if subscription.options.background:
            from plugbus._background.handing import queue_of  # only where somebody has such work

            subscription.background = queue_of(runner, subscription)

    def add(self, subscription: Subscription, check_order: Callable[[], None]) -> None:
        """Enter a subscription.

        Raises:
            OrderCycleError: If *check_order* says so; then it is not in the book.
            PluginGoneError: If its owner has left; likewise.
        """
        edges = bool(subscription.options.before or subscription.options.after)
        self.shelves.add(subscription)
        try:
            if edges or self._edges:
                check_order()
            disown = subscription.owner.own(subscription.close, what=f"{subscription.kind} {subscription.name}")
        except BaseException:
            self.shelves.remove(subscription)
            raise
        self._count += 1
        self._edges += edges
        self._disown[subscription.sequence] = disown
        self._owned.setdefault(subscription.owner, {})[subscription.name] = subscription
        if subscription.options.run_in in OUTSIDE:
            from plugbus._workers.placing import enter  # and pickle, for those who ask for it

            enter(subscription)

    def remove(self, subscription: Subscription) -> None:
        """Strike a subscription out."""
        subscription.closed = True
        self.shelves.remove(subscription)
        self._edges -= bool(subscription.options.before or subscription.options.after)
        self._disown.pop(subscription.sequence)()
        owned = self._owned[subscription.owner]
        del owned[subscription.name]
        if not owned:
            del self._owned[subscription.owner]
        if subscription.options.run_in in OUTSIDE:
            from plugbus._workers.placing import leave

            leave(subscription)


def overlap(core: Core, generations: Generations | None) -> None:
    """Let a new generation of plugins come beside the old one, in its place in the order; or end that."""
    with core.lock:
        core.registry.generations = core.book.generations = generations
        for owner, old in generations.olds.items() if generations else ():
            core.book.succeed(owner, old)


def swap(core: Core, generations: Generations, *, back: bool) -> None:
    """Let the new generation hear and the old one not, or the other way round.

    All under the lock, which whoever compiles a chain takes: an emit has a chain of before or of after.

    Raises:
        PlugbusError: If what came onto the bus meanwhile contradicts the new one; nothing has changed then.
    """
    with core.lock:
        if not back:
            for subscription in _of(core, generations.coming):
                core.book.check(subscription)
                core.check_order(subscription)
        generations.swapped = not back
        everyone = _of(core, generations.coming | generations.leaving)
        for subscription in everyone:  # before names move, because those who hear by name hear other types then
            core.forget(subscription)
        for owner, old in generations.olds.items():
            owner.active, old.active = not back, back
            for cls in core.registry.promote(*((old, owner) if back else (owner, old))):
                core.drop(cls)
        for subscription in everyone:
            core.forget(subscription)


def _of(core: Core, owners: Iterable[Owner]) -> list[Subscription]:
    return [subscription for owner in owners for subscription in core.book.of(owner)]
