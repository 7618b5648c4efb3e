"""Exchanging one generation of subscriptions for another, in one change of the book.

Owns the exchange on the bus; which plugins, and what else they have, is in ``_kernel/reloading.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plugbus._core import Core
    from plugbus._generations import Generations
    from plugbus.owner import Owner
    from plugbus.subscription import Subscription


def overlap(core: Core, generations: Generations | None) -> None:
    """Let a new generation of plugins come beside the old one, in its place in the order; or end that."""
    with core.lock:
        core.registry.generations = core.book.generations = generations
        for owner, old in generations.olds.items() if generations else ():
            core.book.succeed(owner, old)


def swap(core: Core, generations: Generations, *, back: bool) -> None:
    """Let the new generation hear and the old one not, or the other way round.

    All under the lock, which whoever compiles a chain takes: an emit has a chain of before or of after.

    Raises:
        PlugbusError: If what came onto the bus meanwhile contradicts the new one; nothing has changed then.
    """
    with core.lock:
        if not back:
            for subscription in _of(core, generations.coming):
                core.book.check(subscription)
                core.check_order(subscription)
        generations.swapped = not back
        everyone = _of(core, generations.coming | generations.leaving)
        for subscription in everyone:  # before names move, because those who hear by name hear other types then
            core.forget(subscription)
        for owner, old in generations.olds.items():
            owner.active, old.active = not back, back
            for cls in core.registry.promote(*((old, owner) if back else (owner, old))):
                core.drop(cls)
        for subscription in everyone:
            core.forget(subscription)


def _of(core: Core, owners: Iterable[Owner]) -> list[Subscription]:
    return [subscription for owner in owners for subscription in core.book.of(owner)]
