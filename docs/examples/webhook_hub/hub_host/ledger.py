"""The hub's own book of deliveries, kept outside the bus, so that the bus cannot lose one unnoticed."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ("Ledger", "percentile")


@dataclass(slots=True)
class Ledger:
    """Each line that was read ends in exactly one of the other columns.

    Attributes:
        read: Lines that are not blank.
        typed: Emitted as a typed event.
        named: Emitted as a ``NamedEvent``, because the kind is not known.
        vetoed: Refused by a listener with a ``Veto``.
        refused: Refused in any other way, as by the intake.
        malformed: No JSON object.
        failed: Lost to an error in a subscriber, which was reported.
        emit_seconds: How long each delivery took that went through, in seconds: from the request to the last observer
            that is not in the background.
    """

    read: int = 0
    typed: int = 0
    named: int = 0
    vetoed: int = 0
    refused: int = 0
    malformed: int = 0
    failed: int = 0
    emit_seconds: list[float] = field(default_factory=list)

    @property
    def emitted(self) -> int:
        """Deliveries that went through, typed or not."""
        return self.typed + self.named

    @property
    def balanced(self) -> bool:
        """Whether every delivery is accounted for."""
        return self.read == self.emitted + self.vetoed + self.refused + self.malformed + self.failed


def percentile(values: list[float], share: float) -> float:
    """Return the value that *share* of the values do not exceed (nearest rank), or 0 for none.

    Args:
        values: In any order.
        share: From 0 to 1.

    Example:
        >>> percentile([5.0, 1.0, 3.0], 0.5), percentile([], 0.99)
        (3.0, 0.0)
    """
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)] if ordered else 0.0
