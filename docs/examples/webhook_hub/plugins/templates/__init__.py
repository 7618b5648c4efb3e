"""Puts messages into words, with the functions of whichever plugins have some."""

from __future__ import annotations

from .plugin import TemplateBook

__all__ = ("TemplateBook",)
