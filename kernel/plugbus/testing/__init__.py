"""What tests of plugins and of services are made with; nothing of it is imported by ``import plugbus``.

With pytest, the fixture ``kernel_factory`` is there as soon as plugbus is installed.
"""

from __future__ import annotations

from plugbus.testing._buses import Captured, capture, interleaved
from plugbus.testing._clock import FakeClock
from plugbus.testing._conformance import Conformance, PluginConformance
from plugbus.testing._kernels import KernelFactory
from plugbus.testing._waiting import settle, until

__all__ = (
    "Captured",
    "Conformance",
    "FakeClock",
    "KernelFactory",
    "PluginConformance",
    "capture",
    "interleaved",
    "settle",
    "until",
)
