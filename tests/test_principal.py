"""Who acts: a value that says what it may do, and travels."""

from __future__ import annotations

import json
import pickle
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugbus import Carried, Principal
from plugbus.registry import Pattern

SEGMENT = st.sampled_from(["orders", "stock", "read", "write", "a:b", "*", "**"])
SCOPES = st.lists(SEGMENT, min_size=1, max_size=3).map(".".join)
CLAIMS = st.dictionaries(st.text(max_size=3), st.one_of(st.text(max_size=3), st.lists(st.integers())), max_size=2)
PRINCIPALS = st.builds(Principal, st.text(max_size=5), st.lists(SCOPES, max_size=3), CLAIMS)


@pytest.mark.parametrize(
    ("scope", "asked", "may"),
    [
        ("orders.read", "orders.read", True),
        ("orders.read", "orders.write", False),
        ("orders.read", "orders", False),
        ("orders.*", "orders.read", True),
        ("orders.*", "orders", False),
        ("orders.*", "orders.items.read", False),
        ("orders.**", "orders.items.read", True),
        ("**", "anything.at.all", True),
        ("orders.*", "orders.**", False),
        ("orders.**", "orders.*", True),
        ("orders:read", "orders:read", True),
        ("publish:order.*", "publish:order.placed", True),
        ("publish:order.*", "publish:order.a.b", False),
        ("publish:order.*", "subscribe:order.placed", False),
        ("subscribe:*", "subscribe:paid", True),
        ("subscribe:*", "subscribe:order.placed", False),
        ("subscribe:**", "subscribe:order.placed", True),
        ("subscribe:**", "subscribe:**", True),
        ("subscribe:**", "subscribe", False),
        ("subscribe:**", "publish:order.placed", False),
        ("*.placed", "publish:order.placed", False),
        ("*", "publish:order", False),
        ("**", "publish:order.placed", True),
    ],
)
def test_may_goes_by_name_and_by_pattern(scope: str, asked: str, *, may: bool) -> None:
    """``*`` is one whole segment, ``**`` one or more, as in patterns of wire names."""
    assert Principal("ann", [scope]).may(asked) is may


@pytest.mark.parametrize(
    ("scope", "asked"),
    [
        ("*", "subscribe:*"),
        ("*", "subscribe:**"),
        ("subscribe:*", "subscribe:**"),
        ("subscribe:order.*", "subscribe:*"),
        ("subscribe:order.*", "subscribe:**"),
        ("subscribe:order.*", "subscribe:order.**"),
        ("subscribe:order.*", "subscribe:*.*"),
        ("subscribe:*", "subscribe:a*"),
        ("subscribe:order.**", "subscribe:order.pl*"),
        ("subscribe:order.**", "subscribe:order.***"),
        ("subscribe:order.**", "subscribe:order."),
        ("subscribe:order.**", "subscribe:order..placed"),
        ("subscribe:order.**", "subscribe:order.a\nb"),
        ("subscribe:order.**", "subscribe:order.a b"),
        ("subscribe:order.**", "subscribe:order.a,**"),
        ("subscribe:order.**", "*:order.placed"),
        ("subscribe:order.**", "**"),
        ("order.**", "order:**"),
        ("**", ""),
    ],
)
def test_what_is_asked_for_may_be_hostile(scope: str, asked: str) -> None:
    """A pattern that is asked for must mean nothing that the scope does not; what is no pattern, wildcards refuse."""
    assert not Principal("eve", [scope]).may(asked)


@pytest.mark.parametrize("scope", ["**", "subscribe:**", "subscribe:**.a.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.*.**"])
@pytest.mark.parametrize("part", ["**", "**.a", "a.**", "*.**.a"])
def test_an_answer_takes_no_longer_the_more_wildcards_are_asked_for(scope: str, part: str) -> None:
    """Who asks for ``**.**.**`` and so on cannot keep the server busy."""
    asked = "subscribe:" + ".".join([part] * 60)
    started = time.process_time()

    Principal("eve", [scope]).may(asked)

    assert time.process_time() - started < 2


NAMES = st.lists(st.sampled_from(["orders", "stock", "read", "write"]), min_size=1, max_size=4).map(".".join)
VERBS = st.sampled_from(["", "publish:", "subscribe:"])


@given(holds=st.tuples(VERBS, SCOPES), asks=st.tuples(VERBS, SCOPES), name=NAMES)
def test_a_pattern_that_is_granted_means_nothing_beyond_the_scope(holds, asks, name) -> None:
    """Whoever may ``subscribe:P`` may ``subscribe:N`` for each name N that P means; hence never more."""
    eve = Principal("eve", ["".join(holds)])

    if eve.may("".join(asks)) and Pattern(asks[1]).matches(name):
        assert eve.may(asks[0] + name)
        assert holds[0] == asks[0] or holds[1] == "**" or holds[1].startswith("**")


def test_nobody_may_anything_without_a_scope() -> None:
    assert not Principal("ann").may("orders.read")


@given(principal=PRINCIPALS)
def test_a_principal_may_what_its_scopes_say(principal: Principal) -> None:
    assert all(principal.may(scope) for scope in principal.scopes)


@given(principal=PRINCIPALS, correlation_id=st.none() | st.text(), cause=st.none() | st.text())
def test_what_travels_is_plain_data(principal: Principal, correlation_id: str | None, cause: str | None) -> None:
    """It survives JSON, pickle and a set."""
    carried = Carried(principal, correlation_id, cause)

    assert Carried.from_dict(json.loads(json.dumps(carried.to_dict()))) == carried
    assert pickle.loads(pickle.dumps(carried)) == carried
    assert {principal: 1}[Principal.from_dict(principal.to_dict())] == 1


def test_what_travels_may_be_a_part_of_it() -> None:
    """A message from somebody else need not say who acts."""
    assert Carried.from_dict({"correlation_id": "7f"}) == Carried(None, "7f", None)


def test_a_principal_is_frozen() -> None:
    """Whoever is handed one can not become another."""
    ann = Principal("ann", ["orders.read"], {"level": 1})

    with pytest.raises(AttributeError, match="frozen"):
        ann.scopes = frozenset({"**"})  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del ann.id
    with pytest.raises(TypeError):
        ann.claims["level"] = 2  # type: ignore[index]
    assert (ann.scopes, ann.claims) == ({"orders.read"}, {"level": 1})


def test_principals_differ_by_what_is_known_of_them() -> None:
    assert Principal("ann", (), {"level": 1}) != Principal("ann", (), {"level": 2})
    assert Principal("ann") != "ann"


def test_text_is_no_list_of_scopes() -> None:
    """``scopes="orders"`` would be six scopes of one letter."""
    with pytest.raises(TypeError, match="list of scopes"):
        Principal("ann", "orders")


def test_claims_do_not_show_in_logs() -> None:
    """A principal is printed in many places, and its claims may be personal."""
    assert repr(Principal("ann", ["b", "a"], {"email": "ann@example.org"})) == "Principal('ann', ['a', 'b'])"
