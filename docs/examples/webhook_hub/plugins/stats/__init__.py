"""Counts what went through."""

from __future__ import annotations

from .plugin import Stats

__all__ = ("Stats",)
