"""What plugins with jobs import: the decorator ``every``, the service ``Jobs``, the event ``JobFailed``.

Nothing here runs anything; that is done by ``jobs_plugin``, which nobody imports.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from plugbus import Event, Principal, Retry, mark

__all__ = ("Every", "JobFailed", "Jobs", "Report", "every")

F = TypeVar("F", bound=Callable[..., object])

ONCE = Retry(attempts=1)


class Every(NamedTuple):
    """The mark: how a function is run.

    Attributes:
        seconds: The pause between the end of a run and the next one.
        name: What the job is called within its plugin; the function's name unless given.
        principal: Who acts in it; one named after the job, without scopes, unless given.
        retry: How often and when a run that failed is tried again.
        timeout_seconds: Time for each attempt.
    """

    seconds: float
    name: str = ""
    principal: Principal | None = None
    retry: Retry = ONCE
    timeout_seconds: float | None = None


def every(
    *,
    seconds: float,
    name: str = "",
    principal: Principal | None = None,
    retry: Retry = ONCE,
    timeout_seconds: float | None = None,
) -> Callable[[F], F]:
    """Mark a function of a plugin as a job; what it takes are services."""
    return mark(Every(seconds, name, principal, retry, timeout_seconds))


class JobFailed(Event, name="jobs.failed"):
    """One attempt failed; nothing of it is left."""

    job: str
    attempt: int
    error: str
    again: bool


@dataclass
class Report:
    """How a job did so far."""

    runs: int = 0
    failures: int = 0
    error: Exception | None = None  # of the last attempt, None if that worked


class Jobs(Protocol):
    """The jobs of the plugin that asks for this."""

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
        """Add a job, from any thread.

        Returns:
            A function that takes it out again; a run that is under way is rolled back.

        Raises:
            ValueError: If there is a job of this name, or no pause.
            TypeError: If it takes arguments.
        """

    def report(self, name: str) -> Report:
        """Return how one of them did so far.

        Raises:
            NotFound: If there is none of this name.
        """

    async def run(self, name: str) -> object:
        """Run one of them now, once, and return what it returns.

        Raises:
            NotFound: If there is none of this name.
            Exception: What it raised.
        """
