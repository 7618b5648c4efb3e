"""Refusals as a type checker sees them."""

from __future__ import annotations

from typing import assert_type

from plugbus.errors import PlugbusError, Problem, Refused, Veto

refusal = Veto("closed on Sundays", retry_after_seconds=3600)
assert_type(refusal.reason, str)
assert_type(refusal.problems, tuple[Problem, ...])
assert_type(refusal.retry_after_seconds, float | None)

base: PlugbusError = refusal
family: Refused = refusal
