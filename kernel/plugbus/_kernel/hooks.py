"""pluggy as the registry of plugins: register, undo, hook specifications with an owner.

Owns what pluggy leaves open: a registration that fails leaves nothing behind, a specification leaves with its
plugin, and an implementation without specification is a problem to report rather than an error.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, ValuesView
from typing import Any, Final, final

import pluggy

from plugbus import hookspecs
from plugbus.errors import PluginError, Problem


class _Names(dict[str, Any]):
    """Plugins by name; pluggy asks at each registration whether an object is among the values, which is linear.

    By identity, because two plugins may well be equal (dataclasses).
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[int, str] = {}

    def __setitem__(self, name: str, plugin: Any) -> None:
        super().__setitem__(name, plugin)
        self.names[id(plugin)] = name

    def __delitem__(self, name: str) -> None:
        del self.names[id(self[name])]
        super().__delitem__(name)

    def values(self) -> Any:
        """Return a view that knows its members by identity."""
        return _Values(self)


class _Values(ValuesView[Any]):
    _mapping: _Names

    def __contains__(self, plugin: object) -> bool:
        return id(plugin) in self._mapping.names


@final
class Registry(pluggy.PluginManager):
    """The plugin manager of one kernel."""

    def __init__(self) -> None:
        super().__init__(hookspecs.PROJECT)
        self._name2plugin: Final[_Names] = _Names()  # type: ignore[misc]
        self._found: list[tuple[str, str]] = []
        self.add_hookspecs(hookspecs)

    def get_name(self, plugin: Any) -> str | None:
        """Return the name that a plugin is registered under; by identity, like everything here."""
        return self._name2plugin.names.get(id(plugin))

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        """Look at one attribute; names that no hook can have are passed over, and what is found is noted."""
        if name.startswith("__"):
            return None
        options = super().parse_hookimpl_opts(plugin, name)
        if options is not None:
            self._found.append((options.get("specname") or name, name))
        return options

    def enter(self, plugin: object, plugin_id: str) -> list[tuple[str, str]]:
        """Register a plugin.

        Returns:
            Each hook that it implements, and the name of the attribute that does.

        Raises:
            PluginError: If the object is a plugin already, or an implementation does not fit its specification;
                nothing is left of it then.
        """
        known = self.get_name(plugin)
        if known is not None:
            raise PluginError(plugin_id, f"the same object is plugin {known!r} already")
        found: list[tuple[str, str]] = []
        self._found = found
        try:
            self.register(plugin, name=plugin_id)
        except (pluggy.PluginValidationError, ValueError) as error:
            # Before 1.7 pluggy's register() changed its state first and validated then.
            self.leave(plugin, plugin_id)
            raise PluginError(plugin_id, f"pluggy refuses it: {error}") from error
        return found

    def look(self, plugin: object) -> list[tuple[str, str]]:
        """Return what entering a plugin would, without doing it."""
        found: list[tuple[str, str]] = []
        self._found = found
        for name in dir(plugin):
            self.parse_hookimpl_opts(plugin, name)
        return found

    def leave(self, plugin: object, plugin_id: str) -> None:
        """Take a plugin out again, and hooks that nobody knows any more."""
        if self.get_plugin(plugin_id) is plugin:
            self.unregister(name=plugin_id)
        self._sweep()

    def add_specs(self, namespace: Any, plugin_id: str) -> list[str]:
        """Add hook specifications.

        Returns:
            The names of the hooks, for ``remove_specs``.

        Raises:
            PluginError: If there is none, one has a specification already, or an implementation does not fit it;
                nothing is left of them then.
        """
        names = [name for name in dir(namespace) if self.parse_hookspec_opts(namespace, name) is not None]
        taken = [name for name in names if (hook := getattr(self.hook, name, None)) is not None and hook.has_spec()]
        if taken:
            raise PluginError(plugin_id, f"there is a specification for {', '.join(taken)} already")
        try:
            self.add_hookspecs(namespace)
        except (pluggy.PluginValidationError, ValueError) as error:
            self.remove_specs(names)
            raise PluginError(plugin_id, f"pluggy refuses its hook specifications: {error}") from error
        return names

    def adopt_specs(self, other: Registry) -> None:
        """Add the hook specifications of another registry, such as those that a host or an adapter added to it."""
        specs = [hook.spec for hook in vars(other.hook).values() if hook.spec is not None]
        for namespace in {id(spec.namespace): spec.namespace for spec in specs}.values():
            if namespace is not hookspecs:
                self.add_hookspecs(namespace)

    def remove_specs(self, names: list[str]) -> None:
        """Take hook specifications out again; implementations of them stay, without one."""
        for name in names:
            hook = getattr(self.hook, name, None)
            if hook is not None:
                hook.spec = None
                hook._call_history = None  # noqa: SLF001 - pluggy has no way to take a specification back
        self._sweep()

    def _sweep(self) -> None:
        for name, hook in list(vars(self.hook).items()):
            if not hook.has_spec() and not hook.get_hookimpls():
                delattr(self.hook, name)


@final
class Seat:
    """The place of one plugin in the registry: its hook specifications and itself.

    Args:
        hooks: The registry.
        plugin_id: Its id.
    """

    __slots__ = ("_body", "_hooks", "_id", "_specs", "_taken", "reserved")

    def __init__(self, hooks: Registry, plugin_id: str) -> None:
        self._hooks, self._id = hooks, plugin_id
        self._specs: list[tuple[object, list[str]]] = []
        self._body: object | None = None
        self._taken = False
        self.reserved = False
        """Whether another plugin sits here yet, so that it has to wait until it may ``take`` it."""

    def specify(self, namespace: object) -> list[str]:
        """Bring in hook specifications; return the names of the hooks."""
        names = [] if self.reserved else self._hooks.add_specs(namespace, self._id)
        self._specs.append((namespace, names))
        return names

    def enter(self, body: object) -> list[tuple[str, str]]:
        """Register the plugin; return the hooks that it implements, as ``Registry.enter``."""
        found = self._hooks.look(body) if self.reserved else self._hooks.enter(body, self._id)
        self._body, self._taken = body, not self.reserved
        return found

    def take(self) -> None:
        """Sit down where another plugin has got up.

        Raises:
            PluginError: If pluggy refuses; nothing of it is there then.
        """
        self.reserved = False
        specs, self._specs = self._specs, []
        try:
            for namespace, _ in specs:
                self.specify(namespace)
            if self._body is not None:
                self.enter(self._body)
        except PluginError:
            self.leave()
            self._specs = specs
            raise

    def leave(self) -> None:
        """Get up; once more does nothing."""
        if self._taken:
            self._taken = False
            self._hooks.leave(self._body, self._id)
        for _, names in self._specs:
            self._hooks.remove_specs(names)
            names.clear()

    def give_up(self) -> None:
        """Get up for good: whoever keeps the seat keeps no plugin alive."""
        self.leave()
        self._body, self._specs = None, []


def hookspec_problems(pm: Registry) -> Iterator[Problem]:
    """Find implementations of hooks that nobody has specified; the plugin that specifies them may not be there."""
    for name, hook in sorted(vars(pm.hook).items()):
        if hook.has_spec():
            continue
        for implementation in hook.get_hookimpls():
            if not implementation.optionalhook:
                where = f"{implementation.plugin_name}.{implementation.function.__name__}"
                yield Problem(where, f"nobody has specified the hook {name!r}", _hint(pm, name), fatal=False)


def _hint(pm: Registry, name: str) -> str:
    known = sorted(known for known, hook in vars(pm.hook).items() if hook.has_spec() and known != name)
    return f"load the plugin that does, or mark it optionalhook=True; known are {', '.join(known)}"


def hook_attributes(target: object) -> list[str]:
    """Return the names of attributes that are marked as hook implementations."""
    names = (name for name in dir(target) if not name.startswith("__"))
    marker = f"{hookspecs.PROJECT}_impl"
    return [name for name in names if hasattr(inspect.getattr_static(target, name, None), marker)]
