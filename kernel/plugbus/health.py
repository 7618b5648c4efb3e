"""How well a plugin, and the whole kernel, is.

Owns the values that health is told in; asking the plugins is the kernel's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias, final

from pydantic import BaseModel, ConfigDict

__all__ = ("Health", "KernelHealth", "PluginHealth", "Status", "worst")

Status: TypeAlias = Literal["up", "degraded", "down"]
_WORST_FIRST: tuple[Status, ...] = ("down", "degraded")


def worst(*statuses: Status) -> Status:
    """Return the worst of some statuses; ``up`` when there is none.

    Example:
        >>> worst("up", "degraded")
        'degraded'
    """
    for status in _WORST_FIRST:
        if status in statuses:
            return status
    return "up"


@final
class Health(BaseModel):
    """What ``check_health`` of a plugin answers.

    Args:
        status: ``"up"``, ``"degraded"`` (it works, but not as it should) or ``"down"``.
        reason: Why it is not up, for people.
        checks: Each thing that was looked at, and how it is.
        metrics: Figures by name, each with its unit in the name.

    Example:
        >>> Health(checks={"database": "up", "mail": "degraded"}).status
        'degraded'
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    status: Status = "up"
    reason: str = ""
    checks: Mapping[str, Status] = {}
    metrics: Mapping[str, float] = {}

    def model_post_init(self, _context: object, /) -> None:
        """Have the status be no better than the worst check."""
        object.__setattr__(self, "status", worst(self.status, *self.checks.values()))


@final
class PluginHealth(BaseModel):
    """How one plugin is, as the kernel sees it.

    Args:
        status: The worst of what follows.
        state: Where in its life the plugin is.
        reason: Why it is not up, for people.
        checks: What its own ``check_health`` looked at.
        metrics: Its own figures.
        threads_abandoned: Threads that overran their time and still run.
        breakers_open: Names of its subscribers that get no work, because they failed too often.
        tasks_crashed: Names of its background tasks that crashed for good.
        observer_errors: Failures of its observers so far.
        background: What each of its background observers has done, by name: the figures of
            :class:`BackgroundStatistics`; what it posted is under ``"bus.post"``.

    Example:
        >>> PluginHealth(status="up", state="ready").threads_abandoned
        0
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    status: Status
    state: str
    reason: str = ""
    checks: Mapping[str, Status] = {}
    metrics: Mapping[str, float] = {}
    threads_abandoned: int = 0
    breakers_open: tuple[str, ...] = ()
    tasks_crashed: tuple[str, ...] = ()
    observer_errors: int = 0
    background: Mapping[str, Mapping[str, int]] = {}


@final
class KernelHealth(BaseModel):
    """How the kernel and each plugin are.

    Args:
        status: ``"down"`` when the kernel does not run or a required plugin is down, else the worst of the
            plugins, where one that is down only degrades the whole.
        plugins: Each plugin by its id.

    Example:
        >>> KernelHealth(status="up").ok
        True
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    status: Status
    plugins: Mapping[str, PluginHealth] = {}

    @property
    def ok(self) -> bool:
        """Whether work can be done at all."""
        return self.status != "down"
