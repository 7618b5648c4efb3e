"""Tells people in a chat, which is an outside system and behaves like one."""

from __future__ import annotations

from .plugin import Headline, Notify

__all__ = ("Headline", "Notify")
