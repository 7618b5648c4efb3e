"""Errors of registering: event types, subscribers and their order."""

from __future__ import annotations

from plugbus._errors.base import PlugbusError, bullets, nearest_hint


class DuplicateHandlerError(PlugbusError):
    """A request got a second handler.

    Args:
        event: Name of the request.
        first: The handler that it has.
        second: The handler that was refused.
        key: The key value that both answer; None for the handlers without a key.

    Example:
        >>> print(DuplicateHandlerError("orders.place", "shop.place", "bulk.place"))
        request 'orders.place' is answered by 'shop.place' already; 'bulk.place' was not registered.
        Hint: keep one of them, give each its own key=..., or make one a listener.
    """

    def __init__(self, event: str, first: str, second: str, key: object = None) -> None:
        super().__init__(event, first, second, key)
        self.event, self.first, self.second, self.key = event, first, second, key

    def _parts(self) -> tuple[str, str]:
        keyed = "" if self.key is None else f" for key {self.key!r}"
        what = f"request {self.event!r}{keyed} is answered by {self.first!r} already"
        return (
            f"{what}; {self.second!r} was not registered.",
            "keep one of them, give each its own key=..., or make one a listener.",
        )


class DuplicateNameError(PlugbusError):
    """Two event types claim one wire name.

    Args:
        name: The wire name.
        first: The type that has it.
        second: The type that was refused.

    Example:
        >>> print(DuplicateNameError("order.placed", "shop.OrderPlaced", "billing.OrderPlaced"))
        the name 'order.placed' belongs to shop.OrderPlaced already; billing.OrderPlaced cannot have it too.
        Hint: give one of them another name=..., or use one type for both.
    """

    def __init__(self, name: str, first: str, second: str) -> None:
        super().__init__(name, first, second)
        self.name, self.first, self.second = name, first, second

    def _parts(self) -> tuple[str, str]:
        what = f"the name {self.name!r} belongs to {self.first} already; {self.second} cannot have it too."
        return what, "give one of them another name=..., or use one type for both."


class UnknownEventError(PlugbusError, LookupError):
    """A wire name that no type on this bus has.

    Args:
        name: The wire name that was asked for.
        nearest: Registered names that come close, the nearest first.

    Example:
        >>> print(UnknownEventError("order.placd", ("order.placed",)))
        no event type is named 'order.placd' on this bus.
        Hint: did you mean 'order.placed'?
    """

    def __init__(self, name: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(name, nearest)
        self.name, self.nearest = name, nearest

    def _parts(self) -> tuple[str, str]:
        otherwise = "declare the type (bus.declare, Plugin.events), or load the plugin that defines it."
        return f"no event type is named {self.name!r} on this bus.", nearest_hint(self.nearest, otherwise)


class EventTypeError(PlugbusError, TypeError):
    """Something that cannot be used as this kind of event.

    Args:
        event: Name of the event, or of the class that is none.
        problem: What does not fit, and what to use instead.

    Example:
        >>> print(EventTypeError("orders.place", "is a request; use bus.call() instead of bus.emit()"))
        'orders.place' is a request; use bus.call() instead of bus.emit()
    """

    def __init__(self, event: str, problem: str) -> None:
        super().__init__(event, problem)
        self.event, self.problem = event, problem

    def _parts(self) -> tuple[str, str]:
        return f"{self.event!r} {self.problem}", ""


class EventDataError(PlugbusError, ValueError):
    """Data that does not fit an event type.

    Args:
        event: Name of the event.
        problems: Each point, such as an unknown field or a wrong value.

    Example:
        >>> print(EventDataError("order.placed", ("totl: there is no such field",)))
        the data does not fit event 'order.placed':
          - totl: there is no such field
        Hint: give each field by its name, with a value of its type.
    """

    def __init__(self, event: str, problems: tuple[str, ...]) -> None:
        super().__init__(event, problems)
        self.event, self.problems = event, problems

    def _parts(self) -> tuple[str, str]:
        what = f"the data does not fit event {self.event!r}:{bullets(self.problems)}"
        return what, "give each field by its name, with a value of its type."


class SubscriptionError(PlugbusError, TypeError):
    """A registration that could never work; nothing was registered.

    Args:
        subscriber: Name of the listener, handler or observer.
        problem: What does not fit.
        hint: What to do about it.

    Example:
        >>> print(SubscriptionError("shop.audit", "takes 1 parameter, a listener has 2", "add next_fn"))
        'shop.audit' cannot be registered: takes 1 parameter, a listener has 2.
        Hint: add next_fn
    """

    def __init__(self, subscriber: str, problem: str, hint: str = "") -> None:
        super().__init__(subscriber, problem, hint)
        self.subscriber, self.problem, self.hint = subscriber, problem, hint

    def _parts(self) -> tuple[str, str]:
        return f"{self.subscriber!r} cannot be registered: {self.problem}.", self.hint


class OrderCycleError(PlugbusError):
    """The before/after wishes of an event's subscribers form a circle; nothing was registered.

    Args:
        event: Name of the event.
        cycle: The subscribers, each before the next one and the last before the first.

    Example:
        >>> print(OrderCycleError("order.placed", ("tax", "audit")))
        the order of 'order.placed' is a circle: 'tax' -> 'audit' -> 'tax'.
        Hint: take one of these before=/after= away, or use priority=.
    """

    def __init__(self, event: str, cycle: tuple[str, ...]) -> None:
        super().__init__(event, cycle)
        self.event, self.cycle = event, cycle

    def _parts(self) -> tuple[str, str]:
        path = " -> ".join(map(repr, (*self.cycle, *self.cycle[:1])))
        hint = "take one of these before=/after= away, or use priority=."
        return f"the order of {self.event!r} is a circle: {path}.", hint
