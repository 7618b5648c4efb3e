"""Who comes first: topology, then priority, then registration."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.bus.tools import Ask, Ping, Pong, SubPing, marks, noting, plugin, tracer

from plugbus import Event, EventBus, Listener, OrderCycleError, Owner

pytestmark = marks


def entered(bus: EventBus, trace: list[str], message: Event | None = None) -> list[str]:
    """Emit, and say in which order the listeners were entered; they must be left in reverse."""
    trace.clear()
    bus.emit(message or Ping())
    ins = [step[1:] for step in trace if step[0] == ">"]
    outs = [step[1:] for step in trace if step[0] == "<"]
    assert outs == ins[::-1]
    return ins


def test_without_wishes_the_first_registered_is_the_outermost(bus: EventBus) -> None:
    trace: list[str] = []
    for name in "abcde":
        bus.listen(Ping, tracer(name, trace))

    assert entered(bus, trace) == list("abcde")


def test_the_lowest_priority_goes_first_and_the_default_is_100(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("late", trace), priority=101)
    bus.listen(Ping, tracer("default", trace))
    bus.listen(Ping, tracer("hundred", trace), priority=100)
    bus.listen(Ping, tracer("early", trace), priority=-5)

    assert entered(bus, trace) == ["early", "default", "hundred", "late"]


def test_before_and_after_take_a_subscriber_name(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace), name="a", after=["c"])
    bus.listen(Ping, tracer("b", trace), name="b")
    bus.listen(Ping, tracer("c", trace), name="c", before=["b"])

    assert entered(bus, trace) == ["c", "a", "b"]


def test_before_and_after_take_a_function(bus: EventBus) -> None:
    trace: list[str] = []
    a, b, c = (tracer(name, trace) for name in "abc")
    bus.listen(Ping, a, after=[c])
    bus.listen(Ping, b)
    bus.listen(Ping, c, before=[b])

    assert entered(bus, trace) == ["c", "a", "b"]


def test_before_and_after_take_a_class(bus: EventBus) -> None:
    trace: list[str] = []

    class Tax(Listener[Ping]):
        def handle(self, event, next_fn):
            trace.append(">tax")
            result = next_fn(event)
            trace.append("<tax")
            return result

    bus.listen(Ping, tracer("a", trace), after=[Tax])
    bus.listen(Ping, Tax())
    bus.listen(Ping, tracer("b", trace), before=[Tax])

    assert entered(bus, trace) == ["b", "tax", "a"]


def test_before_and_after_take_a_plugin_id_and_mean_all_of_it(bus: EventBus) -> None:
    trace: list[str] = []
    _, billing = plugin(bus, "billing")
    billing.listen(Ping, tracer("billing-1", trace))
    billing.listen(Ping, tracer("billing-2", trace), priority=1)
    bus.listen(Ping, tracer("above", trace), before=["billing"], priority=500)
    bus.listen(Ping, tracer("below", trace), after=["billing"], priority=-500)

    assert entered(bus, trace) == ["above", "billing-2", "billing-1", "below"]


def test_one_reference_may_stand_without_a_list(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace), name="a")
    bus.listen(Ping, tracer("b", trace), before="a")

    assert entered(bus, trace) == ["b", "a"]


def test_topology_beats_priority(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("urgent", trace), priority=-1000, after=["slow"])
    bus.listen(Ping, tracer("slow", trace), name="slow", priority=1000)
    bus.listen(Ping, tracer("middle", trace))

    assert entered(bus, trace) == ["middle", "slow", "urgent"]


def test_the_choice_is_greedy(bus: EventBus) -> None:
    """Among those that may go next the lowest priority goes, not the one that would unlock a lower one."""
    trace: list[str] = []
    bus.listen(Ping, tracer("lock", trace), name="lock", priority=60)
    bus.listen(Ping, tracer("locked", trace), priority=1, after=["lock"])
    bus.listen(Ping, tracer("free", trace), priority=50)

    assert entered(bus, trace) == ["free", "lock", "locked"]


def test_observers_have_an_order_of_their_own(bus: EventBus) -> None:
    trace: list[str] = []
    bus.observe(Ping, noting("c", trace), name="c", after=["b"])
    bus.observe(Ping, noting("b", trace), name="b")
    bus.observe(Ping, noting("a", trace), name="a", priority=1)
    bus.listen(Ping, tracer("listener", trace), priority=1000)

    bus.emit(Ping())

    assert trace == [">listener", "<listener", "a", "b", "c"]


def test_the_handler_is_the_bottom_whatever_was_registered_first(bus: EventBus) -> None:
    trace: list[str] = []
    bus.answer(Ask, noting("handler", trace))
    bus.observe(Ask, noting("observer", trace), priority=-1)
    bus.listen(Ask, tracer("listener", trace), priority=10_000)

    bus.call(Ask())

    assert trace == [">listener", "handler", "<listener", "observer"]


def test_listeners_of_a_base_class_take_part_in_the_order(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(SubPing, tracer("sub", trace), name="sub")
    bus.listen(Event, tracer("event", trace), before=["sub"])
    bus.listen(Ping, tracer("ping", trace), priority=1)

    assert entered(bus, trace, SubPing()) == ["ping", "event", "sub"]


def test_closing_one_leaves_the_order_of_the_others(bus: EventBus) -> None:
    trace: list[str] = []
    subs = {name: bus.listen(Ping, tracer(name, trace)) for name in "abcd"}
    subs["b"].close()

    assert entered(bus, trace) == list("acd")


def test_registering_again_goes_to_the_end(bus: EventBus) -> None:
    trace: list[str] = []
    subs = {name: bus.listen(Ping, tracer(name, trace)) for name in "abc"}
    subs["a"].close()
    bus.listen(Ping, tracer("a", trace))

    assert entered(bus, trace) == list("bca")


# ------------------------------------------------------------------------------------------------ cycles


def test_a_cycle_is_refused_and_nothing_changes(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace), name="a", after=["b"])
    bus.listen(Ping, tracer("b", trace), name="b", after=["c"])
    before = [sub.name for sub in bus.subscriptions()]

    with pytest.raises(OrderCycleError) as caught:
        bus.listen(Ping, tracer("c", trace), name="c", after=["a"])

    assert caught.value.event == "tools.ping"
    assert len(caught.value.cycle) == 3
    text = "".join(caught.value.cycle)
    assert all(name in text for name in "abc")
    assert [sub.name for sub in bus.subscriptions()] == before
    assert entered(bus, trace) == ["b", "a"]


def test_the_shown_cycle_is_in_order(bus: EventBus) -> None:
    """Each one comes before the next, and the last before the first."""
    trace: list[str] = []
    bus.listen(Ping, tracer("bystander", trace), name="bystander", before=["x"])
    bus.listen(Ping, tracer("x", trace), name="x", before=["y"])
    bus.listen(Ping, tracer("y", trace), name="y", before=["z"])

    with pytest.raises(OrderCycleError) as caught:
        bus.listen(Ping, tracer("z", trace), name="z", before=["x"])

    cycle = [name.rpartition(".")[2] for name in caught.value.cycle]
    start = cycle.index("x")
    assert cycle[start:] + cycle[:start] == ["x", "y", "z"]


def test_before_oneself_is_a_cycle(bus: EventBus) -> None:
    with pytest.raises(OrderCycleError):
        bus.listen(Ping, tracer("a", []), name="a", before=["a"])

    assert list(bus.subscriptions()) == []


def test_before_and_after_the_same_one_is_a_cycle(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace), name="a")

    with pytest.raises(OrderCycleError):
        bus.listen(Ping, tracer("b", trace), before=["a"], after=["a"])

    assert entered(bus, trace) == ["a"]


def test_a_cycle_in_a_subclass_is_found_when_it_is_made(bus: EventBus) -> None:
    """The two meet only in the chain of SubPing, yet the second is refused at once."""
    trace: list[str] = []
    bus.emit(SubPing())
    bus.listen(Ping, tracer("base", trace), name="base", after=["sub"])

    with pytest.raises(OrderCycleError):
        bus.listen(SubPing, tracer("sub", trace), name="sub", after=["base"])

    assert entered(bus, trace, SubPing()) == ["base"]


def test_wishes_of_different_events_make_no_cycle(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace), name="a", before=["b"])
    bus.listen(Ping, tracer("b", trace), name="b")
    bus.listen(Pong, tracer("b", trace), name="pong-b", before=["pong-a"])
    bus.listen(Pong, tracer("a", trace), name="pong-a")

    assert entered(bus, trace, Ping()) == ["a", "b"]
    assert entered(bus, trace, Pong()) == ["b", "a"]


def test_after_a_refused_cycle_a_legal_one_is_welcome(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace), name="a", after=["b"])
    with pytest.raises(OrderCycleError):
        bus.listen(Ping, tracer("b", trace), name="b", after=["a"])

    bus.listen(Ping, tracer("b", trace), name="b")

    assert entered(bus, trace) == ["b", "a"]


# ---------------------------------------------------------------------------------------- absent references


def test_a_reference_to_something_absent_is_allowed_and_reported(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace), name="a", before=["billing"])

    assert entered(bus, trace) == ["a"]
    assert any("billing" in str(problem) for problem in bus.problems())
    assert "billing" in str(bus.explain(Ping))


def test_a_reference_to_something_absent_is_no_fatal_problem(bus: EventBus) -> None:
    bus.listen(Ping, tracer("a", []), name="a", before=["billing"])

    assert [problem.fatal for problem in bus.problems()] == [False]


def test_a_reference_comes_true_when_its_target_comes(bus: EventBus) -> None:
    trace: list[str] = []
    bus.listen(Ping, tracer("a", trace), name="a", after=["billing"])
    bus.emit(Ping())

    _, billing = plugin(bus, "billing")
    billing.listen(Ping, tracer("billing", trace))

    assert entered(bus, trace) == ["billing", "a"]
    assert list(bus.problems()) == []


def test_a_reference_that_is_met_is_no_problem(bus: EventBus) -> None:
    bus.listen(Ping, tracer("a", []), name="a", before=["b"])
    bus.listen(Ping, tracer("b", []), name="b")

    assert list(bus.problems()) == []


# ------------------------------------------------------------------------------------------------ the law


def expected(priorities: list[int], edges: set[tuple[int, int]]) -> list[int]:
    """Greedy topological order, written down once more in the plainest way."""
    waiting = {n: {a for a, b in edges if b == n} for n in range(len(priorities))}
    ready = [(priorities[n], n) for n, needs in waiting.items() if not needs]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        _, n = heapq.heappop(ready)
        order.append(n)
        for other, needs in waiting.items():
            if n in needs:
                needs.remove(n)
                if not needs:
                    heapq.heappush(ready, (priorities[other], other))
    return order


@st.composite
def wishes(draw: st.DrawFn) -> tuple[list[int], set[tuple[int, int]]]:
    priorities = draw(st.lists(st.integers(98, 102), min_size=1, max_size=8))
    numbers = draw(st.permutations(range(len(priorities))))
    pairs = [(a, b) for i, a in enumerate(numbers) for b in numbers[i + 1 :]]  # acyclic, as all point one way
    return priorities, draw(st.sets(st.sampled_from(pairs), max_size=10)) if pairs else set()


@given(wishes(), st.booleans())
def test_any_wishes_give_the_greedy_topological_order(
    wish: tuple[list[int], set[tuple[int, int]]], say_before: bool
) -> None:
    """Whatever the priorities and edges, whoever states them, listeners and observers follow the same rule."""
    priorities, edges = wish
    bus = EventBus()
    trace: list[str] = []
    observed: list[str] = []
    for n, priority in enumerate(priorities):
        before = [f"s{b}" for a, b in edges if a == n] if say_before else []
        after = [] if say_before else [f"s{a}" for a, b in edges if b == n]
        bus.listen(Ping, tracer(str(n), trace), name=f"s{n}", priority=priority, before=before, after=after)
    other = EventBus()
    for n, priority in enumerate(priorities):
        before = [f"s{b}" for a, b in edges if a == n] if say_before else []
        after = [] if say_before else [f"s{a}" for a, b in edges if b == n]
        other.observe(Ping, noting(str(n), observed), name=f"s{n}", priority=priority, before=before, after=after)

    other.emit(Ping())

    assert [int(name) for name in entered(bus, trace)] == expected(priorities, edges)
    assert [int(name) for name in observed] == expected(priorities, edges)


def test_what_boots_in_parallel_is_ordered_as_the_views_were_made(bus: EventBus) -> None:
    """The slower of two plugins registers later, and still stands where its place in the plan is."""
    trace: list[str] = []
    first, second = Owner("first"), Owner("second")
    views = bus.view(first), bus.view(second)

    views[1].listen(Ping, tracer("second", trace))
    views[0].listen(Ping, tracer("first", trace))
    bus.activate(second)
    bus.activate(first)
    views[0].listen(Ping, tracer("late", trace))

    assert entered(bus, trace) == ["first", "second", "late"]
