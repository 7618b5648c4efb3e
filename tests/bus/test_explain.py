"""explain() tells the truth: who runs, where, in which order, and why."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.bus.tools import Ask, Keyed, KeyedAsk, Ping, Pong, SubPing, marks, noting, plugin, tracer

from plugbus import Breaker, Event, EventBus, Listener, UnknownEventError

pytestmark = marks


class Tax(Listener[Ping]):
    def handle(self, event: Ping, next_fn: Any) -> Ping:
        return next_fn(event)


def names(bus: EventBus, kind: Any) -> list[str]:
    return [step.name.rpartition(".")[2] for step in bus.explain(kind).steps]


def step(bus: EventBus, kind: Any, name: str) -> Any:
    return next(step for step in bus.explain(kind).steps if step.name.rpartition(".")[2] == name)


def test_the_plan_of_an_event_that_nobody_hears(bus: EventBus) -> None:
    plan = bus.explain(Ping)

    assert list(plan.steps) == []
    assert "tools.ping" in str(plan)


def test_the_steps_come_in_the_order_in_which_they_run(bus: EventBus) -> None:
    trace: list[str] = []
    _, shop = plugin(bus, "shop")
    for name, options in {
        "tax": {"after": ["audit"]},
        "urgent": {"priority": 1},
        "audit": {"priority": 500},
        "plain": {},
    }.items():
        shop.listen(Ask, tracer(name, trace), name=name, **options)
    bus.observe(Ask, noting("told", trace), name="told")
    bus.observe(Ask, noting("inside", trace), name="inside", inside=True)
    bus.answer(Ask, noting("handler", trace), name="handler")

    bus.call(Ask())

    assert names(bus, Ask) == [each.lstrip(">") for each in trace if each[0] != "<"]


def test_each_step_says_what_it_is(bus: EventBus) -> None:
    _, shop = plugin(bus, "shop")
    shop.listen(Keyed, tracer("a", []), name="a", key="berlin", where=lambda message: True, on_error="skip")
    shop.observe(
        Keyed, noting("b", []), name="b", timeout_seconds=2.5, breaker=Breaker(failures=3, cooldown_seconds=30)
    )

    a, b = bus.explain(Keyed).steps

    assert (a.kind, a.plugin, b.kind) == ("listener", "shop", "observer")
    text_a, text_b = (json.dumps(each.model_dump(mode="json")) for each in (a, b))
    assert "berlin" in text_a
    assert "skip" in text_a
    assert "2.5" in text_b
    assert "breaker" in text_b


def test_the_reason_of_a_position_is_its_edge_or_its_priority(bus: EventBus) -> None:
    bus.listen(Ping, Tax())
    bus.listen(Ping, tracer("edge", []), name="edge", after=[Tax])
    bus.listen(Ping, tracer("priority", []), name="priority", priority=7)
    bus.listen(Ping, tracer("before", []), name="early", before=["edge"], priority=900)

    assert names(bus, Ping)[0] == "priority"
    assert "7" in step(bus, Ping, "priority").reason
    assert names(bus, Ping)[-1] == "edge"
    reason = step(bus, Ping, "edge").reason
    assert "Tax" in reason or "early" in reason, "not its priority of 100, which would have put it second"


def test_where_each_one_runs(bus: EventBus) -> None:
    bus.answer(Ask, lambda request: "", name="handler", run_in="caller")
    bus.listen(Ask, tracer("sync", []), name="sync")
    bus.listen(Ask, tracer("async", [], asynchronous=True), name="async")

    assert step(bus, Ask, "sync").runs == "thread"
    assert step(bus, Ask, "async").runs == "loop"
    assert step(bus, Ask, "handler").runs == "caller"


def test_an_absent_reference_shows_in_the_plan_and_its_table(bus: EventBus) -> None:
    bus.listen(Ping, tracer("a", []), name="a", after=["nowhere"])

    assert "nowhere" in json.dumps(bus.explain(Ping).model_dump(mode="json"))
    assert "nowhere" in str(bus.explain(Ping))


def test_a_request_without_a_handler_says_so(bus: EventBus) -> None:
    assert "no handler" in str(bus.explain(Ask))

    bus.answer(Ask, lambda request: "")
    assert "no handler" not in str(bus.explain(Ask))


def test_keyed_handlers_are_all_shown(bus: EventBus) -> None:
    for key in ("customer", "order"):
        bus.answer(KeyedAsk, lambda request: "", key=key, name=key)
    bus.answer(KeyedAsk, lambda request: "", name="rest")

    assert set(names(bus, KeyedAsk)) == {"customer", "order", "rest"}


def test_subscribers_of_base_classes_patterns_and_names_are_in_the_plan(bus: EventBus) -> None:
    for target, name in ((Event, "base"), ("tools.**", "pattern"), ("tools.ping.sub", "name"), (Pong, "other")):
        bus.observe(target, noting(name, []), name=name)

    assert names(bus, SubPing) == ["base", "pattern", "name"]
    assert names(bus, Ping) == ["base", "pattern"]


def test_a_plan_can_be_asked_for_by_wire_name(bus: EventBus) -> None:
    bus.listen(Ping, tracer("a", []), name="a")

    assert bus.explain("tools.ping") == bus.explain(Ping)


def test_an_unknown_wire_name_shows_the_nearest(bus: EventBus) -> None:
    bus.listen(Ping, tracer("a", []), name="a")

    with pytest.raises(UnknownEventError) as caught:
        bus.explain("tools.pnig")

    assert "tools.ping" in caught.value.nearest


def test_a_wire_name_that_is_only_subscribed_to_has_a_plan(bus: EventBus) -> None:
    """Events of unknown names are carried as NamedEvent, so their plan can be asked for."""
    bus.observe("github.push", noting("a", []), name="a")

    assert names(bus, "github.push") == ["a"]


def test_two_buses_built_alike_have_equal_dumps() -> None:
    """Stable enough to diff in CI: no addresses, no times, no counters."""

    def build() -> EventBus:
        bus = EventBus()
        _, shop = plugin(bus, "shop")
        shop.listen(Ping, Tax())
        shop.listen(Ping, tracer("a", []), where=lambda message: True, after=[Tax])
        bus.observe([Ping, Pong], noting("b", []), priority=3)
        bus.observe(Event, [].append)
        return bus

    one, two = (build().explain(Ping).model_dump(mode="json") for _ in range(2))

    assert one == two
    assert json.loads(json.dumps(one)) == one
    assert "0x" not in json.dumps(one)


def test_the_table_names_every_step_once_in_order(bus: EventBus) -> None:
    for name in ("alpha", "beta", "gamma"):
        bus.listen(Ping, tracer(name, []), name=name)

    text = str(bus.explain(Ping))

    lines = [next(n for n, line in enumerate(text.splitlines()) if name in line) for name in ("alpha", "beta", "gamma")]
    assert lines == sorted(lines)
    assert len(set(lines)) == 3
    assert all(len(line) <= 200 for line in text.splitlines())


def test_a_closed_subscription_leaves_the_plan(bus: EventBus) -> None:
    bus.listen(Ping, tracer("a", []), name="a").close()

    assert names(bus, Ping) == []


def test_explaining_runs_and_changes_nothing(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace), name="a", where=lambda message: trace.append("filter"))
    before = bus.subscriptions()

    bus.explain(Ping)

    assert trace == []
    assert bus.subscriptions() == before


def test_a_system_of_thirty_plugins_with_conflicts(bus: EventBus) -> None:
    """The plan is the truth: what it says is what runs, wishes of absent plugins included."""
    trace: list[str] = []
    for n in range(30):
        _, view = plugin(bus, f"plugin{n}")
        view.listen(
            Ping,
            tracer(f"l{n}", trace, asynchronous=n % 3 == 0),
            name=f"l{n}",
            priority=n * 37 % 11,
            after=[f"plugin{n * 7 % 30}"] if n * 7 % 30 < n else ["absent" if n % 5 == 0 else "l0"] if n else [],
            before=[f"missing{n}"] if n % 10 == 0 else [],
        )
        view.observe(Ping, noting(f"o{n}", trace), name=f"o{n}", priority=-n)

    bus.emit(Ping())

    ran = [each.lstrip(">") for each in trace if each[0] != "<"]
    assert names(bus, Ping) == ran
    assert len(ran) == 60
    missing = "\n".join(map(str, bus.problems()))
    assert all(f"missing{n}" in missing for n in (0, 10, 20))
