"""What all views of one bus share: subscriptions, event types, compiled chains.

Owns the lock: subscriptions change under it and chains are compiled under it; an emit never takes it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, final

from plugbus._annotations import underlying
from plugbus._chain.book import Book
from plugbus._chain.compile import Cast, compile_async, compile_sync, with_units
from plugbus._chain.failures import Failures, ListenerFailed
from plugbus._chain.hearing import ANY, Placed, Roles, in_order
from plugbus._chain.links import Entry
from plugbus._chain.policies import BreakerState
from plugbus._chain.running import Bridge, with_context
from plugbus._chain.steps import Step, Surroundings, step_for
from plugbus._chain.sticky import Sticky
from plugbus._chain.tables import ASYNC, ByKey, Mode, Tables, by_name, check_mode
from plugbus._chain.targets import answers, is_root
from plugbus._chain.units import once_scoping
from plugbus._chain.watching import awatched, watched
from plugbus._context import WANTED
from plugbus.context import will_ask
from plugbus.event_types import EventType, event_type
from plugbus.events import NamedEvent
from plugbus.options import ABSENT, Kind, Options, Target
from plugbus.owner import Owner
from plugbus.registry import Pattern, TypeRegistry, is_pattern

if TYPE_CHECKING:
    from plugbus._background.runner import Runner
    from plugbus._chain.register import Prepared
    from plugbus._logging import Feed
    from plugbus._services.container import Container
    from plugbus.clock import Clock
    from plugbus.instrument import Instrument
    from plugbus.subscription import Subscription

HOST: Final = Owner("host")
"""Owns the types that the bus enters for itself."""


@final
class Core:
    """The state behind every view of one bus."""

    def __init__(self, *, checked: bool, clock: Clock) -> None:
        self.lock = threading.RLock()
        self.checked = checked
        self.clock = clock
        self.tables = Tables()
        self.registry = TypeRegistry(self._gone)
        self.book, self.bridge, self.sticky = Book(), Bridge(), Sticky()
        self.shelves = self.book.shelves
        self.instruments: tuple[Instrument, ...] = ()
        self.container: Container | None = None
        self.failures = Failures(partial(self._announce, "emit"), partial(self._announce, "aemit"))
        self.background: Runner | None = None
        self.feed: Feed | None = None
        self._by_key: dict[type, dict[Mode, ByKey]] = {}
        self.hears = lru_cache(1024)(self._hears)
        WANTED.tell(self)

    def with_context(self) -> None:
        """Set the context around each emit that begins from now on."""
        with self.lock:
            self.tables.part()

    def _hears(self, cls: type, key: object) -> bool:
        with self.lock:
            return bool(self.shelves.hearing(event_type(cls), key))

    def heard(self, cls: type) -> list[Subscription]:
        """Return everybody who may hear a type, whatever the key, in order; for finding a culprit."""
        with self.lock:
            return [item for item, _ in self.roles(event_type(cls), ANY).in_order()]

    def subscribe(
        self, kind: Kind, targets: tuple[Target, ...], options: Options, owner: Owner, ready: Prepared
    ) -> Subscription:
        """Put a subscriber on the bus; whatever is wrong with it is raised before anything has changed.

        Raises:
            DuplicateHandlerError: If the request (and key) has a handler.
            DuplicateNameError: If a type's wire name is taken by another.
            OrderCycleError: If it closes a cycle of ``before`` and ``after``.
            SubscriptionError: If its name is taken, or it filters by a key that the type does not have.
            PluginGoneError: If its owner has left.
        """
        if not WANTED.on and will_ask(underlying(ready.target)):
            WANTED.turn_on()
        with self.lock:
            added = self._enter_types(targets, owner)
            try:
                subscription = self.book.draft(kind, targets, options, owner, ready, self._breaker, self.close)
                self.book.check(subscription)
                self.book.equip(subscription, self.background)
                self.book.add(subscription, partial(self.check_order, subscription))
            except BaseException:
                for cls in added:
                    self.registry.remove(cls)
                raise
            self.forget(subscription)
        return subscription

    def _enter_types(self, targets: Iterable[Target], owner: Owner) -> list[type]:
        added: list[type] = []
        try:
            for target in targets:
                if isinstance(target, type) and not is_root(target):
                    new = target not in self.registry
                    self.registry.add(target, owner)
                    if new:
                        added.append(target)
        except BaseException:
            for cls in added:
                self.registry.remove(cls)
            raise
        return added

    def _breaker(self, options: Options, name: str, owner: Owner) -> BreakerState | None:
        monotonic = lambda: self.clock.monotonic()  # noqa: E731, PLW0108 - a kernel that starts brings another clock
        return options.breaker and BreakerState(options.breaker, monotonic, name, owner.id)

    def check_order(self, subscription: Subscription) -> None:
        """Refuse a subscription whose ``before`` and ``after`` contradict those of others."""
        for cls in self.heard_by(subscription):
            declared = event_type(cls)
            in_order(declared.name, self.book.beside(subscription, declared))

    def close(self, subscription: Subscription) -> None:
        """Take a subscriber off the bus; once more does nothing."""
        with self.lock:
            if not subscription.closed:
                self.book.remove(subscription)
                self.forget(subscription)

    def activate(self, owner: Owner) -> None:
        """Let all subscriptions of an owner hear, at once."""
        with self.lock:
            owner.active = True
            for subscription in self.book.of(owner):
                self.forget(subscription)

    def retire(self, owner: Owner) -> None:
        """Close all subscriptions of an owner and take its types out."""
        with self.lock:
            for subscription in self.book.of(owner):
                self.close(subscription)
            self.registry.remove_owned(owner)

    def share(self, container: Container | None) -> None:
        """Have emits open units of work of a container, the first one's, once there may be any."""
        if container is not None and self.container is None:
            self.container = container
            once_scoping(container, self.recompile)

    def watch(self, instruments: tuple[Instrument, ...]) -> None:
        """Compile everything again, with these instruments."""
        with self.lock:
            self.instruments = instruments
            self.recompile()

    def recompile(self) -> None:
        """Forget what was compiled."""
        with self.lock:
            self.tables.clear()
            self._by_key.clear()

    def heard_by(self, subscription: Subscription) -> set[type]:
        """Return the known types that a subscription hears."""
        return {cls for cls in self.meant_by(subscription) if subscription.may_hear(event_type(cls))}

    def meant_by(self, subscription: Subscription) -> set[type]:
        """Return the known types that it would hear, if its plugin may."""
        heard: set[type] = set()
        for target in subscription.events:
            if isinstance(target, type):
                heard |= self.registry.below(target)
                continue
            heard.add(NamedEvent)
            if is_pattern(target):
                heard |= self.registry.matching(Pattern(target))
            elif (declared := self.registry.named(target)) is not None:
                heard.add(declared.cls)
        return heard

    def forget(self, subscription: Subscription) -> None:
        """Drop the chains that a subscription is, or is no longer, part of."""
        self.hears = lru_cache(1024)(self._hears)  # a new one: what is being found out of before goes into the old one
        key = subscription.options.key
        for cls in self.heard_by(subscription):
            by_key = self._by_key.get(cls)
            if key is ABSENT or by_key is None:
                self.drop(cls)
                continue
            for table in by_key.values():
                table.touch(key, used=self.shelves.has_key(event_type(cls), key))

    def _gone(self, cls: type) -> None:
        self.drop(cls)
        self.sticky.forget(cls)

    def drop(self, cls: type) -> None:
        """Forget what was compiled for a type."""
        self._by_key.pop(cls, None)
        self.tables.drop(cls)

    def entry(self, mode: Mode, cls: type, owner: Owner) -> Entry:
        """Compile what one way of emitting one type runs, and keep it.

        Raises:
            EventTypeError: If the type cannot be emitted this way.
            PermissionDeniedError: If the owner may not publish it.
        """
        with self.lock:
            if owner.permits is not None:
                owner.permits.check_publish(cls)
            entry = self.tables.shared[mode].get(cls)
            if entry is None:
                declared = self.registry.add(cls, owner)
                check_mode(mode, declared)
                entry = self.tables.shared[mode][cls] = self._entry(mode, declared)
            own = self.tables.of(owner)
            if own is self.tables.shared:
                return entry
            if cls is NamedEvent and owner.permits is not None:
                entry = owner.permits.guarding(entry)
            if self.tables.apart and (self.instruments or cls is NamedEvent or self.heard(cls)):  # else nobody asks
                entry = with_context(entry, event_type(cls), owner.id, self.clock.now, is_async=mode in ASYNC)
            own[mode][cls] = entry
            return entry

    def _entry(self, mode: Mode, declared: EventType) -> Entry:
        if declared.cls is NamedEvent and self.shelves.names:
            return by_name(lambda name: self._build_named(mode, declared, name))
        default = self._build(mode, declared)
        keys = self.shelves.keys(declared) if declared.key else set()
        if not keys or declared.key is None:
            return default
        build = partial(self._build, mode, declared)
        table = ByKey(declared.key, keys, build, default=default, lock=self.lock)
        self._by_key.setdefault(declared.cls, {})[mode] = table
        return table.entry()

    def _build_named(self, mode: Mode, declared: EventType, name: str) -> Entry:
        with self.lock:
            return self._build(mode, declared, name=name)

    def _build(self, mode: Mode, declared: EventType, key: object = ABSENT, name: str | None = None) -> Entry:
        is_async = mode in ASYNC
        around = Surroundings(declared, self.checked, self.instruments, self.failures, is_async)
        cast_in = partial(self._cast, declared, key, name)
        through_loop = self.bridge.through_loop
        entry = (compile_async if is_async else compile_sync)(cast_in(around), around, through_loop)
        if self.container is not None and self.container.scoping:
            entry = with_units(entry, cast_in, around, through_loop, self.container)
        if declared.sticky:
            entry = self.sticky.remembering(entry, self.container, is_async=is_async)
        for instrument in self.instruments:
            wrap = awatched if is_async else watched
            entry = (wrap(entry[0], instrument, None, declared), entry[1])
        return entry

    def _cast(self, declared: EventType, key: object, name: str | None, around: Surroundings) -> Cast:
        def steps(placed: Iterable[Placed]) -> tuple[Step, ...]:
            return tuple(step_for(subscription, around) for subscription, _ in placed)

        listeners, handlers, observers = self.roles(declared, key, name)
        return Cast(
            steps(listeners),
            step_for(handlers[0], around) if handlers else None,
            steps(item for item in observers if item[0].inside),
            steps(item for item in observers if not item[0].inside),
        )

    def roles(self, declared: EventType, key: object = ABSENT, name: str | None = None) -> Roles:
        """Return who hears an event: the listeners in order, the nearest handler first, the observers in order."""
        heard = self.shelves.hearing(declared, key, name)
        listeners = in_order(declared.name, (item for item in heard if item.kind == "listener"))
        observers = in_order(declared.name, (item for item in heard if item.kind == "observer"))
        handlers = [item for item in heard if item.kind == "handler" and answers(item, declared)]
        handlers.sort(key=lambda item: (declared.cls not in item.events, item.options.key is ABSENT))
        return Roles(listeners, handlers, observers)

    def _announce(self, mode: Mode, failure: ListenerFailed) -> Any:
        first, rest = self.entry(mode, ListenerFailed, HOST)
        return first(failure, rest)
