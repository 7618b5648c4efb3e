"""What one plugin may publish, hear and use: what its manifest declares, narrowed by the operator's grants.

Owns the answer. It is asked when a chain is compiled for a plugin, when it subscribes and when it is wired, and not
again for each emit. Why, and what it does not protect from: docs/adr/0012-permissions-and-worker-processes.md.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias, final

from plugbus._chain.targets import is_root
from plugbus.errors import PermissionDeniedError, Problem
from plugbus.event_types import EventType, event_type, origin_of
from plugbus.events import NamedEvent
from plugbus.registry import Pattern

if TYPE_CHECKING:
    from plugbus._chain.links import Entry
    from plugbus.options import Options, Target
    from plugbus.subscription import Subscription

EVERYTHING: Final = "**"
MANAGE: Final = "kernel.manage"
"""The permission to act for other plugins."""

_PERMISSION: Final = re.compile(r"[^.\s*]+(\.[^.\s*]+)*")
_KERNEL_SERVICES: Final = (
    "Clock", "Current", "EventBus", "Logger", "Owner", "Plugins", "Principal", "Services", "Tasks",
)  # fmt: skip
_KERNEL_PARAMETERS: Final = frozenset(
    {"bus", "clock", "event_bus", "log", "logger", "owner", "services", "settings", "tasks"}
)
_Layers: TypeAlias = tuple[tuple[Pattern, ...], ...]


class Limits(Protocol):
    """A manifest, or a grant: patterns for each field, or ``None`` for one that it does not speak of."""

    @property
    def publishes(self) -> Sequence[str] | None:
        """Events that may be emitted, and requests that may be called."""

    @property
    def subscribes(self) -> Sequence[str] | None:
        """Events that may be heard, and requests that may be answered."""

    @property
    def permissions(self) -> Sequence[str] | None:
        """What else may be used."""


@final
class Permits:
    """What one plugin may do; each of several limits must allow it, so that a further one never widens.

    Args:
        plugin: Its id.
        *limits: Its manifest, and what the operator grants.
    """

    __slots__ = ("_plugin", "_publishes", "_subscribes", "_uses")

    def __init__(self, plugin: str, *limits: Limits) -> None:
        self._plugin = plugin
        self._publishes = _layers(limit.publishes for limit in limits)
        self._subscribes = _layers(limit.subscribes for limit in limits)
        self._uses = _layers(limit.permissions for limit in limits)

    @classmethod
    def of(cls, plugin: str, *limits: Limits) -> Self | None:
        """Return what a plugin may do; ``None`` if nobody limits it."""
        spoken = [each for limit in limits for each in (limit.publishes, limit.subscribes, limit.permissions)]
        return None if all(each is None for each in spoken) else cls(plugin, *limits)

    @property
    def limits_publishing(self) -> bool:
        """Whether there is anything that it may not emit."""
        return bool(self._publishes)

    def check_publish(self, cls: type) -> None:
        """Ask whether an event type may be emitted, or a request called; a ``NamedEvent`` is asked for by its name.

        Raises:
            PermissionDeniedError: If it may not.
        """
        for name in () if cls is NamedEvent else _published(cls):
            self.check_name(name)

    def check_name(self, name: str) -> None:
        """Ask whether an event with a wire name may be emitted; raises as :meth:`check_publish`."""
        if not _allow(self._publishes, lambda pattern: pattern.matches(name)):
            raise PermissionDeniedError(self._plugin, "publish", name)

    def guarding(self, entry: Entry) -> Entry:
        """Return what asks for the name of each ``NamedEvent`` before it runs."""
        return (self._emit_named, entry)

    def _emit_named(self, event: NamedEvent, entry: Entry) -> Any:
        self.check_name(event.name)
        return entry[0](event, entry[1])

    def check_subscribe(self, target: Target) -> None:
        """Ask whether somebody may subscribe to a type, wire name or pattern; what the kernel tells, everybody may.

        Raises:
            PermissionDeniedError: If it may not, or not to all that it means.
        """
        if isinstance(target, str):
            if target not in _kernel_names():
                self._check_heard(target, (target,))
        elif is_root(target):
            self._check_heard(event_type(target).name, (EVERYTHING,))
        elif target not in _kernel_types():
            declared = event_type(target)
            self._check_heard(declared.name, (declared.name, *declared.aliases))

    def _check_heard(self, told: str, names: tuple[str, ...]) -> None:
        if not _allow(self._subscribes, lambda pattern: any(map(pattern.covers, names))):
            raise PermissionDeniedError(self._plugin, "subscribe", told)

    def may_hear(self, declared: EventType, name: str | None) -> bool:
        """Tell whether a subscriber gets to see an event, whatever it is subscribed to: a base class has many heirs.

        Args:
            declared: The type of the event.
            name: The wire name of a ``NamedEvent``.
        """
        if name is None and (declared.cls is NamedEvent or declared.cls in _kernel_types()):
            return True  # who hears a NamedEvent whatever its name may hear everything
        names = (declared.name, *declared.aliases) if name is None else (name,)
        return _allow(self._subscribes, lambda pattern: any(map(pattern.matches, names)))

    def narrowed(self, options: Options, targets: Iterable[Target]) -> Options:
        """Return options for a subscriber to whom a ``ListenerFailed`` passes with an event only that it may hear."""
        failure = _public("ListenerFailed")
        name = event_type(failure).name
        if not any(Pattern(each).matches(name) if isinstance(each, str) else each is failure for each in targets):
            return options  # a root takes the right to hear everything
        return options._replace(where=self._filter(failure, options.where))

    def _filter(self, failure: Any, where: Callable[[Any], bool] | None) -> Callable[[Any], bool]:
        def may_hear_what_failed(event: Any) -> bool:
            if type(event) is failure and event.plugin != self._plugin:  # its own it was given anyway
                told = event.event
                name = told.name if isinstance(told, NamedEvent) else None
                if not self.may_hear(event_type(type(told)), name):
                    return False
            return where is None or where(event)

        return may_hear_what_failed

    def handing_on(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a listener that is asked for the name of what it hands on in the place of another event."""

        def checked(event: Any, next_fn: Callable[[Any], Any]) -> Any:
            def hand_on(other: Any) -> Any:
                if other is not event and (name := _name_of(other)) != _name_of(event):
                    self.check_name(name)
                    self.check_publish(type(other))
                return next_fn(other)

            return call(event, hand_on)

        return checked

    def check_use(self, permission: str) -> None:
        """Ask whether something may be used that is tied to a permission.

        Raises:
            PermissionDeniedError: If it may not.
        """
        if not _allow(self._uses, lambda pattern: pattern.covers(permission)):
            raise PermissionDeniedError(self._plugin, "use", permission)

    def may_manage(self) -> bool:
        """Tell whether it may act for others."""
        return bool(self._uses) and _allow(self._uses, lambda pattern: pattern.covers(MANAGE))

    def check_manage(self) -> None:
        """Ask whether it may act for others, where it would shed its limits; only who was told so explicitly may.

        Raises:
            PermissionDeniedError: If it may not.
        """
        if not self.may_manage():
            raise PermissionDeniedError(self._plugin, "use", MANAGE)


def spoken(limits: Limits) -> dict[str, tuple[str, ...]]:
    """Return what a manifest or a grant says, by field."""
    fields = {"publishes": limits.publishes, "subscribes": limits.subscribes, "permissions": limits.permissions}
    return {name: tuple(patterns) for name, patterns in fields.items() if patterns is not None}


def kernels_own(type_: object, named: str | None, names: Iterable[str]) -> str | None:
    """Return what of a service is the kernel's to provide, as text; ``None`` if nothing is.

    Args:
        type_: What it is asked for as.
        named: What sets it apart from others of its type.
        names: Its names for un-annotated parameters.
    """
    if named is None and any(type_ is _public(name) for name in _KERNEL_SERVICES):
        return getattr(type_, "__name__", str(type_))
    return next((repr(name) for name in names if name in _KERNEL_PARAMETERS), None)


def passed_by(subscription: Subscription, declared: EventType) -> Problem:
    """Tell of an event that a subscription means, and its plugin may not hear."""
    where = f"{subscription.kind} {subscription.name!r} of plugin {subscription.plugin!r}"
    hint = "its manifest, or a grant, leaves that out (subscribes=[...])"
    return Problem(where, f"does not hear {declared.name!r}, a subclass of what it subscribed to", hint, fatal=False)


def checked_permission(name: str | None) -> str | None:
    """Return the name of a permission as it is.

    Raises:
        ValueError: If it could not stand in a manifest, or would mean several.
    """
    if name is not None and not _PERMISSION.fullmatch(name):
        raise ValueError(
            f"permission={name!r}: must be the name of one permission, such as 'database' or 'orders.read'"
        )
    return name


def _layers(fields: Iterable[Sequence[str] | None]) -> _Layers:
    return tuple(tuple(map(Pattern, field)) for field in fields if field is not None)


def _allow(layers: _Layers, allows: Callable[[Pattern], bool]) -> bool:
    return all(any(map(allows, patterns)) for patterns in layers)


def _published(cls: type) -> Iterator[str]:
    """Yield the wire names that an event goes by: its own, and those that classes above it were given.

    Who hears such a class hears this event, too; without a name of its own a class above is a mere base class.
    """
    for base in cls.__mro__:
        name = event_type(base).name
        mere = is_root(base) or origin_of(base) is not None or name == f"{base.__module__}.{base.__qualname__}"
        if base is cls or not mere:
            yield name


def _name_of(event: object) -> str:
    return event.name if isinstance(event, NamedEvent) else event_type(type(event)).name


def _public(name: str) -> Any:
    return vars(sys.modules["plugbus"])[name]  # which imports us


@cache
def _kernel_types() -> frozenset[type]:
    """Return what the kernel tells: whatever class it exports, but for the bases of everybody's events.

    And but for those whose listeners have a say in other plugins' boots and settings, and read their secrets.
    """
    asked = {_public("PluginConfiguring"), _public("PluginBooting")}
    exported = map(_public, vars(sys.modules["plugbus"])["__all__"])
    return frozenset(value for value in exported if isinstance(value, type) and not is_root(value)) - asked


@cache
def _kernel_names() -> frozenset[str]:
    return frozenset(event_type(cls).name for cls in _kernel_types())
