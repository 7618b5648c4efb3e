"""The plugin that runs the jobs of others.

Each run is a unit of work of its own, in the name of a principal. One that fails is rolled back, noted, told as
``JobFailed`` and tried again as its ``Retry`` says. The pauses are settings, and follow them while they last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import anyio
from jobs import ONCE, Every, JobFailed, Jobs, Report
from pydantic import BaseModel, ConfigDict, PositiveFloat

from plugbus import (
    Bound,
    Clock,
    EventBus,
    Health,
    Live,
    Marked,
    NotFound,
    Owner,
    Plugin,
    PluginGoneError,
    Principal,
    Problem,
    Refused,
    Retry,
    Services,
    TaskHandle,
    acting_as,
    checks,
    provides,
    reads,
)

__all__ = ("JobsPlugin",)

RUNNING: ContextVar[Job | None] = ContextVar("RUNNING", default=None)


class Job:
    """One job, from when it was added until its plugin leaves."""

    def __init__(self, name: str, how: Every, bound: Bound[Any]) -> None:
        self.name, self.how, self.bound = name, how, bound
        self.principal = how.principal or Principal(f"job:{name}")
        self.report = Report()
        self.stopping = False
        self.woken = anyio.Event()

    def wake(self) -> None:
        """Have it look again at how long it has to wait; on the loop."""
        self.woken.set()


class View:
    """The jobs of one plugin: what it gets that asks for ``Jobs``.

    Args:
        owner: The plugin.
        scheduler: What runs them.
    """

    def __init__(self, owner: Owner, scheduler: JobsPlugin) -> None:
        self._owner, self._scheduler = owner, scheduler

    def add(
        self,
        function: Callable[..., object],
        *,
        seconds: float,
        name: str = "",
        principal: Principal | None = None,
        retry: Retry = ONCE,
        timeout_seconds: float | None = None,
    ) -> Callable[[], None]:
        """Add a job; see ``Jobs``."""
        how = Every(seconds, name, principal, retry, timeout_seconds)
        return self._scheduler.add(self._owner, function, how)

    def report(self, name: str) -> Report:
        """Tell how a job did; see ``Jobs``."""
        return self._scheduler.find(self._owner, name).report

    async def run(self, name: str) -> object:
        """Run a job now; see ``Jobs``."""
        return await self._scheduler.attempt(self._scheduler.find(self._owner, name))


class JobsPlugin(Plugin, id="jobs", version="1.0.0"):
    """Runs the jobs.

    Args:
        bus: Where failures are told.
        services: Where units of work come from.
        clock: What measures the pauses.
        settings: The pauses that the operator wants.
    """

    class Settings(BaseModel):
        """What the operator may set, also while it runs."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        pauses: dict[str, PositiveFloat] = {}
        running: bool = True

    events = (JobFailed,)

    def __init__(self, bus: EventBus, services: Services, clock: Clock, settings: Live[Settings]) -> None:
        self._bus, self._services, self._clock, self._settings = bus, services, clock, settings
        self._jobs: list[Job] = []  # two of one name while a plugin is reloaded: each has its owner

    @provides(scope="plugin")
    def view(self, owner: Owner) -> Jobs:
        """Make the view of one plugin."""
        return View(owner, self)

    @reads(Every)
    async def attach(self, found: Marked[Every]) -> Callable[[], Awaitable[None]]:
        """Start what is marked."""
        job, handle = self._start(found.owner, found.function, found.mark)
        return lambda: self._end(job, handle)

    @staticmethod
    @checks(Every)
    def check_marks(found: Iterable[Marked[Every]]) -> Iterator[Problem]:
        """Find pauses of nothing, and two jobs of one name, before anything is built."""
        seen: set[str] = set()
        for each in found:
            name = full_name(each.owner, each.function, each.mark)
            where = f"job {name!r}"
            if each.mark.seconds <= 0:
                yield Problem(where, f"a pause of {each.mark.seconds} s", "give it more than zero seconds")
            if name in seen:
                yield Problem(where, "there are two of this name", "name one of them: @every(..., name='...')")
            seen.add(name)

    async def on_settings(self, _old: Settings, _new: Settings) -> None:
        """Have each job look again at how long it has to wait."""
        for job in list(self._jobs):
            job.wake()

    async def check_health(self) -> Health:
        """Tell how each job did when it was last run."""
        failed = [job for job in self._jobs if job.report.error is not None]
        return Health(
            reason="; ".join(f"{job.name}: {job.report.error!r}" for job in failed),
            checks={job.name: "degraded" if job in failed else "up" for job in self._jobs},
            metrics={"runs_total": sum(job.report.runs for job in self._jobs)},
        )

    def find(self, owner: Owner, name: str) -> Job:
        """Return a job of a plugin."""
        known = {job.name: job for job in self._jobs if job.bound.owner is owner}
        full = f"{owner.id}.{name}"
        if full not in known:
            raise NotFound(f"there is no job {full!r}, only {sorted(known)}")
        return known[full]

    def add(self, owner: Owner, function: Callable[..., object], how: Every) -> Callable[[], None]:
        """Start a job, and have it leave with its owner."""
        job, handle = self._start(owner, function, how)
        disown = owner.own(lambda: self._end(job, handle), what=f"job {job.name}", brings_work=True)

        def close() -> None:
            disown()
            self._forget(job)
            handle.cancel()

        return close

    async def attempt(self, job: Job) -> object:
        """Run it once: a unit of work, in the name of its principal."""
        job.report.runs += 1
        try:
            with acting_as(job.principal, correlation_id=f"{job.name}#{job.report.runs}"):
                async with self._services.scope():
                    result = await job.bound()
        except Exception as error:
            job.report.failures += 1
            job.report.error = error
            raise
        job.report.error = None
        return result

    def _start(self, owner: Owner, function: Callable[..., object], how: Every) -> tuple[Job, TaskHandle]:
        name = full_name(owner, function, how)
        if how.seconds <= 0:
            raise ValueError(f"job {name!r} has a pause of {how.seconds} s; give it more than zero")
        if any(job.name == name and job.bound.owner is owner for job in self._jobs):
            raise ValueError(f"there is a job {name!r} already")
        bound = owner.bind(function, name=name, timeout_seconds=how.timeout_seconds)
        if bound.parameters:
            wanted = ", ".join(str(parameter) for parameter in bound.parameters)
            raise TypeError(f"job {name!r} takes {wanted}, and nobody passes arguments to a job")
        job = Job(name, how, bound)
        self._jobs.append(job)
        return job, owner.tasks.start(self._keep_running, job, name=f"job {name}")

    def _forget(self, job: Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)

    async def _end(self, job: Job, handle: TaskHandle) -> None:
        """Let a run that is under way finish, and have no other begin."""
        self._forget(job)
        job.stopping = True
        job.wake()
        if RUNNING.get() is not job:  # a job that unloads its own plugin would wait for itself
            await handle.wait()

    async def _keep_running(self, job: Job) -> None:
        RUNNING.set(job)
        while await self._wait(job, lambda: self._settings.current.pauses.get(job.name, job.how.seconds)):
            if self._settings.current.running:
                await self._run(job)

    async def _run(self, job: Job) -> None:
        delays = job.how.retry.delays()
        for number in range(1, 1_000_000):
            try:
                await self.attempt(job)
            except PluginGoneError:
                job.stopping = True
                return
            except Exception as error:  # noqa: BLE001 - whatever a job raises is its own failure
                delay = None if isinstance(error, Refused) else next(delays, None)
                job.bound.owner.log.warning("job_failed", job=job.name, attempt=number, error=repr(error))
                await self._bus.aemit(
                    JobFailed(job=job.name, attempt=number, error=repr(error), again=delay is not None)
                )
                if delay is None or not await self._wait(job, partial(float, delay)):
                    return
            else:
                return

    async def _wait(self, job: Job, seconds: Callable[[], float]) -> bool:
        """Wait on the clock, for as long as the settings say at each moment; false if the job is to end."""
        began = self._clock.monotonic()
        while not job.stopping:
            job.woken = anyio.Event()
            left = began + seconds() - self._clock.monotonic()
            if left <= 0:
                return True
            async with self._woken_by(job):
                await self._clock.sleep(left)
        return False

    @asynccontextmanager
    async def _woken_by(self, job: Job) -> AsyncIterator[None]:
        async def end() -> None:
            await job.woken.wait()
            group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(end)
            yield
            group.cancel_scope.cancel()


def full_name(owner: Owner, function: Callable[..., object], how: Every) -> str:
    """Return what a job is known by: its plugin and its name within it."""
    return f"{owner.id}.{how.name or getattr(function, '__name__', type(function).__name__)}"
