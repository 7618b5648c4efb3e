"""Writes down each delivery with the event that came of it, or neither."""

from __future__ import annotations

from .plugin import Journal

__all__ = ("Journal",)
