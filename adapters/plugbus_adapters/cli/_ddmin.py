"""The smallest set of plugins with which something fails.

Owns the search, and knows no process: delta debugging (ddmin: Zeller and Hildebrandt, "Simplifying and Isolating
Failure-Inducing Input", IEEE Transactions on Software Engineering 28(2), 2002), over sets that are closed under what
plugins need. To keep a plugin keeps what it needs, and to take one out takes out those that need it, so that no
plugin is ever blocked for want of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

__all__ = ("closed", "smallest")

Needs: TypeAlias = Mapping[str, AbstractSet[str]]


def smallest(all_of_them: Sequence[str], needs: Needs, fails: Callable[[frozenset[str]], bool]) -> frozenset[str]:
    """Return a set that fails, from which no plugin can be taken, with those that need it, without its passing.

    Where one plugin alone is guilty, two runs halve what is left; at worst it takes a number of runs in the order of
    the square of the number of plugins.

    Args:
        all_of_them: All that may be guilty; with all together it fails, with none of them it does not.
        needs: What each of them needs itself; those that are not in *all_of_them* count as always there.
        fails: Tries a closed set; asked once for each.

    Example:
        >>> sorted(smallest("abcdefgh", {"f": {"b"}}, lambda enabled: "f" in enabled))
        ['b', 'f']
    """
    known = {frozenset[str](): False}

    def tried(some: frozenset[str]) -> bool:
        if some not in known:
            known[some] = fails(some)
        return known[some]

    found, parts = list(all_of_them), 2
    while len(found) > 1:
        part = next((each for each in _parts(found, parts, needs) if tried(each)), None)
        rest = next((each for each in _rests(found, parts, needs) if tried(each)), None) if part is None else None
        if part is not None:
            found, parts = _in_order(found, part), 2
        elif rest is not None:
            found, parts = _in_order(found, rest), max(parts - 1, 2)
        elif parts < len(found):
            parts = 2 * parts
        else:
            break
        parts = min(parts, len(found))
    return frozenset(found)


def _parts(found: Sequence[str], count: int, needs: Needs) -> Iterator[frozenset[str]]:
    """Give each of so many parts of about one size, with what it needs."""
    for part in _split(found, count):
        some = closed(part, needs) & frozenset(found)
        if len(some) < len(found):
            yield some


def _rests(found: Sequence[str], count: int, needs: Needs) -> Iterator[frozenset[str]]:
    """Give what is left without each of the parts, and without what needs it."""
    for part in _split(found, count):
        gone = frozenset(part)
        yield frozenset(each for each in found if gone.isdisjoint(closed([each], needs)))


def _split(found: Sequence[str], count: int) -> Iterator[Sequence[str]]:
    for number in range(count):
        yield found[len(found) * number // count : len(found) * (number + 1) // count]


def _in_order(found: Sequence[str], some: frozenset[str]) -> list[str]:
    return [each for each in found if each in some]


def closed(some: Sequence[str] | AbstractSet[str], needs: Needs) -> frozenset[str]:
    """Return them and all that they need, directly or not."""
    found: set[str] = set()
    waiting = list(some)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += needs.get(one, ())
    return frozenset(found)
