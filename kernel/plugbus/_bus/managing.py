"""Managing a bus: views of plugins, event types, instruments, reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from plugbus._bus.state import BusState
from plugbus._chain import book
from plugbus._chain.hearing import ANY
from plugbus._chain.register import prepare
from plugbus._chain.sticky import areplay
from plugbus._chain.targets import checked_targets, known_types, view_problem
from plugbus._closing import Closing
from plugbus._logging import FEEDING, Feed
from plugbus._permits import passed_by
from plugbus.event_types import EventType, event_type
from plugbus.events import NamedEvent
from plugbus.explain import Plan, dangling, plan_of
from plugbus.options import ABSENT, Target
from plugbus.statistics import BusStatistics, statistics_of
from plugbus.subscribers import flatten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.from_thread import BlockingPortal

    from plugbus._background.handing import BackgroundOpen
    from plugbus._background.runner import Runner
    from plugbus._generations import Generations
    from plugbus.errors import Problem
    from plugbus.event_log import EventLog
    from plugbus.instrument import Instrument
    from plugbus.owner import Owner
    from plugbus.services import Services
    from plugbus.subscription import Subscription


class Managing(BusState):
    """The managing side of a bus; a kernel uses nothing else."""

    __slots__ = ()

    def explain(self, event: type | str, *, key: object = ABSENT) -> Plan:
        """Return what runs for an event type, in which order, and why.

        Args:
            event: An event type or its wire name; a name without a type is that of a ``NamedEvent``.
            key: Show the chain of this key value; of all, unless given.

        Raises:
            UnknownEventError: If nobody has entered the wire name or subscribed to it.
        """
        core, name = self._core, None
        with core.lock:
            declared = core.registry.named(event) if isinstance(event, str) else event_type(event)
            if declared is None:
                name = str(event)
                declared = event_type(NamedEvent)._replace(name=name)
            roles = core.roles(declared, ANY if key is ABSENT else key, name)
            if name is not None and not any(roles):
                core.registry.expect(name)
            return plan_of(declared, roles, core.book)

    def hears(self, event: type, *, key: object = ABSENT) -> bool:
        """Tell whether anybody would hear an event; spares making one that nobody does.

        The answer is kept until a subscriber comes or goes: asking again costs a look-up.

        Args:
            event: An event type.
            key: Its key value; any, unless given.
        """
        return self._core.hears(event, ANY if key is ABSENT else key)

    def instrument(self, instrument: Instrument) -> Closing:
        """Have an instrument called around every emit and every subscriber.

        Chains are compiled again with it, and without it once what is returned is closed.

        Args:
            instrument: Anything with ``enter`` and ``leave``.

        Returns:
            What ends it: ``close()``, a call, or the end of a ``with`` block.

        Raises:
            TypeError: If one of the two methods is not there.
            PermissionDeniedError: If the plugin that this view belongs to may not hear everything.
        """
        if self._owner.permits is not None:
            self._owner.permits.check_subscribe(object)
        for method in ("enter", "leave"):
            if not callable(getattr(instrument, method, None)):
                raise TypeError(f"instrument({instrument!r}): it has no method {method!r}; see plugbus.Instrument")
        core = self._core
        with core.lock:
            core.watch((*core.instruments, instrument))

        def close() -> None:
            with core.lock:
                core.watch(tuple(other for other in core.instruments if other is not instrument))

        closing = Closing(close)
        closing.owned_by(self._owner, what=f"instrument {type(instrument).__qualname__}")
        return closing

    def declare(self, *events: type) -> None:
        """Enter event types into the registry of names; they leave with the owner of this view.

        Raises:
            DuplicateNameError: If another type has the wire name or an alias.
        """
        with self._core.lock:
            for cls in events:
                self._core.registry.declare(cls, self._owner)

    def types(self) -> tuple[EventType, ...]:
        """Return the event types that the bus knows."""
        with self._core.lock:
            return tuple(self._core.registry)

    def type_named(self, name: str) -> EventType | None:
        """Return the event type with a wire name or alias, if there is one."""
        return self._core.registry.named(name)

    def subscriptions(self) -> tuple[Subscription, ...]:
        """Return all subscriptions, the oldest first; those of a plugin alone that is limited and manages no others."""
        everyone = self._everyone()
        if self._owner.permits is None or self._owner.permits.may_manage():
            return everyone
        return tuple(item for item in everyone if item.owner is self._owner)

    def _everyone(self) -> tuple[Subscription, ...]:
        with self._core.lock:
            return tuple(self._core.book)

    def problems(self) -> list[Problem]:
        """Return what is odd but allowed: references to nobody, views that cannot fit, events that pass somebody by."""
        everyone = self._everyone()
        with self._core.lock:
            viewing = [(item, event_type(cls)) for item in everyone if item.view for cls in self._core.heard_by(item)]
            barred = [(item, cls) for item in everyone for cls in self._core.meant_by(item) - self._core.heard_by(item)]
        unfit = (view_problem(subscription, declared) for subscription, declared in viewing)
        found = [*dangling(everyone, everyone), *(problem for problem in unfit if problem is not None)]
        return [*found, *sorted((passed_by(item, event_type(cls)) for item, cls in barred), key=str)]

    def statistics(self) -> BusStatistics:
        """Return what happened so far, by plugin."""
        runner = self._core.background
        queues = [] if runner is None else runner.queues()
        with self._core.lock:
            owners = self._core.book.owners()
        return statistics_of(self._everyone(), owners, self._core.failures.by_plugin(), queues)

    def view(self, owner: Owner, services: Services | None = None) -> Self:
        """Return the same bus as *owner* sees it: what is registered through it belongs to the owner.

        Subscriptions that the owner makes before it is active count, in the order of registration, from now.

        Args:
            owner: A plugin.
            services: Where further parameters of its subscribers come from; those of this view unless given.

        Raises:
            PermissionDeniedError: If this is itself the view of a plugin that may not act for others.
        """
        self._owner.check_acting_for(owner)
        with self._core.lock:
            self._core.book.enlist(owner)
        view = object.__new__(type(self))
        view._share(self._core, owner, services or self._services)
        owner.own(view._depart, what="view of the bus")
        return view

    def activate(self, owner: Owner) -> None:
        """Let all subscriptions of an owner hear, at once; raises as :meth:`view`, as all do that the kernel uses."""
        self._owner.check_acting_for(owner)
        self._core.activate(owner)

    def overlap(self, generations: Generations | None) -> None:
        """Let new plugins come beside those in whose place they are to be; ``None`` ends that."""
        self._owner.check_acting_for(None)
        book.overlap(self._core, generations)

    def swap(self, generations: Generations, *, back: bool = False) -> None:
        """Let the new ones hear instead of the old ones, or the other way round, at once.

        Raises:
            PlugbusError: If what came onto the bus meanwhile contradicts it; nothing has changed then.
        """
        self._owner.check_acting_for(None)
        book.swap(self._core, generations, back=back)

    async def replay(self, owner: Owner) -> None:
        """Replay sticky events to the subscriptions of an owner that has just become active."""
        self._owner.check_acting_for(owner)
        await areplay(self._core, owner)

    def retire(self, owner: Owner) -> None:
        """Close all subscriptions of an owner and take its event types out."""
        self._owner.check_acting_for(owner)
        self._core.retire(owner)

    def background(self, *, drain_seconds: float = 10.0) -> BackgroundOpen:
        """Run background observers and posts of a bus without a kernel, between ``async with`` and its end.

        At its end, which suspends, what was accepted is finished; what is left over is logged and announced.

        Args:
            drain_seconds: How long that may take, in seconds; what is cancelled then has a second more.

        Raises:
            ValueError: If *drain_seconds* is below zero.
            RuntimeError: On entering, if somebody does so already, as a kernel does for its own bus.
            PermissionDeniedError: As :meth:`view`.

        Example:
            >>> import anyio
            >>> from plugbus import Event, EventBus
            >>> class Paid(Event):
            ...     cents: int
            >>> async def main() -> None:
            ...     bus = EventBus()
            ...     async with bus.background():
            ...         bus.observe(Paid, lambda paid: print("thanks for", paid.cents), background=True)
            ...         await bus.aemit(Paid(cents=5))
            >>> anyio.run(main)
            thanks for 5
        """
        from plugbus._background.handing import BackgroundOpen  # only where somebody has such work

        self._owner.check_acting_for(None)
        return BackgroundOpen(self._core, drain_seconds)

    def attach_log(self, log: EventLog, *, events: Target | Sequence[Target] = object) -> Closing:
        """Put on record whatever succeeds from now on, so that it can be read later: ``stream(..., since=cursor)``.

        An event is on record once its chain, and the outermost unit of work that it is part of, has succeeded, before
        other observers are told. Requests are not, nor events that hold live objects, which no JSON can tell.

        Args:
            log: Where; whoever made it closes it.
            events: Only these, as :meth:`listen` takes them.

        Returns:
            What ends it.

        Raises:
            RuntimeError: If there is a log already.
            PermissionDeniedError: If the plugin that this view belongs to may not hear everything.
        """
        if self._owner.permits is not None:
            self._owner.permits.check_subscribe(object)
        core, feed = self._core, Feed(log)
        targets = checked_targets(flatten([events]), "observer", core.registry)
        ready = prepare("observer", feed, known_types(targets, core.registry), FEEDING, self._owner, None)
        with core.lock:
            if core.feed is not None:
                raise RuntimeError("attach_log(): this bus has a log already; close what attach_log() returned first")
            subscription = core.subscribe("observer", targets, FEEDING, self._owner, ready)
            core.feed = feed

        def close() -> None:
            with core.lock:
                subscription.close()
                core.feed = None

        closing = Closing(close)
        closing.owned_by(self._owner, what="event log")
        return closing

    @property
    def event_log(self) -> EventLog | None:
        """The log that :meth:`attach_log` attached."""
        feed = self._core.feed
        return None if feed is None else feed.log

    def attach_background(self, runner: Runner) -> None:
        """Set who runs background observers and posts."""
        self._owner.check_acting_for(None)
        runner.attach(self._core)

    def attach_portal(self, portal: BlockingPortal | None) -> None:
        """Set where sync emits from foreign threads find a loop; None takes it away."""
        self._owner.check_acting_for(None)
        self._core.bridge.portal = portal
