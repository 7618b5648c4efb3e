"""Clean-up: generators resumed in reverse order, each in bounded time, one failure never stopping the rest.

They are resumed and not closed: a closed generator sees ``GeneratorExit`` at its ``yield``, and would neither
commit nor roll back.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import Any, Final, cast, final

import anyio
import anyio.to_thread

from plugbus.errors import ServiceError

__all__ = ("Exit", "close_all", "close_now", "raise_failures")

_built: Final = itertools.count()


@final
class Exit:
    """The second half of a generator that built a service."""

    __slots__ = ("_generator", "_thread", "forget", "number", "service", "sync")

    def __init__(self, service: str, generator: object, *, sync: bool) -> None:
        self.service, self.sync = service, sync
        self.number = next(_built)  # the order of building, over all stores
        self.forget: Callable[[], object] | None = None  # takes it out of its owner's list
        self._generator = generator
        self._thread = threading.get_ident()

    async def close(self, seconds: float) -> None:
        """Resume the generator, for at most *seconds*, whether the caller is cancelled or not.

        A sync one that was opened in another thread is resumed in a worker thread, and left to itself when its
        time is up. One that was opened in this thread is resumed here, where nothing can interrupt it: SQLite
        refuses any other.
        """
        with anyio.move_on_after(seconds, shield=True):
            if not self.sync:
                await self._resume_async()
            elif self._thread == threading.get_ident():
                self.close_now()
            else:
                one = anyio.CapacityLimiter(1)  # its own: those who hang must not keep it from running
                await anyio.to_thread.run_sync(self.close_now, abandon_on_cancel=True, limiter=one)
            return
        raise ServiceError(
            self.service,
            f"its clean-up was still running after {seconds:g} s",
            "bound it in the factory, or allow more with Services(clean_up_seconds=...)",
        )

    def close_now(self) -> None:
        """Resume a sync generator in this thread."""
        generator = cast("Generator[Any, None, None]", self._generator)
        for _ in generator:
            generator.close()
            raise self._yielded_twice()

    async def _resume_async(self) -> None:
        generator = cast("AsyncGenerator[Any, None]", self._generator)
        async for _ in generator:
            await generator.aclose()
            raise self._yielded_twice()

    def _yielded_twice(self) -> ServiceError:
        return ServiceError(self.service, "its generator yielded a second time", "yield once, then clean up")


def _newest_first(exits: Iterable[Exit]) -> list[Exit]:
    return sorted(exits, key=lambda exit_: exit_.number, reverse=True)


async def close_all(exits: Iterable[Exit], seconds: float) -> list[Exception]:
    """Close all, the newest first; an interrupt is raised after the last one."""
    failures = _Failures()
    for exit_ in _newest_first(exits):
        try:
            await exit_.close(seconds)
        except BaseException as error:  # noqa: BLE001 -- collected, so that the rest is closed too
            failures.add(exit_, error)
    return failures.collected()


def close_now(exits: Iterable[Exit]) -> list[Exception]:
    """Close sync exits in this thread, the newest first."""
    failures = _Failures()
    for exit_ in _newest_first(exits):
        try:
            exit_.close_now()
        except BaseException as error:  # noqa: BLE001 -- collected, so that the rest is closed too
            failures.add(exit_, error)
    return failures.collected()


def raise_failures(failures: list[Exception]) -> None:
    """Raise what was collected: one error as it is, several as a group."""
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup("several services failed to clean up", failures)


@final
class _Failures:
    """What failed while the rest went on."""

    __slots__ = ("_errors", "_interrupt")

    def __init__(self) -> None:
        self._errors: list[Exception] = []
        self._interrupt: BaseException | None = None

    def add(self, exit_: Exit, error: BaseException) -> None:
        error.add_note(f"while cleaning up service {exit_.service}")
        if isinstance(error, Exception):
            self._errors.append(error)
        else:
            self._interrupt = self._interrupt or error

    def collected(self) -> list[Exception]:
        if self._interrupt is None:
            return self._errors
        for error in self._errors:
            self._interrupt.add_note(f"besides: {error!r}")
        raise self._interrupt
