"""Errors of a plugin's settings; none of them holds a value, because it may be secret."""

from __future__ import annotations

from collections.abc import Iterable

from plugbus._errors.base import Problem, bullets
from plugbus._errors.plugins import PluginError


class SettingsError(PluginError):
    """Settings that a plugin cannot be given.

    Args:
        plugin: Id of the plugin.
        problems: Each key and its source, with what is wrong.

    Example:
        >>> print(SettingsError("shop", [Problem("max_items", "'x' is no number", "from the environment")]))
        plugin 'shop': its settings are not valid:
          - max_items: 'x' is no number (from the environment)
        Hint: correct each key where it comes from.
    """

    hint = "correct each key where it comes from."

    def __init__(self, plugin: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(plugin, f"its settings are not valid:{bullets(self.problems)}")


class ConfigureError(PluginError):
    """New settings were valid and could not be put in force.

    Args:
        plugin: Id of the plugin.
        reason: What failed.
        left: What failed on the way back to the old settings; nothing, if they are in force again.

    Example:
        >>> print(ConfigureError("shop", "on_settings raised OSError: no route to host"))
        plugin 'shop': on_settings raised OSError: no route to host; its old settings are in force again
        Hint: the notes say where it was raised; nothing was kept.
    """

    def __init__(self, plugin: str, reason: str, left: Iterable[str] = ()) -> None:
        self.left = tuple(left)
        back = "its old settings are in force again"
        if self.left:
            back = f"going back to its old settings failed, too: {'; '.join(self.left)}"
        super().__init__(plugin, f"{reason}; {back}")
        self.hint = "the notes say where it was raised; nothing was kept."
        if self.left:
            self.hint = "reload the plugin, because it may follow neither the old settings nor the new ones."
