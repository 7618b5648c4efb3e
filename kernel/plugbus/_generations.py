"""Two generations of some plugins side by side, while one takes over from the other.

Owns who is there for whom; what is exchanged, and when, is in ``_kernel/reloading.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from plugbus.owner import Owner


@final
class Generations:
    """The new plugins that boot, and the old ones in whose place they come.

    Args:
        olds: The old one of each new one.

    Attributes:
        swapped: Whether the new ones are those that everybody else sees.
    """

    __slots__ = ("coming", "leaving", "olds", "swapped")

    def __init__(self, olds: Mapping[Owner, Owner]) -> None:
        self.olds = dict(olds)
        self.coming, self.leaving = frozenset(self.olds), frozenset(self.olds.values())
        self.swapped = False

    def __contains__(self, owner: object) -> bool:
        return owner in self.coming or owner in self.leaving

    def hides(self, owner: Owner | None, asker: Owner | None) -> bool:
        """Tell whether what belongs to one is not there for another: each generation sees itself alone."""
        if owner in self.coming:
            return asker in self.leaving or (not self.swapped and asker not in self.coming)
        if owner in self.leaving:
            return asker in self.coming or (self.swapped and asker not in self.leaving)
        return False

    def is_aside(self, owner: Owner) -> bool:
        """Tell whether a plugin is of the generation that others do not see."""
        return owner in (self.leaving if self.swapped else self.coming)

    def takes_over(self, owner: Owner, other: Owner | None) -> bool:
        """Tell whether one is of the generation that comes in the place of the other's."""
        return owner in self.coming and other in self.leaving
