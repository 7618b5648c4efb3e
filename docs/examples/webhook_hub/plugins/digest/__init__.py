"""Fingerprints the content of events, to find deliveries that say the same twice."""

from __future__ import annotations

from .plugin import Digest

__all__ = ("Digest",)
