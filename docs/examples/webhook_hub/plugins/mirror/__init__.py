"""Would copy every event to a second hub. That hub is gone, so this plugin never boots: the others do."""

from __future__ import annotations

from .plugin import Mirror

__all__ = ("Mirror",)
