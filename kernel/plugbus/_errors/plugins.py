"""Errors of wiring, services, plugins and the kernel's start."""

from __future__ import annotations

from collections.abc import Iterable

from plugbus._errors.base import PlugbusError, Problem, bullets, nearest_hint


class WiringError(PlugbusError):
    """Parts that do not fit together, all of them at once; nothing was built.

    Args:
        problems: Each thing that is wrong, with its place and what to do.

    Example:
        >>> print(WiringError([Problem("Audit(db)", "no service provides Database")]))
        the wiring has 1 problem; nothing was built:
          - Audit(db): no service provides Database
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def _parts(self) -> tuple[str, str]:
        count = len(self.problems)
        heading = f"the wiring has {count} problem{'s' * (count != 1)}; nothing was built:"
        return f"{heading}{bullets(self.problems)}", ""


class ServiceError(PlugbusError):
    """A service could not be handed out.

    Args:
        service: What was asked for.
        problem: Why it could not be had.
        hint: What to do about it.

    Example:
        >>> print(ServiceError("Database", "its factory is async", "use await services.aget(Database)"))
        service Database: its factory is async.
        Hint: use await services.aget(Database)
    """

    def __init__(self, service: str, problem: str, hint: str = "") -> None:
        super().__init__(service, problem, hint)
        self.service, self.problem, self.hint = service, problem, hint

    def _parts(self) -> tuple[str, str]:
        return f"service {self.service}: {self.problem}.", self.hint


class KernelStartError(PlugbusError):
    """The kernel did not start; what had started was rolled back.

    Args:
        problems: Each thing that stopped the start.

    Example:
        >>> print(KernelStartError([Problem("plugin 'shop'", "is required and failed", "see its reason")]))
        the kernel did not start, because of 1 problem:
          - plugin 'shop': is required and failed (see its reason)
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def _parts(self) -> tuple[str, str]:
        count = len(self.problems)
        return f"the kernel did not start, because of {count} problem{'s' * (count != 1)}:{bullets(self.problems)}", ""


class PluginError(PlugbusError):
    """Something is wrong with one plugin.

    Args:
        plugin: Id of the plugin, or the place that it was to come from.
        reason: What is wrong.

    Example:
        >>> print(PluginError("shop", "is not well"))
        plugin 'shop': is not well
    """

    hint = ""

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(plugin, reason)
        self.plugin, self.reason = plugin, reason

    def _parts(self) -> tuple[str, str]:
        return f"plugin {self.plugin!r}: {self.reason}", self.hint


class ManifestError(PluginError):
    """A manifest that cannot be used.

    Args:
        plugin: Id of the plugin, or the place of its manifest.
        problems: Each field and what is wrong with it.

    Example:
        >>> print(ManifestError("shop", ("version: '1.x' is not a version",)))
        plugin 'shop': its manifest cannot be used:
          - version: '1.x' is not a version
        Hint: correct these fields; the reference of Manifest lists what each takes.
    """

    hint = "correct these fields; the reference of Manifest lists what each takes."

    def __init__(self, plugin: str, problems: tuple[str, ...]) -> None:
        super().__init__(plugin, f"its manifest cannot be used:{bullets(problems)}")
        self.problems = problems


class PluginLoadError(PluginError):
    """A plugin could not be imported or built.

    Args:
        plugin: Id of the plugin, or the place it was to come from.
        reason: What went wrong.
        hint: What to do about it, where importing it by hand would lead nowhere.

    Example:
        >>> print(PluginLoadError("shop", "importing it raised OSError: no disk"))
        plugin 'shop': importing it raised OSError: no disk
        Hint: import it by hand to see the whole traceback, or disable it.
    """

    hint = "import it by hand to see the whole traceback, or disable it."

    def __init__(self, plugin: str, reason: str, hint: str | None = None) -> None:
        super().__init__(plugin, reason)
        if hint is not None:
            self.hint = hint


class PluginBootError(PluginError):
    """A plugin failed while it booted.

    Args:
        plugin: Id of the plugin.
        reason: What went wrong.

    Example:
        >>> print(PluginBootError("shop", "on_boot raised OSError: no route to host"))
        plugin 'shop': on_boot raised OSError: no route to host
        Hint: the cause has the traceback; the plugin's record keeps the reason.
    """

    hint = "the cause has the traceback; the plugin's record keeps the reason."


class PluginTimeoutError(PluginError):
    """A plugin did not finish a phase of its life in time.

    Args:
        plugin: Id of the plugin.
        phase: What it was doing, such as ``on_boot``.
        seconds: The time it had, in seconds.

    Example:
        >>> print(PluginTimeoutError("shop", "on_boot", 30.0))
        plugin 'shop': on_boot was still running after 30 s
        Hint: move slow work to a task (Tasks.start), or allow more time.
    """

    hint = "move slow work to a task (Tasks.start), or allow more time."

    def __init__(self, plugin: str, phase: str, seconds: float) -> None:
        super().__init__(plugin, f"{phase} was still running after {seconds:g} s")
        self.phase, self.seconds = phase, seconds


class PluginGoneError(PluginError):
    """Something of a plugin was used after the plugin left.

    Args:
        plugin: Id of the plugin that left.
        what: What was used.

    Example:
        >>> print(PluginGoneError("shop", "its bus"))
        plugin 'shop': its bus was used after the plugin left
        Hint: let go of what a plugin gave you when it is unloaded (PluginUnloaded), or ask for it again.
    """

    hint = "let go of what a plugin gave you when it is unloaded (PluginUnloaded), or ask for it again."

    def __init__(self, plugin: str, what: str) -> None:
        super().__init__(plugin, f"{what} was used after the plugin left")
        self.what = what


class PluginStuckError(PluginError):
    """A plugin has so many abandoned threads that it gets no new work.

    Args:
        plugin: Id of the plugin.
        abandoned: Threads that overran their time and still run.
        limit: How many it may have.

    Example:
        >>> print(PluginStuckError("shop", 4, 4))
        plugin 'shop': 4 threads overran their time and still run (limit 4), so it gets no new work
        Hint: give its blocking calls a time limit of their own; health names the subscribers.
    """

    hint = "give its blocking calls a time limit of their own; health names the subscribers."

    def __init__(self, plugin: str, abandoned: int, limit: int) -> None:
        super().__init__(
            plugin, f"{abandoned} threads overran their time and still run (limit {limit}), so it gets no new work"
        )
        self.abandoned, self.limit = abandoned, limit


class PluginInUseError(PluginError):
    """A plugin cannot leave, because others need it.

    Args:
        plugin: Id of the plugin.
        dependents: Ids of the plugins that need it.

    Example:
        >>> print(PluginInUseError("catalog", ("shop", "admin")))
        plugin 'catalog': is needed by 'shop', 'admin'
        Hint: unload those first, or pass cascade=True.
    """

    hint = "unload those first, or pass cascade=True."

    def __init__(self, plugin: str, dependents: tuple[str, ...]) -> None:
        super().__init__(plugin, f"is needed by {', '.join(map(repr, dependents))}")
        self.dependents = dependents


class PluginNotFoundError(PluginError, KeyError):
    """There is no plugin of this id.

    Args:
        plugin: The id that was asked for.
        nearest: Known ids that come close, the nearest first.

    Example:
        >>> print(PluginNotFoundError("shpo", ("shop",)))
        plugin 'shpo': is not known to this kernel
        Hint: did you mean 'shop'?
    """

    def __init__(self, plugin: str, nearest: tuple[str, ...] = ()) -> None:
        super().__init__(plugin, "is not known to this kernel")
        self.nearest = nearest
        self.hint = nearest_hint(nearest, "`plugbus plugins` lists those that are.")


class ReloadError(PluginError):
    """A plugin was not reloaded; it runs on as it was, and so do those that need it.

    Args:
        plugin: Id of the plugin.
        culprit: Id of the plugin whose new version failed: itself, or one that needs it.
        reason: What it failed with.

    Example:
        >>> print(ReloadError("shop", "shop", "on_boot raised OSError: no route to host"))
        plugin 'shop': it was not reloaded: on_boot raised OSError: no route to host
        Hint: correct it and reload again; what ran before runs on, nothing was lost.
    """

    hint = "correct it and reload again; what ran before runs on, nothing was lost."

    def __init__(self, plugin: str, culprit: str, reason: str) -> None:
        self.culprit = culprit
        where = "" if culprit == plugin else f"{culprit!r}, which needs it: "
        super().__init__(plugin, f"it was not reloaded: {where}{reason}")
