"""The search for the smallest set of plugins that fails, for any graph of needs and any guilt."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from hypothesis import given
from hypothesis import strategies as st

from plugbus_adapters.cli._ddmin import closed, smallest

Needs = dict[str, set[str]]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[str], Needs]:
    """Plugins and what each needs; in circles too, and of plugins that nobody may switch off."""
    names = [f"p{number}" for number in range(draw(st.integers(1, 12)))]
    some = st.sets(st.sampled_from([*names, "required"]), max_size=3)
    return names, {name: draw(some) for name in names}


def without(found: AbstractSet[str], name: str, needs: Needs) -> frozenset[str]:
    """What is left without a plugin and those that need it."""
    return frozenset(other for other in found if name not in closed([other], needs))


def assert_minimal(found: frozenset[str], names: list[str], needs: Needs, fails) -> None:
    assert fails(found)
    assert closed(found, needs) & set(names) == found
    assert not any(fails(without(found, name, needs)) for name in found)


@given(graphs(), st.data())
def test_it_ends_with_the_guilty_and_what_they_need_and_nothing_else(graph: tuple[list[str], Needs], data) -> None:
    """Whoever is guilty, together: what is left is closed under needs, and minimal."""
    names, needs = graph
    guilty = data.draw(st.sets(st.sampled_from(names), min_size=1))
    tried: list[frozenset[str]] = []

    def fails(enabled: frozenset[str]) -> bool:
        assert closed(enabled, needs) & set(names) == enabled, "nothing is tried without what it needs"
        tried.append(enabled)
        return guilty <= enabled

    found = smallest(names, needs, fails)

    assert found == closed(guilty, needs) & set(names)
    assert len(tried) == len(set(tried)), "nothing is tried twice"
    assert_minimal(found, names, needs, lambda enabled: guilty <= enabled)


@given(graphs(), st.data())
def test_with_several_culprits_it_ends_with_one_of_them(graph: tuple[list[str], Needs], data) -> None:
    names, needs = graph
    culprits = data.draw(st.lists(st.sets(st.sampled_from(names), min_size=1), min_size=1, max_size=4))

    def fails(enabled: frozenset[str]) -> bool:
        return any(guilty <= enabled for guilty in culprits)

    found = smallest(names, needs, fails)

    assert found in [closed(guilty, needs) & set(names) for guilty in culprits]
    assert_minimal(found, names, needs, fails)


@given(graphs(), st.data())
def test_whatever_fails_none_can_be_taken_from_what_is_left(graph: tuple[list[str], Needs], data) -> None:
    """Also where less plugins fail more, and where a command cannot tell."""
    names, needs = graph
    answers: dict[frozenset[str], bool] = {frozenset(): False, frozenset(names): True}

    def fails(enabled: frozenset[str]) -> bool:
        return answers.setdefault(enabled, data.draw(st.booleans()))

    found = smallest(names, needs, fails)

    assert_minimal(found, names, needs, fails)


def test_a_single_culprit_is_found_by_halving() -> None:
    """At most two runs for each time that the number of plugins is halved."""
    names = [f"p{number}" for number in range(64)]
    for guilty in names:
        tried: list[frozenset[str]] = []

        def fails(enabled: frozenset[str], guilty: str = guilty, tried: list[frozenset[str]] = tried) -> bool:
            tried.append(enabled)
            return guilty in enabled

        assert smallest(names, {}, fails) == {guilty}
        assert len(tried) <= 12
