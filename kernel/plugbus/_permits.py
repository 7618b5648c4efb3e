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
from plugbus.event_types import event_type, origin_of
from plugbus.events import NamedEvent
from plugbus.registry import Pattern

if TYPE_CHECKING:
    from plugbus._chain.links import Entry
    from plugbus.event_types import EventType
    from plugbus.options import Target
    from plugbus.subscription import Subscription

__all__ = ("Limits", "Permits", "checked_permission", "passed_by")

EVERYTHING: Final = "**"
MANAGE: Final = "kernel.manage"
"""The permission to act for other plugins."""

_PERMISSION: Final = re.compile(r"[^.\s*]+(\.[^.\s*]+)*")
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

    def check_use(self, permission: str) -> None:
        """Ask whether something may be used that is tied to a permission.

        Raises:
            PermissionDeniedError: If it may not.
        """
        if not _allow(self._uses, lambda pattern: pattern.covers(permission)):
            raise PermissionDeniedError(self._plugin, "use", permission)

    def check_manage(self) -> None:
        """Ask whether it may act for others, where it would shed its limits; only who was told so explicitly may.

        Raises:
            PermissionDeniedError: If it may not.
        """
        if not self._uses:
            raise PermissionDeniedError(self._plugin, "use", MANAGE)
        self.check_use(MANAGE)


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


@cache
def _kernel_types() -> frozenset[type]:
    """Return what the kernel tells: whatever class it exports, but for the bases of everybody's events.

    And but for those whose listeners have a say in other plugins' boots and settings, and read their secrets.
    """
    public = vars(sys.modules["plugbus"])
    asked = {public["PluginConfiguring"], public["PluginBooting"]}
    exported = (public[name] for name in public["__all__"])
    return frozenset(value for value in exported if isinstance(value, type) and not is_root(value)) - asked


@cache
def _kernel_names() -> frozenset[str]:
    return frozenset(event_type(cls).name for cls in _kernel_types())
