"""Where marks and their readers meet, whichever of the two plugins came first.

Owns who is there; finding marks is ``plugbus.marks``' job, and what a reader does with one is its own business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NamedTuple, final

from plugbus._closing import Closing
from plugbus.errors import PluginError, PluginGoneError, Problem
from plugbus.lifecycle import PluginState
from plugbus.log import text_of
from plugbus.marks import Checks, Found, Marked, Reads

if TYPE_CHECKING:
    from plugbus._kernel.unit import Unit
    from plugbus.bound import Bound
    from plugbus.owner import Owner


class _Reader(NamedTuple):
    kind: type
    owner: Owner
    call: Bound[Any]


@final
class _Member:
    """One plugin that reads marks, or has some."""

    __slots__ = ("checkers", "closings", "marked", "met", "readers")

    def __init__(self, owner: Owner, found: Iterable[Found]) -> None:
        self.readers: list[_Reader] = []
        self.checkers: list[Found] = []
        self.marked: list[Marked[Any]] = []
        self.met: set[_Member] = {self}
        self.closings: list[Closing] = []
        for each in found:
            if isinstance(each.mark, Reads):
                self.readers.append(_Reader(each.mark.kind, owner, owner.bind(each.call, given=1)))
            elif isinstance(each.mark, Checks):
                self.checkers.append(each)
            else:
                self.marked.append(Marked(each.mark, each.call, owner))


@final
class Marking:
    """The marks and the readers of one kernel."""

    def __init__(self) -> None:
        self._members: dict[Owner, _Member] = {}
        self.leaving: frozenset[Owner] = frozenset()
        """Those in whose place others are to boot, whose marks do not count for them."""

    async def join(self, unit: Unit, found: Sequence[Found]) -> None:
        """Have a plugin that boots meet those that are there: each reader is told of each function once.

        Args:
            unit: The plugin.
            found: What is noted on its functions.

        Raises:
            Exception: What a reader raised, its own or another plugin's; whoever boots fails with it.
        """
        me = _Member(unit.owner, found)
        self._members[unit.owner] = me
        unit.owner.own(lambda: self.leave(unit.owner), what="its marks, and what it reads")
        await self._tell(unit, me.readers, me.marked)
        for other in tuple(self._members.values()):
            if other not in me.met:  # it may boot at the same time, and have done this for both
                me.met.add(other)
                other.met.add(me)
                await self._tell(unit, other.readers, me.marked)
                await self._tell(unit, me.readers, other.marked)

    async def detach(self, owner: Owner) -> list[Exception]:
        """Undo what readers made of a plugin's marks, and it of others', while it stays; return what fails."""
        member = self._members.get(owner)
        self.leave(owner)
        failures: list[Exception] = []
        for closing in reversed(member.closings if member else ()):
            try:
                result = closing.close()
                if isawaitable(result):
                    await result
            except Exception as error:  # noqa: BLE001 - returned, and the rest is undone
                failures.append(error)
        return failures

    def leave(self, owner: Owner) -> None:
        """Let nobody meet a plugin any more; once more does nothing."""
        gone = self._members.pop(owner, None)
        for other in self._members.values() if gone else ():
            other.met.discard(gone)

    async def _tell(self, unit: Unit, readers: Iterable[_Reader], marked: Iterable[Marked[Any]]) -> None:
        for reader in readers:
            for found in marked:
                if isinstance(found.mark, reader.kind):
                    unit.phase = f"reading {found} by {reader.owner.id!r}"
                    closing = await _attach(reader, found)
                    if closing is not None:
                        for member in filter(None, map(self._members.get, (found.owner, reader.owner))):
                            member.closings = [*(each for each in member.closings if not each.closed), closing]

    def marked(self) -> list[Marked[Any]]:
        """Return the marked functions of all that are there."""
        return [found for _, member in self._staying() for found in member.marked]

    def kinds(self) -> tuple[type, ...]:
        """Return the types of marks that somebody who is there reads."""
        return tuple(reader.kind for member in self._members.values() for reader in member.readers)

    def checkers(self) -> list[tuple[Owner, Found]]:
        """Return the checks of all that are there."""
        return [(owner, found) for owner, member in self._staying() for found in member.checkers]

    def _staying(self) -> Iterator[tuple[Owner, _Member]]:
        return ((owner, member) for owner, member in self._members.items() if owner not in self.leaving)


async def _attach(reader: _Reader, found: Marked[Any]) -> Closing | None:
    """Tell a reader of a function; what it returns belongs to the function's plugin, and leaves with either."""
    close = await reader.call(found)
    if close is None:
        return None
    if not callable(close):
        problem = f"{reader.call.name} returned {close!r} for {found}; return a function that undoes it, or None"
        raise PluginError(reader.owner.id, problem)
    closing = Closing(close)
    try:
        for owner in (found.owner, reader.owner):
            closing.owned_by(owner, what=f"{found}, read by {reader.owner.id!r}", brings_work=True)
    except PluginGoneError:  # it left while the reader was being told
        result = closing.close()
        if isawaitable(result):
            await result
    return closing


def marked_of(unit: Unit) -> Iterator[Marked[Any]]:
    """Yield what is marked in a plugin, as far as it can be known before it is built."""
    for _, found in unit.definition.marks:
        if not isinstance(found.mark, (Reads, Checks)):
            yield Marked(found.mark, found.call, unit.owner, built=False)


def readers_of(unit: Unit) -> tuple[type, ...]:
    """Return the types of marks that a plugin reads, likewise."""
    return tuple(found.mark.kind for _, found in unit.definition.marks if isinstance(found.mark, Reads))


def check_marks(new: Sequence[Unit], marking: Marking) -> list[Problem]:
    """Have all marks looked at by those who check them, before anything new boots; one that fails at this is failed.

    Args:
        new: The plugins that are to boot.
        marking: Those that are there.
    """
    everyone = [*marking.marked(), *(found for unit in new for found in marked_of(unit))]
    problems: list[Problem] = []
    for owner, checker in marking.checkers():
        try:
            problems += _checked(checker, everyone)
        except Exception as error:  # noqa: BLE001 - it is told; the plugin runs, and so do the others
            where = f"plugin {owner.id!r}, {checker.attribute}"
            problems.append(Problem(where, f"its check raised {text_of(error)}", fatal=False))
    for unit in new:
        for _, checker in unit.definition.marks:
            if isinstance(checker.mark, Checks) and unit.state is PluginState.RESOLVED:
                try:
                    problems += _checked(checker, everyone)
                except Exception as error:  # noqa: BLE001 - it is on record, and told as PluginFailed
                    unit.refuse(f"its check {checker.attribute} raised {text_of(error)}", error)
    return problems


def _checked(checker: Found, everyone: Iterable[Marked[Any]]) -> list[Problem]:
    return list(checker.call(tuple(found for found in everyone if isinstance(found.mark, checker.mark.kind))) or ())


def unread(marked: Iterable[Marked[Any]], kinds: tuple[type, ...]) -> Iterator[Problem]:
    """Find marks that nobody reads; the plugin that does may be an optional one."""
    for found in marked:
        if not isinstance(found.mark, kinds):
            name = getattr(found.function, "__name__", repr(found.function))
            hint = "load the plugin that does; nothing happens with it until then"
            message = f"nobody reads its mark {type(found.mark).__qualname__}"
            yield Problem(f"plugin {found.owner.id!r}, {name}", message, hint, fatal=False)
