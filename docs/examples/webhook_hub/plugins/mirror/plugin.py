"""The plugin: fails at boot, to show that a failure stays where it is."""

from __future__ import annotations

from plugbus import Event, Plugin, observes

__all__ = ("Mirror",)


class Mirror(Plugin):
    """Connects at boot and cannot; its observer is never heard of."""

    @observes("github.**")
    async def copy(self, event: Event) -> None:
        """Never called: a plugin that did not boot hears nothing."""
        raise AssertionError(f"heard {event!r} without having booted")

    async def on_boot(self) -> None:
        """Look for the second hub.

        Raises:
            ConnectionError: Always.
        """
        raise ConnectionError("mirror.invalid:443 does not answer; was the second hub switched off?")
