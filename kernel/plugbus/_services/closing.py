"""Clean-up: generators resumed in reverse order, each in bounded time, one failure never stopping the rest.

They are resumed and not closed: a closed generator sees ``GeneratorExit`` at its ``yield``, and would neither
commit nor roll back. After a failure the error is thrown in, so that the ``yield`` sees it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from functools import partial
from typing import Any, Final, cast, final

import anyio
import anyio.to_thread

from plugbus._services.homes import CallersThread, Home
from plugbus.errors import ServiceError

_built: Final = itertools.count()


@final
class Exit:
    """The second half of a generator that built a service.

    Attributes:
        doom: The failure that it is to see, whatever becomes of the rest.
        forget: Takes it out of its owner's list.
        home: Where a sync one is to be resumed, if that is not left to chance.
        number: Its place in the order of building, over all stores.
    """

    __slots__ = ("_generator", "_thread", "doom", "forget", "home", "number", "service", "sync")

    def __init__(self, service: str, generator: object, *, sync: bool) -> None:
        self.service, self.sync = service, sync
        self.number = next(_built)
        self.forget: Callable[[], object] | None = None
        self.doom: BaseException | None = None
        self.home: Home | None = None
        self._generator = generator
        self._thread = threading.get_ident()

    async def close(self, seconds: float, error: BaseException | None = None) -> None:
        """Resume the generator, or throw *error* in, for at most *seconds*, whether the caller is cancelled or not.

        A sync one that was opened in another thread is resumed in a worker thread, and left to itself when its
        time is up. One that was opened in this thread is resumed here, where nothing can interrupt it: SQLite
        refuses any other. One of a unit of work is resumed in the thread of that unit.
        """
        with anyio.move_on_after(seconds, shield=True):
            if not self.sync:
                await self._resume_async(error)
            elif self.home is not None:
                await self.home.arun(self.close_now, error, abandon=True)
            elif self._thread == threading.get_ident():
                self.close_now(error)
            else:
                one = anyio.CapacityLimiter(1)  # its own: those who hang must not keep it from running
                await anyio.to_thread.run_sync(self.close_now, error, abandon_on_cancel=True, limiter=one)
            return
        raise ServiceError(
            self.service,
            f"its clean-up was still running after {seconds:g} s",
            "bound it in the factory, or allow more with Services(clean_up_seconds=...)",
        )

    def close_now(self, error: BaseException | None = None) -> None:
        """Resume a sync generator in this thread, or throw *error* in; that this comes out again is no failure."""
        generator = cast("Generator[Any, None, None]", self._generator)
        with _Passing(error):
            if error is None:
                next(generator)
            else:
                generator.throw(error)
            generator.close()
            raise self._yielded_twice()

    async def _resume_async(self, error: BaseException | None) -> None:
        generator = cast("AsyncGenerator[Any, None]", self._generator)
        with _Passing(error):
            if error is None:
                await anext(generator)
            else:
                await generator.athrow(error)
            await generator.aclose()
            raise self._yielded_twice()

    def close_unawaited(self, error: BaseException, tell: Callable[[Exit, BaseException], object]) -> None:
        """Throw *error* in where nothing can be awaited any more: as far as it gets without, or in its own thread.

        Args:
            error: What it is to see.
            tell: Told of a failure in that thread, for which nobody waits.

        Raises:
            ServiceError: If its clean-up has to wait; it is given up then.
        """
        if self.sync:
            (self.home or CallersThread()).soon(partial(self._close_telling, error, tell))
            return
        with _Passing(error):
            step = cast("AsyncGenerator[Any, None]", self._generator).athrow(error)
            step.send(None)
            with _Passing(given_up := GeneratorExit()):
                step.throw(given_up)
            raise ServiceError(
                self.service,
                "its unit of work was thrown away in the middle, where its clean-up cannot be awaited",
                "cancel the task, or use contextlib.aclosing() around the async generator",
            )

    def _close_telling(self, error: BaseException, tell: Callable[[Exit, BaseException], object]) -> None:
        try:
            self.close_now(error)
        except BaseException as failure:  # noqa: BLE001 -- nobody is there to raise it to
            tell(self, failure)

    def _yielded_twice(self) -> ServiceError:
        return ServiceError(self.service, "its generator yielded a second time", "yield once, then clean up")


@final
class _Passing:
    """Let a generator end as it should: by its end, or by the error that was thrown into it."""

    __slots__ = ("_error", "_traceback")

    def __init__(self, error: BaseException | None) -> None:
        self._error = error
        self._traceback = None if error is None else error.__traceback__

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, raised: BaseException | None, traceback: object) -> bool:
        if self._error is not None:
            self._error.__traceback__ = self._traceback  # it was raised elsewhere, and that is what it is to tell
        if isinstance(self._error, (StopIteration, StopAsyncIteration)) and isinstance(raised, RuntimeError):
            return raised.__cause__ is self._error  # what Python makes of it in a generator
        return raised is self._error or isinstance(raised, (StopIteration, StopAsyncIteration))


def newest_first(exits: Iterable[Exit]) -> list[Exit]:
    """Return them in the reverse order of building."""
    return sorted(exits, key=lambda exit_: exit_.number, reverse=True)


async def close_all(exits: Iterable[Exit], seconds: float) -> list[Exception]:
    """Close all, the newest first; an interrupt is raised after the last one."""
    failures = _Failures()
    for exit_ in newest_first(exits):
        try:
            await exit_.close(seconds)
        except BaseException as error:  # noqa: BLE001 -- collected, so that the rest is closed too
            failures.add(exit_, error)
    return failures.collected()


def close_now(exits: Iterable[Exit]) -> list[Exception]:
    """Close sync exits in this thread, the newest first."""
    failures = _Failures()
    for exit_ in newest_first(exits):
        try:
            exit_.close_now()
        except BaseException as error:  # noqa: BLE001 -- collected, so that the rest is closed too
            failures.add(exit_, error)
    return failures.collected()


def raise_failures(failures: list[Exception], message: str = "several services failed to clean up") -> None:
    """Raise what was collected: one error as it is, several as a group."""
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise ExceptionGroup(message, failures)


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
