"""Makes the hub's kernel, for the demo and for the server."""

from __future__ import annotations

from pathlib import Path

from hub_events import Chat

from hub_host.chat import FakeChat
from plugbus import Kernel

__all__ = ("CONFIG", "make_kernel")

CONFIG = Path(__file__).resolve().parents[1] / "plugbus.toml"


def make_kernel(seed: int) -> Kernel:
    """Build the hub: the plugins that plugbus.toml names, and the one service that the host provides.

    Args:
        seed: Chooses when the fake chat fails and hangs.
    """
    kernel = Kernel(config=CONFIG)
    kernel.services.value(Chat, FakeChat(seed))
    return kernel
