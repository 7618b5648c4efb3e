"""Vetoes events by rules from the configuration."""

from __future__ import annotations

from .plugin import Guard, Rule

__all__ = ("Guard", "Rule")
