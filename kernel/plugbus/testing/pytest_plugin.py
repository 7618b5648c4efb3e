"""The pytest plugin: registered by the entry point ``pytest11``, so that installing plugbus is enough."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from plugbus.testing._kernels import KernelFactory

__all__ = ("kernel_factory",)


@pytest.fixture
def kernel_factory() -> Iterator[KernelFactory]:
    """Make kernels that are strict with subscribers and loud about what does not boot; see ``KernelFactory``."""
    with KernelFactory() as factory:
        yield factory
