"""What every test of the bus may ask for."""

from __future__ import annotations

import pytest
from tests.bus.tools import Hops

from plugbus import EventBus


@pytest.fixture
def bus() -> EventBus:
    """A bus of its own, without a kernel."""
    return EventBus()


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> Hops:
    """Counts the hops to worker threads from here on."""
    return Hops(monkeypatch)
