"""What every error of plugbus can do: say what, where and what to do, and survive pickling."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, collected with others instead of raised alone.

    Args:
        where: The place to look at: a function, a parameter, a field, a plugin.
        message: What is wrong there.
        hint: What to do about it; empty when the message says it.
        fatal: Whether a start must stop because of it.

    Example:
        >>> print(Problem("Audit(db)", "no service provides Database", "register one"))
        Audit(db): no service provides Database (register one)
    """

    where: str
    message: str
    hint: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        told = f"{self.where}: {self.message}" if self.where else self.message
        return f"{told} ({self.hint})" if self.hint else told


class PlugbusError(Exception):
    """The root of every error that plugbus raises.

    Whatever its constructor looks like, an instance pickles with its attributes and notes.

    Args:
        args: The facts; a plain text for those who raise the root itself.

    Example:
        >>> print(PlugbusError("the disk is full"))
        the disk is full
    """

    def _parts(self) -> tuple[str, str]:
        """What happened and where, then what to do about it."""
        return super().__str__(), ""

    def __str__(self) -> str:
        what, hint = self._parts()
        return f"{what}\nHint: {hint}" if hint else what

    def __reduce__(self) -> tuple[object, ...]:
        # Not through __init__: a subclass may have any constructor, keyword-only arguments included.
        return _restore, (type(self), self.args), self.__dict__.copy()


def _restore(kind: type[PlugbusError], args: tuple[object, ...]) -> PlugbusError:
    return kind.__new__(kind, *args)


def bullets(lines: Iterable[object]) -> str:
    """One line each, below a heading."""
    return "".join(f"\n  - {line}" for line in lines)


def close_names(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the known names that somebody may have meant, the closest first; at most three."""
    from difflib import get_close_matches  # only for those who made a mistake

    return tuple(get_close_matches(name, dict.fromkeys(known), n=3))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Ask whether one of the names that come close was meant; empty if none does."""
    nearest = close_names(name, known)
    return f"did you mean {' or '.join(nearest)}?" if nearest else ""


def nearest_hint(nearest: tuple[str, ...], otherwise: str) -> str:
    """The names that come close, or else what to do without any."""
    return f"did you mean {' or '.join(map(repr, nearest))}?" if nearest else otherwise
