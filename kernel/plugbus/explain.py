"""Why a chain is as it is: each step, its place and the reason, where it runs and what it asked for.

Owns the report; it is made from the same subscriptions and order as the chain itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, final

from pydantic import BaseModel, ConfigDict

from plugbus._chain.hearing import Roles, meant_by
from plugbus.errors import Problem
from plugbus.options import ABSENT, OUTSIDE, Reference

if TYPE_CHECKING:
    from plugbus.event_types import EventType
    from plugbus.subscription import Subscription

__all__ = ("Plan", "PlanStep")


@final
class PlanStep(BaseModel):
    """One subscriber in a plan.

    Attributes:
        position: Its place, from 1; handlers and observers count on.
        kind: ``"listener"``, ``"handler"`` or ``"observer"``.
        name: Name of the subscriber.
        plugin: Id of its plugin.
        reason: Why it stands there.
        runs: Where it runs in ``aemit``: ``"loop"``, ``"thread"`` or ``"caller"``.
        policies: What it asked for, such as ``"skip"`` or ``"timeout 2 s"``.
        filters: What it filters by, such as ``"key 'berlin'"``.

    Example:
        >>> from plugbus import EventBus
        >>> bus = EventBus()
        >>> subscription = bus.observe(str, print, priority=7)
        >>> bus.explain(str).steps[0].reason
        'priority 7'
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    position: int
    kind: str
    name: str
    plugin: str
    reason: str
    runs: str
    policies: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()


@final
class Plan(BaseModel):
    """What runs for an event type, and why in this order; ``str()`` is a table, ``model_dump()`` is stable.

    Attributes:
        event: Wire name of the event type.
        steps: The subscribers in the order in which they run.
        problems: What is odd about it, such as a reference to a plugin that is not there.

    Example:
        >>> from plugbus import Event, EventBus
        >>> class Paid(Event, name="order.paid"): ...
        >>> bus = EventBus()
        >>> subscription = bus.observe(Paid, print)
        >>> print(bus.explain(Paid))
        order.paid
        #  kind      name   plugin  runs    reason        policies  filters
        1  observer  print  host    thread  priority 100
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    event: str
    steps: tuple[PlanStep, ...]
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = ("#", "kind", "name", "plugin", "runs", "reason", "policies", "filters")
        rows = [head, *(_row(step) for step in self.steps)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        body = lines if self.steps else ["(nobody)"]
        return "\n".join([self.event, *body, *(f"! {problem}" for problem in self.problems)])


def _row(step: PlanStep) -> tuple[str, ...]:
    listed = (", ".join(step.policies), ", ".join(step.filters))
    return (str(step.position), step.kind, step.name, step.plugin, step.runs, step.reason, *listed)


def plan_of(declared: EventType, roles: Roles, everyone: Iterable[Subscription]) -> Plan:
    """Make the plan of an event type from who hears it."""
    placed = roles.in_order()
    steps = tuple(_step(position, *item) for position, item in enumerate(placed, 1))
    problems = [str(problem) for problem in dangling((item for item, _ in placed), everyone)]
    if declared.is_request and not roles.handlers:
        problems.append(f"{declared.name}: no handler answers it")
    return Plan(event=declared.name, steps=steps, problems=tuple(problems))


def _step(position: int, subscription: Subscription, reason: str) -> PlanStep:
    options = subscription.options
    return PlanStep(
        position=position,
        kind=subscription.kind,
        name=subscription.name,
        plugin=subscription.plugin,
        reason=reason,
        runs="loop" if subscription.acall and options.run_in not in OUTSIDE else options.run_in or "thread",
        policies=tuple(_policies(subscription)),
        filters=tuple(_filters(subscription)),
    )


def _policies(subscription: Subscription) -> Iterator[str]:
    options = subscription.options
    if options.on_error is not None:
        yield f"on_error {options.on_error}"
    if options.timeout_seconds is not None:
        yield f"timeout {options.timeout_seconds:g} s"
    if options.breaker is not None:
        yield f"breaker {options.breaker.failures} failures, {options.breaker.cooldown_seconds:g} s"
    if subscription.inside:
        yield "inside"
    if subscription.container is not None:
        yield "unit of work"
    if subscription.background is not None:
        limits = subscription.background[0].limits
        yield f"background {limits.concurrency} at once, queue {limits.max_queue} {limits.overflow}"
        if limits.retry is not None:
            yield f"retry {'without end' if limits.retry.attempts is None else f'{limits.retry.attempts} attempts'}"


def _filters(subscription: Subscription) -> Iterator[str]:
    options = subscription.options
    if options.key is not ABSENT:
        yield f"key {options.key!r}"
    if options.where is not None:
        yield f"where {getattr(options.where, '__qualname__', repr(options.where)).rpartition('<locals>.')[2]}"


def dangling(subscriptions: Iterable[Subscription], everyone: Iterable[Subscription]) -> list[Problem]:
    """Return the references of ``before`` and ``after`` that mean nobody."""
    known = tuple(everyone)
    problems: list[Problem] = []
    for subscription in subscriptions:
        for side in ("before", "after"):
            for reference in getattr(subscription.options, side):
                if not any(meant_by(reference, other) for other in known if other is not subscription):
                    problems.append(_absent(subscription, side, reference))  # noqa: PERF401 - a triple loop reads worse
    return problems


def _absent(subscription: Subscription, side: str, reference: Reference) -> Problem:
    text = reference if isinstance(reference, str) else getattr(reference, "__qualname__", repr(reference))
    where = f"{subscription.kind} {subscription.name!r} of plugin {subscription.plugin!r}"
    hint = "it is allowed, the plugin may be optional; check the spelling if it is not"
    return Problem(where, f"{side}={text!r} means no subscriber that is there", hint, fatal=False)
