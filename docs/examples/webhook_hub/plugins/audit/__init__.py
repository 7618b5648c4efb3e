"""Keeps the book: how every event on the bus ended."""

from __future__ import annotations

from .plugin import Audit

__all__ = ("Audit",)
