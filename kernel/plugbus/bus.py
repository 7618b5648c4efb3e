"""The event bus: subscribe, emit, call.

Owns the public face and the hot path; what is compiled, and when, is in ``_core.py`` and ``_chain/``.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, final

from plugbus._bus.managing import Managing
from plugbus._bus.subscribing import Subscribing
from plugbus._chain import blame
from plugbus._core import Core
from plugbus.clock import Clock, SystemClock
from plugbus.errors import EventTypeError, PluginGoneError
from plugbus.event_types import event_type
from plugbus.events import NamedEvent, Request, named
from plugbus.owner import Owner

if TYPE_CHECKING:
    from plugbus._chain.links import Entry
    from plugbus._chain.tables import Mode
    from plugbus.services import Services

__all__ = ("EventBus",)

E = TypeVar("E")
R = TypeVar("R")


@final
class EventBus(Managing, Subscribing):
    """Where events are emitted and subscribed to; works alone or within a kernel.

    Args:
        checked: Check what subscribers do with events and results, and name the one that breaks the contract.
        services: Where further parameters of subscribers come from.
        clock: What tells when an emit began, what breakers measure their cool-down with, and what retries wait with;
            the machine's unless given.
        owner: Whom the host's own subscriptions and streams belong to, and end with.

    Example:
        >>> from plugbus import Event
        >>> class Paid(Event, name="order.paid"):
        ...     cents: int
        >>> bus = EventBus()
        >>> subscription = bus.listen(Paid, lambda event, next_fn: next_fn(event))
        >>> bus.emit(Paid(cents=5))
        Paid(cents=5)
    """

    def __init__(
        self,
        *,
        checked: bool = False,
        services: Services | None = None,
        clock: Clock | None = None,
        owner: Owner | None = None,
    ) -> None:
        core = Core(checked=checked, clock=clock or SystemClock())
        owner = owner or Owner("host")
        owner.active = True
        self._share(core, owner, services)

    # The hot path: a look-up and a call. The first step is fused in; an error pays for itself.

    def emit(self, event: E) -> E:
        """Run the chain of an event in this thread and return what came out of it.

        Args:
            event: Any object whose type is not a request.

        Raises:
            EventTypeError: If it is a request, or a class.
            PermissionDeniedError: If the plugin that this view belongs to may not publish it.
            SyncEmitError: If a subscriber needs the loop and this thread's own loop is running; nothing ran then.
            Exception: What a listener refused or failed with.

        Example:
            >>> EventBus().emit("anything")
            'anything'
        """
        try:
            first, rest = self._emits[type(event)]
        except KeyError:
            first, rest = self._entry("emit", event)
        try:
            return first(event, rest)  # type: ignore[no-any-return]
        except Exception as error:
            self._blame(error, event)
            raise

    async def aemit(self, event: E) -> E:
        """Run the chain of an event on the loop and return what came out of it; suspends as its subscribers do.

        A cancelled emit waits for the threads that run for it.

        Args:
            event: Any object whose type is not a request.

        Raises:
            EventTypeError: If it is a request, or a class.
            PermissionDeniedError: As :meth:`emit`.
            Exception: What a listener refused or failed with.
        """
        try:
            first, rest = self._aemits[type(event)]
        except KeyError:
            first, rest = self._entry("aemit", event)
        try:
            return await first(event, rest)  # type: ignore[no-any-return]
        except Exception as error:
            self._blame(error, event)
            raise

    def call(self, event: Request[R]) -> R:
        """Have a request answered in this thread.

        Args:
            event: The request.

        Raises:
            EventTypeError: If it is not a request.
            NoHandlerError: If nobody answers it.
            PermissionDeniedError: As :meth:`emit`; to call is to publish.
            SyncEmitError: As :meth:`emit`.
            Exception: What a listener or the handler refused or failed with.

        Example:
            >>> from plugbus import Request
            >>> class Add(Request[int]):
            ...     left: int
            ...     right: int
            >>> bus = EventBus()
            >>> subscription = bus.answer(Add, lambda request: request.left + request.right)
            >>> bus.call(Add(left=1, right=2))
            3
        """
        try:
            first, rest = self._calls[type(event)]
        except KeyError:
            first, rest = self._entry("call", event)
        try:
            return first(event, rest)  # type: ignore[no-any-return]
        except Exception as error:
            self._blame(error, event)
            raise

    async def acall(self, event: Request[R]) -> R:
        """Have a request answered on the loop; as :meth:`call`, suspends as its subscribers do."""
        try:
            first, rest = self._acalls[type(event)]
        except KeyError:
            first, rest = self._entry("acall", event)
        try:
            return await first(event, rest)  # type: ignore[no-any-return]
        except Exception as error:
            self._blame(error, event)
            raise

    def post(self, event: object) -> None:
        """Emit an event soon, without waiting for it, from sync or async code in any thread.

        Posts of one plugin are emitted in the order of posting within each lane (the event's ``lane`` field), and side
        by side across lanes. What their chains refuse or fail with is logged and announced as ``ListenerFailed``
        of ``"bus.post"``: there is nobody to raise it to.

        Args:
            event: Any object whose type is not a request.

        Raises:
            BackgroundFullError: If 10,000 posts of this plugin wait already.
            EventTypeError: As :meth:`emit`.
            PermissionDeniedError: As :meth:`emit`.
            PluginGoneError: If the plugin that this view belongs to has left.
            RuntimeError: If nobody runs background work here: a kernel does, and ``async with bus.background():``.

        Example:
            >>> import anyio
            >>> async def main() -> None:
            ...     bus = EventBus()
            ...     subscription = bus.observe(str, print)
            ...     async with bus.background():
            ...         bus.post("posted")
            ...         print("first")
            >>> anyio.run(main)
            first
            posted
        """
        if type(event) not in self._aemits:
            self._entry("aemit", event)  # whatever is wrong with it is raised here, and not later to nobody
        if isinstance(event, NamedEvent) and self._owner.permits is not None:
            self._owner.permits.check_name(event.name)
        from plugbus._background.handing import post  # only where somebody has such work

        post(self._core, self._owner, event, self.aemit)

    def _entry(self, mode: Mode, event: object) -> Entry:
        if self._owner.gone:
            raise PluginGoneError(self._owner.id, f"bus.{mode}()")
        if isinstance(event, type):
            raise EventTypeError(event_type(event).name, "is a class; give an instance of it")
        return self._core.entry(mode, type(event), self._owner)

    def _blame(self, error: Exception, event: object) -> None:
        if isinstance(error, RecursionError) and (loop := blame.loop_error()) is not None:
            raise loop from error
        with suppress(Exception):  # whatever is odd about the error or the code: it must arrive as it is
            blame.add_note(error, event, self._core.heard(type(event)))

    # By wire name, with plain data

    def emit_named(self, name: str, data: Any) -> Any:
        """Emit the event type with a wire name, built from plain data; a ``NamedEvent`` where there is none.

        Args:
            name: Wire name or alias.
            data: The fields, validated.

        Raises:
            Invalid: If the data does not fit the type; its ``problems`` say where.
            EventTypeError: If the name is that of a request.

        Example:
            >>> EventBus().emit_named("order.shipped", {"order_id": 1})
            NamedEvent(name='order.shipped', data={'order_id': 1})
        """
        return self.emit(named(self._core.registry, name, data))

    async def aemit_named(self, name: str, data: Any) -> Any:
        """Do the same on the loop, as :meth:`aemit`."""
        return await self.aemit(named(self._core.registry, name, data))

    def call_named(self, name: str, data: Any) -> Any:
        """Have the request with a wire name answered, built from plain data.

        Args:
            name: Wire name or alias.
            data: The fields, validated.

        Raises:
            UnknownEventError: If no type has the name.
            Invalid: If the data does not fit the type.
        """
        return self.call(named(self._core.registry, name, data, must_exist=True))

    async def acall_named(self, name: str, data: Any) -> Any:
        """Do the same on the loop, as :meth:`acall`."""
        return await self.acall(named(self._core.registry, name, data, must_exist=True))


blame.EMITTERS.update(method.__code__ for method in (EventBus.emit, EventBus.aemit, EventBus.call, EventBus.acall))
