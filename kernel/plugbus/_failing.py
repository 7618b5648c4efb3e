"""Whose failure it is: a plugin's own, or the kernel's being interrupted."""

from __future__ import annotations

import anyio
import anyio.lowlevel


async def own_failure(error: BaseException) -> BaseException:
    """Return what a plugin failed with; an interrupt, and a cancellation of the kernel itself, are raised again.

    ``task.cancel(); await task`` in a plugin gives it a cancellation error that is its own and not the kernel's.
    """
    group = error if isinstance(error, BaseExceptionGroup) else None  # of a task group of the plugin's
    if isinstance(error, KeyboardInterrupt) or (group and group.subgroup(KeyboardInterrupt)):
        raise error
    if group or isinstance(error, anyio.get_cancelled_exc_class()):
        await anyio.lowlevel.checkpoint_if_cancelled()
    return error
