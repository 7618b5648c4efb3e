"""How a unit of work ends: everything is committed, or from the first failure on everything is rolled back."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from inspect import CO_ASYNC_GENERATOR
from typing import TYPE_CHECKING, final

from plugbus._services.closing import Exit, newest_first, raise_failures
from plugbus._threads import loop_is_running
from plugbus.log import named_logger

if TYPE_CHECKING:
    from plugbus._services.units import After


def cannot_wait(error: BaseException | None) -> bool:
    """Tell whether nothing can be awaited any more: a coroutine was thrown away in the middle.

    An async generator that is closed at a ``yield`` may still wait, if there is a loop; and then it must.
    """
    if not isinstance(error, GeneratorExit):
        return False
    thrown = error.__traceback__
    at_yield = thrown and not thrown.tb_next and thrown.tb_frame.f_code.co_flags & CO_ASYNC_GENERATOR
    return not at_yield or not loop_is_running()


@final
class Ending:
    """The end of a unit of work, or of a part of it that failed.

    Args:
        error: What it failed with; None if it succeeded so far.
    """

    __slots__ = ("_cause", "_error")

    def __init__(self, error: BaseException | None) -> None:
        self._cause = self._error = error

    async def aclose(self, exits: Iterable[Exit], seconds: float) -> None:
        """Resume all, the newest first, each in its time; after a failure it is thrown in instead."""
        for exit_ in newest_first(exits):
            try:
                await exit_.close(seconds, exit_.doom or self._error)
            except BaseException as error:  # noqa: BLE001 -- settled once the rest is closed too
                self._failed(exit_, error)

    def close(self, exits: Iterable[Exit]) -> None:
        """Do the same in this thread."""
        for exit_ in newest_first(exits):
            try:
                exit_.close_now(exit_.doom or self._error)
            except BaseException as error:  # noqa: BLE001 -- as above
                self._failed(exit_, error)

    def abandon(self, exits: Iterable[Exit]) -> None:
        """Roll back what can be without awaiting anything; tell of the rest."""
        assert self._error is not None, "it was thrown away"
        for exit_ in newest_first(exits):
            try:
                exit_.close_unawaited(exit_.doom or self._error, self._failed)
            except BaseException as error:  # noqa: BLE001 -- as above
                self._failed(exit_, error)

    def _failed(self, exit_: Exit, error: BaseException) -> None:
        error.add_note(f"while cleaning up service {exit_.service}")
        if self._error is None or (isinstance(self._error, Exception) and not isinstance(error, Exception)):
            error, self._error = self._error or error, error  # an interrupt goes before everything else
        if error is not self._error:
            self._error.add_note(f"besides, cleaning up service {exit_.service}: {error!r}")
            _log(exit_, error)

    def settle(self) -> None:
        """Raise what a commit failed with, or an interrupt; the failure that it began with is whoever's who saw it."""
        if self._error is not None and self._error is not self._cause:
            raise self._error

    async def afinish(self, after: Iterable[After]) -> None:
        """Do what was to be done after it; one failure never stops the rest."""
        failures: list[Exception] = []
        for each in after:
            try:
                await each.acall() if each.acall is not None else each.call()
            except Exception as error:  # noqa: BLE001 -- raised once the rest is done
                failures.append(error)
        raise_failures(failures, "after a unit of work had succeeded, several things failed")

    def finish(self, after: Iterable[After]) -> None:
        """Do the same in this thread."""
        failures: list[Exception] = []
        for each in after:
            try:
                each.call()
            except Exception as error:  # noqa: BLE001 -- as above
                failures.append(error)
        raise_failures(failures, "after a unit of work had succeeded, several things failed")


def _log(exit_: Exit, error: BaseException) -> None:
    """Tell of a failure that another one outweighs: whoever sees that may never look at its notes."""
    named_logger("plugbus").error(
        "cleaning up after a failure failed",
        service=exit_.service,
        error="".join(traceback.format_exception_only(error)).strip(),
        exception="".join(traceback.format_exception(error)),
    )
