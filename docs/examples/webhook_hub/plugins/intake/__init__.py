"""Takes deliveries in: judges each, names it, and emits it as an event."""

from __future__ import annotations

from .plugin import Intake

__all__ = ("Intake",)
