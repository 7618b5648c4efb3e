"""Takes GitHub's deliveries over HTTP: checks the signature, and hands each to the intake once."""

from __future__ import annotations

from .plugin import Webhooks

__all__ = ("Webhooks",)
