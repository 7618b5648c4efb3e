"""A plan as a Mermaid flow chart.

Owns the drawing: listeners wrap, so each leads to the next; observers are told afterwards, on dotted lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plugbus import Plan, PlanStep

__all__ = ("flow_chart",)


def flow_chart(plan: Plan) -> str:
    """Return the chart.

    Example:
        >>> from plugbus import Event, EventBus
        >>> class Paid(Event, name="order.paid"): ...
        >>> bus = EventBus()
        >>> subscription = bus.observe(Paid, print)
        >>> print(flow_chart(bus.explain(Paid)))
        flowchart TD
            event(["order.paid"])
            s1["1 observer print<br/>plugin host, thread"]
            event -.-> s1
    """
    return "\n".join(["flowchart TD", *(f"    {line}" for line in _lines(plan))])


def _lines(plan: Plan) -> Iterator[str]:
    yield f'event(["{_safe(plan.event)}"])'
    last = "event"
    for step in plan.steps:
        node = f"s{step.position}"
        yield f'{node}["{_label(step)}"]'
        if step.kind == "observer":
            yield f"{last} -.-> {node}"
        else:
            yield f"{last} --> {node}"
            last = node


def _label(step: PlanStep) -> str:
    facts = ", ".join((f"plugin {step.plugin}", step.runs, *step.policies, *step.filters))
    return f"{step.position} {_safe(f'{step.kind} {step.name}')}<br/>{_safe(facts)}"


def _safe(text: str) -> str:
    """Write what means something in a label as Mermaid's own character codes."""
    return "".join(char if char.isalnum() or char in " .,:_-/()" else f"#{ord(char)};" for char in text)
