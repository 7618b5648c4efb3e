"""Subscribing: listeners, observers, handlers, streams."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, TypeVar, overload

import anyio
from typing_extensions import Unpack

from plugbus._bus.state import BusState
from plugbus._chain.register import prepare
from plugbus._chain.sticky import replay
from plugbus._chain.targets import checked_targets, known_types
from plugbus._logging import LoggedStream
from plugbus.errors import PluginGoneError
from plugbus.options import ABSENT, AnswerOptions, Kind, ListenOptions, ObserveOptions, Options, Target
from plugbus.stream import EventStream, Overflow
from plugbus.subscribers import AsyncNextFn, Declaration, Listener, NextFn, flatten
from plugbus.subscription import Subscription, describe_targets

if TYPE_CHECKING:
    from plugbus.events import Request

E = TypeVar("E")
R = TypeVar("R")


class Subscribing(BusState):
    """The subscribing side of a bus."""

    __slots__ = ()

    @overload
    def listen(
        self,
        events: type[E],
        listener: type[Listener[E, Any]]
        | Listener[E, Any]
        | Callable[[E, NextFn[E, Any]], Any]
        | Callable[[E, AsyncNextFn[E, Any]], Awaitable[Any]]
        | Callable[Concatenate[E, NextFn[E, Any], ...], Any]
        | Callable[Concatenate[E, AsyncNextFn[E, Any], ...], Awaitable[Any]],
        **options: Unpack[ListenOptions],
    ) -> Subscription: ...
    @overload
    def listen(
        self,
        events: str | Sequence[Target],
        listener: Callable[..., Any] | Listener[Any, Any],
        **options: Unpack[ListenOptions],
    ) -> Subscription: ...
    def listen(self, events: Any, listener: Any, **options: Unpack[ListenOptions]) -> Subscription:
        """Subscribe a listener: middleware that wraps everything below it.

        Args:
            events: An event type (and its subclasses), a wire name (that type alone), a pattern (``order.*`` one
                segment, ``order.**`` one or more), or a list of these.
            listener: A function ``(event, next_fn)``, a :class:`Listener` or a class of them, which is then built here.
            **options: ``priority`` (default 100, lower is further out), ``before`` and ``after`` (classes, functions,
                plugin ids, subscriber names), ``where`` (a filter), ``key`` (only events with this key value),
                ``run_in`` (``"loop"``, ``"thread"``), ``timeout_seconds``, ``on_error`` (``"raise"``, or ``"skip"``
                to do without it when it fails), ``breaker``, ``name``.

        Raises:
            SubscriptionError: If it cannot work: parameters, annotations, options.
            OrderCycleError: If ``before`` and ``after`` contradict each other; nothing has changed then.
            PermissionDeniedError: If the plugin that this view belongs to may not hear all that *events* means.
            PluginGoneError: If the plugin that this view belongs to has left.
        """
        return self._subscribe("listener", events, listener, Options.of(**options))

    @overload
    def observe(
        self,
        events: type[E],
        observer: Callable[[E], Any] | Callable[Concatenate[E, ...], Any],
        **options: Unpack[ObserveOptions],
    ) -> Subscription: ...
    @overload
    def observe(
        self, events: str | Sequence[Target], observer: Callable[..., Any], **options: Unpack[ObserveOptions]
    ) -> Subscription: ...
    def observe(self, events: Any, observer: Any, **options: Unpack[ObserveOptions]) -> Subscription:
        """Subscribe an observer: told once the chain succeeded, it cannot change the result.

        Args:
            events: As :meth:`listen` takes them.
            observer: A function ``(event)``.
            **options: As :meth:`listen` takes them, with ``run_in="caller"`` for one that is quick, ``"process"`` for
                one that runs in a worker process and ``"interpreter"`` in a subinterpreter (Python 3.14), ``on_error``
                (``"log"``, or ``"raise"`` to fail the emit after all observers ran), ``inside`` (told at the
                bottom of the chain, so that listeners see what it does) and ``background`` (told later, the emitter
                does not wait). With ``background=True``: ``retry`` (a :class:`Retry`; one attempt unless given),
                ``max_queue`` (how many events may wait, 1000), ``overflow`` (``"wait"``, ``"drop_oldest"``,
                ``"drop_newest"``, ``"error"``) and ``concurrency`` (how many deliveries run at once, 8).

        Raises:
            SubscriptionError: If it cannot work; or it is for the background, and nobody runs such work here.
            OrderCycleError: As :meth:`listen`.
            PermissionDeniedError: As :meth:`listen`.

        Example:
            >>> from plugbus import EventBus
            >>> bus, seen = EventBus(), []
            >>> subscription = bus.observe(str, seen.append)
            >>> bus.emit("tick"), seen
            ('tick', ['tick'])
        """
        return self._subscribe("observer", events, observer, Options.of(**options))

    @overload
    def answer(
        self, request: type[Request[R]], handler: Callable[[Any], Awaitable[R]], **options: Unpack[AnswerOptions]
    ) -> Subscription: ...
    @overload
    def answer(
        self, request: type[Request[R]], handler: Callable[[Any], R], **options: Unpack[AnswerOptions]
    ) -> Subscription: ...
    @overload
    def answer(
        self,
        request: type[Request[R]],
        handler: Callable[Concatenate[Any, ...], R] | Callable[Concatenate[Any, ...], Awaitable[R]],
        **options: Unpack[AnswerOptions],
    ) -> Subscription: ...
    def answer(self, request: Any, handler: Any, **options: Unpack[AnswerOptions]) -> Subscription:
        """Subscribe the handler of a request: the bottom of its chain, whose return value is the result.

        Args:
            request: The request type.
            handler: A function ``(request)``.
            **options: ``key`` (answer only requests with this key value), ``run_in`` (as :meth:`observe` takes it;
                one in a worker process may raise :class:`WorkerProcessError`), ``timeout_seconds``,
                ``breaker``, ``name``.

        Raises:
            DuplicateHandlerError: If the request (and key) has a handler already.
            PermissionDeniedError: As :meth:`listen`.
            SubscriptionError: If it cannot work, or the type is an event.
        """
        return self._subscribe("handler", request, handler, Options.of(**options))

    def subscribe(self, declaration: Declaration) -> Subscription:
        """Subscribe what a decorator declared; see :func:`declarations`."""
        return self._subscribe(declaration.kind, declaration.events, declaration.call, declaration.options)

    def _subscribe(self, kind: Kind, events: Any, call: Any, options: Options) -> Subscription:
        targets = checked_targets(flatten([events]), kind, self._core.registry)
        options = self._allowed(options, targets, f"subscribe({kind})")
        known = known_types(targets, self._core.registry)
        ready = prepare(kind, call, known, options, self._owner, self._services)
        subscription = self._core.subscribe(kind, targets, options, self._owner, ready)
        replay(self._core, subscription)
        return subscription

    @overload
    def stream(
        self,
        events: type[E],
        *,
        where: Callable[[E], bool] | None = None,
        key: object = ABSENT,
        max_buffer: int = 1000,
        overflow: Overflow = "error",
    ) -> EventStream[E]: ...
    @overload
    def stream(
        self,
        events: str | Sequence[Target],
        *,
        where: Callable[[Any], bool] | None = None,
        key: object = ABSENT,
        max_buffer: int = 1000,
        overflow: Overflow = "error",
    ) -> EventStream[Any]: ...
    @overload
    def stream(
        self, events: type[E], *, since: str, where: Callable[[E], bool] | None = None, key: object = ABSENT
    ) -> LoggedStream[E]: ...
    @overload
    def stream(
        self,
        events: str | Sequence[Target],
        *,
        since: str,
        where: Callable[[Any], bool] | None = None,
        key: object = ABSENT,
    ) -> LoggedStream[Any]: ...
    def stream(
        self,
        events: Any,
        *,
        where: Callable[[Any], bool] | None = None,
        key: object = ABSENT,
        max_buffer: int = 1000,
        overflow: Overflow = "error",
        since: str | None = None,
    ) -> EventStream[Any] | LoggedStream[Any]:
        """Read events as an async iterator; subscribed between ``async with`` and its end.

        Args:
            events: As :meth:`listen` takes them.
            where: A filter.
            key: Only events with this key value.
            max_buffer: How many events may wait for the reader.
            overflow: What a reader that lags gets: ``"error"`` after what is buffered, or events are dropped,
                ``"drop_oldest"`` or ``"drop_newest"``. The emitter never waits.
            since: A cursor of the bus's log (:meth:`attach_log`): begin right after it, and read all from the log,
                which is the buffer then.

        Raises:
            ValueError: If *max_buffer* or *overflow* is not possible.
            PermissionDeniedError: On entering, as :meth:`listen`; at once with *since*.
            RuntimeError: With *since*, if the bus has no log.
        """
        targets = checked_targets(flatten([events]), "observer", self._core.registry)
        if since is not None:
            return self._since(targets, since, Options(where=where, key=key))

        def attach(stream: EventStream[Any]) -> Callable[[], object]:
            options = Options(where=where, key=key, run_in="caller")
            subscription = self._subscribe("observer", targets, stream.push, options)
            disown = self._owner.own(stream.close, what=f"stream of {describe_targets(targets)}")

            def detach() -> None:
                disown()
                subscription.close()

            return detach

        return EventStream(describe_targets(targets), max_buffer, overflow, attach)

    def _since(self, targets: tuple[Target, ...], since: str, filters: Options) -> LoggedStream[Any]:
        feed = self._core.feed
        if feed is None:
            raise RuntimeError("stream(since=...): this bus keeps no log; attach one, bus.attach_log(MemoryEventLog())")
        filters = self._allowed(filters, targets, "stream()")
        filters.check("a stream", "observer")
        return LoggedStream(feed.log, self._core.registry, self._owner, targets, since=since, filters=filters)

    def _allowed(self, options: Options, targets: tuple[Target, ...], method: str) -> Options:
        """Return options that keep to what the owner may hear; refuse targets that it may not."""
        if self._owner.gone:
            raise PluginGoneError(self._owner.id, f"bus.{method}")
        if (permits := self._owner.permits) is None:
            return options
        for target in targets:
            permits.check_subscribe(target)
        return permits.narrowed(options, targets)

    @overload
    async def wait_for(
        self,
        events: type[E],
        *,
        where: Callable[[E], bool] | None = None,
        key: object = ABSENT,
        timeout_seconds: float | None = None,
    ) -> E: ...
    @overload
    async def wait_for(
        self,
        events: str | Sequence[Target],
        *,
        where: Callable[[Any], bool] | None = None,
        key: object = ABSENT,
        timeout_seconds: float | None = None,
    ) -> Any: ...
    async def wait_for(
        self,
        events: Any,
        *,
        where: Callable[[Any], bool] | None = None,
        key: object = ABSENT,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Wait for the next event and return it.

        Args:
            events: As :meth:`listen` takes them.
            where: A filter.
            key: Only an event with this key value.
            timeout_seconds: How long to wait, in seconds; without end unless given.

        Raises:
            TimeoutError: If there was none in time.
            PermissionDeniedError: As :meth:`listen`.
        """
        with anyio.move_on_after(timeout_seconds) as waiting:
            async with self.stream(events, where=where, key=key, max_buffer=1, overflow="drop_newest") as found:
                async for event in found:
                    return event
        if waiting.cancelled_caught:
            listed = describe_targets(tuple(flatten([events])))
            raise TimeoutError(f"wait_for({listed}): there was none within {timeout_seconds:g} s")
        raise PluginGoneError(self._owner.id, "bus.wait_for()")
